"""A head that is fitted to the end, for every task: what it answers, what is said of it, and the same bytes wherever it was stopped."""

import contextlib
import json
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from stages.common.splits import SplitFile
from stages.modelling.model import Model, load_checkpoint
from stages.shell.errors import Stopped, UserError
from stages.shell.resume import Keeper
from stages.train import train
from stages.training import features, fitted
from stages.training.batches import StreamedBatches
from stages.training.features import Features, SparseFeatures
from stages.training.fitted import FittedRun, fit_fixed
from stages.training.processes import Processes
from stages.training.recipe import Fit
from tests.toy import CPU, NoKeeper, Project, toy

FIT = {"C": [0.1, 10.0, 1.0], "folds": 4, "standardise": True}
DENSE = ["patients", "shapes", "spots", "tags", "yields"]
MADE_OF = {"params": "1"}


class Fixed(nn.Module):
    """Features that nobody has learned."""

    def __init__(self, meta, width=40):
        super().__init__()
        shape = meta.input.shape
        inputs = torch.from_numpy(np.zeros((1, *shape), meta.input.dtype))
        size = Model(nn.Flatten(), meta).logits(inputs).shape[1]
        self.layer, self.head = nn.Linear(size, width), nn.Linear(width, meta.num_outputs)

    def features(self, x):
        return self.layer(x.flatten(1)).relu()

    def forward(self, x):
        return self.head(self.features(x))


class Measured(nn.Module):
    """Features that are known only from train: which of the first letters it has. Most are 0."""

    def __init__(self, meta):
        super().__init__()
        self.outputs = meta.num_outputs
        self.use(torch.zeros(1, dtype=torch.int64))

    def use(self, letters):
        self.register_buffer("letters", letters)
        self.head = nn.Linear(len(letters), self.outputs)

    def _load_from_state_dict(self, state, prefix, *arguments):
        self.use(state[f"{prefix}letters"])
        super()._load_from_state_dict(state, prefix, *arguments)

    def measure(self, batches):
        self.use(torch.cat([batch[:, 0] for batch in batches]).unique())

    def features(self, characters):
        return (characters[:, :1] == self.letters).float()

    def forward(self, characters):
        return self.head(self.features(characters))


def run_of(name, memory=10**9, without_val=False, batches=None, **changes):
    data = toy(name)
    torch.manual_seed(0)
    network = Measured(data.meta) if name == "words" else Fixed(data.meta)
    used = ["train"] if without_val else ["train", "val"]
    batches = batches or {split: data.batches(split, 5) for split in used}
    targets = {split: data.splits[split][1] for split in used}
    fit = Fit.model_validate(FIT | {"standardise": name != "words"} | changes)
    return FittedRun(Model(network, data.meta), fit, batches, targets, 0, memory, name == "words")


def finished(run, keeper=None):
    seen = []
    fit_fixed(run, keeper or NoKeeper(), lambda number, row: seen.append((number, row)), lambda: None)
    assert [row for _, row in seen] == run.rows and [number for number, _ in seen] == [1, 2, 3]
    return run


def outcome(run):
    return {name: tensor.numpy().tobytes() for name, tensor in run.network.state_dict().items()}, run.rows, run.chosen


@pytest.mark.parametrize("without_val", [True, False])
@pytest.mark.parametrize("name", [*DENSE, "words"])
def test_a_head_is_better_on_what_was_held_out_than_no_head(name, without_val):
    run = finished(run_of(name, without_val=without_val))
    metric, task = run.task.SCORE, run.task
    assert [row["C"] for row in run.rows] == [0.1, 1.0, 10.0]
    assert run.best_row["val_loss"] == min(row["val_loss"] for row in run.rows)
    assert run.chosen == {"C": run.best_row["C"], "folds": 4 if without_val else 0}
    data = toy(name)
    inputs, targets = data.splits["val"]
    with torch.no_grad():
        logits = run.model.in_units(run.model.logits(torch.from_numpy(data.part.as_batch(inputs))))
    per_item, count = task.score_per_item(logits, torch.from_numpy(targets))
    if not without_val:
        assert float(per_item.sum()) / int(count) == pytest.approx(run.best_row[f"val_{metric}"], rel=1e-4)
    simplest = task.simplest([data.splits["train"][1]], targets, len(data.meta.names))[-1]
    outputs = task.outputs(logits, None)[-1].numpy()
    assert task.errors(targets, [outputs, outputs]).mean() < task.errors(targets, [simplest, simplest]).mean()


class StoppingKeeper(Keeper):
    """Asked to stop at its second pause."""

    def __init__(self, folder):
        super().__init__(folder, MADE_OF, 5.0)
        self.left = 1

    def pause(self, run):
        self.asked = signal.SIGTERM if self.left == 0 else 0
        self.left -= 1
        super().pause(run)


@pytest.mark.parametrize("without_val", [True, False])
@pytest.mark.parametrize("name", ["shapes", "yields", "words"])
def test_a_run_that_is_stopped_at_every_pause_ends_as_one_that_never_was(name, without_val, tmp_path):
    for _ in range(60):
        run = run_of(name, without_val=without_val)
        with contextlib.suppress(Stopped):
            finished(run, StoppingKeeper(tmp_path / "own"))
            break
    whole = finished(run_of(name, without_val=without_val))
    assert outcome(run) == outcome(whole)
    again = run_of(name, without_val=without_val)
    keeper = Keeper(tmp_path / "own", MADE_OF, 5.0)
    assert outcome(finished(again, keeper)) == outcome(whole) and keeper.was_over


def test_a_split_that_stays_in_its_file_gives_the_same_features(tmp_path):
    data = toy("shapes")
    data.write(tmp_path / "processed")
    files = {split: SplitFile(tmp_path / "processed", split) for split in ("train", "val")}
    streamed = {split: StreamedBatches(file, 5, CPU, 1, Processes(), data.part.lengths) for split, file in files.items()}
    assert outcome(finished(run_of("shapes", batches=streamed))) == outcome(finished(run_of("shapes")))


@pytest.mark.parametrize(("kind", "most"), [(Features, 100 * 30 * 12 - 1), (SparseFeatures, 20 * 59)])
def test_features_that_memory_cannot_hold_are_refused_in_a_sentence(kind, most):
    held = kind(100, most)
    with pytest.raises(UserError, match=r"features of 100 items, 30 each, in memory: .* runtime\.stream_above_mb allows "):
        for _ in range(20):
            held.add(torch.eye(3, 30))


def test_pictures_of_train_that_are_larger_are_cut_in_the_middle():
    run = run_of("shapes")
    inputs, targets = run.batches["train"].inputs, run.batches["train"].targets
    run.batches["train"] = SimpleNamespace(
        rows=lambda start, stop: (nn.functional.pad(inputs[start:stop], (0, 0, 1, 2, 2, 1)), targets), count=5, batch_size=5
    )
    seen = list(fitted.prepared(run, "train", 0))
    torch.testing.assert_close(seen, [run.model.input(nn.functional.pad(inputs[:5], (0, 0, 0, 0, 1, 0))[:, :8])])


# The stage


def test_the_stage_trains_by_a_recipe_with_fit_to_the_same_bytes_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own = Project(tmp_path, "zines")
    own.params["recipes"]["toy"] = {"fit": FIT | {"standardise": False}, "batch_size": 7}
    own.params["runtime"]["num_processes"] = 2  # a head is fitted by one
    own.write()
    train("own")
    first = own.contents()
    assert list(first) == ["checkpoint.safetensors", "plots/learning_curve.csv", "training.json"]
    model, description = load_checkpoint(own.folder / "checkpoint.safetensors")
    figures = json.loads(first["training.json"])
    assert list(figures) == ["C", "folds", "val_loss", "val_accuracy"] and figures["C"] in FIT["C"] and figures["folds"] == 0
    assert description["training"] == {"C": figures["C"], "folds": 0, "seed": 0, "recipe": own.params["recipes"]["toy"]}
    assert capsys.readouterr().out.startswith(f"own: best C {figures['C']:g} (of 3 values): ")
    inputs, targets = own.data.splits["val"]
    with torch.no_grad():
        answers = model(torch.from_numpy(own.data.part.as_batch(inputs)))[1].numpy()
    assert (answers == targets).mean() == pytest.approx(figures["val_accuracy"])
    own.forget()
    train("own")
    assert own.contents() == first


def test_the_stage_resumes_when_killed_between_two_heads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = Project(tmp_path, "zines")
    own.params["recipes"]["toy"] = {"fit": FIT | {"standardise": False}, "batch_size": 7}
    own.params["runtime"]["save_minutes"] = 1e-9
    own.write()
    train("own")
    expected, count = own.contents(), []
    own.forget()
    original, computed = fitted.measure, features.SparseFeatures.add

    class Killed(BaseException):
        pass

    def killing(*arguments):
        count.append(1)
        if len(count) == 2:
            raise Killed
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(fitted, "measure", killing)
        with pytest.raises(Killed):
            train("own")
    with monkeypatch.context() as patch:
        patch.setattr(features.SparseFeatures, "add", lambda *_: pytest.fail("features are computed again"))
        train("own")
    assert own.contents() == expected and features.SparseFeatures.add is computed
