"""Resume: wherever a run is stopped, it resumes to the very same weights; a state of another run is renamed and never used."""

import hashlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load, save

from stages.modelling.model import Model
from stages.shell import resume
from stages.shell.errors import Stopped, UserError
from stages.shell.resume import Keeper, as_pieces, from_bytes, ingredients
from stages.train import is_recorded, train
from stages.training.loop import fit
from stages.training.optimizers import optimizer_names
from stages.training.recipe import Recipe
from stages.training.run import Run
from stages.training.schedules import schedule_names
from tests.stages.training.test_optimizers import NEEDED, SCHEDULE_NEEDS
from tests.toy import CPU, ROOT, TOYS, NoKeeper, Project, build, recipe, toy

CHECKPOINT = "checkpoint.safetensors"
MADE_OF = {"params": "1", "data": "2"}


@pytest.fixture
def place(tmp_path):
    """Where the state of a run named own is kept."""
    return tmp_path / "own"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda name, **changes: Project(tmp_path, name, **changes)


@pytest.fixture
def rng():
    seed = int.from_bytes(os.urandom(4), "little")
    print("seed", seed)  # shown by pytest where the test fails
    return random.Random(seed)


class StoppingKeeper(Keeper):
    """Asked to stop at its pause number `at`, from 0."""

    def __init__(self, folder, at):
        super().__init__(folder, MADE_OF, 5.0)
        self.left = at

    def pause(self, run):
        self.asked = signal.SIGTERM if self.left == 0 else 0
        self.left -= 1
        super().pause(run)


def as_bytes(tree):
    """A whole state."""
    return b"".join(as_pieces(tree))


def trained(name, keeper, architecture=None, device=CPU, **changes):
    """What a run ends with."""
    data = toy(name)
    network = build(architecture or TOYS[name], data.meta).network
    section = Recipe.model_validate(recipe(data, **changes))
    batches = data.batches("train", section.batch_size, device=device), data.batches("val", device=device)
    run = fit(Run(Model(network, data.meta).to(device), section, *batches, 0, "train"), keeper, lambda *_: None)
    return {name: tensor.cpu().numpy().tobytes() for name, tensor in run.best.weights.items()}, run.best.epoch, run.rows


def stopped_everywhere(place, name, **changes):
    """The outcome of a run that is stopped, and taken up by a new process's objects, at every one of its pauses."""
    for _ in range(100):
        try:
            return trained(name, StoppingKeeper(place, 1), **changes)
        except Stopped:
            continue
    pytest.fail("it does not come to an end")


def stopped_once(place, name, at, **changes):
    with pytest.raises(Stopped):
        trained(name, StoppingKeeper(place, at), **changes)
    outcome = trained(name, Keeper(place, MADE_OF, 5), **changes)
    shutil.rmtree(place)
    return outcome


CONVOLUTIONS = [{"channels": 3, "kernel": 3, "padding": 1, "pool": 2}, {"channels": 5, "kernel": 3, "padding": 1, "pool": 1}]
TWO_CONVOLUTIONS = {"name": "cnn", "convolutions": CONVOLUTIONS, "hidden": [], "activation": "relu"}  # the second has a layout to keep
ONE_WEIGHT = {"name": "linear", "bias": False}

RICH = {
    "numbers": {"optimizer": {"name": "LBFGS", "max_iter": 3}, "lr": 0.1},
    "patients": {"patience": 1, "schedule": {"name": "ReduceLROnPlateau", "interval": "epoch", "patience": 0}, "lr": 0.1},
    "shapes": {
        "architecture": TWO_CONVOLUTIONS,
        "augment": [{"name": "RandomHorizontalFlip", "p": 0.5}, {"name": "RandomAffine", "degrees": 10}],
        "ema": 0.9,
        "clip_norm": 1.0,
        "schedule": {"name": "OneCycleLR", "interval": "step"},
    },
    "spots": {"architecture": TWO_CONVOLUTIONS, "optimizer": {"name": "SGD", "momentum": 0.9}, "best_by": "metric"},
    "tags": {"augment": [{"name": "RandomHorizontalFlip", "p": 0.5}], "best_by": "metric", "ema": 0.9},
    "words": {
        "architecture": TOYS["words"] | {"dropout": 0.5, "character_dropout": 0.2},
        "optimizer": {"name": "AdamW"},
        "late_dropout": 0.4,
    },
    "codes": {"schedule": {"name": "MultiStepLR", "interval": "epoch", "milestones": [1, 2]}},
    "zines": {"optimizer": {"name": "AdamW"}, "ema": 0.9},
    "yachts": {"optimizer": {"name": "AdamW"}, "clip_norm": 1.0, "patience": 2},
    "yields": {"optimizer": {"name": "AdamW"}, "ema": 0.9, "best_by": "metric"},
}


@pytest.mark.parametrize("name", TOYS)
def test_a_run_that_is_stopped_at_every_pause_ends_as_one_that_never_was(name, device, place):
    changes = RICH[name] | {"device": device}
    assert stopped_everywhere(place, name, **changes) == trained(name, NoKeeper(), **changes)


@pytest.mark.parametrize("name", optimizer_names())
def test_every_optimizer_goes_on_where_it_was(name, place, rng):
    """Weights of convolutions lie in memory by channels, and what an optimizer keeps for them must too."""
    optimizer = {"name": name, **NEEDED.get(name, {}), **({"momentum": 0.9} if name == "SGD" else {})}
    # GridSearch takes one weight, and Muon matrices.
    toys = {"numbers": ONE_WEIGHT} if name in ("GridSearch", "Muon") else {"numbers": ONE_WEIGHT, "shapes": TWO_CONVOLUTIONS}
    for data, architecture in toys.items():
        changes = {"optimizer": optimizer, "architecture": architecture}
        assert stopped_once(place, data, rng.randrange(1, 11), **changes) == trained(data, NoKeeper(), **changes)


@pytest.mark.parametrize("name", schedule_names())
def test_every_schedule_goes_on_where_it_was(name, place, rng):
    for interval in ("step", "epoch") if name != "ReduceLROnPlateau" else ("epoch",):
        schedule = {"name": name, "interval": interval, **SCHEDULE_NEEDS.get(name, {})}
        changes = {"schedule": schedule, "optimizer": {"name": "SGD", "momentum": 0.9}}
        assert stopped_once(place, "numbers", rng.randrange(1, 11), **changes) == trained("numbers", NoKeeper(), **changes)


# Killed and stopped processes


LONG = {
    "epochs": 800,
    "ema": 0.9,
    "augment": [{"name": "RandomAffine", "degrees": 10}],
    "schedule": {"name": "OneCycleLR", "interval": "step"},
}


def start(own):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stages.train", "own"]
    return subprocess.Popen(command, cwd=own.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_a_state(own, process):
    deadline = time.monotonic() + 60
    while not (own.root / "logs" / "resume" / "own" / "last").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.01)


def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bytes(project, rng):
    own = project("shapes", **LONG)
    train("own")
    expected = own.contents()
    own.forget()
    shutil.rmtree(own.folder)
    for _ in range(2):
        process = start(own)
        wait_for_a_state(own, process)
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=rng.uniform(0, 0.5))
        process.kill()
        process.communicate()
        assert own.contents() == {}
    train("own")
    assert own.contents() == expected


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGHUP))]
)
def test_a_signal_saves_the_run_and_ends_it_and_meanwhile_no_other_process_can_train_it(number, project, monkeypatch):
    own = project("shapes", **LONG)
    process = start(own)
    wait_for_a_state(own, process)
    with pytest.raises(UserError, match="Another process is training own here: "):
        train("own")
    asked = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate()
    assert time.monotonic() - asked < 10 and process.returncode == 128 + number
    (said,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert said.startswith(f"error: Stopped by {number.name} at epoch ") and said.endswith("the next run resumes there.")
    assert "Traceback" not in errors and own.contents() == {}
    assert (own.root / "logs/resume/own/last").exists()


def test_a_signal_that_the_process_was_told_to_ignore_does_not_end_it(place):
    """As nohup does with SIGHUP, and a shell with SIGINT of what runs in its background."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Keeper(place, MADE_OF, 5) as keeper:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not keeper.asked and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) == keeper._ask
    finally:
        signal.signal(signal.SIGHUP, before)


def stop_in_the_middle(own, monkeypatch, at=5):
    """Leaves the state of a run that was stopped at that pause."""

    def pause(self, run):
        self.count = getattr(self, "count", 0) + 1
        self.asked = signal.SIGTERM if self.count == at else 0
        Keeper.pause(self, run)

    with monkeypatch.context() as patch:
        patch.setattr("stages.train.Keeper", type("Stopping", (Keeper,), {"pause": pause}))
        with pytest.raises(Stopped):
            train("own")
    return own.root / "logs" / "resume" / "own" / "last"


# What is not this run's own


def trained_anew(own):
    own.forget()
    train("own")
    return own.contents()


def sealed(content):
    return content + hashlib.sha256(content).digest()


def replaced(make):
    """A named pipe would be waited for, and a folder cannot be read."""

    def replace(path):
        path.unlink()
        make(path)

    return replace


def changed(change):
    return lambda path: path.write_bytes(change(path.read_bytes()))


def with_another_network(content):
    """Whole, and with this run's own ingredients, but with another network's weights: somebody has made it."""
    saved = from_bytes(content)
    saved["state"]["network"] = {"weight": torch.zeros(3)}
    return as_bytes(saved)


DAMAGES = {
    "cut": changed(lambda content: content[: len(content) // 2]),
    "a bit": changed(lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:]),
    "no tree": changed(lambda _: sealed(save({"weight": torch.zeros(1)}))),
    "another tree": changed(lambda _: as_bytes({"state": 1})),
    "no JSON": changed(lambda _: sealed(save({"tree": torch.zeros(3, dtype=torch.uint8)}))),
    "a pickle": changed(lambda _: sealed(b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix")),
    "a pipe": replaced(os.mkfifo),
    "a folder": replaced(os.mkdir),
    "another network": changed(with_another_network),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_set_aside_and_the_run_starts_anew(damage, project, monkeypatch, capsys):
    own = project("shapes")
    last = stop_in_the_middle(own, monkeypatch)
    DAMAGES[damage](last)
    train("own")
    errors, made = capsys.readouterr().err, own.contents()
    how = "does not fit its run (RuntimeError: " if damage == "another network" else "is damaged ("
    assert f"warning: logs/resume/own/last {how}" in errors and "renamed to last.damaged and not used." in errors
    assert "()" not in errors and "resuming" not in errors
    assert last.with_name("last.damaged").exists() and made == trained_anew(own)


def test_a_state_that_cannot_be_set_aside_is_an_error_that_names_it(project, monkeypatch):
    last = stop_in_the_middle(project("shapes"), monkeypatch)
    last.write_bytes(b"")
    last.with_name("last.damaged").mkdir()
    with pytest.raises(IsADirectoryError) as error:
        train("own")
    assert error.value.filename == "logs/resume/own/last"


OTHERS = {
    "params": lambda own: own.params["models"]["own"]["train"].update(lr=0.02),
    "data": lambda own: (own.processed / "val.safetensors").write_bytes((own.processed / "train.safetensors").read_bytes()),
    "threads": lambda own: own.params["runtime"].update(threads=2),
    "save_minutes": lambda own: own.params["runtime"].update(save_minutes=0.5),  # which decides nothing
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_state_of_another_run_is_set_aside_with_what_is_other(other, project, monkeypatch, capsys):
    own = project("shapes")
    stop_in_the_middle(own, monkeypatch)
    OTHERS[other](own)
    own.write()
    train("own")
    errors, what = capsys.readouterr().err, "data" if other == "data" else "params"
    if other == "save_minutes":
        assert "own: resuming at epoch 2 of 3" in errors
        return
    assert f"warning: logs/resume/own/last is of another run (different {what}): renamed to last.other" in errors
    assert "resuming" not in errors and own.contents() == trained_anew(own)


def test_code_libraries_and_device_are_ingredients(monkeypatch):
    first = ingredients({}, [], ["architectures/cnn"], CPU)
    assert first == ingredients({}, [], ["architectures/cnn"], CPU) and first != ingredients({}, [], ["architectures/mlp"], CPU)
    monkeypatch.setattr(resume, "version", lambda _: "9.9")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "none")
    other = ingredients({}, [], ["architectures/cnn"], CPU)
    assert [name for name in first if first[name] != other[name]] == ["libraries", "device"]


# A run that came to its end


def test_a_run_that_ended_and_was_lost_is_there_at_once_and_trained_again_if_dvc_has_noted_it(project, monkeypatch, capsys):
    """Killed between its end and DVC's note of it: nothing is trained again."""
    own = project("shapes")
    train("own")
    first = own.contents()
    shutil.rmtree(own.folder)
    assert not is_recorded(first[CHECKPOINT])
    capsys.readouterr()
    train("own")
    assert "own: resuming after the last epoch, 3 (logs/resume/own/last)" in capsys.readouterr().err
    assert own.contents() == first

    (own.root / "dvc.lock").write_text(f"md5: {hashlib.md5(first[CHECKPOINT]).hexdigest()}\n")
    steps = []
    monkeypatch.setattr("stages.train.Keeper", type("Counting", (Keeper,), {"pause": lambda *_: steps.append(1)}))
    train("own")
    assert own.contents() == first and len(steps) >= 9
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == "own: dvc.lock has this result already; training again from the start."
    assert said.out.count("own: best epoch ") == 1

    own.params["models"]["own"]["train"]["lr"] = 0.02
    own.write()
    train("own")
    assert "warning" not in capsys.readouterr().err, "the state of a run that ended gives way without a word"
    assert [path.name for path in (own.root / "logs" / "resume" / "own").iterdir()] == ["last"]


def test_a_signal_after_the_last_pause_still_ends_the_stage(project, monkeypatch):
    project("shapes")
    ended = []
    monkeypatch.setattr("signal.raise_signal", ended.append)

    def end_epoch(self, run):
        Keeper.end_epoch(self, run)
        self.asked = signal.SIGTERM if run.is_over else 0

    monkeypatch.setattr("stages.train.Keeper", type("Late", (Keeper,), {"end_epoch": end_epoch}))
    train("own")
    assert ended == [signal.SIGTERM]


def test_a_lack_of_memory_leaves_the_state_where_it_is(project, monkeypatch):
    def no_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    last = stop_in_the_middle(project("shapes"), monkeypatch)
    monkeypatch.setattr("stages.training.run.Run.load", no_memory)
    with pytest.raises(UserError, match="Out of memory"):
        train("own")
    assert [path.name for path in last.parent.iterdir()] == ["last"]


# Saving


def test_a_run_is_saved_every_few_minutes_and_after_every_epoch_that_is_worth_it(place, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    keeper, saved = Keeper(place, MADE_OF, 1.0), []

    class Counting:
        is_over, place = False, "here"

        def state(self):
            now[0] += 1  # a second for each
            saved.append(now[0])
            return {}

    run = Counting()
    keeper.pause(run)
    assert not saved
    now[0] = 61
    keeper.pause(run)
    assert saved == [62]
    now[0] = 70
    keeper.end_epoch(run)
    assert saved == [62], "a second in eight is too much"
    now[0] = 83
    keeper.end_epoch(run)
    assert saved == [62, 84]


def full(_):
    raise OSError(28, "No space left on device")


def test_a_full_disk_costs_the_state_and_not_the_run_and_what_is_said_of_it_is_true(place, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(resume, "write_files", full)
        with pytest.raises(Stopped, match=r"step 1: the next run starts from scratch\.$"):
            trained("shapes", StoppingKeeper(place, 0))
        assert "warning: the state of own cannot be saved ([Errno 28] No space left on device)" in capsys.readouterr().err
    with pytest.raises(Stopped, match=r"step 1: the next run resumes there\.$"):
        trained("shapes", StoppingKeeper(place, 0))
    monkeypatch.setattr(resume, "write_files", full)
    with pytest.raises(Stopped, match=r"step 2: the next run resumes from the last saved state\.$"):
        trained("shapes", StoppingKeeper(place, 0))


def test_a_folder_that_cannot_be_made_costs_the_states_and_not_the_run(project, capsys):
    own = project("shapes")
    (own.root / "logs").mkdir()
    (own.root / "logs" / "resume").write_bytes(b"")
    train("own")
    errors = capsys.readouterr().err
    assert errors.count("warning: the state of own cannot be saved (") == 1, "at the first epoch, and not again at each"
    assert list(own.contents()) == [CHECKPOINT, "plots/learning_curve.csv", "training.json"]


# The file


def test_every_value_comes_back_as_it_was():
    tensors = [torch.randn(2, 3), torch.zeros(0), torch.tensor(3), torch.ones(4, dtype=torch.uint8), torch.randn(4, 3).t().bfloat16()]
    tree = {0: tensors, "a": (1, None, True, 0.1, math.inf, -math.inf, "é"), "b": {"c": [], "d": {}, "e": ()}, "f": tensors[0]}
    content = as_bytes(tree)
    back = from_bytes(content)
    assert back["a"] == tree["a"] and back["b"] == tree["b"] and list(back) == list(tree)
    assert all(torch.equal(one, other) and one.dtype == other.dtype for one, other in zip(back[0], tensors, strict=True))
    assert math.isnan(from_bytes(as_bytes(math.nan)))
    assert json.loads(load(content[:-32])["tree"].numpy().tobytes())["dict"][0][0] == 0, "no pickle"
    with pytest.raises(TypeError, match="a function cannot be saved"):
        as_bytes({"schedule": lambda: 1})
