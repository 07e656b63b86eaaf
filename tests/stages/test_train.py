"""`python -m stages.train MODEL` over one toy of every kind: what it writes, the same bytes again, and nothing half-written."""

import csv
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stages import train as stage
from stages.architectures import linear
from stages.common.shelves import take_task
from stages.common.splits import SplitWriter
from stages.modelling.model import load_checkpoint
from stages.shell.errors import UserError, run_stage
from stages.train import train
from stages.training import loop
from tests.toy import ROOT, TOYS, Data, Project, recipe, toy

CHECKPOINT, CURVE, FIGURES = "checkpoint.safetensors", "plots/learning_curve.csv", "training.json"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda name, **changes: Project(tmp_path, name, **changes)


def curve(own):
    return list(csv.DictReader(io.StringIO(own.contents()[CURVE].decode())))


@pytest.mark.parametrize("name", TOYS)
def test_every_kind_of_task_is_trained_to_the_same_bytes_each_time(name, project):
    own = project(name)
    train("own")
    first, rows, metric = own.contents(), curve(own), take_task(own.data.meta.task).SCORE
    assert list(first) == [CHECKPOINT, CURVE, FIGURES]
    model, description = load_checkpoint(own.folder / CHECKPOINT)
    assert model.meta == own.data.meta and description["architecture"] == TOYS[name]
    best_epoch = description["training"]["best_epoch"]
    assert 1 <= best_epoch <= 3
    assert description["training"] == {"best_epoch": best_epoch, "epochs": 3, "seed": 0, "recipe": recipe(own.data)}

    assert [(row["epoch"], row["split"]) for row in rows] == [(str(epoch), split) for epoch in (1, 2, 3) for split in ("train", "val")]
    assert list(rows[0]) == ["epoch", "split", "loss", metric, "lr"]
    assert all(math.isfinite(float(row[key])) for row in rows for key in ("loss", metric, "lr"))
    best = rows[2 * best_epoch - 1]
    expected = {"best_epoch": best_epoch, "epochs": 3, "val_loss": float(best["loss"]), f"val_{metric}": float(best[metric])}
    assert json.loads(first[FIGURES]) == pytest.approx(expected, abs=1e-6)

    (folder,) = (own.root / "logs" / "tensorboard" / "own").iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    logged = [(point.step, point.value) for point in events.Scalars("loss/val")]
    assert logged == [(int(row["epoch"]), pytest.approx(float(row["loss"]))) for row in rows if row["split"] == "val"]
    assert {"lr", "loss/train", f"{metric}/train", f"{metric}/val"} <= set(events.Tags()["scalars"]) and events.Tags()["graph"]

    own.forget()
    train("own")
    assert own.contents() == first


def test_the_best_epoch_is_what_is_kept_and_another_seed_gives_another(project):
    own = project("shapes", epochs=8, lr=0.3, best_by="metric")
    train("own")
    first, (model, description) = own.contents(), load_checkpoint(own.folder / CHECKPOINT)
    accuracy = [float(row["accuracy"]) for row in curve(own) if row["split"] == "val"]
    best = description["training"]["best_epoch"]
    assert best == accuracy.index(max(accuracy)) + 1
    inputs, targets = own.data.splits["val"]
    with torch.no_grad():
        assert (model(torch.from_numpy(inputs))[1].numpy() == targets).mean() == pytest.approx(accuracy[best - 1])
    own.params["runtime"]["seed"] = 1
    own.write()
    train("own")
    assert own.contents()[CHECKPOINT] != first[CHECKPOINT]


def test_the_curve_of_a_grid_search_has_the_weight_that_was_tried(project):
    architecture, optimizer = {"name": "linear", "bias": False}, {"name": "GridSearch", "start": 1.0}
    own = project("numbers", architecture=architecture, optimizer=optimizer, lr=0.5, batch_size=24, epochs={"sample": 2, "official": 4})
    train("own")
    weights = [float(row["weight"]) for row in curve(own) if row["split"] == "train"]
    assert weights == [1.0, 1.5, 2.0, 2.5], "as many epochs as the source is given: a toy is generated, and no sample"


def test_without_val_the_curve_is_train_s_alone(project):
    data = toy("numbers")
    meta = data.meta.model_copy(update={"counts": data.meta.counts | {"val": data.meta.counts["val"].model_copy(update={"total": 0})}})
    own = project("numbers", data=Data(meta, data.splits | {"val": tuple(values[:0] for values in data.splits["val"])}))
    train("own")
    assert [row["split"] for row in curve(own)] == ["train"] * 3
    assert list(json.loads(own.contents()[FIGURES])) == ["best_epoch", "epochs", "train_loss", "train_mae"]


@pytest.mark.parametrize("flag", [None, False])
def test_an_architecture_may_say_that_its_steps_cannot_be_recorded(flag, project, monkeypatch):
    if flag is not None:
        monkeypatch.setattr(linear, "CUDA_GRAPHS", flag, raising=False)
    seen, original = [], stage.fit_shown
    monkeypatch.setattr(stage, "fit_shown", lambda name, run, keeper: seen.append(run.graphs) or original(name, run, keeper))
    project("numbers")
    train("own")
    assert seen == [flag is None]


def test_the_command_gives_the_same_bytes_whatever_threads_the_environment_asks_for_and_imports_no_compiler(tmp_path, monkeypatch):
    """Here the environment asks for one thread (tests/conftest.py), there for three; runtime.threads is two in both."""
    architecture, contents = {"name": "mlp", "hidden": [512, 512], "activation": "relu"}, []
    for folder in ("here", "there"):
        own = Project(tmp_path / folder, "shapes", architecture=architecture, epochs=1, batch_size=24)
        own.params["runtime"]["threads"] = 2
        own.write()
        if folder == "here":
            monkeypatch.chdir(own.root)
            train("own")
            torch.set_num_threads(1)
        else:
            environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3"}
            command = [sys.executable, "-X", "importtime", "-m", "stages.train", "own"]
            finished = subprocess.run(command, cwd=own.root, env=environment, capture_output=True, text=True, check=True)
            assert finished.stdout.startswith("own: best epoch 1 of 1: train_loss ")
            imported = {line.split("|")[-1].strip() for line in finished.stderr.splitlines()}
            assert "torch.optim.optimizer" in imported and not imported & {"torch._dynamo", "torchvision"}
        contents.append(own.contents())
    assert contents[0] == contents[1] and list(contents[0]) == [CHECKPOINT, CURVE, FIGURES]


# Failures leave what was there


class Broken(Exception):
    """Something that nobody foresaw."""


def no_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def no_memory_on_the_cpu(*_):
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 9 bytes.")


def no_memory_for_a_split(*_):
    raise MemoryError


def unforeseen(*_):
    raise Broken


@pytest.mark.parametrize(
    ("place", "failure"),
    [
        ("stages.train.fit_shown", no_memory),
        ("stages.training.loop.forward", no_memory_on_the_cpu),
        ("stages.train.build_network", no_memory_on_the_cpu),
        ("stages.train.SplitFile.read", no_memory_for_a_split),
    ],
)
def test_running_out_of_memory_ends_in_a_sentence_that_names_what_to_lower(place, failure, project, monkeypatch):
    project("shapes")
    monkeypatch.setattr(place, failure)
    lower = r"models\.own\.train\.batch_size \(now 8\), runtime\.stream_above_mb \(now 1000\) .* sizes of models\.own\.architecture"
    with pytest.raises(UserError, match=rf"Out of memory on cpu: lower {lower}"):
        train("own")


def test_a_failure_leaves_the_earlier_checkpoint_as_it_was(project, monkeypatch):
    own = project("numbers")
    train("own")
    before, original, count = own.contents(), loop.epoch_scores, []
    own.forget()

    def failing_in_the_second_epoch(*arguments):
        count.append(1)
        return original(*arguments) if len(count) < 2 else unforeseen()

    with monkeypatch.context() as patch:
        patch.setattr(loop, "epoch_scores", failing_in_the_second_epoch)
        with pytest.raises(Broken):
            train("own")
    assert own.contents() == before
    own.params["models"]["own"]["train"] |= {"lr": 50.0, "optimizer": {"name": "SGD"}, "epochs": 20}
    own.write()
    with pytest.raises(UserError, match=r"lower models\.own\.train\.lr \(now 50\)"):
        train("own")
    assert own.contents() == before


# Mistakes


def said_of_a_mistake(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["stages.train", "own"])
    with pytest.raises(SystemExit) as left:
        run_stage(train, usage="python -m stages.train MODEL")
    assert left.value.code == 1
    return capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_said_before_the_first_epoch(project, monkeypatch, capsys):
    project("shapes").folder.parent.mkdir()
    Path("models/own").touch()
    monkeypatch.setattr(stage, "fit_shown", unforeseen)
    said = "models/own cannot be used (Not a directory): fix the path or its permissions, and run the stage again."
    assert said_of_a_mistake(monkeypatch, capsys) == f"error: {said}\n"


def vision(model):
    return {"name": "torchvision_classifier", "model": model, "weights": "none", "frozen": False}


CODES = TOYS["codes"] | {"linear": False, "hidden": 7, "embedding": 4}
FAST = {"name": "fast_resnet", "first": {"channels": 4, "kernel": 3, "stride": 1}, "channels": [4, 4, 4], "logit_scale": 1.0}
MISTAKES = [
    ("shapes", {"optimizer": {"name": "Adm"}}, "models.own.train.optimizer.name is 'Adm'"),
    ("shapes", {"architecture": {"name": "mlp", "hidden": [], "activation": "tanh"}}, "models.own.architecture.activation is 'tanh'"),
    ("shapes", {"architecture": {"name": "inception", "channels": [4, 4, 4]}}, "own.architecture does not fit shapes's inputs of 8x8x1: "),
    ("shapes", {"architecture": vision("resnet18")}, "own.architecture does not fit shapes's inputs of 8x8x1: "),
    ("shapes", {"architecture": vision("vit_b_32")}, "own.architecture does not fit shapes's inputs of 8x8x1: Wrong image height"),
    ("codes", {"architecture": CODES}, "models.own.architecture gives 7 outputs, but codes needs 3: change its sizes"),
    ("shapes", {"architecture": FAST, "batch_size": 23}, "cannot be trained on a batch of 1x1x8x8 "),  # of one, normalised
]


@pytest.mark.parametrize(("name", "changes", "message"), MISTAKES)
def test_a_mistake_in_params_is_one_sentence(name, changes, message, project, monkeypatch, capsys):
    own = project(name, **changes)
    errors = said_of_a_mistake(monkeypatch, capsys)
    assert errors.splitlines()[-1].startswith("error: ") and message in errors.splitlines()[-1]
    assert "Traceback" not in errors and not own.folder.exists()


def test_a_family_s_file_that_fails_is_named(project, monkeypatch):
    project("numbers")
    monkeypatch.setattr(linear, "build", lambda params, meta: params.biass)
    with pytest.raises(UserError, match=r"stages/architectures/linear\.py fails on numbers's inputs of 1 \(AttributeError: .*\): fix the"):
        train("own")


def test_a_gpu_that_is_not_there_is_refused(project, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    own = project("shapes")
    own.params["runtime"]["device"] = "cuda"
    own.write()
    with pytest.raises(UserError, match=r"runtime\.device is cuda, but torch finds no CUDA device here: set it to auto or cpu"):
        train("own")


@pytest.mark.parametrize("augment", [[{"name": "RandomCrop", "size": 8}], []])
def test_pictures_of_train_may_be_larger_than_the_networks_if_they_are_cut(augment, project):
    own = project("shapes", augment=augment)
    inputs, targets = own.data.splits["train"]
    with SplitWriter(own.processed / "train.safetensors", (10, 10, 1), "uint8", (), "int64") as writer:
        writer.add(np.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0))), targets)
    if augment:
        train("own")
        assert list(own.contents()) == [CHECKPOINT, CURVE, FIGURES]
    else:
        with pytest.raises(UserError, match=r"The network cannot be trained on a batch of \d+x1x10x10 .*models\.own\.train\.augment"):
            train("own")
