"""examples/predict.py: the ONNX file and inputs on the command line, nothing else."""

import contextlib
import io
import json
import math
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import scipy.ndimage
import torch
from PIL import Image, ImageOps
from sklearn.datasets import load_digits

from examples.predict import Model, Refused, as_picture, entries_beside, files_below, main
from stages.reading.pictures import cuts_of
from stages.sources.digits import enlarge
from tests import toy
from tests.exported import exported_toy
from tests.signatures import BROKEN

SCRIPT = toy.ROOT / "examples" / "predict.py"


@pytest.fixture
def exported(tmp_path):
    """A function that exports the model of a toy dataset and returns the ONNX file's path."""

    def export(name: str) -> Path:
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(exported_toy(name).onnx)
        return path

    return export


@pytest.fixture
def predict(tmp_path, monkeypatch, capsys):
    """A function that runs the command in the folder tmp_path, in this process: its answers, and what it refused."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[list[str], list[str]]:
        monkeypatch.setattr("sys.argv", ["predict.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        refused = [*err.splitlines(), *([ended.value.code] if isinstance(ended.value.code, str) else [])]
        assert all(line.startswith("error: ") and line.endswith(".") for line in refused) and bool(refused) == bool(ended.value.code)
        return out.splitlines(), [line.removeprefix("error: ") for line in refused]

    return run


@pytest.fixture
def answer(predict):
    """The same where nothing is refused."""

    def run(*arguments: object) -> list[str]:
        answers, refused = predict(*arguments)
        assert refused == []
        return answers

    return run


@pytest.fixture
def refusal(predict):
    """The same where one thing is refused and nothing answered."""

    def run(*arguments: object) -> str:
        answers, (refused,) = predict(*arguments)
        assert answers == []
        return refused

    return run


def test_a_stranger_runs_it_even_on_a_terminal_that_knows_only_ascii(exported, tmp_path):
    command, environment = [sys.executable, str(SCRIPT), str(exported("words")), "Zoë", "王"], os.environ | {"PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and ended.stdout.startswith("Zo\\xeb: ") and ended.stdout.endswith(" [read as Zoe]\n")
    assert (
        ended.stderr.startswith("error: '\\u738b' is unknown to the model: no character of it can be written in ASCII")
        and ended.stderr.count("\n") == 1
    )


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("predict", set()),
        ("serve", {"fastapi", "uvicorn"}),
        ("rows", set()),
        ("cells", set()),
        ("texts", set()),
        ("pictures", {"pillow_heif"}),
        ("parquet", {"pyarrow"}),
    ],
)
def test_it_imports_nothing_but_what_it_says(script, wanted):
    lines = SCRIPT.with_stem(script).read_text(encoding="utf-8").splitlines()
    imported = {line.split()[1].split(".")[0] for line in map(str.strip, lines) if line.startswith(("import ", "from "))}
    known = {
        *sys.stdlib_module_names,
        "numpy",
        "onnxruntime",
        "PIL",
        "predict",
        "rows",
        "cells",
        "pictures",
        "texts",
        "parquet",
        "examples",
    }
    assert imported - known == wanted


def test_pictures_of_any_size_and_mode_are_answered_and_a_bad_one_does_not_stop_a_folder(exported, tmp_path, predict):
    (tmp_path / "pictures").mkdir()
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 255, (31, 57, 4), dtype=np.uint8))
    modes = {"a.jpg": "RGB", "b.png": "RGBA", "c.jpg": "CMYK", "d.gif": "P", "e.bmp": "1", "f.png": "LA", "g.webp": "RGB", "h.png": "L"}
    for name, mode in modes.items():
        colours.convert(mode).save(tmp_path / "pictures" / name)
    (tmp_path / "pictures" / "3.png").write_text("no picture")
    for name in (".DS_Store", "a.xml", "Thumbs.db"):  # by their names no pictures
        (tmp_path / "pictures" / name).write_text("no picture")
    answers, (refused,) = predict(exported("shapes"), "pictures")
    assert [line.split(": ")[0] for line in answers] == [f"pictures/{name}" for name in modes]
    for line in answers:
        shares = dict(part.rsplit(" ", 1) for part in line.split(": ")[1].split(", "))
        assert shares.keys() == {"left", "middle", "right"}
        assert sum(float(share.rstrip("%")) for share in shares.values()) == pytest.approx(100, abs=0.2)
    assert refused == "pictures/3.png cannot be read as a picture: of no format that is read."


@pytest.mark.parametrize("name", toy.TOYS)
def test_every_kind_of_model_answers_for_programs_with_what_pytorch_says(exported, tmp_path, name, answer):
    own, meta = exported_toy(name), exported_toy(name).data.meta
    count = len(own.signature.features or [])
    if own.signature.kind == "image":
        given, values = "a.png", own.data.raw_batch(1)
        Image.fromarray(values[0, ..., 0].numpy()).save(tmp_path / given)
    elif own.signature.kind == "features":
        given, values = "1.5" + ",2" * (count - 1), torch.tensor([[1.5] + [2.0] * (count - 1)])
    elif own.signature.kind == "table":  # nothing is known; tests/examples/test_tables.py asks more
        given = json.dumps(dict.fromkeys(own.signature.columns))
        values = torch.tensor([[math.nan] * count + [1.0] * len(own.signature.categories)])
    else:
        given, values = "abc", torch.tensor([[97, 98, 99]])
    said = json.loads(answer(exported(name), given, "--json")[0])
    with torch.no_grad():
        outputs = own.model(values)
    assert said["input"] == given
    if meta.task == "regression":
        assert (
            list(said["prediction"].values()) == pytest.approx(outputs[0][0].tolist(), abs=1e-4) and [*said["prediction"]] == meta.outputs
        )
        return
    if meta.task == "sequence":
        assert said["text"] == "".join(meta.classes[label] for label in outputs[1][0]) and len(said["probabilities"]) == 3
        return
    if meta.task == "multilabel":
        assert said["labels"] == [name for name, label in zip(meta.classes, outputs[1][0], strict=True) if label]
    else:
        assert said["label"] == meta.classes[int(outputs[1])]
    assert list(said["probabilities"].values()) == pytest.approx(outputs[0][0].tolist(), abs=1e-4)


@pytest.mark.parametrize(
    "content", ["c,name,a,b\n3.5,x,1,\n0,y,2,4\n", "a,b,c\n1,,3.5\n\n2,4,0\n", "1,,3.5\n2,4,0\n", "\ufeffa, b, c\r\n1,,3.5\r\n2,4,0\r\n"]
)
def test_a_csv_file_is_answered_row_by_row_whatever_the_order_of_its_columns(exported, tmp_path, content, answer):
    (tmp_path / "rows.csv").write_text(content, encoding="utf-8")
    model = exported("patients")
    said = [json.loads(line) for line in answer(model, "rows.csv", "--json")]
    alone = [json.loads(line) for line in answer(model, "1,,3.5", "2,4,0", "--json")]
    assert [one["probabilities"] for one in said] == [pytest.approx(one["probabilities"], abs=1e-6) for one in alone]
    assert all(one["input"].startswith("rows.csv line ") for one in said)


def test_a_quote_that_is_never_closed_does_not_take_rows_with_it_in_silence(exported, tmp_path, predict):
    (tmp_path / "rows.csv").write_text('a,b,c,note\n1,2,3,"two\nlines"\n1,x,3,\n1,2,3,"oops\n1,2,3,fine\n')
    answers, refused = predict(exported("patients"), "rows.csv")
    assert [line.split(": ")[0] for line in answers] == ["rows.csv line 3"]
    assert refused[0].startswith("rows.csv line 4: b is 'x', which is not a finite number: ")
    assert refused[1].startswith("rows.csv is no CSV from line 6 on, or in a quoted cell that begins before (unexpected end of data); ")


@pytest.mark.parametrize(("output", "reason"), [(">/dev/full", "No space left on device"), (">&-", "standard output is closed")])
def test_answers_that_nobody_reads_end_it_in_a_sentence(exported, tmp_path, output, reason):
    command = ["sh", "-c", f'exec "$0" "$@" {output}', sys.executable, str(SCRIPT), str(exported("words")), "abc"]
    ended = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1 and ended.stderr == f"error: the answers cannot be written ({reason}).\n"


def test_a_folder_that_may_not_be_read_is_said(exported, tmp_path, monkeypatch):
    """As root one may read everything, so that looking is made to fail."""
    model = Model(str(exported("shapes")))
    monkeypatch.setattr(Path, "iterdir", lambda _: Path("/proc/nowhere").read_bytes())
    (refused,) = model.read(str(tmp_path))
    assert str(refused) == f"{tmp_path} cannot be read (No such file or directory)"


def test_more_rows_than_a_batch_are_answered_in_their_order(exported, tmp_path, answer):
    (tmp_path / "rows.csv").write_text("x\n" + "\n".join(str(place / 100) for place in range(150)))
    said = [json.loads(line)["prediction"]["y"] for line in answer(exported("numbers"), "rows.csv", "--json")]
    steps = np.diff(said)
    assert len(said) == 150 and np.allclose(steps, steps[0], atol=1e-4)


FILES = {
    "short.csv": b"a,b\n1,2\n",
    "empty.csv": b"",
    "bare.csv": b"a,b,c\n",
    "twins.csv": b"a,b,c,a\n1,2,3,4\n",
    "ragged.csv": b"a,b,c\n1,2\n",
    "target.csv": b"1,2,3,1\n",
    "names.csv": b"A,B,C\n1,2,3\n",
    "decimal.csv": b"1,5;2,5;3,0\n1;2;3,5;4\n",
    "binary.csv": b"a,b,c\n\xff\xfe,1,2\n",
    "semicolons.csv": b"a;b;c\n1;2;3\n",
    "wide.csv": b"a," * 20_000,
    "quote.csv": b'a,b,c,note\n"1,2,3,fine\n1,2,3,fine\n1,2,3,fine\n',
    "text.png": b"no picture",
}
NOT_FINITE = "which is not a finite number: leave the cell empty (null in JSON) where it is missing."
NO_HEADER = "begins with neither the names of columns (a, b, c) nor such a row with commas between"


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("patients", "1,2", "1,2 has 2 numbers, expected 3: a, b, c."),
        ("patients", "1,two,3", f"1,two,3: b is 'two', {NOT_FINITE}"),
        ("patients", "1,nan,3", f"1,nan,3: b is 'nan', {NOT_FINITE}"),
        ("patients", "1,1e39,3", f"1,1e39,3: b is '1e39', {NOT_FINITE}"),
        ("patients", "1,1_0,3", f"1,1_0,3: b is '1_0', {NOT_FINITE}"),
        ("patients", "absent.csv", "absent.csv is neither a file that can be read ("),
        ("patients", "1;2;3", "1;2;3 is neither a file that can be read ("),
        ("patients", ".", ". is neither a file that can be read ("),
        ("patients", "decimal.csv", f"decimal.csv {NO_HEADER}: decimal.csv line 1 has 4 numbers, expected 3: a, b, c."),
        ("patients", "semicolons.csv", f"semicolons.csv {NO_HEADER}: semicolons.csv line 1 has 1 number, expected 3: a, b, c."),
        ("patients", "target.csv", f"target.csv {NO_HEADER}: target.csv line 1 has 4 numbers, expected 3: a, b, c."),
        ("patients", "names.csv", f"names.csv {NO_HEADER}: names.csv line 1: a is 'A', {NOT_FINITE}"),
        ("patients", "empty.csv", f"empty.csv {NO_HEADER}: empty.csv line 0 has 0 numbers"),
        ("patients", "bare.csv", "there is no input in 'bare.csv'."),
        ("patients", "short.csv", "short.csv has no column c; the model takes a, b, c."),
        ("patients", "twins.csv", "twins.csv has two columns a: keep one."),
        ("patients", "wide.csv", "wide.csv has 20,001 columns; the model takes 3, and at most 10,000 others are left out."),
        ("patients", "ragged.csv", "ragged.csv line 2 has 2 numbers, expected 3: a, b, c."),
        ("patients", "binary.csv", "binary.csv is no CSV file in UTF-8 ("),
        ("patients", "quote.csv", "quote.csv is no CSV from line 4 on, or in a quoted cell that begins before (unexpected end of data)"),
        ("words", "\x01", "'\\x01' has a control character."),
        ("words", "a" + "\u0315\u0300" * 400_000, "the text 'a"),
        ("words", " ", "there is no input in ' '."),
        ("words", "王", "'王' is unknown to the model: no character of it can be written in ASCII, and the model knows no other."),
        ("codes", "abz", "'abz' has z; the model knows only abc."),
        ("shapes", "", "there is no input in ''."),
        ("shapes", "absent.png", "absent.png cannot be read (No such file or directory)."),
        ("shapes", "text.png", "text.png cannot be read as a picture: of no format that is read."),
        ("shapes", "cut.png", "cut.png cannot be read as a picture: cut short: "),
        ("shapes", "huge.png", "huge.png cannot be read as a picture: 20000x20000, more than "),
    ],
)
def test_an_input_that_does_not_fit_is_refused_in_a_sentence(exported, tmp_path, name, given, said, refusal):
    if given in FILES:
        (tmp_path / given).write_bytes(FILES[given])
    if given == "huge.png":
        Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    if given == "cut.png":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50), dtype=np.uint8)).save(tmp_path / "cut.png")
        (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:900])
    assert refusal(exported(name), given).startswith(said)


# Models of strangers


def changed(name, change) -> bytes:
    """The toy `name` whose file `change` has changed."""
    proto = onnx.load_model_from_string(exported_toy(name).onnx)
    change(proto)
    return proto.SerializeToString()


def with_signature(name, change) -> bytes:
    """The toy `name` with a signature that `change` has changed."""

    def change_signature(proto):
        (entry,) = [entry for entry in proto.metadata_props if entry.key == "signature"]
        change(signature := json.loads(entry.value))
        entry.value = json.dumps(signature)

    return changed(name, change_signature)


HOSTILE = ["\x1b]0;title\x07\x1b[31mred", "\u202efdp.exe\nwords: Z 99.9%"]
SHOWN = [r"\x1b]0;title\x07\x1b[31mred", r"\u202efdp.exe\nwords: Z 99.9%"]


def test_names_of_classes_and_inputs_reach_the_terminal_as_codes_of_what_cannot_be_seen(predict, tmp_path):
    (tmp_path / "own.onnx").write_bytes(with_signature("patients", lambda signature: signature.update(classes=HOSTILE)))
    file = tmp_path / "rows\x1b[2J.csv"
    file.write_text("a,b,c\n1,2,3\n1,\u202e,3\n")
    answers, refused = predict("own.onnx", file.name, "\x1b[2J\n,2,3", "1,2,3", "absent\x07")
    assert len(answers) == 2 and len(refused) == 3
    assert all(line.isprintable() for line in (*answers, *refused))
    assert all(shown in line for shown in SHOWN for line in answers) and answers[0].startswith(r"rows\x1b[2J.csv line 2: ")
    answers, _ = predict("own.onnx", "1,2,3", "--json")
    assert all(line.isprintable() for line in answers) and list(json.loads(answers[0])["probabilities"]) == HOSTILE
    (only,) = predict("absent\x1b[2J.onnx", "1,2,3")[1]
    assert only == r"there is no file absent\x1b[2J.onnx."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not a model", "model.onnx is damaged, cut short, or no ONNX model ("),
        (exported_toy("words").onnx[:2000], "model.onnx is damaged, cut short, or no ONNX model ("),
        (None, "there is no file model.onnx."),
        (changed("words", lambda proto: proto.ClearField("metadata_props")), "model.onnx has no signature in its metadata: "),
    ],
    ids=["text", "cut", "absent", "bare"],
)
def test_a_file_that_is_no_model_of_ours_is_refused_in_a_sentence(tmp_path, content, said, refusal):
    if content:
        (tmp_path / "model.onnx").write_bytes(content)
    assert refusal("model.onnx", "1").startswith(said)


def test_a_signature_that_does_not_fit_is_refused_in_a_sentence(tmp_path, refusal):
    said, accepted = " has a signature that is damaged, or of a later version than this script", []
    for name, changes in [*BROKEN, ("patients", {"input": {"name": "unknown", "shape": ["batch", 3]}})]:
        (tmp_path / "model.onnx").write_bytes(with_signature(name, lambda signature, changes=changes: signature.update(changes)))
        with contextlib.suppress(Refused):
            accepted.append((name, changes, Model(str(tmp_path / "model.onnx"))))
    assert accepted == []
    deep = changed("patients", lambda proto: onnx.helper.set_model_props(proto, {"signature": "[" * 200_000}))
    (tmp_path / "model.onnx").write_bytes(deep)
    assert refusal("model.onnx", "1") == f"model.onnx{said}."


def test_a_network_that_computes_something_else_ends_in_a_sentence(tmp_path, refusal):
    """One label, where the signature says a sequence."""
    (tmp_path / "model.onnx").write_bytes(with_signature("patients", lambda signature: signature.update(task="sequence")))
    assert refusal("model.onnx", "1,2,3").startswith("model.onnx cannot answer (TypeError: ")


def test_the_golden_input_gives_the_golden_outputs_or_the_model_is_refused(exported, tmp_path):
    Model(str(exported("words"))).check_golden()
    for change, said in (
        (lambda golden: golden["outputs"]["probabilities"].update(base64="A" * 16), "its golden outputs differ by "),
        (lambda golden: golden["input"].update(shape=[10**12, 1]), "its golden input cannot be answered (ValueError: "),
        (lambda golden: golden.clear(), "its golden input cannot be answered (KeyError: "),
        (lambda golden: golden["outputs"].clear(), "its golden input cannot be answered (ValueError: "),
    ):
        (tmp_path / "wrong.onnx").write_bytes(with_signature("words", lambda signature, change=change: change(signature["golden"])))
        with pytest.raises(Refused, match=re.escape(f"wrong.onnx: {said}")):
            Model(str(tmp_path / "wrong.onnx")).check_golden()


# Pictures


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
        (of_many_scans(), "more than 32 scans: save it again"),
        (of_a_huge_tile(), "tiles of more than the 50,000,000 pixels that are read: save it again"),
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


@pytest.mark.parametrize("size", [(64, 48), (428, 107), (333, 250), (50, 50), (41, 97), None])
def test_a_photograph_is_read_as_the_models_own_pictures_were(tmp_path, size):
    if size:
        pixels, resize = np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8), 40
    else:  # greys of 16 bits
        pixels, resize = (np.arange(32 * 32, dtype=np.uint16) * 60).reshape(32, 32), None
    Image.fromarray(pixels).save(tmp_path / "a.png")
    signature = {"input": {"shape": ["batch", 32, 32, 3]}, "resize": resize and {"shorter_side": 40, "crop": 32}, "ink": None}
    (cut,), _ = cuts_of((tmp_path / "a.png").read_bytes(), resize, [32])
    assert np.array_equal(as_picture(tmp_path / "a.png", "a.png", signature).values, cut)


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
        centred = scipy.ndimage.shift(digit.astype(float), 13.5 - np.array(scipy.ndimage.center_of_mass(digit)), order=1)
        alike.append(np.corrcoef(item.values.ravel(), centred.ravel())[0, 1])
    assert np.median(alike) > 0.85 and min(alike) > 0.6, sorted(alike)[:5]


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


# Folders of models


def test_of_the_repository_models_without_an_entry_are_left_out_and_of_another_folder_nothing(tmp_path, capsys):
    assert entries_beside(toy.ROOT / "models") == list(toy.PARAMS["models"])
    files = ["a/exported/model.int8.onnx", "a/exported/model.onnx", "b/model.onnx", "b.onnx", "exported/c.onnx"]
    for file in [*files, "b/exported/model.onnx"]:
        (tmp_path / "models" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "models" / file).write_bytes(b"")
    for text in ("models:  # some\n# odd\n\n  'a':\n    b: 1\n  # b:\n\nother:\n  e: 1\n", "models:\n  a: {}\n"):
        (tmp_path / "params.yaml").write_text(text)
        assert [file.relative_to(tmp_path / "models").as_posix() for file in files_below(tmp_path / "models")] == files
        assert capsys.readouterr().err.endswith("models: left out, without an entry in the params.yaml beside it: b\n")
    for text in ("models: {a: {}}\n", json.dumps(toy.PARAMS)):  # in another layout nothing is known, and nothing is left out
        (tmp_path / "params.yaml").write_text(text)
        assert len(files_below(tmp_path / "models")) == len(files) + 1
