"""What a stage with persistent outputs has made of the same inputs before is not made again: by `dvc repro`, on a small pipeline."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.dvc.pipeline import Pipeline
from tests.pipelines.small import ENVIRONMENT, dvc

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # of pygtrie, by DVC
GRAPH = """
stages:
  train:
    cmd: python -m pipelines.dvc.known python train.py
    deps: [train.py, rows.txt]
    params: [lr]
    outs:
      - weights.txt: {persist: true}
      - plots: {persist: true}
    metrics:
      - metrics.json: {persist: true, cache: false}
"""
# What it makes depends on its inputs alone; each run leaves a line in the file `runs`.
TRAIN = """
import pathlib, sys
lr = pathlib.Path("params.yaml").read_text().split()[1]
with pathlib.Path("runs").open("a") as runs:
    runs.write(f"{lr}\\n")
if lr == "exploding":
    sys.exit("error: the loss exploded")
pathlib.Path("plots").mkdir(exist_ok=True)
pathlib.Path("plots/curve.csv").write_text(f"loss\\n{lr}\\n")
pathlib.Path("weights.txt").write_text(f"weights of {lr}\\n")
pathlib.Path("metrics.json").write_text('{"accuracy": %s}' % lr)
"""


def make(folder):
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main"], cwd=folder, check=True)
    dvc("init", "--quiet", folder=folder)
    files = {
        "dvc.yaml": GRAPH,
        "train.py": TRAIN,
        "rows.txt": "1\n",
        "params.yaml": "lr: 0.1\n",
        ".gitignore": "/weights.txt\n/plots\n/runs\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    commit(folder, "the graph")


def commit(folder, message):
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    subprocess.run(["git", "commit", "--quiet", "-m", message], cwd=folder, check=True)


def set_rate(lr, folder="."):
    (Path(folder) / "params.yaml").write_text(f"lr: {lr}\n")


def runs():
    return Path("runs").read_text().split() if Path("runs").exists() else []


def made():
    return [Path(name).read_text() for name in ("weights.txt", "plots/curve.csv", "metrics.json")]


def of(lr):
    return [f"weights of {lr}\n", f"loss\n{lr}\n", f'{{"accuracy": {lr}}}']


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A repository in which the stage has run with the committed rate, 0.1, and what it wrote is committed."""
    folder = tmp_path / "trained"
    folder.mkdir()
    monkeypatch.chdir(folder)
    make(folder)
    dvc("repro")
    commit(folder, "the first training")
    assert (runs(), made()) == (["0.1"], of("0.1"))
    return folder


def rebuild_with_the_flows_engine():
    pipeline = Pipeline(Path.cwd(), print)
    (stage,) = pipeline.plan()
    if not pipeline.is_up_to_date(stage.name) and pipeline.begin(stage.name):
        subprocess.run(stage.command, shell=True, check=True)  # noqa: S602
        pipeline.finish(stage.name)


ENGINES = {"dvc repro": lambda: dvc("repro"), "the flow": rebuild_with_the_flows_engine}


SLOW_FLOW = ["dvc repro", pytest.param("the flow", marks=pytest.mark.slow)]


@pytest.mark.parametrize("first", SLOW_FLOW)
@pytest.mark.parametrize("second", SLOW_FLOW)
def test_a_value_that_is_set_back_is_not_trained_again(trained, monkeypatch, first, second):
    monkeypatch.setenv("PATH", ENVIRONMENT["PATH"])
    before = Path("dvc.lock").read_text()
    set_rate(0.2)
    ENGINES[first]()
    assert made() == of("0.2")
    set_rate(0.1)
    ENGINES[second]()
    assert (made(), runs(), Path("dvc.lock").read_text()) == (of("0.1"), ["0.1", "0.2"], before)
    set_rate(0.2)
    ENGINES[second]()
    assert (made(), runs()) == (of("0.2"), ["0.1", "0.2"])


@pytest.mark.slow
def test_a_changed_file_that_is_taken_back_from_git_is_not_trained_again(trained):
    Path("rows.txt").write_text("2\n")
    dvc("repro")
    subprocess.run(["git", "checkout", "--quiet", "rows.txt"], check=True)
    assert "train: known, and taken from DVC's cache" in dvc("repro")
    assert runs() == ["0.1", "0.1"]


@pytest.mark.slow
def test_outputs_that_are_gone_come_from_the_cache(trained):
    for path in ("weights.txt", "metrics.json"):
        Path(path).unlink()
    shutil.rmtree("plots")
    dvc("repro")
    assert (made(), runs()) == (of("0.1"), ["0.1"])


@pytest.mark.slow
def test_what_dvc_lock_alone_knows_comes_from_the_cache(trained):
    """As after a merge and a pull of the data that belongs to it."""
    shutil.rmtree(".dvc/cache/runs")
    Path("weights.txt").unlink()
    dvc("repro")
    assert (made(), runs()) == (of("0.1"), ["0.1"])


@pytest.mark.parametrize("name", ["size", *(pytest.param(name, marks=pytest.mark.slow) for name in ("nfiles", "lr"))])
def test_a_param_of_any_name_tells_inputs_apart(trained, name):
    """DVC's own key of the run cache leaves out what is called size or nfiles: one would be taken for the other."""
    text = GRAPH.replace("params: [lr]", f"params: [deep.{name}]")
    Path("dvc.yaml").write_text(text)
    for value in (1, 2, 1, 2):
        Path("params.yaml").write_text(f"deep: {{x: 0,  {name}: {value}}}\n")
        Path("train.py").write_text(TRAIN.replace(".split()[1]", ".split()[-1].strip('}')"))
        dvc("repro")
        assert made() == of(str(value))
    assert runs() == ["0.1", "1", "2"]


def test_an_earlier_output_outlives_a_failure_and_is_known_afterwards(trained):
    set_rate("exploding")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        dvc("repro")
    assert failed.value.returncode == 255 and made() == of("0.1")
    set_rate(0.1)
    dvc("repro")
    assert runs() == ["0.1", "exploding"]


@pytest.mark.parametrize(
    "options",
    [["--force"], pytest.param(["--force-downstream"], marks=pytest.mark.slow), pytest.param(["-sf", "train"], marks=pytest.mark.slow)],
)
def test_force_trains_what_is_known(trained, options):
    set_rate(0.2)
    dvc("repro")
    set_rate(0.1)
    dvc("repro", *options)
    assert (made(), runs()) == (of("0.1"), ["0.1", "0.2", "0.1"])


@pytest.mark.slow
def test_without_its_files_in_the_cache_it_is_trained_again(trained):
    set_rate(0.2)
    dvc("repro")
    shutil.rmtree(".dvc/cache/files")
    set_rate(0.1)
    dvc("repro")
    assert (made(), runs()) == (of("0.1"), ["0.1", "0.2", "0.1"])


def test_what_git_keeps_never_becomes_a_link_into_the_cache(trained):
    dvc("config", "cache.type", "symlink")
    set_rate(0.2)
    dvc("repro")
    set_rate(0.1)
    dvc("repro")
    assert Path("weights.txt").is_symlink() and not Path("metrics.json").is_symlink()
    assert (made(), runs()) == (of("0.1"), ["0.1", "0.2"])


@pytest.mark.parametrize("changed", ["params.yaml", pytest.param("rows.txt", marks=pytest.mark.slow)])
def test_what_changes_while_the_command_runs_is_not_noted(trained, changed):
    before = Path("dvc.lock").read_text()
    change = {"rows.txt": "'rows.txt').write_text('2')", "params.yaml": "'params.yaml').write_text('lr: 0.4')"}[changed]
    Path("train.py").write_text(f"{TRAIN}\nif lr == '0.3': pathlib.Path({change}\n")
    set_rate(0.3)
    with pytest.raises(subprocess.CalledProcessError) as failed:
        dvc("repro")
    assert f"error: train is not noted in dvc.lock, because {changed} changed while it ran: run it again." in failed.value.stderr
    assert Path("dvc.lock").read_text() == before
    dvc("repro")
    assert made() == of({"rows.txt": "0.3", "params.yaml": "0.4"}[changed])
    assert runs() == ["0.1", "0.3", {"rows.txt": "0.3", "params.yaml": "0.4"}[changed]]


@pytest.mark.slow
def test_a_clone_takes_what_another_machine_has_pushed(trained, tmp_path):
    dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    commit(trained, "a remote")
    dvc("push")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(trained), str(clone)], check=True)
    dvc("repro", "--pull", folder=clone)
    os.chdir(clone)
    assert (made(), runs()) == (of("0.1"), [])


@pytest.mark.slow
def test_an_experiment_takes_what_is_known(trained):
    set_rate(0.2)
    dvc("repro")
    set_rate(0.1)
    dvc("exp", "run", "--quiet", "--set-param", "lr=0.2")
    assert (made(), runs()) == (of("0.2"), ["0.1", "0.2"])


# The command itself


def known(*command, **options):
    environment = os.environ | ENVIRONMENT | options.pop("environment", {})
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.dvc.known", *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize("code", [0, 3])
def test_without_dvc_it_is_the_command(tmp_path, monkeypatch, code):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    process = known("sh", "-c", f"echo it runs; exit {code}")
    assert (*process.communicate(timeout=60), process.returncode) == ("it runs\n", "", code)


@pytest.mark.slow
def test_it_says_where_dvc_cannot_tell_and_runs_the_command(trained):
    process = known("true", environment={"DVC_STAGE": "no_such_stage"})
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said.startswith("no_such_stage: DVC cannot say whether its outputs are known (")


WAITS = """
import pathlib, signal, sys
def save(number, frame):
    print("saved")
    sys.exit(128 + number)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, save)
print("ready", flush=True)
signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_command_that_is_asked_to_end_saves_what_it_has(tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    process = known(sys.executable, "-c", WAITS, start_new_session=True)
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, number)
    assert (process.communicate(timeout=60), process.returncode) == (("saved\n", ""), 128 + number)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_command_never_outlives_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    process = known(sys.executable, "-c", WAITS)
    assert process.stdout.readline() == "ready\n"
    process.kill()
    assert process.communicate(timeout=60) == ("", "")  # the pipes are closed, so nothing has them open


def test_it_needs_a_command():
    process = known()
    assert (*process.communicate(timeout=60), process.returncode) == (
        "",
        "usage: python -m pipelines.dvc.known COMMAND [ARGUMENT ...]\n",
        1,
    )
