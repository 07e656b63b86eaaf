"""What people downstream do: fetch a released model by its version, in every way that DVC and git have, and use it without this project.

All models are built (of most an epoch), released to a real DVC remote, and asked in a virtual environment that has only what
examples/requirements.txt names. Slow: run by `make test-all` and `.ci/run`.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import dvc.api
import numpy as np
import pytest
import requests
from PIL import Image

from examples import predict
from stages.inputs.text import LINES
from tests.examples.test_addresses import what_it_opens
from tests.examples.test_tables import Made
from tests.exported import exported_toy
from tests.released import released_models
from tests.test_end_to_end import Clone
from tests.toy import MODELS, PARAMS, ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning"),  # of pygtrie, by DVC
]
EXAMPLES = ROOT / "examples"
READERS = ("predict.py", "rows.py", "cells.py", "parquet.py", "pictures.py", "texts.py")  # beside the first what a kind of input needs
# What examples/requirements.txt promises at the least, or the first that has wheels for this Python.
OLDEST = {
    11: {"numpy": "1.26.0", "onnxruntime": "1.15.0", "pillow": "10.1.0"},
    12: {"numpy": "1.26.0", "onnxruntime": "1.17.0", "pillow": "10.1.0"},
    13: {"numpy": "2.1.0", "onnxruntime": "1.20.0", "pillow": "11.0.0"},
    14: {"numpy": "2.3.2", "onnxruntime": "1.24.1", "pillow": "12.0.0"},
}[sys.version_info.minor]
# A model of each kind of data; what can differ from model to model, all are asked further below.
ONE_OF_EACH = list({PARAMS["datasets"][entry["dataset"]]["kind"]: model for model, entry in PARAMS["models"].items()}.values())


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    return released_models(tmp_path_factory)


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """The Python of a new virtual environment with the example's requirements and nothing else."""
    return make_environment(tmp_path_factory.mktemp("bare") / "venv", "--requirement", str(EXAMPLES / "requirements.txt"))


@pytest.fixture(scope="module")
def oldest_python(tmp_path_factory):
    return make_environment(tmp_path_factory.mktemp("oldest") / "venv", *(f"{name}=={version}" for name, version in OLDEST.items()))


@pytest.fixture(scope="module")
def serving_python(tmp_path_factory):
    """The same with what serve.py needs beside."""
    wanted = ("--requirement", str(EXAMPLES / "requirements.txt"), "fastapi", "uvicorn")
    return make_environment(tmp_path_factory.mktemp("serving") / "venv", *wanted)


def make_environment(folder: Path, *wanted: str) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--only-binary=:all:"]
    installed = subprocess.run([str(python), "-m", "pip", "install", *options, *wanted], capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"pip cannot install {' '.join(wanted)} here: {installed.stderr.strip().splitlines()[-1]}")
    return python


def run(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def content_of(released: Clone, model: str, name: str = "model.onnx") -> bytes:
    return (released.root / "models" / model / "exported" / name).read_bytes()


def an_input_for(released: Clone, model: str, folder: Path) -> str:
    signature = json.loads(content_of(released, model, "signature.json"))
    if signature["kind"] == "features":
        return ",".join(str(feature["mean"]) for feature in signature["features"])
    if signature["kind"] == "table":
        return json.dumps({name: column.get("levels", [None])[0] for name, column in signature["columns"].items()})
    if signature["kind"] in ("characters", "text"):
        return signature["alphabet"] or "Okafor"
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return "a.png"


@pytest.mark.parametrize("model", ONE_OF_EACH)
def test_a_model_fetched_by_its_version_answers_without_this_project(released, bare_python, tmp_path, model):
    Clone(tmp_path).dvc("artifacts", "get", str(released.root), model, "--rev", "v1.0.0")
    assert (tmp_path / "model.onnx").read_bytes() == content_of(released, model)
    for file in (*READERS, "predict.ipynb"):
        shutil.copy(EXAMPLES / file, tmp_path)
    given = an_input_for(released, model, tmp_path)
    said = run([str(bare_python), "-I", "predict.py", "model.onnx", given], tmp_path)
    assert said.returncode == 0 and said.stdout.startswith(f"{given}: "), said.stderr
    cells = json.loads((tmp_path / "predict.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    shown = run([str(bare_python), "-c", code], tmp_path)
    assert shown.returncode == 0 and f"model: {model}\n" in shown.stdout, shown.stderr
    differences = [float(line.split()[-1]) for line in shown.stdout.splitlines() if " differs by at most " in line]
    assert differences and max(differences) <= 1e-4


def test_no_file_of_a_model_names_an_address(released):
    for model in MODELS:
        files = sorted((released.root / "models" / model / "exported").iterdir())
        assert len(files) >= 7 and {file.name: what_it_opens(file) for file in files} == {file.name: [] for file in files}, model


def test_torch_is_not_there(bare_python):
    assert "No module named 'torch'" in run([str(bare_python), "-c", "import torch"], EXAMPLES).stderr


@pytest.mark.parametrize("is_oldest", [True, False], ids=["oldest", "numpy 1"])
def test_predict_answers_with_old_packages(released, oldest_python, tmp_path, is_oldest):
    """Also with numpy 1, as many an environment still has it, beside the newest ONNX Runtime."""
    python = oldest_python if is_oldest else make_environment(tmp_path / "venv", "numpy<2", "onnxruntime", "pillow")
    for model in ("mnist_cnn", "cifar10_cnn", "diabetes_mlp", "names_gru", "diabetes_table"):
        command = [str(python), "-W", "error", str(EXAMPLES / "predict.py"), str(released.root / "models" / model / "exported/model.onnx")]
        said = run([*command, an_input_for(released, model, tmp_path)], tmp_path)
        assert said.returncode == 0 and said.stdout and not said.stderr, said.stderr


def test_all_models_are_served_without_this_project(released, serving_python, tmp_path):
    for file in (*READERS, "serve.py"):
        shutil.copy(EXAMPLES / file, tmp_path)
    files = [str(released.root / "models" / model / "exported" / "model.onnx") for model in MODELS]
    command = [str(serving_python), "serve.py", *files, "--port", "0", "--threads", "1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[0]
        assert requests.get(address, timeout=60).json() == {"models": sorted(MODELS)}
        for model in MODELS:
            given = an_input_for(released, model, tmp_path)
            body = (tmp_path / given).read_bytes() if given.endswith(".png") else given.encode()
            named = {"data": b"[" + body + b"]", "headers": {"Content-Type": "application/json"}}
            (answer,) = requests.post(f"{address}/{model}", timeout=60, **(named if given[0] == "{" else {"data": body})).json()["answers"]
            assert {"label", "labels", "text", "prediction"} & answer.keys()
        server.terminate()


def test_a_version_is_got_in_every_way_that_dvc_and_git_have(released, tmp_path, monkeypatch):
    consumer, exported = Clone(tmp_path), released.root / "models/line_gd/exported"
    consumer.dvc("artifacts", "get", str(released.root), "line_gd")
    assert (tmp_path / "model.onnx").read_bytes() == content_of(released, "line_gd"), "the newest, without naming it"
    consumer.dvc("get", str(released.root), "models/line_gd/exported", "--rev", "line_gd@v1.0.0")
    assert [(tmp_path / "exported" / path.name).read_bytes() == path.read_bytes() for path in exported.iterdir()] == [True] * 7
    clone = Clone(tmp_path / "clone")
    clone.root.mkdir()
    clone.git("clone", "--quiet", str(released.root), ".")
    clone.git("checkout", "--quiet", "line_gd@v1.0.0")
    clone.dvc("pull", "models/line_gd/exported")
    assert (clone.root / "models/line_gd/exported/model.onnx").read_bytes() == content_of(released, "line_gd")
    for name, value in released.environment.items():
        monkeypatch.setenv(name, value)
    with dvc.api.open("models/line_gd/exported/signature.json", repo=str(released.root), rev="line_gd@v1.0.0") as file:
        assert json.load(file)["model"] == "line_gd"


def test_a_version_that_there_is_not_is_said(released, tmp_path):
    said = Clone(tmp_path).dvc("artifacts", "get", str(released.root), "line_gd", "--rev", "v9.0.0", ok=False)
    assert "v9.0.0" in said and not list(tmp_path.glob("*.onnx"))


# JavaScript


@pytest.fixture(scope="module")
def javascript(tmp_path_factory):
    """A folder with predict.mjs, what it reads tables with, and the one package that it needs."""
    folder = tmp_path_factory.mktemp("javascript")
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node here, or no npm")
    install = ["npm", "install", "--silent", "--no-fund", "--no-audit", "onnxruntime-web"]
    installed = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"npm cannot install onnxruntime-web here: {installed.stderr.strip()[-300:]}")
    for file in ("predict.mjs", "rows.mjs", "cells.mjs"):
        shutil.copy(EXAMPLES / file, folder)
    return folder


@pytest.fixture
def ask_node(javascript):
    """A function that gives predict.mjs these arguments: its exit code, its answers and what it refused; notes are left out."""

    def ask(*arguments: object) -> tuple[int, list[str], list[str]]:
        said = run(["node", "predict.mjs", *map(str, arguments)], javascript)
        refused = [line for line in said.stderr.splitlines() if not line.startswith("note: ")]
        assert all(line.startswith("error: ") for line in refused)
        return said.returncode, said.stdout.splitlines(), refused

    return ask


def test_javascript_computes_the_same(released, javascript, ask_node):
    """predict.mjs itself compares the golden input's outputs, of pictures too."""
    for model in MODELS:
        is_picture = json.loads(content_of(released, model, "signature.json"))["kind"] == "image"
        given = [] if is_picture else [an_input_for(released, model, javascript)]
        code, answers, refused = ask_node(released.root / "models" / model / "exported", *given)
        assert (code, len(answers)) == (0, 1), (model, refused)


@pytest.mark.parametrize(
    ("model", "given", "named"),
    [
        ("diabetes_mlp", ["1,2"], ["has 2 numbers; expected Pregnancies"]),
        ("line_gd", ["x", "1e39"], ["x is not a finite number", "1e39 is not a finite number"]),
        (
            "names_gru",
            ["王", "a" * 1001, "a\tb"],
            ["is unknown to the model: no character of it can be written in ASCII", "has 1001 characters", "has a control character"],
        ),
        ("hello_rnn", ["halo"], ["has a; the model knows only ehlo"]),
        (
            "diabetes_table",
            ["6", "Age=3", '{"'],
            ["neither a file that is here nor a row: Pregnancies=", "has no Pregnancies", "no row in JSON"],
        ),
    ],
)
def test_javascript_refuses_in_a_sentence_and_answers_the_others(released, ask_node, javascript, model, given, named):
    code, answers, refused = ask_node(released.root / "models" / model / "exported", *given, an_input_for(released, model, javascript))
    assert code == 1 and len(answers) == 1
    assert len(refused) == len(named) and all(name in line for name, line in zip(named, refused, strict=True)), refused


@pytest.mark.parametrize("file", ["german.csv", "tabs.tsv", "no_header.csv.gz"])
def test_javascript_answers_the_file_of_a_table_as_python_does(ask_node, tmp_path, file):
    made, exported = Made(tmp_path, file), tmp_path / "exported"
    exported.mkdir()
    (exported / "model.onnx").write_bytes(made.own.onnx)
    (exported / "signature.json").write_text(json.dumps(made.signature))
    code, answers, refused = ask_node(exported, made.file)
    model = predict.Model(str(made.path))
    items = list(model.read(str(made.file)))
    good = [item for item in items if isinstance(item, predict.Item)]
    assert code == 1 and len(refused) == len(items) - len(good) == 5
    for item, answer, line in zip(good, model.answer([item.values for item in good]), answers, strict=True):
        label, share = re.fullmatch(re.escape(f"{item.name}: ") + r"(.*?) ([\d.]+)%( \[.*\])?", line, flags=re.DOTALL).groups()[:2]
        assert label == answer["label"] and float(share) == pytest.approx(100 * answer["probabilities"][label], abs=0.06)
        assert (" is not known and counts as other]" in line) == bool(item.note)


def test_javascript_answers_texts_in_every_script_as_python_does(ask_node, tmp_path):
    own = exported_toy("zines")
    texts = [line.strip() for line in LINES if line.strip("\0\ufeff \u3000\u2028\x85\xa0")] + ["x" * 30]
    (tmp_path / "model.onnx").write_bytes(own.onnx)
    (tmp_path / "signature.json").write_text(json.dumps(own.signature.model_dump()))
    (tmp_path / "more.txt").write_text("\n\nein Straße\r\n", encoding="utf-8")
    code, answers, refused = ask_node(tmp_path, *texts, "\u3000\x85", f"@{tmp_path / 'more.txt'}")
    assert code == 1 and refused == [r'error: there is nothing to be read in "\u3000\x85"']
    model, asked = predict.Model(str(tmp_path / "model.onnx")), [*texts, "ein Straße"]
    items = [predict.as_codes(text, model.signature) for text in asked]
    for item, answer, line in zip(items, model.answer([item.values for item in items]), answers, strict=True):
        share = f"{100 * answer['probabilities'][answer['label']]:.1f}"
        assert line == predict.clean(f"{item.name}: {answer['label']} {share}%{f' [{item.note}]' if item.note else ''}")


def test_javascript_shows_what_cannot_be_seen_as_its_code_as_python_does(ask_node, tmp_path):
    own = exported_toy("patients")
    names = ["\x1b]0;title\x07\t\U000e0001\xa0", "\u202efdp.exe\r\nown: well 99.9%"]
    signature = own.signature.model_copy(update={"classes": names})
    (tmp_path / "model.onnx").write_bytes(own.onnx)
    (tmp_path / "signature.json").write_text(json.dumps(signature.model_dump()))
    code, answers, refused = ask_node(tmp_path, "1,2,3", "-9,2,3", "\x1b[2J\n,2,3")
    assert code == 1 and len(answers) == 2 and len(refused) == 1
    assert all(line.isprintable() for line in (*answers, *refused)) and r"\x1b[2J" in refused[0]
    assert all(any(predict.clean(name) in line for name in names) for line in answers)


def test_javascript_says_how_a_text_was_read_and_that_its_answers_cannot_be_written(released, javascript, ask_node):
    exported = released.root / "models/names_gru/exported"
    assert ask_node(exported, "Zoë")[1][0].endswith("% [read as Zoe]")
    with Path("/dev/full").open("w") as full:
        command = ["node", "predict.mjs", str(exported), "Zoe"]
        said = subprocess.run(command, cwd=javascript, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert said.returncode == 1 and said.stderr == "error: the answers cannot be written (ENOSPC)\n"


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("signature.json", b"{", "signature.json cannot be read ("),
        ("model.onnx", None, "model.onnx cannot be read (ENOENT"),
        ("model.onnx", 0.5, "model.onnx is damaged, cut short, or no ONNX model: fetch it again ("),
        ("signature.json", "diabetes_mlp", "are of two models"),
        ("signature.json", "names_lstm", "differs by "),
        ("signature.json", b'{"a": 1}', "signature.json is damaged, or of a later version than this script"),
    ],
)
def test_javascript_names_the_file_that_it_cannot_use(released, ask_node, tmp_path, file, content, named):
    shutil.copytree(released.root / "models/names_gru/exported", tmp_path / "exported")
    whole = (tmp_path / "exported" / file).read_bytes()
    (tmp_path / "exported" / file).unlink()
    if content is not None:
        other = {str: lambda: content_of(released, content, file), float: lambda: whole[: int(content * len(whole))]}
        (tmp_path / "exported" / file).write_bytes(other.get(type(content), lambda: content)())
    code, answers, (refused,) = ask_node(tmp_path / "exported", "a")
    assert code == 1 and answers == [] and named in refused


# Runtimes old and new

LOADS = """
import base64, json, sys
from pathlib import Path
import numpy as np
import onnxruntime

def as_numbers(array):
    if "values" in array:
        return np.array(array["values"], dtype=object).reshape(array["shape"])
    return np.frombuffer(base64.b64decode(array["base64"]), dtype=array["dtype"]).reshape(array["shape"])

for path in sorted(Path(sys.argv[1]).glob("*/exported/model.onnx")):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    signature = json.loads(session.get_modelmeta().custom_metadata_map["signature"])
    inputs = signature["golden"].get("inputs") or {signature["input"]["name"]: signature["golden"]["input"]}
    outputs = session.run(list(signature["golden"]["outputs"]), {name: as_numbers(array) for name, array in inputs.items()})
    worst = [float(np.abs(got - as_numbers(wanted)).max()) for got, wanted in zip(outputs, signature["golden"]["outputs"].values())]
    print(signature["model"], max(worst))
print(onnxruntime.__version__)
"""


@pytest.mark.parametrize("is_oldest", [True, False], ids=["oldest", "newest"])
def test_every_model_runs_on_the_oldest_promised_and_the_newest_onnxruntime(released, oldest_python, bare_python, tmp_path, is_oldest):
    python = oldest_python if is_oldest else bare_python
    lines = run([str(python), "-c", LOADS, str(released.root / "models")], tmp_path).stdout.splitlines()
    worst = {name: float(value) for name, value in map(str.split, lines[:-1])}
    assert worst.keys() == set(MODELS) and max(worst.values()) <= 1e-4, worst
    assert (lines[-1] == OLDEST["onnxruntime"]) is is_oldest
