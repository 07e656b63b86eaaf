"""`python -m stages.train MODEL` over one toy of every kind: what it writes, the same bytes again, and nothing half-written."""

import csv
import errno
import io
import json
import math
import os
import subprocess
import sys

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
from tests.toy import ROOT, TOYS, Data, Project, data_of, recipe, toy

CHECKPOINT, CURVE, FIGURES = "checkpoint.safetensors", "plots/learning_curve.csv", "training.json"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda name, **changes: Project(tmp_path, name, **changes)


def curve(own):
    return list(csv.DictReader(io.StringIO(own.contents()[CURVE].decode())))


def figures(own):
    return json.loads(own.contents()[FIGURES])


@pytest.mark.parametrize("name", TOYS)
def test_every_kind_of_task_is_trained_to_a_checkpoint_and_a_curve(name, project):
    own = project(name)
    train("own")
    assert list(own.contents()) == [CHECKPOINT, CURVE, FIGURES]
    model, description = load_checkpoint(own.folder / CHECKPOINT)
    assert model.meta == own.data.meta and description["architecture"] == TOYS[name]
    training = description["training"]
    assert 1 <= training["best_epoch"] <= 3 and training["epochs"] == 3 and training["seed"] == 0
    assert training["recipe"] == recipe(own.data)


def test_a_training_has_as_many_epochs_as_its_data_s_source_is_given(project):
    own = project("numbers", epochs={"sample": 2, "official": 4})
    train("own")
    assert load_checkpoint(own.folder / CHECKPOINT)[1]["training"]["recipe"]["epochs"] == 4  # a toy is generated, and no sample


@pytest.mark.parametrize("flag", [None, True, False])
def test_an_architecture_may_say_that_its_steps_cannot_be_recorded(flag, project, monkeypatch):
    if flag is not None:
        monkeypatch.setattr(linear, "CUDA_GRAPHS", flag, raising=False)
    seen = []
    original = stage.fit_shown
    monkeypatch.setattr(stage, "fit_shown", lambda name, training, keeper: seen.append(training.graphs) or original(name, training, keeper))
    project("numbers")
    train("own")
    assert seen == [flag is not False]


@pytest.mark.parametrize("name", TOYS)
def test_the_learning_curve_has_a_row_an_epoch_and_split(name, project):
    own = project(name)
    train("own")
    rows, metric = curve(own), take_task(own.data.meta.task).SCORE
    assert list(rows[0]) == ["epoch", "split", "loss", metric, "lr"]
    assert [(row["epoch"], row["split"]) for row in rows] == [(str(epoch), split) for epoch in (1, 2, 3) for split in ("train", "val")]
    assert all(math.isfinite(float(row[key])) for row in rows for key in ("loss", metric, "lr"))


@pytest.mark.parametrize("name", TOYS)
def test_the_figures_are_the_best_epochs_on_val(name, project):
    own = project(name)
    train("own")
    metric = take_task(own.data.meta.task).SCORE
    made = figures(own)
    best = next(row for row in curve(own) if row["split"] == "val" and int(row["epoch"]) == made["best_epoch"])
    assert made == {
        "best_epoch": load_checkpoint(own.folder / CHECKPOINT)[1]["training"]["best_epoch"],
        "epochs": 3,
        "val_loss": round(float(best["loss"]), 6),
        f"val_{metric}": round(float(best[metric]), 6),
    }


def test_the_curve_of_a_grid_search_has_the_weight_that_was_tried(project):
    architecture, optimizer = {"name": "linear", "bias": False}, {"name": "GridSearch", "start": 1.0}
    own = project("numbers", architecture=architecture, optimizer=optimizer, lr=0.5, batch_size=24)
    train("own")
    assert [float(row["weight"]) for row in curve(own) if row["split"] == "train"] == [1.0, 1.5, 2.0]


def test_the_checkpoint_is_that_of_the_best_epoch(project):
    own = project("shapes", epochs=8, lr=0.3, best_by="metric")
    train("own")
    model, description = load_checkpoint(own.folder / CHECKPOINT)
    accuracy = [float(row["accuracy"]) for row in curve(own) if row["split"] == "val"]
    best = description["training"]["best_epoch"]
    assert best == accuracy.index(max(accuracy)) + 1
    inputs, targets = own.data.splits["val"]
    with torch.no_grad():
        assert (model(torch.from_numpy(inputs))[1].numpy() == targets).mean() == pytest.approx(accuracy[best - 1])


def test_without_val_the_curve_is_train_s_alone(project):
    data = toy("numbers")
    meta = data.meta.model_copy(update={"counts": data.meta.counts | {"val": data.meta.counts["val"].model_copy(update={"total": 0})}})
    own = project("numbers", data=Data(meta, data.splits | {"val": tuple(values[:0] for values in data.splits["val"])}))
    train("own")
    assert [row["split"] for row in curve(own)] == ["train"] * 3
    assert list(figures(own)) == ["best_epoch", "epochs", "train_loss", "train_mae"]


# The same bytes


@pytest.mark.parametrize("name", TOYS)
def test_a_second_run_gives_the_same_bytes(name, project):
    own = project(name)
    train("own")
    first = own.contents()
    own.forget()
    train("own")
    assert own.contents() == first


def test_another_seed_gives_others(project):
    own = project("shapes")
    train("own")
    first = own.contents()
    own.params["runtime"]["seed"] = 1
    own.write()
    train("own")
    assert own.contents()[CHECKPOINT] != first[CHECKPOINT]


def test_the_command_gives_the_same_bytes_whatever_threads_the_environment_asks_for_and_imports_no_compiler(tmp_path, monkeypatch):
    """Here the environment asks for one thread (tests/conftest.py), there for three; runtime.threads is two in both."""
    architecture, contents = {"name": "mlp", "hidden": [64, 64], "activation": "relu"}, []
    for folder in ("here", "there"):
        own = Project(tmp_path / folder, "mnist", architecture=architecture, data=data_of("mnist_mlp"), epochs=1, batch_size=128)
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


def test_a_mistake_is_one_sentence_and_an_exit_code_of_one(project, monkeypatch, capsys):
    own = project("numbers", loss={"name": "CrossEntropy"})
    monkeypatch.setattr(sys, "argv", ["stages.train", "own"])
    with pytest.raises(SystemExit) as left:
        run_stage(train, usage="python -m stages.train MODEL")
    errors = capsys.readouterr().err
    assert left.value.code == 1
    assert errors.splitlines()[-1].startswith("error: params.yaml: models.own.train.loss.name is CrossEntropy, which does not fit")
    assert "Traceback" not in errors and not own.folder.exists()


def a_file_in_its_place(folder, _):
    folder.parent.mkdir()
    folder.touch()
    return f"{folder} cannot be used (Not a directory)"


def a_folder_that_refuses(folder, monkeypatch):
    """Root may write anywhere, so that a folder's permissions would show nothing there."""

    def refuse(dir):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"{dir}/tmpx")

    folder.mkdir(parents=True)
    monkeypatch.setattr("stages.shell.refusals.tempfile.TemporaryFile", refuse)
    return f"{folder} cannot be used (Permission denied)"


@pytest.mark.parametrize("spoil", [a_file_in_its_place, a_folder_that_refuses])
def test_a_place_that_cannot_be_written_is_said_before_the_first_epoch(spoil, project, monkeypatch, capsys):
    own = project("shapes")
    said = spoil(own.folder.relative_to(own.root), monkeypatch)
    monkeypatch.setattr(stage, "fit_shown", unforeseen)
    monkeypatch.setattr(sys, "argv", ["stages.train", "own"])
    with pytest.raises(SystemExit) as left:
        run_stage(train, usage="python -m stages.train MODEL")
    assert left.value.code == 1
    assert capsys.readouterr().err == f"error: {said}: fix the path or its permissions, and run the stage again.\n"


# Failures leave what was there


class Broken(Exception):
    """Something that nobody foresaw."""


def no_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def no_memory_on_the_cpu(*_):
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 9 bytes.")


def unforeseen(*_):
    raise Broken


def failing_in_the_middle(monkeypatch, failure):
    """The second epoch's measurement fails."""
    original, count = loop.epoch_scores, []

    def epoch_scores(*arguments):
        count.append(1)
        return original(*arguments) if len(count) < 2 else failure()

    monkeypatch.setattr(loop, "epoch_scores", epoch_scores)


@pytest.mark.parametrize("failure", [no_memory, no_memory_on_the_cpu])
def test_running_out_of_memory_ends_in_a_sentence_that_names_the_batch_size(failure, project, monkeypatch):
    project("shapes")
    failing_in_the_middle(monkeypatch, failure)
    with pytest.raises(UserError, match=r"Out of memory on cpu: lower models\.own\.train\.batch_size \(now 8\)"):
        train("own")


def test_a_split_that_memory_cannot_hold_names_the_limit_above_which_it_is_streamed(project, monkeypatch):
    def read(*_):
        raise MemoryError

    project("shapes")
    monkeypatch.setattr(stage.SplitFile, "read", read)
    with pytest.raises(UserError, match=r"train\.safetensors \(0 MB\) does not fit in memory: lower runtime\.stream_above_mb \(now 1000\)"):
        train("own")


def test_what_looks_like_another_error_is_not_called_a_lack_of_memory(project, monkeypatch):
    project("shapes")
    monkeypatch.setattr(stage, "fit_shown", lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        train("own")


@pytest.mark.parametrize("failure", [no_memory, unforeseen])
def test_a_failure_leaves_the_earlier_checkpoint_as_it_was(failure, project, monkeypatch):
    own = project("shapes")
    train("own")
    before = own.contents()
    own.forget()
    failing_in_the_middle(monkeypatch, failure)
    with pytest.raises((UserError, Broken)):
        train("own")
    assert own.contents() == before


def test_a_loss_that_explodes_leaves_the_earlier_checkpoint_as_it_was(project):
    own = project("numbers")
    train("own")
    before = own.contents()
    own.params["models"]["own"]["train"] |= {"lr": 50.0, "optimizer": {"name": "SGD"}, "epochs": 20}
    own.write()
    with pytest.raises(UserError, match=r"lower models\.own\.train\.lr \(now 50\)"):
        train("own")
    assert own.contents() == before


# Mistakes

NO_WEIGHTS = {"sample": "none", "official": "none"}
MISTAKES = [
    ({"optimizer": {"name": "Adm"}}, r"models\.own\.train\.optimizer\.name is 'Adm'"),
    ({"loss": {"name": "BCE"}}, r"models\.own\.train\.loss\.name is BCE"),
    ({"schedule": {"name": "StepLR", "interval": "batch", "step_size": 1}}, r"schedule\.interval is 'batch'; expected 'step' or 'epoch'"),
    ({"augment": [{"name": "Flip"}]}, r"models\.own\.train\.augment\[0\]\.name is 'Flip'"),
    ({"epochs": 1.5}, r"models\.own\.train\.epochs is 1\.5"),
    ({"architecture": {"name": "mlp", "hidden": [], "activation": "tanh"}}, r"models\.own\.architecture\.activation is 'tanh'"),
    (
        {"architecture": {"name": "inception", "channels": [4, 4, 4]}},
        r"models\.own\.architecture does not fit shapes's inputs of \d+x\d+x1: ",
    ),
    (
        {"architecture": {"name": "torchvision_classifier", "model": "resnet18", "weights": NO_WEIGHTS, "frozen": False}},
        r"models\.own\.architecture does not fit shapes's inputs of \d+x\d+x1: .*channels",
    ),
    (
        {"loss": {"name": "CrossEntropy", "weight": [1, 1, 1, 1]}},
        r"models\.own\.train\.loss\.weight has 4 numbers, but the network has 3 outputs",
    ),
    ({"lr": 1e300}, r"models\.own\.train\.lr is 1e\+300; expected less than or equal to 1000000"),
    ({"optimizer": {"name": "SGD"}, "schedule": {"name": "OneCycleLR", "interval": "step", "total_steps": 4}}, r"schedule ends after 4 of"),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
def test_a_mistake_in_params_is_named(changes, message, project):
    own = project("shapes", **changes)
    with pytest.raises(UserError, match=message):
        train("own")
    assert not own.folder.exists()


def test_a_network_of_another_width_than_the_dataset_s_classes_is_refused(project):
    project("codes", architecture=TOYS["codes"] | {"linear": False, "hidden": 7, "embedding": 4})
    with pytest.raises(UserError, match=r"models\.own\.architecture gives 7 outputs, but codes needs \d: change its sizes"):
        train("own")


def test_class_weights_are_taken_as_whole_numbers_too(project):
    own = project("shapes", loss={"name": "CrossEntropy", "weight": [1, 2, 3]})
    train("own")
    assert list(own.contents()) == [CHECKPOINT, CURVE, FIGURES]


@pytest.mark.parametrize("key", ["architecture", "dataset", "train"])
def test_an_entry_without_one_of_its_keys_is_refused(key, project):
    own = project("shapes")
    del own.params["models"]["own"][key]
    own.write()
    with pytest.raises(UserError, match=rf"params\.yaml has no models\.own\.{key}; known there: "):
        train("own")


@pytest.mark.parametrize("content", [None, b"{}", b"\xff{}"])
@pytest.mark.parametrize("file", ["train.safetensors", "meta.json"])
def test_missing_or_damaged_data_names_the_command_that_makes_it(file, content, project):
    own = project("shapes")
    (own.processed / file).unlink() if content is None else (own.processed / file).write_bytes(content)
    with pytest.raises(UserError, match=rf"{file.replace('.', '[.]')} is .*run python -m stages\.preprocess shapes"):
        train("own")


def test_a_gpu_that_is_not_there_is_refused(project, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    own = project("shapes")
    own.params["runtime"]["device"] = "cuda"
    own.write()
    with pytest.raises(UserError, match=r"runtime\.device is cuda, but torch finds no CUDA device here: set it to auto or cpu"):
        train("own")


# TensorBoard


@pytest.mark.parametrize("name", TOYS)
def test_tensorboard_gets_curves_inputs_and_a_graph(name, project):
    own = project(name)
    train("own")
    (folder,) = (own.root / "logs" / "tensorboard" / "own").iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    tags, metric = events.Tags(), take_task(own.data.meta.task).SCORE
    assert {"lr", "loss/train", "loss/val", f"{metric}/train", f"{metric}/val"} <= set(tags["scalars"]) and tags["graph"]
    assert tags["images"] == (["inputs"] if own.data.meta.input.kind == "image" else [])
    assert [point.step for point in events.Scalars("loss/val")] == [1, 2, 3]
    logged = np.array([point.value for point in events.Scalars("loss/val")])
    np.testing.assert_allclose(logged, [float(row["loss"]) for row in curve(own) if row["split"] == "val"], rtol=1e-6)


def test_a_batch_of_one_that_batch_normalisation_cannot_take_is_named(project):
    own = project(
        "shapes",
        architecture={"name": "fast_resnet", "first": {"channels": 4, "kernel": 3, "stride": 1}, "channels": [4, 4, 4], "logit_scale": 1.0},
        batch_size=23,
    )
    assert own.data.meta.counts["train"].total % 23 == 1
    with pytest.raises(UserError, match=r"cannot be trained on a batch of 1x1x8x8 .*: change models\.own\.train\.batch_size or"):
        train("own")


def test_sizes_beyond_any_memory_are_named(project, monkeypatch):
    def no_room(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    project("shapes")
    monkeypatch.setattr(stage, "build_network", no_room)
    with pytest.raises(UserError, match=r"Out of memory for the network alone: make the sizes of models\.own\.architecture smaller"):
        train("own")


def test_an_assertion_of_torchvision_s_is_named(project):
    transformer = {"name": "torchvision_classifier", "model": "vit_b_32", "weights": NO_WEIGHTS, "frozen": False}
    project("shapes", architecture=transformer)
    with pytest.raises(UserError, match=r"models\.own\.architecture does not fit shapes's inputs of 8x8x1: Wrong image height"):
        train("own")


@pytest.mark.parametrize("augment", [[{"name": "RandomCrop", "size": 8}], []])
def test_pictures_of_train_may_be_larger_than_the_networks_if_they_are_cut(augment, project):
    own = project("shapes", augment=augment)
    inputs, targets = own.data.splits["train"]
    rewrite_split(own, "train", np.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0))), targets)
    if augment:
        train("own")
        assert list(own.contents()) == [CHECKPOINT, CURVE, FIGURES]
    else:
        with pytest.raises(UserError, match=r"The network cannot be trained on a batch of \d+x1x10x10 .*models\.own\.train\.augment"):
            train("own")


def rewrite_split(own, name, inputs, targets):
    with SplitWriter(own.processed / f"{name}.safetensors", inputs.shape[1:], "uint8", (), "int64") as writer:
        writer.add(inputs, targets)


@pytest.mark.parametrize(("share", "epochs"), [(1.0, 3), (0.2, 5), (0.5, 2)])
def test_a_one_cycle_schedule_at_which_torch_divides_by_zero_is_refused(share, epochs, project):
    schedule = {"name": "OneCycleLR", "interval": "epoch", "pct_start": share}
    project("shapes", schedule=schedule, epochs=epochs)
    with pytest.raises(UserError, match=rf"schedule\.pct_start is {share:g}; of {epochs} epochs more than one must be left to rise"):
        train("own")
