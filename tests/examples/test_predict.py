"""examples/predict.py: the ONNX file and inputs on the command line, nothing else."""

import io
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import scipy.ndimage
import torch
from PIL import Image, ImageOps
from sklearn.datasets import load_digits

from examples.predict import Model, Refused, as_picture, entries_beside, files_below, main, without_transparency
from stages.reading.pictures import load_picture
from stages.sources.digits import enlarge
from tests import toy
from tests.exported import exported_toy

SCRIPT = toy.ROOT / "examples" / "predict.py"


@pytest.fixture
def exported(tmp_path):
    """A function that exports the model of a toy dataset and returns the ONNX file's path."""

    def export(name: str) -> Path:
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(exported_toy(name).onnx)
        return path

    return export


@dataclass
class Said:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def predict(tmp_path, monkeypatch, capsys):
    """A function that runs the command in the folder tmp_path, in this process: a new one takes a second to start."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Said:
        monkeypatch.setattr("sys.argv", ["predict.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        out, err = capsys.readouterr()
        return Said(code if isinstance(code, int) else 1, out, err if isinstance(code, int) else f"{err}{code}\n")

    return run


@pytest.fixture
def answer(predict):
    def run(*arguments: object) -> str:
        said = predict(*arguments)
        assert (said.returncode, said.stderr) == (0, "")
        return said.stdout

    return run


@pytest.fixture
def refusal(predict):
    def run(*arguments: object) -> str:
        said = predict(*arguments)
        assert said.returncode == 1 and said.stderr.startswith("error: ") and said.stderr.count("\n") == 1, said.stderr
        return said.stderr

    return run


def test_a_stranger_runs_it_with_a_file_and_an_input(exported, tmp_path):
    model = exported("numbers")
    said = {"0.5": "0.5: y ", "x": "error: x: x is 'x', which is not a number: give one, such as 1.5.\n"}
    for given, code in (("0.5", 0), ("x", 1)):
        ended = subprocess.run([sys.executable, str(SCRIPT), str(model), given], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode == code
        assert ended.stderr == said[given] if code else ended.stdout.startswith(said[given])


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_terminal_that_knows_only_ascii_is_told_all_the_same(exported, tmp_path, options):
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), str(exported("words")), "Zoë", "王", *options],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    said, expected = (json.loads(ended.stdout)["input"], "Zoë") if options else (ended.stdout.split(":")[0], "Zo\\xeb")
    assert ended.returncode == 1 and said == expected
    assert ended.stderr.startswith("error: '\\u738b' has no character that can be written in ASCII") and ended.stderr.count("\n") == 1


def test_it_imports_nothing_but_numpy_onnxruntime_and_pillow():
    lines = SCRIPT.read_text().splitlines()
    imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "PIL"}
    assert set((SCRIPT.parent / "requirements.txt").read_text().split()) == {"numpy", "onnxruntime", "pillow"}


def test_a_picture_of_any_size_and_mode_is_answered_with_the_most_probable_classes(exported, tmp_path, answer):
    model = exported("shapes")
    rng = np.random.default_rng(0)
    grey, colours = rng.integers(0, 255, (8, 8), dtype=np.uint8), rng.integers(0, 255, (31, 57, 4), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    for mode, name in (
        ("RGB", "a.jpg"),
        ("RGBA", "b.png"),
        ("CMYK", "c.jpg"),
        ("P", "d.gif"),
        ("1", "e.bmp"),
        ("LA", "f.png"),
        ("RGB", "g.webp"),
    ):
        Image.fromarray(colours).convert(mode).save(tmp_path / name)
    names = ["grey.png", "a.jpg", "b.png", "c.jpg", "d.gif", "e.bmp", "f.png", "g.webp"]
    lines = answer(model, *names).splitlines()
    assert [line.split(": ")[0] for line in lines] == names
    for line in lines:
        shares = dict(part.rsplit(" ", 1) for part in line.split(": ")[1].split(", "))
        assert shares.keys() == {"left", "middle", "right"}
        assert sum(float(share.rstrip("%")) for share in shares.values()) == pytest.approx(100, abs=0.2)


def test_a_folder_is_answered_picture_by_picture_and_a_bad_one_does_not_stop_it(exported, tmp_path, predict):
    model = exported("shapes")
    (tmp_path / "pictures").mkdir()
    for place, pixels in enumerate(toy.toy("shapes").splits["test"][0]):
        Image.fromarray(pixels[:, :, 0]).save(tmp_path / "pictures" / f"{place}.png")
    (tmp_path / "pictures" / "3.png").write_text("no picture")
    finished = predict(model, "pictures")
    assert finished.returncode == 1
    assert [line.split(": ")[0] for line in finished.stdout.splitlines()] == [f"pictures/{place}.png" for place in (0, 1, 2, 4, 5, 6, 7)]
    assert finished.stderr.startswith("error: pictures/3.png is no JPEG, PNG") and finished.stderr.count("\n") == 1


def test_the_answer_is_the_models_own(exported, tmp_path, answer):
    own = exported_toy("shapes")
    Image.fromarray(own.data.splits["test"][0][0, :, :, 0]).save(tmp_path / "first.png")
    with torch.no_grad():
        probabilities, label = own.model(own.data.raw_batch(1))
    (said,) = [json.loads(line) for line in answer(exported("shapes"), "first.png", "--json").splitlines()]
    expected = {
        name: pytest.approx(float(value), abs=1e-5) for name, value in zip(("left", "middle", "right"), probabilities[0], strict=True)
    }
    assert said == {"input": "first.png", "label": ("left", "middle", "right")[int(label)], "probabilities": expected}


@pytest.mark.parametrize("name", toy.TOYS)
def test_every_kind_of_model_answers_for_programs_with_what_pytorch_says(exported, tmp_path, name, answer):
    own = exported_toy(name)
    Image.fromarray(own.data.splits["test"][0][0][..., 0] if own.signature.kind == "image" else np.zeros((2, 2), np.uint8)).save(
        tmp_path / "a.png"
    )
    given = {"image": "a.png", "features": "1.5" + ",2" * (len(own.signature.features or []) - 1), "characters": "abc"}[own.signature.kind]
    values = {
        "image": own.data.raw_batch(1),
        "features": torch.tensor([[1.5] + [2.0] * (len(own.signature.features or []) - 1)]),
        "characters": torch.tensor([[97, 98, 99]]),
    }[own.signature.kind]
    said = json.loads(answer(exported(name), given, "--json"))
    with torch.no_grad():
        outputs = own.model(values)
    if own.signature.task == "regression":
        assert list(said["prediction"].values()) == pytest.approx(outputs[0][0].tolist(), abs=1e-4)
        assert list(said["prediction"]) == own.data.meta.outputs
    elif own.signature.task == "sequence":
        assert said["text"] == "".join((own.data.meta.classes or [])[label] for label in outputs[1][0]) and len(said["probabilities"]) == 3
    elif own.signature.task == "multilabel":
        assert said["labels"] == [name for name, label in zip(own.data.meta.classes, outputs[1][0], strict=True) if label]
        assert list(said["probabilities"].values()) == pytest.approx(outputs[0][0].tolist(), abs=1e-4)
    else:
        assert said["label"] == (own.data.meta.classes or [])[int(outputs[1])]
        assert list(said["probabilities"].values()) == pytest.approx(outputs[0][0].tolist(), abs=1e-4)


def test_a_row_with_an_empty_cell_is_answered(exported, answer):
    assert answer(exported("patients"), "1,,3.5").split(": ")[1].split()[0] in ("ill", "well")


@pytest.mark.parametrize(
    "content", ["c,name,a,b\n3.5,x,1,\n0,y,2,4\n", "a,b,c\n1,,3.5\n\n2,4,0\n", "1,,3.5\n2,4,0\n", "\ufeffa, b, c\r\n1,,3.5\r\n2,4,0\r\n"]
)
def test_a_csv_file_is_answered_row_by_row_whatever_the_order_of_its_columns(exported, tmp_path, content, answer):
    (tmp_path / "rows.csv").write_text(content, encoding="utf-8")
    model = exported("patients")
    said = [json.loads(line) for line in answer(model, "rows.csv", "--json").splitlines()]
    alone = [json.loads(line) for line in answer(model, "1,,3.5", "2,4,0", "--json").splitlines()]
    assert [one["probabilities"] for one in said] == [pytest.approx(one["probabilities"], abs=1e-6) for one in alone]
    assert all(one["input"].startswith("rows.csv line ") for one in said)


def test_a_quote_that_is_never_closed_does_not_take_rows_with_it_in_silence(exported, tmp_path, predict):
    (tmp_path / "rows.csv").write_text('a,b,c,note\n1,2,3,"two\nlines"\n1,x,3,\n1,2,3,"oops\n1,2,3,fine\n')
    said = predict(exported("patients"), "rows.csv")
    assert said.returncode == 1 and [line.split(": ")[0] for line in said.stdout.splitlines()] == ["rows.csv line 3"]
    assert [line.split(":")[1].strip() for line in said.stderr.splitlines()] == [
        "rows.csv line 4",
        "rows.csv is no CSV from line 6 on, or in a quoted cell that begins before (unexpected end of data); what follows is not read.",
    ]


def test_a_pipe_is_a_file(exported, tmp_path):
    command = [sys.executable, str(SCRIPT), str(exported("patients")), "/dev/stdin"]
    ended = subprocess.run(command, cwd=tmp_path, input="a,b,c\n1,2,3\n", capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("/dev/stdin line 2: ")


def test_answers_that_nobody_reads_end_it_in_a_sentence(exported, tmp_path):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, str(SCRIPT), str(exported("words")), "abc"]
        ended = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1 and ended.stderr == "error: the answers cannot be written (No space left on device).\n"


def test_answers_without_a_standard_output_end_it_in_a_sentence(exported, tmp_path):
    command = ["sh", "-c", 'exec "$0" "$@" >&-', sys.executable, str(SCRIPT), str(exported("words")), "abc"]
    ended = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1 and ended.stderr == "error: the answers cannot be written (standard output is closed).\n"


@pytest.mark.parametrize("name", ["a.csv", "a.png", "folder", "model.onnx"])
def test_what_may_not_be_read_is_said(exported, tmp_path, monkeypatch, name):
    """As root one may read everything, so that opening is made to fail."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "folder").mkdir()
    for file in ("a.csv", "a.png", "model.onnx"):
        (tmp_path / file).write_text("")
    models = {"a.csv": "patients", "a.png": "shapes", "folder": "shapes"}
    model = Model(str(exported(models.get(name, "words"))))
    for method in ("open", "iterdir"):
        monkeypatch.setattr(Path, method, refuse)
    monkeypatch.setattr("PIL.Image.open", refuse)
    with pytest.raises(Refused, match=r"cannot be read \(Permission denied\)|can be read \(\[Errno 13\] Permission denied\)"):
        for item in [Model(str(tmp_path / name))] if name == "model.onnx" else model.read(str(tmp_path / name)):
            if isinstance(item, Refused):
                raise item


def test_more_rows_than_a_batch_are_answered_in_their_order(exported, tmp_path, answer):
    (tmp_path / "rows.csv").write_text("x\n" + "\n".join(str(place / 100) for place in range(150)))
    said = [json.loads(line)["prediction"]["y"] for line in answer(exported("numbers"), "rows.csv", "--json").splitlines()]
    steps = np.diff(said)
    assert len(said) == 150 and np.allclose(steps, steps[0], atol=1e-4)


def test_texts_are_answered_with_a_class_and_folded_ones_say_so(exported, answer):
    lines = answer(exported("words"), "Ébène", "abc").splitlines()
    assert all(line.split(": ")[1].split()[0] in ("X", "Y", "Z") for line in lines)
    assert lines[0].endswith(" [read as Ebene]") and not lines[1].endswith("]")


def test_a_number_is_answered_with_its_name(exported, answer):
    assert answer(exported("numbers"), "0.5").startswith("0.5: y ")


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("patients", "1,2", "1,2 has 2 numbers, expected 3: a, b, c."),
        ("patients", "1,two,3", "1,two,3: b is 'two', which is not a number: give one, such as 1.5."),
        (
            "patients",
            "1,nan,3",
            "1,nan,3: b is nan, which is not a finite number: leave the cell empty (null in JSON) where a value is missing.",
        ),
        (
            "patients",
            "1,1e39,3",
            "1,1e39,3: b is 1e39, which is not a finite number: leave the cell empty (null in JSON) where a value is missing.",
        ),
        ("patients", "absent.csv", "there is no file absent.csv."),
        ("patients", "absent", "absent is neither a file nor 3 numbers with commas between them: a, b, c."),
        ("patients", "1;2;3", "1;2;3 is neither a file nor 3 numbers with commas between them: a, b, c."),
        ("patients", "decimal.csv", "decimal.csv has semicolons between its cells; expected commas."),
        ("patients", "short.csv", "short.csv has no column c; the model takes a, b, c."),
        ("patients", "target.csv", "target.csv has 4 numbers in its first row and no header, expected 3: a, b, c."),
        ("patients", "empty.csv", "empty.csv is empty."),
        ("patients", "ragged.csv", "ragged.csv line 2 has 2 numbers, expected 3: a, b, c."),
        ("patients", "binary.csv", "binary.csv is no CSV file in UTF-8 ("),
        ("patients", "semicolons.csv", "semicolons.csv has semicolons between its cells; expected commas."),
        ("patients", "quote.csv", "quote.csv is no CSV from line 4 on, or in a quoted cell that begins before (unexpected end of data)"),
        ("patients", ".", ". is a folder: give a CSV file in it."),
        ("patients", "", "the row is empty."),
        ("words", "\x01", "'\\x01' has a control character."),
        ("words", "a" + "\u0315\u0300" * 400_000, "the text 'a"),
        ("words", "", "the text is empty."),
        ("words", " ", "the text is empty."),
        ("words", "王", "'王' has no character that can be written in ASCII, and the model knows no other."),
        ("codes", "abz", "'abz' has z; the model knows only abc."),
        ("shapes", "absent.png", "there is no file absent.png."),
        ("shapes", "text.png", "text.png is no JPEG, PNG, WEBP, BMP, TIFF, GIF picture that can be read ("),
        ("shapes", "cut.png", "cut.png is no JPEG, PNG, WEBP, BMP, TIFF, GIF picture that can be read ("),
        ("shapes", "huge.png", "huge.png has more than the 50,000,000 pixels that are read: make it smaller."),
    ],
)
def test_an_input_that_does_not_fit_is_refused_in_a_sentence(exported, tmp_path, name, given, said, refusal):
    tables = {"short.csv": "a,b\n1,2\n", "empty.csv": "", "ragged.csv": "a,b,c\n1,2\n", "target.csv": "1,2,3,1\n"}
    for file, text in {"text.png": "no picture", **tables}.items():
        (tmp_path / file).write_text(text)
    (tmp_path / "binary.csv").write_bytes(b"a,b,c\n\xff\xfe,1,2\n")
    (tmp_path / "semicolons.csv").write_text("a;b;c\n1;2;3\n")
    (tmp_path / "decimal.csv").write_text("1,5;2,5;3\n1;2;3,5;4\n".replace(";3\n", ";3,0\n"))
    (tmp_path / "quote.csv").write_text('a,b,c,note\n"1,2,3,fine\n1,2,3,fine\n1,2,3,fine\n')
    if given == "huge.png":
        Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50), dtype=np.uint8)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:900])
    assert refusal(exported(name), given).startswith(f"error: {said}")


@pytest.mark.parametrize("content", [b"not a model", b"", None])
def test_a_file_that_is_no_model_is_refused_in_a_sentence(exported, tmp_path, content, refusal):
    (tmp_path / "model.onnx").write_bytes(exported("words").read_bytes()[:2000] if content is None else content)
    assert refusal("model.onnx", "1").startswith("error: model.onnx is damaged, cut short, or no ONNX model (")
    assert refusal("absent.onnx", "1") == "error: there is no file absent.onnx.\n"
    assert refusal(".", "1") == "error: . is a folder: name a file *.onnx in it.\n"
    assert refusal("", "1") == "error: the model's path is empty.\n"


def test_a_model_of_somebody_else_is_refused_in_a_sentence(tmp_path, refusal):
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    proto = onnx.helper.make_model(
        onnx.helper.make_graph([node], "theirs", values[:1], values[1:]), opset_imports=[onnx.helper.make_opsetid("", 17)]
    )
    proto.ir_version = 8
    onnx.save(proto, tmp_path / "theirs.onnx")
    assert refusal("theirs.onnx", "1").startswith("error: theirs.onnx has no signature in its metadata")


def with_signature(name, change) -> bytes:
    """The toy `name` with a signature that `change` has changed."""
    proto = onnx.load_model_from_string(exported_toy(name).onnx)
    (entry,) = [entry for entry in proto.metadata_props if entry.key == "signature"]
    change(signature := json.loads(entry.value))
    entry.value = json.dumps(signature)
    return proto.SerializeToString()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("patients", {"model": "../../etc/x"}),
        ("patients", {"model": ["x"]}),
        ("patients", {"kind": "sound"}),
        ("patients", {"classes": None}),
        ("patients", {"classes": ["a"]}),
        ("patients", {"classes": [float("nan"), None]}),
        ("patients", {"features": None}),
        ("patients", {"features": [{"name": "a"}] * 3}),
        ("patients", {"input": {"name": "unknown", "shape": ["batch", 3]}}),
        ("patients", {"outputs": [{"name": "unknown"}, {"name": "label"}]}),
        ("patients", {"outputs": 3}),
        ("numbers", {"numbers": ["x", "y"]}),
        ("codes", {"alphabet": 3}),
        ("shapes", {"input": {"name": "image", "shape": ["batch", 200_000, 200_000, 1]}}),
        ("shapes", {"input": {"name": "image", "shape": ["batch", -8, 8, 1]}}),
        ("shapes", {"resize": {"shorter_side": 10**9, "crop": 8}}),
        ("shapes", {"ink": {"longer_side": "8"}}),
    ],
    ids=str,
)
def test_a_signature_that_does_not_fit_is_refused_in_a_sentence(tmp_path, refusal, name, changes):
    (tmp_path / "model.onnx").write_bytes(with_signature(name, lambda signature: signature.update(changes)))
    assert refusal("model.onnx", "1") == "error: model.onnx has a signature that is damaged, or of a later version than this script.\n"


def test_a_signature_that_is_nested_too_deeply_is_refused_in_a_sentence(exported, tmp_path, refusal):
    content = exported("patients").read_bytes()
    proto = onnx.load_model_from_string(content)
    onnx.helper.set_model_props(proto, {"signature": "[" * 200_000})
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    assert refusal("model.onnx", "1") == "error: model.onnx has a signature that is damaged, or of a later version than this script.\n"


def test_a_network_that_computes_something_else_ends_in_a_sentence(tmp_path, refusal):
    """One label, where the signature says a sequence."""
    (tmp_path / "model.onnx").write_bytes(with_signature("patients", lambda signature: signature.update(task="sequence")))
    assert refusal("model.onnx", "1,2,3").startswith("error: model.onnx cannot answer (TypeError: ")


def test_the_golden_input_gives_the_golden_outputs_or_the_model_is_refused(exported, tmp_path):
    Model(str(exported("words"))).check_golden()
    for change, said in (
        (lambda golden: golden["outputs"]["probabilities"].update(base64="A" * 16), "its golden outputs differ by "),
        (lambda golden: golden["outputs"]["probabilities"].update(dtype="O"), "its golden input cannot be answered (ValueError: "),
        (lambda golden: golden["input"].update(shape=[10**12, 1]), "its golden input cannot be answered (ValueError: "),
        (lambda golden: golden.clear(), "its golden input cannot be answered (KeyError: "),
        (lambda golden: golden["outputs"].clear(), "its golden input cannot be answered (ValueError: "),
    ):
        (tmp_path / "wrong.onnx").write_bytes(with_signature("words", lambda signature, change=change: change(signature["golden"])))
        with pytest.raises(Refused, match=re.escape(f"wrong.onnx: {said}")):
            Model(str(tmp_path / "wrong.onnx")).check_golden()


def of_many_scans() -> bytes:
    """A progressive JPEG that repeats its last scan, which has its table of codes before it."""
    file = io.BytesIO()
    Image.new("L", (64, 64), 128).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    table, scan = content.rindex(b"\xff\xc4"), content.rindex(b"\xff\xda")
    return content[:-2] + content[table:scan] + content[scan:-2] * 600 + content[-2:]


def of_a_huge_tile() -> bytes:
    """A TIFF of 10 x 10 pixels in one tile of 30,000 x 30,000."""
    tile = zlib.compress(bytes(1000))
    tags = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 322: 30_000, 323: 30_000, 324: 134, 325: len(tile)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tile


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (of_many_scans(), "a is a JPEG of more than the 32 scans that are read: save it again"),
        (of_a_huge_tile(), "a has more than the 50,000,000 pixels that are read: make it smaller"),
    ],
    ids=["scans", "tile"],
)
def test_a_small_picture_that_takes_minutes_or_gigabytes_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, content, said):
    (tmp_path / "a").write_bytes(content)
    with Image.open(tmp_path / "a") as picture:
        assert max(picture.size) <= 64, "Pillow knows it"
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda picture: pytest.fail("it is unpacked"))
    for file in (tmp_path / "a", io.BytesIO(content)):
        with pytest.raises(Refused, match=said):
            as_picture(file, "a", DRAWING)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize(("least", "ground"), [(0, "white"), (128, "black")])
def test_transparency_is_taken_off_a_tall_picture_as_off_a_small_one(mode, least, ground):
    layers = np.random.default_rng(0).integers(0, 128, (700, 9, 4), dtype=np.uint8)
    layers[..., :3] += np.uint8(least)
    picture = Image.fromarray(layers).convert(mode)
    expected = Image.alpha_composite(Image.new("RGBA", picture.size, ground), picture.convert("RGBA")).convert("RGB")
    assert np.array_equal(without_transparency(picture), expected)


@pytest.mark.parametrize("size", [(64, 48), (428, 107), (333, 250), (50, 50), (41, 97)])
def test_a_photograph_is_read_as_the_models_own_pictures_were(tmp_path, size):
    pixels = np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    signature = {"input": {"shape": ["batch", 32, 32, 3]}, "resize": {"shorter_side": 40, "crop": 32}, "ink": None}
    assert np.array_equal(as_picture(tmp_path / "a.png", "a.png", signature).values, load_picture(tmp_path / "a.png", 40, 32))


def test_a_picture_of_16_bit_greys_is_read_as_the_models_own_pictures_were(tmp_path):
    Image.fromarray((np.arange(32 * 32, dtype=np.uint16) * 60).reshape(32, 32)).save(tmp_path / "a.png")
    signature = {"input": {"shape": ["batch", 32, 32, 3]}, "resize": None, "ink": None}
    assert np.array_equal(as_picture(tmp_path / "a.png", "a.png", signature).values, load_picture(tmp_path / "a.png", None, 32))


# Drawings: what is photographed becomes what the model has learned from


def digits(count):
    """Handwritten ones as the sample of MNIST has them, uint8 [count, 28, 28]."""
    return enlarge(load_digits().images[:count])


def photographed(digit, rng, dark_on_light):
    """The digit on a larger page, somewhere, lit from one side, with noise."""
    page = np.zeros((300, 400))
    large = np.asarray(Image.fromarray(digit).resize((140, 140), Image.Resampling.BICUBIC), dtype=float)
    top, left = rng.integers(10, 150), rng.integers(10, 250)
    page[top : top + 140, left : left + 140] = large / 255
    light = np.linspace(0.6, 1.0, 400)[None] * np.linspace(1.0, 0.8, 300)[:, None]
    shown = (230 * (1 - 0.8 * page) if dark_on_light else 30 + 180 * page) * light
    return Image.fromarray(np.clip(shown + rng.normal(0, 4, shown.shape), 0, 255).astype(np.uint8))


DRAWING = {"input": {"shape": ["batch", 28, 28, 1]}, "resize": None, "ink": {"longer_side": 20}}


@pytest.mark.parametrize("is_dark", [True, False])
def test_a_photographed_digit_becomes_what_the_model_has_learned_from_and_that_is_said(tmp_path, is_dark):
    rng, alike = np.random.default_rng(0), []
    for digit in digits(40):
        photographed(digit, rng, is_dark).save(tmp_path / "a.png")
        item = as_picture(tmp_path / "a.png", "a.png", DRAWING)
        assert item.note == ("dark on light: inverted, cut out and centred" if is_dark else "cut out and centred")
        assert item.values.shape == (28, 28, 1) and item.values.dtype == np.uint8
        rows, columns = np.nonzero(item.values[..., 0] > 100)
        assert 18 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20, "as large as MNIST's"
        centred = as_picture_of(scipy.ndimage.shift(digit.astype(float), 13.5 - np.array(scipy.ndimage.center_of_mass(digit)), order=1))
        alike.append(np.corrcoef(item.values.ravel(), centred.ravel())[0, 1])
    assert np.median(alike) > 0.85 and min(alike) > 0.6, sorted(alike)[:5]


def as_picture_of(values):
    return np.clip(values, 0, 255).astype(np.uint8)


def test_a_digit_as_the_model_knows_it_is_left_as_it_is(tmp_path):
    for digit in digits(40):
        Image.fromarray(digit).save(tmp_path / "a.png")
        item = as_picture(tmp_path / "a.png", "a.png", DRAWING)
        assert item.note == "" and np.array_equal(item.values[..., 0], digit)
        ImageOps.invert(Image.fromarray(digit)).save(tmp_path / "a.png")
        assert as_picture(tmp_path / "a.png", "a.png", DRAWING).note == "dark on light: inverted, cut out and centred"


@pytest.mark.parametrize("pixels", [np.full((300, 200), 255), np.full((28, 28), 0), np.linspace(100, 200, 90_000).reshape(300, 300)])
def test_a_page_without_a_drawing_is_refused(tmp_path, pixels):
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(Refused, match="shows no drawing: "):
        as_picture(tmp_path / "a.png", "a.png", DRAWING)


@pytest.mark.parametrize("ink", [0, 255])
def test_a_drawing_on_nothing_is_seen_whatever_its_colour(tmp_path, ink):
    digit = digits(1)[0]
    Image.merge("LA", [Image.new("L", (28, 28), ink), Image.fromarray(digit)]).resize((280, 280)).save(tmp_path / "a.png")
    item = as_picture(tmp_path / "a.png", "a.png", DRAWING)
    assert item.note.startswith("dark on light" if ink == 0 else "cut out") and np.corrcoef(item.values.ravel(), digit.ravel())[0, 1] > 0.7


def test_the_entries_of_params_yaml_are_read_without_a_reader_of_yaml(tmp_path):
    assert entries_beside(toy.ROOT / "models") == list(toy.PARAMS["models"])
    assert entries_beside(tmp_path / "models") == []
    params = "source: sample\nmodels:\n# odd\n\n    a:\n      b: 1\n    # c:\n    'd': {}\n\nother:\n    e: 1\n"
    (tmp_path / "params.yaml").write_text(params)
    assert entries_beside(tmp_path / "models") == ["a", "d"]
    (tmp_path / "params.yaml").write_text(json.dumps(toy.PARAMS))
    assert entries_beside(tmp_path / "models") == [], "in another layout nothing is known, and nothing is left out"


def test_a_folder_that_is_laid_out_otherwise_loses_nothing(tmp_path):
    (tmp_path / "params.yaml").write_text("models:\n  a: {}\n")
    files = ["a/exported/model.int8.onnx", "a/exported/model.onnx", "b/model.onnx", "b.onnx", "exported/c.onnx"]
    for file in [*files, "b/exported/model.onnx"]:
        (tmp_path / "models" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "models" / file).write_bytes(b"")
    assert [file.relative_to(tmp_path / "models").as_posix() for file in files_below(tmp_path / "models")] == files
