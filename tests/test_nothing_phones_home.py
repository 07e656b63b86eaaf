"""Each stage, flow, example and server as at a person's desk, with a new HOME and without CI's settings: it connects to loopback only,
looks up no name, listens on loopback only, and writes no file but in the checkout, its environment and the folder for temporary files.

Of files that are handed on see tests/examples/test_addresses.py.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from pipelines.serving.server import free_port
from tests.exported import exported_toy
from tests.strace import Seen, Traced, why_not
from tests.test_end_to_end import Clone, new_clone
from tests.toy import ROOT
from web.assemble import EXPORTED, RUNTIME, install_runtime

ROOMS = ("stages", "pipelines", "examples", "web", "benchmarks", "docs")
needs_strace = pytest.mark.skipif(bool(why_not()), reason=why_not())
ENVIRONMENT = [Path(sys.prefix), Path(sys.base_prefix)]
# Where DVC notes what it knows of files, so that it need not read them again: a folder for temporary files too, of those that outlive a
# restart. DVC_SITE_CACHE_DIR names another; a relative one in .dvc/config would be one below each folder in which DVC is called.
OF_DVC = Path("/var/tmp/dvc")
CALLS_HOME = """
import pathlib, socket, threading
def report():
    (pathlib.Path.home() / ".cache").mkdir()
    (pathlib.Path.home() / ".cache" / "id").write_text("1")
    try:
        socket.getaddrinfo("events.example.invalid", 443)
    except OSError:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.connect(("192.0.2.1", 443))
    with socket.create_server(("", 0)):
        pass
thread = threading.Thread(target=report)
thread.start()
thread.join()
"""


def quiet(traced: Traced, seen: Seen, *folders: Path, within: str = "") -> None:
    beyond = seen.beyond(traced.checkout, traced.temporary, *ENVIRONMENT, *folders, within=within)
    assert not beyond, "\n".join(beyond)
    assert within or list(traced.home.iterdir()) == []


# What is seen


@needs_strace
def test_a_program_that_phones_home_is_seen(tmp_path):
    (checkout := tmp_path / "checkout").mkdir()
    traced = Traced(sys.executable, "-c", CALLS_HOME, checkout=checkout)
    found = traced.end().beyond(checkout, traced.temporary, *ENVIRONMENT)
    for what in (f"{traced.home}/.cache", f"{traced.home}/.cache/id", "events", "192.0.2.1", "0.0.0.0"):
        assert any(what in call for call in found), (what, found)
    assert all(call.startswith(sys.executable) for call in found), "threads and children are told by their command"


# Whoever imports ONNX Runtime

SWITCH = 'os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")'
IMPORT = re.compile(r"^ *(?:import|from) onnxruntime\b", re.MULTILINE)


def code_samples() -> dict[str, str]:
    """All Python but tests, whose switch stands in conftest.py: modules, the notebook, and what documents show."""
    found = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    found["examples/predict.ipynb"] = "\n".join(notebook_cells())
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        found |= {f"{path.name}, example {place}": block for place, block in enumerate(blocks, start=1)}
    return found


def test_whoever_imports_onnxruntime_has_switched_its_reports_off():
    importing = {name: code for name, code in code_samples().items() if IMPORT.search(code)}
    assert [name for name in importing if name.startswith("stages/")] == ["stages/exporting/forms.py"]
    assert len(importing) >= 5 and [name for name, code in importing.items() if SWITCH not in IMPORT.split(code)[0]] == []


# Examples


@pytest.fixture
def folder(tmp_path):
    """What a consumer has: the examples and a model."""
    shutil.copytree(ROOT / "examples", tmp_path / "consumer", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "consumer" / "model.onnx").write_bytes(exported_toy("patients").onnx)
    return tmp_path / "consumer"


@needs_strace
def test_predict_triton_and_the_notebook_phone_nobody(folder):
    (folder / "notebook.py").write_text("\n".join(notebook_cells()))
    commands = "python predict.py model.onnx 1,2,3 && python triton.py repository model.onnx && python notebook.py"
    traced = Traced("sh", "-c", commands, checkout=folder)
    quiet(traced, seen := traced.end())
    assert seen.output.startswith("1,2,3: ") and "repository: 1 model" in seen.output and "model: patients" in seen.output


@needs_strace
def test_serve_phones_nobody(folder):
    traced = Traced(sys.executable, "serve.py", "model.onnx", "--port", "0", checkout=folder)
    address = traced.wait_for(r"(http://\S+) serves patients")[1]
    assert b"answers" in urllib.request.urlopen(f"{address}/patients", data=b"1,2,3").read()
    traced.interrupt()
    quiet(traced, traced.end())


def notebook_cells() -> list[str]:
    cells = json.loads((ROOT / "examples" / "predict.ipynb").read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@needs_strace
def test_the_pages_server_phones_nobody(tmp_path):
    """The runtime, which npm installs, is there already."""
    checkout = tmp_path / "checkout"
    for name in ("web", "examples"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    install_runtime()
    shutil.copytree(RUNTIME, checkout / RUNTIME.relative_to(ROOT))
    exported = checkout / "models" / "own" / "exported"
    exported.mkdir(parents=True)
    for name in EXPORTED:
        (exported / name).write_bytes(b"{}")
    traced = Traced(sys.executable, "-m", "web.assemble", "logs/demo", "--serve", "--port", str(free_port()), checkout=checkout)
    address = traced.wait_for(r"(http://\S+) \(Ctrl-C ends it\)")[1]
    assert b"own" in urllib.request.urlopen(f"{address}/models.json").read()
    traced.interrupt()
    quiet(traced, traced.end())


# Stages and flows, in a clone with one model

MODEL, STAGES = "diabetes_mlp", ("check", "download", "preprocess", "audit", "train", "evaluate", "export", "report")
EVERY_SO_OFTEN = "deployments: [{name: often, entrypoint: pipelines.rebuild.rebuild, schedules: [{interval: 2}]}]\n"


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    clone = new_clone(tmp_path_factory.mktemp("quiet") / "checkout", {MODEL: 2})
    clone.set(f"models.{MODEL}.int8", ["linear"])  # made by other parts of ONNX Runtime
    clone.set(f"models.{MODEL}.gate.at_least.sample", 0.0)
    clone.dvc("remote", "add", "--default", "store", str(clone.root.with_name("store")))
    (clone.root / "prefect.yaml").write_text(EVERY_SO_OFTEN)
    clone.commit()
    return clone


@pytest.fixture(scope="module")
def rebuilt(clone) -> tuple[Traced, Seen]:
    """The flow `rebuild`, which has run all stages."""
    traced = Traced(sys.executable, "-m", "pipelines.rebuild", checkout=clone.root)
    return traced, traced.end()


@needs_strace
@pytest.mark.slow
def test_the_flow_rebuild_and_its_stages_phone_nobody(rebuilt):
    traced, seen = rebuilt
    forks = "-m stages.shell.forks"
    assert any(forks in one for one in seen.commands)
    assert {path.stem.partition("@")[0] for path in (traced.checkout / "logs/rebuild").rglob("*.log")} == set(STAGES)
    quiet(traced, seen, within=forks)
    quiet(traced, seen, OF_DVC)


@needs_strace
@pytest.mark.slow
@pytest.mark.usefixtures("rebuilt")
@pytest.mark.parametrize(
    "command",
    [
        ["dvc", "repro", "--force", "check"],
        ["pipelines.release"],
        ["pipelines.sweep", MODEL, "--range", "lr=0.001..0.1:log", "--trials", "1"],
    ],
    ids=lambda command: command[0],
)
def test_a_command_of_the_pipeline_phones_nobody(clone, command):
    traced = Traced(sys.executable, "-m", *command, checkout=clone.root)
    quiet(traced, traced.end(), OF_DVC, clone.root.with_name("store"))


def test_a_flow_heeds_the_users_own_profile_of_prefect(tmp_path):
    """Though its home is another."""
    (tmp_path / ".prefect").mkdir()
    (tmp_path / ".prefect" / "profiles.toml").write_text('active = "own"\n[profiles.own]\nPREFECT_API_URL = "http://127.0.0.1:1/api"\n')
    command = [sys.executable, "-m", "pipelines.rebuild"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PREFECT_CLIENT_MAX_RETRIES": "0"}
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert said.returncode == 1 and "the Prefect server at http://127.0.0.1:1/api does not answer" in said.stderr
    assert (tmp_path / "logs" / "prefect").stat().st_mode & 0o777 == 0o700


@needs_strace
@pytest.mark.slow
@pytest.mark.usefixtures("rebuilt")
def test_served_deployments_and_their_server_phone_nobody(clone):
    settings = {"PREFECT_SERVER_API_PORT": str(free_port()), "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    traced = Traced(sys.executable, "-m", "pipelines.deployments", checkout=clone.root, **settings)
    traced.wait_for(r"Finished in state .*Completed")
    traced.interrupt()
    quiet(traced, traced.end(), OF_DVC)
