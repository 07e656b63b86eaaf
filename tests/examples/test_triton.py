"""examples/triton.py: a model repository of Triton, its configurations as Triton's own schema reads them."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import pytest

from examples import triton
from examples.predict import as_numbers
from pipelines.serving.server import free_port
from stages.exporting.forms import to_int8, with_metadata
from tests.examples.test_consumers import make_environment
from tests.exported import exported_toy
from tests.toy import TOYS


@pytest.fixture
def lay_out(tmp_path, monkeypatch, capsys):
    """A function that runs the command in the folder tmp_path; what it said and its exit code."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[str, int]:
        monkeypatch.setattr("sys.argv", ["triton.py", *arguments])
        try:
            triton.main()
        except SystemExit as ended:
            return str(ended.code), 1
        return capsys.readouterr().out, 0

    return run


@pytest.fixture
def models(tmp_path):
    for name in TOYS:
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model.onnx").write_bytes(exported_toy(name).onnx)
    return tmp_path / "models"


def test_a_class_with_a_line_end_moves_no_label(lay_out, tmp_path):
    own = exported_toy("shapes")
    signature = own.signature.model_copy(update={"classes": ["left\x1b[2J\u202e", "mid\r\ndle\u2028", "right"]})
    (tmp_path / "own.onnx").write_bytes(with_metadata(own.onnx, signature))
    assert lay_out("repository", "own.onnx")[1] == 0
    assert (tmp_path / "repository/shapes/labels.txt").read_bytes() == b"left\\x1b[2J\\u202e\nmid\\r\\ndle\\u2028\nright\n"


def test_every_model_has_an_entry_with_the_very_file(lay_out, models, tmp_path):
    said, code = lay_out("repository", "models")
    assert (said, code) == (f"repository: {len(TOYS)} models\n", 0)
    for name in TOYS:
        entry, own = tmp_path / "repository" / name, exported_toy(name)
        assert (entry / "1" / "model.onnx").read_bytes() == own.onnx
        assert (entry / "labels.txt").exists() == (own.signature.classes is not None)
        if own.signature.classes:
            assert (entry / "labels.txt").read_text().splitlines() == own.signature.classes
    assert not list((tmp_path / "repository").glob(".*"))


def test_an_entry_is_replaced_whole_and_others_stay(lay_out, models, tmp_path):
    for path in ("repository/words/2/old", "repository/words/config.pbtxt", "repository/other/config.pbtxt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("old")
    assert lay_out("repository", "models/words") == ("repository: 1 model, and as it was before other\n", 0)
    assert sorted(path.name for path in (tmp_path / "repository/words").iterdir()) == ["1", "config.pbtxt", "labels.txt"]
    assert (tmp_path / "repository/other/config.pbtxt").read_text() == "old"


def test_a_variant_stands_beside_its_model(lay_out, models, tmp_path):
    own = exported_toy("shapes")
    int8 = to_int8(own.onnx, own.feed, own.batch(32), ["convolution"])
    (models / "shapes" / "model.int8.onnx").write_bytes(with_metadata(int8, own.signature, {"variant": "int8"}))
    assert lay_out("repository", "models/shapes")[0] == "repository: 2 models\n"
    assert {path.name for path in (tmp_path / "repository").iterdir()} == {"shapes", "shapes.int8"}


# Stands for Triton's own ONNX Runtime backend, which only its container of several GB has, in a server that has Python's alone.
STAND_IN = """
import os

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


def rows_of(tensor):
    rows = tensor.as_numpy()
    return np.vectorize(bytes.decode, otypes=[object])(rows) if rows.dtype == object else rows


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        return config

    def initialize(self, args):
        self.session = onnxruntime.InferenceSession(os.path.join(args["model_repository"], args["model_version"], "model.onnx"))

    def execute(self, requests):
        names = [given.name for given in self.session.get_inputs()]
        inputs = {name: [rows_of(triton.get_input_tensor_by_name(request, name)) for request in requests] for name in names}
        ends = np.cumsum([len(rows) for rows in inputs[names[0]]])[:-1]
        feeds = {name: np.concatenate(rows) for name, rows in inputs.items()}
        outputs = [np.split(output, ends) for output in self.session.run(None, feeds)]
        names = [output.name for output in self.session.get_outputs()]
        return [triton.InferenceResponse([triton.Tensor(*one) for one in zip(names, own)]) for own in zip(*outputs)]
"""


@pytest.fixture
def serve(tmp_path):
    """A function from a model repository to the address of a real Triton server of it (that of nvidia-pytriton's wheel)."""
    servers = []

    def start(repository: str) -> str:
        make_environment(tmp_path / "venv", "numpy<2", "onnxruntime")  # this Triton misreads arrays of a later numpy
        python = make_environment(tmp_path / "venv", "--no-deps", "nvidia-pytriton==0.5.14")
        site = next((python.parents[1] / "lib").glob("python*/site-packages"))
        parts = site / "pytriton" / "tritonserver"
        stub = parts / "python_backend_stubs" / "{}.{}".format(*sys.version_info) / "triton_python_backend_stub"
        if not stub.exists():
            pytest.skip(f"that Triton runs no Python {sys.version_info.major}.{sys.version_info.minor}")
        shutil.copy(stub, parts / "backends" / "python")
        shutil.copytree(parts / "backends" / "python", parts / "backends" / "onnxruntime", ignore=shutil.ignore_patterns("*.so", "*_stub"))
        (parts / "backends" / "onnxruntime" / "model.py").write_text(STAND_IN)
        for program in (parts / "bin" / "tritonserver", parts / "backends" / "python" / stub.name):
            program.chmod(0o755)
        port = free_port()
        options = ["--backend-directory", str(parts / "backends"), "--http-address", "127.0.0.1", "--http-port", str(port)]
        only_http = ["--allow-grpc=false", "--allow-metrics=false", "--disable-auto-complete-config"]
        environment = {**os.environ, "LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs"), "PYTHONPATH": str(site)}
        environment["PATH"] = os.pathsep.join([str(python.parent), os.environ["PATH"]])
        command = [str(parts / "bin" / "tritonserver"), "--model-repository", repository, *options, *only_http]
        log = tmp_path / "triton.log"
        with log.open("w") as told:
            servers.append(subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=told))
        address = f"http://127.0.0.1:{port}/v2"
        while not is_ready(f"{address}/health/ready"):
            assert servers[0].poll() is None, log.read_text()
            time.sleep(0.1)
        return f"{address}/models"

    yield start
    for server in servers:
        server.kill()
        server.wait()


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(address):
            return True
    except urllib.error.URLError:  # it does not listen yet, or still loads
        return False


def ask(address: str, inputs: dict[str, np.ndarray], outputs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What a model answers, by output, in the protocol that Triton shares with KServe; texts are BYTES there."""
    given = []
    for name, rows in inputs.items():
        kind = "BYTES" if rows.dtype == object else triton.TYPES[str(rows.dtype)].removeprefix("TYPE_")
        given.append({"name": name, "shape": list(rows.shape), "datatype": kind, "data": rows.ravel().tolist()})
    question = {"inputs": given, "outputs": outputs}
    try:
        with urllib.request.urlopen(f"{address}/infer", json.dumps(question).encode()) as answer:
            return {output["name"]: output for output in json.load(answer)["outputs"]}
    except urllib.error.HTTPError as error:
        pytest.fail(f"{address}: {error.read().decode()}")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_triton_serves_the_repository(lay_out, models, serve):
    assert lay_out("repository", "models")[1] == 0
    address = serve("repository")
    for name in TOYS:
        signature = exported_toy(name).signature
        golden = signature.golden
        given = {key: as_numbers(array) for key, array in (golden.get("inputs") or {signature.input.name: golden["input"]}).items()}
        rows = {key: np.repeat(array, 3, axis=0) for key, array in given.items()}
        asked = json.load(urllib.request.urlopen(f"{address}/{name}/config"))
        assert (asked["max_batch_size"], asked["dynamic_batching"]["max_queue_delay_microseconds"]) == (256, 1000)
        answers = ask(f"{address}/{name}", rows, [{"name": output.name} for output in signature.outputs])
        for output in signature.outputs:
            expected = np.repeat(as_numbers(golden["outputs"][output.name]), 3, axis=0)
            assert answers[output.name]["shape"] == list(expected.reshape(3, -1).shape if expected.ndim == 1 else expected.shape)
            np.testing.assert_allclose(np.reshape(answers[output.name]["data"], expected.shape), expected, atol=1e-5)
        if signature.task in ("binary", "multiclass"):
            first = [{"name": signature.outputs[0].name, "parameters": {"classification": 1}}]
            best = ask(f"{address}/{name}", given, first)[signature.outputs[0].name]["data"]
            label = as_numbers(golden["outputs"]["label"])[0]
            assert best[0].split(":")[1:] == [str(label), signature.classes[label]]


def test_text_with_quotes_stays_text():
    signature = exported_toy("words").signature.model_dump() | {"description": 'A "quoted" text.'}
    assert triton.config('a"b', signature).splitlines()[1] == 'name: "a\\"b"'


def test_two_models_of_one_name_are_refused_and_nothing_is_written(lay_out, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.onnx").write_bytes(exported_toy("words").onnx)
    assert lay_out("repository", "a.onnx", "b.onnx") == ("error: b.onnx is a second words: name one of them.", 1)
    assert not (tmp_path / "repository").exists()


def test_what_is_no_entry_of_a_repository_is_left_alone(lay_out, models, tmp_path):
    """`triton.py models models` would take the place of what was trained."""
    before = {path: path.read_bytes() for path in models.rglob("*") if path.is_file()}
    said, code = lay_out("models", "models")
    assert code == 1 and said.endswith(" is there and is not an entry of a model repository: name another FOLDER, or remove it.")
    assert {path: path.read_bytes() for path in models.rglob("*") if path.is_file()} == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "words").symlink_to("nowhere")
    assert lay_out("other", "models")[0].startswith("error: other/words is there and is not an entry of a model repository")
    (tmp_path / "file").write_text("")
    assert lay_out("file/in/it", "models") == ("error: file/in/it cannot be written (Not a directory): name another folder.", 1)
    assert lay_out("file", "models") == ("error: file is not a folder: name another.", 1)
