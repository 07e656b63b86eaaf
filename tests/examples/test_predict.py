"""examples/predict.py, as a stranger runs it: the ONNX file and an input on the command line, nothing else."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.predict import read_picture
from stages.datasets.image_folder import load_picture
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


def predict(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def answer(*arguments: object, folder: Path) -> str:
    finished = predict(*arguments, folder=folder)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def refusal(*arguments: object, folder: Path) -> str:
    finished = predict(*arguments, folder=folder)
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: ")
    assert finished.stderr.count("\n") == 1
    return finished.stderr


def test_it_imports_nothing_but_numpy_onnxruntime_and_pillow():
    lines = SCRIPT.read_text().splitlines()
    imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "PIL"}
    assert set((SCRIPT.parent / "requirements.txt").read_text().split()) == {"numpy", "onnxruntime", "pillow"}


def test_a_picture_of_any_size_and_mode_is_answered_with_a_class(exported, tmp_path):
    model = exported("shapes")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(rng.integers(0, 255, (31, 57, 3), dtype=np.uint8)).save(tmp_path / "colour.jpg")
    lines = answer(model, "grey.png", "colour.jpg", folder=tmp_path).splitlines()
    assert [line.split(":")[0] for line in lines] == ["grey.png", "colour.jpg"]
    assert all(line.split(": ")[1].split()[0] in ("left", "middle", "right") for line in lines)


def test_the_answer_is_the_models_own(exported, tmp_path):
    data = toy.toy("shapes")
    Image.fromarray(data.splits["test"][0][0, :, :, 0]).save(tmp_path / "first.png")
    probabilities, label = toy.build(toy.TOYS["shapes"], data.meta)(data.raw_batch(1))
    expected = f"first.png: {(data.meta.classes or [])[int(label)]} ({probabilities.max():.1%})\n"
    assert answer(exported("shapes"), "first.png", folder=tmp_path) == expected


def test_a_row_with_an_empty_cell_is_answered(exported, tmp_path):
    assert answer(exported("patients"), "1,,3.5", folder=tmp_path).split(": ")[1].split()[0] in ("ill", "well")


def test_a_text_is_answered_with_a_class(exported, tmp_path):
    data = toy.toy("words")
    assert answer(exported("words"), "Ébène", folder=tmp_path).split(": ")[1].split()[0] in (data.meta.classes or [])


def test_a_number_is_answered_with_its_meaning(exported, tmp_path):
    assert answer(exported("numbers"), "0.5", folder=tmp_path).endswith("(y)\n")


@pytest.mark.parametrize(
    ("name", "given", "named"),
    [
        ("patients", "1,2", "3: a, b, c"),
        ("patients", "1,two,3", "two"),
        ("words", "", "ASCII"),
        ("words", "王", "王"),
        ("shapes", "absent.png", "absent.png"),
        ("shapes", "text.png", "text.png"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_in_a_sentence(exported, tmp_path, name, given, named):
    (tmp_path / "text.png").write_text("no picture")
    assert named in refusal(exported(name), given, folder=tmp_path)


def test_a_file_that_is_no_model_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    assert "model.onnx" in refusal("model.onnx", "1", folder=tmp_path)
    assert "absent.onnx" in refusal("absent.onnx", "1", folder=tmp_path)


@pytest.mark.parametrize("size", [(64, 48), (428, 107), (333, 250), (50, 50), (41, 97)])
def test_a_photograph_is_read_as_the_models_own_pictures_were(tmp_path, size):
    pixels = np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    signature = {"input": {"shape": ["batch", 32, 32, 3]}, "resize": {"shorter_side": 40, "crop": 32}}
    assert np.array_equal(read_picture(str(tmp_path / "a.png"), signature)[0], load_picture(tmp_path / "a.png", 40, 32))


def test_a_picture_of_16_bit_greys_is_read_as_the_models_own_pictures_were(tmp_path):
    Image.fromarray((np.arange(32 * 32, dtype=np.uint16) * 60).reshape(32, 32)).save(tmp_path / "a.png")
    signature = {"input": {"shape": ["batch", 32, 32, 3]}, "resize": None}
    assert np.array_equal(read_picture(str(tmp_path / "a.png"), signature)[0], load_picture(tmp_path / "a.png", None, 32))
