"""What a stage with persistent outputs has made of the same inputs before is not made again: by `dvc repro`, on a small pipeline."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.exceptions import ReproductionError

from pipelines.dvc.pipeline import Pipeline
from tests.pipelines.small import ENVIRONMENT, commit, dvc, make_repository, rebuild, repro

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


def set_rate(lr):
    Path("params.yaml").write_text(f"lr: {lr}\n")


def runs():
    return Path("runs").read_text().split() if Path("runs").exists() else []


def made():
    return [Path(name).read_text() for name in ("weights.txt", "plots/curve.csv", "metrics.json")]


def of(lr):
    return [f"weights of {lr}\n", f"loss\n{lr}\n", f'{{"accuracy": {lr}}}']


def train():
    ignored = "/weights.txt\n/plots\n/runs\n"
    make_repository(Path(), {"dvc.yaml": GRAPH, "train.py": TRAIN, "rows.txt": "1\n", "params.yaml": "lr: 0.1\n", ".gitignore": ignored})
    repro()
    commit()


@pytest.fixture
def trained(copy_of, monkeypatch):
    """A repository in which the stage has run with the rate 0.1; all is committed."""
    copy_of(train)
    monkeypatch.setenv("PATH", ENVIRONMENT["PATH"])
    assert (runs(), made()) == (["0.1"], of("0.1"))


def flow():
    rebuild(Pipeline(Path.cwd(), print))


@pytest.mark.parametrize(("first", "second"), [(flow, repro), (repro, flow)])
def test_a_value_that_is_set_back_is_not_trained_again(trained, first, second):
    before = Path("dvc.lock").read_text()
    set_rate(0.2)
    first()
    assert made() == of("0.2")
    set_rate(0.1)
    second()
    assert (made(), runs(), Path("dvc.lock").read_text()) == (of("0.1"), ["0.1", "0.2"], before)
    set_rate(0.2)
    second()
    assert (made(), runs()) == (of("0.2"), ["0.1", "0.2"])


@pytest.mark.parametrize(
    "lost", [["weights.txt", "metrics.json", "plots"], [".dvc/cache/runs", "weights.txt"]], ids=["outputs", "run cache"]
)
def test_outputs_that_are_gone_come_from_the_cache(trained, lost):
    """Without the run cache, as after a merge and a pull of the data that belongs to it, dvc.lock alone knows."""
    subprocess.run(["rm", "-r", *lost], check=True)
    flow()
    assert (made(), runs()) == (of("0.1"), ["0.1"])


def test_a_param_of_any_name_tells_inputs_apart(trained):
    """DVC's own key of the run cache leaves out what is called size or nfiles: one would be taken for the other."""
    Path("dvc.yaml").write_text(GRAPH.replace("params: [lr]", "params: [deep.size]"))
    Path("train.py").write_text(TRAIN.replace(".split()[1]", ".split()[-1].strip('}')"))
    for value in (1, 2, 1, 2):
        Path("params.yaml").write_text(f"deep: {{x: 0,  size: {value}}}\n")
        flow()
        assert made() == of(str(value))
    assert runs() == ["0.1", "1", "2"]


def test_an_earlier_output_outlives_a_failure_and_is_known_afterwards(trained):
    set_rate("exploding")
    with pytest.raises(ReproductionError):
        repro()
    assert made() == of("0.1")
    set_rate(0.1)
    repro()
    assert runs() == ["0.1", "exploding"]


@pytest.mark.parametrize("options", [["--force"], pytest.param(["-sf", "train"], marks=pytest.mark.slow)])
def test_force_trains_what_is_known(trained, options):
    set_rate(0.2)
    flow()
    set_rate(0.1)
    dvc("repro", *options)
    assert (made(), runs()) == (of("0.1"), ["0.1", "0.2", "0.1"])


def test_without_its_files_in_the_cache_it_is_trained_again(trained):
    set_rate(0.2)
    flow()
    shutil.rmtree(".dvc/cache/files")
    set_rate(0.1)
    flow()
    assert (made(), runs()) == (of("0.1"), ["0.1", "0.2", "0.1"])


def test_what_git_keeps_never_becomes_a_link_into_the_cache(trained):
    Path(".dvc/config").write_text("[cache]\n    type = symlink\n")
    for rate in (0.2, 0.1):
        set_rate(rate)
        flow()
    assert Path("weights.txt").is_symlink() and not Path("metrics.json").is_symlink()
    assert (made(), runs()) == (of("0.1"), ["0.1", "0.2"])


def test_what_changes_while_the_command_runs_is_not_noted(trained, capfd):
    before = Path("dvc.lock").read_text()
    Path("train.py").write_text(f"{TRAIN}\nif lr == '0.3': pathlib.Path('params.yaml').write_text('lr: 0.4')\n")
    set_rate(0.3)
    with pytest.raises(ReproductionError):
        repro()
    assert "error: train is not noted in dvc.lock, because params.yaml changed while it ran: run it again." in capfd.readouterr().err
    assert Path("dvc.lock").read_text() == before
    flow()
    assert (made(), runs()) == (of("0.4"), ["0.1", "0.3", "0.4"])


@pytest.mark.slow
def test_a_clone_takes_what_another_machine_has_pushed(trained, tmp_path, monkeypatch):
    dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    commit(".")
    dvc("push")
    subprocess.run(["git", "clone", "--quiet", ".", str(tmp_path / "clone")], check=True)
    monkeypatch.chdir(tmp_path / "clone")
    dvc("repro", "--pull")
    assert (made(), runs()) == (of("0.1"), [])


# Names


HOSTILE = ["a b; touch pwned", "$(touch pwned)", "`touch pwned`", "'; touch pwned; '", '"; touch pwned; "', "a\ntouch pwned", "plain"]


@pytest.mark.parametrize("how", ["repro", "flow"])
def test_a_name_like_a_line_of_the_shell_is_a_name(tmp_path, monkeypatch, how):
    """As the repository's own dvc.yaml has its names (tests/test_graph.py); read before the stage check can refuse them."""
    graph = {
        "say": {
            "foreach": "${names}",
            "do": {"cmd": "python -m pipelines.dvc.known python say.py @", "deps": ["say.py"], "params": ["names.${key}"]},
        }
    }
    names = dict.fromkeys(HOSTILE, 1)
    files = {"dvc.yaml": json.dumps({"stages": graph}), "params.yaml": json.dumps({"names": names})}
    make_repository(tmp_path, {**files, "say.py": "import sys\nwith open('said', 'a') as said: print(sys.argv[1:], file=said)\n"})
    monkeypatch.chdir(tmp_path)
    if how == "repro":
        for name in HOSTILE:
            repro(f"say@{name}", single_item=True)
    else:
        assert len(rebuild(Pipeline(tmp_path, print))[0]) == len(HOSTILE)
    assert sorted(Path("said").read_text().splitlines()) == sorted(str([name]) for name in HOSTILE)
    assert not Path("pwned").exists()


# The command itself


@pytest.fixture
def known(tmp_path, monkeypatch):
    """Starts it with a command, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def start(*command, **environment):
        command = [sys.executable, "-m", "pipelines.dvc.known", *command]
        environment = os.environ | ENVIRONMENT | environment
        return subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True, start_new_session=True)

    return start


def test_it_is_its_command_where_dvc_cannot_tell(known):
    assert known().communicate(timeout=60) == ("", "usage: python -m pipelines.dvc.known COMMAND [ARGUMENT ...]\n")
    without_dvc = known("sh", "-c", "echo it runs; exit 3")
    assert (*without_dvc.communicate(timeout=60), without_dvc.returncode) == ("it runs\n", "", 3)
    in_no_repository = known("echo", "it runs", DVC_STAGE="train")
    said, _ = in_no_repository.communicate(timeout=60)
    assert said.startswith("train: DVC cannot say whether its outputs are known (") and said.endswith("\nit runs\n")
    assert in_no_repository.returncode == 0


WAITS = "trap 'echo saved; exit 7' INT TERM HUP; echo ready; while :; do sleep 0.05; done"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_command_that_is_asked_to_end_saves_what_it_has(known, number):
    process = known("sh", "-c", WAITS)
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, number)
    assert (process.communicate(timeout=60)[0], process.returncode) == ("saved\n", 7)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_command_never_outlives_it(known):
    process = known("sh", "-c", WAITS)
    assert process.stdout.readline() == "ready\n"
    process.kill()
    assert process.communicate(timeout=60) == ("", "")  # the pipes are closed, so nothing has them open
