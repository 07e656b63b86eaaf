"""Every kind of mistake in params.yaml is refused by name, in one line and with exit code 1, before anything is made."""

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

import stages.architectures
from stages.check import CHECKED as FOLDER
from stages.check import check
from stages.common.shelves import part_names, take_part
from stages.evaluation.bootstrap import with_interval
from stages.shell.errors import UserError, run_stage
from stages.training.losses import LOSSES
from stages.training.optimizers import optimizer_names
from stages.training.schedules import schedule_names

ROOT = Path(__file__).parents[2]
COMMITTED: dict[str, Any] = YAML(typ="safe").load(ROOT / "params.yaml")
GONE = object()
CHECKED = FOLDER / "params.json"
INF = float("inf")

# One entry of every kind that the mistakes below need: the whole of params.yaml would be checked again for each of them.
MODELS = ("line_grid", "line_gd", "hours_logistic", "hello_embedding", "diabetes_mlp", "mnist_cnn", "hymenoptera_transfer", "names_gru")
LINE, CNN, RECIPE = "models.line_gd", "models.mnist_cnn", "recipes.image"


def few_params() -> dict[str, Any]:
    params = copy.deepcopy(COMMITTED)
    params["models"] = {name: params["models"][name] for name in MODELS}
    used = {entry["dataset"] for entry in params["models"].values()}
    params["datasets"] = {name: entry for name, entry in params["datasets"].items() if name in used}
    params["sources"] = {name: entry for name, entry in params["sources"].items() if name in used}
    return params


def changed(path: str, value: Any) -> dict[str, Any]:
    """The params with `value` at `path` (keys and places in lists, with dots), or without it where the value is GONE."""
    params = few_params()
    *parents, last = path.split(".")
    section: Any = params
    for parent in parents:
        section = section[int(parent)] if isinstance(section, list) else section[parent]
    if value is GONE:
        del section[last]
    else:
        section[last] = value
    return params


def write(params: Any) -> None:
    with Path("params.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(params, file)


def test_what_is_left_of_entries_that_are_gone_is_said_and_refuses_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(few_params())
    check("params.yaml")
    assert capsys.readouterr().out == ""
    for file in ("models/line_sgd/training.json", "models/line_gd/training.json", "models/README.md"):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text("{}")
    Path("dvc.lock").write_text("stages:\n  download@cifar10:\n    cmd: x\n  train@line_gd:\n    cmd: x\n")
    check("params.yaml")
    said = capsys.readouterr().out
    assert said == (
        "notice: params.yaml has no entry for data/cifar10, models/line_sgd, but data/, models/ or dvc.lock still hold something of it: "
        'make remove NAME="data/cifar10 models/line_sgd"\n'
    )
    assert CHECKED.exists()


Refusal = Callable[[Any], str]


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Runs the check's command line on params (or on a file's text); returns its one line on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["check", "params.yaml"])

    def run(params: Any) -> str:
        if isinstance(params, str):
            Path("params.yaml").write_text(params, encoding="utf-8")
        elif params is not GONE:
            write(params)
        with pytest.raises(SystemExit) as left:
            run_stage(check, usage="")
        captured = capsys.readouterr()
        assert (left.value.code, captured.out) == (1, "")
        assert captured.err.startswith("error: params.yaml")
        assert captured.err.endswith(".\n")
        assert captured.err.count("\n") == 1
        assert {path.name for path in tmp_path.iterdir()} <= {"params.yaml"}, "a mistake is refused before anything is made"
        return captured.err

    return run


DATASET_FILES = {f"data/checked/datasets/{name}.json" for name in few_params()["datasets"]}


def accepted(params: dict[str, Any]) -> None:
    write(params)
    check("params.yaml")
    assert CHECKED.read_text() == '{\n  "checked": "params.yaml"\n}\n'


ROOT_AND_SHARED = [
    ("sourcee", "sample", "sourcee"),
    ("evaluate", GONE, "evaluate is missing"),
    ("models", None, "models is null"),
    ("datasets", ["line"], "datasets is ['line']"),
    ("source", "oficial", "source is 'oficial'; expected sample or official"),
    ("source", 3, "source is 3"),
    (
        "runtime.sed",
        1,
        "runtime.sed is not a known key (known: seed, threads, device, ",
    ),
    ("runtime.threads", GONE, "runtime.threads is missing"),
    ("runtime.threads", 100_000, "runtime.threads is 100000; expected less than or equal to 1024"),
    ("evaluate.num_resamples", 10**9, "evaluate.num_resamples is 1000000000"),
    ("runtime.seed", -1, "runtime.seed is -1"),
    ("runtime.device", "gpu", "runtime.device is 'gpu'; expected 'auto', 'cpu' or 'cuda'"),
    ("runtime", None, "runtime is null"),
    ("evaluate.num_resample", 100, "evaluate.num_resample is not a known key"),
    ("evaluate.num_resamples", 10, "evaluate.num_resamples is 10"),
    ("evaluate.num_mistakes", "all", "evaluate.num_mistakes is 'all'"),
    ("export.opset", 9, "export.opset is 9"),
    ("export.opset", 17.0, "export.opset is 17.0"),
    ("export.tolerance", 0, "export.tolerance is 0"),
    ("export.tolerance", INF, "export.tolerance is inf; expected a finite number"),
    ("export.int8", GONE, "export.int8 is missing"),
    ("models.mnist_cnn.int8", GONE, "models.mnist_cnn.int8 is missing"),
    ("models.mnist_cnn.int8", "yes", "models.mnist_cnn.int8 is 'yes'"),
    ("models.mnist_cnn.int8", ["dense"], "models.mnist_cnn.int8.0 is 'dense'; expected 'convolution' or 'linear'"),
    ("models.mnist_cnn.int8", ["linear"] * 2, "models.mnist_cnn.int8 is ['linear', 'linear']; expected each kind of layer once"),
    ("export.int8.max_points_lost", -1, "export.int8.max_points_lost is -1"),
    ("export.int8.calibration_rows", 299, "export.int8.calibration_rows is 299"),
    ("export.names.imag", "image", "imag is neither a kind of input nor an output"),
    ("export.names.label", "features", "expected different names, got 'features' twice"),
    ("export.names.label", 3, "export.names.label is 3"),
    ("export.names.label", "", "export.names.label is ''"),
    ("export.names.label", "the label", "export.names.label is 'the label'"),
    ("export.names.label", "image", "expected different names, got 'image' twice"),
]

DATASETS = [
    ("datasets.line.about.licence", {"sample": "x"}, "datasets.line.about.licence has an entry for sample; expected generated, and no"),
    ("datasets.line.about.licence", {}, "datasets.line.about.licence has an entry for nothing; expected generated, and no other"),
    ("datasets.mnist.about.licence", {"sample": "x"}, "about.licence has an entry for sample; expected official and sample"),
    ("datasets.mnist.about.licence", "x", "about.licence has an entry for the text; expected official and sample"),
    ("datasets.mnist.about.licence", {"samples": "x"}, "datasets.mnist.about.licence"),
    ("datasets.mnist.about.use", "two\nlines", "datasets.mnist.about.use"),
    ("datasets.line.kinds", "points", "datasets.line.kinds is not a known key (known: kind, raw, about, preprocess)"),
    ("datasets.line.kind", "pionts", f"datasets.line.kind is 'pionts'; expected one of {', '.join(part_names('datasets'))}"),
    ("datasets.line.kind", None, "datasets.line.kind is null"),
    ("datasets.line.raw", GONE, "datasets.line.raw is missing"),
    ("datasets.line.raw", "/etc", "datasets.line.raw is '/etc'"),
    ("datasets.line.raw", "data/../..", "datasets.line.raw is 'data/../..'"),
    (
        "datasets.line.raw",
        "data/birds/raw",
        "datasets.line.raw is data/birds/raw, a folder that does not exist and that no source makes: put the files",
    ),
    ("sources.line.kind", "pionts", f"sources.line.kind is 'pionts'; expected one of {', '.join(part_names('sources'))}"),
    ("sources.line.kind", GONE, "sources.line.kind is missing"),
    ("sources.line", None, "sources.line is null"),
    ("datasets.line.preprocess", 3, "datasets.line.preprocess is 3"),
    ("sources.line.trian", [], "sources.line.trian is not a known key (known: train, test)"),
    ("sources.line.train", [], "sources.line.train is []"),
    ("sources.line.train", [[1, 2, 3]], "sources.line.train.0 is [1, 2, 3]"),
    ("sources.line.train", [[1, 1e300]], "sources.line.train.0.1 is 1e+300"),
    ("datasets.hours.preprocess.classes", ["a", "a"], "expected classes with different names"),
    ("sources.line.train", [["1", 2]], "sources.line.train.0.0 is '1'"),
    ("datasets.line.preprocess.task", "multiclass", "datasets.line.preprocess.task is 'multiclass'"),
    ("datasets.line.preprocess.classes", ["a", "b"], "expected classes, two names, for the task binary and for no other"),
    ("datasets.hours.preprocess.classes", GONE, "expected classes, two names, for the task binary and for no other"),
    ("sources.hello.target", "ohl", "expected input and target of the same length, got 5 and 3"),
    ("datasets.hello.preprocess.alphabet", "hhelo", "datasets.hello.preprocess.alphabet is 'hhelo'"),
    ("sources.diabetes.sample.num_rows", 3, "sources.diabetes.sample.num_rows is 3"),
    ("sources.diabetes.official", [], "sources.diabetes.official is []"),
    ("sources.diabetes.official.0.sha256", "b78", "sources.diabetes.official.0.sha256 is 'b78'"),
    ("sources.diabetes.official.0.sha256", None, "expected a sha256"),
    ("sources.diabetes.official.0.path", "../diabetes.csv", "official.0.path is '../diabetes.csv'; expected a path such as"),
    ("sources.diabetes.official.0.url", "x", "sources.diabetes.official.0.url is not a known key"),
    ("sources.mnist.official.0.urls", ["ftp://a/b"], "sources.mnist.official.0.urls.0 is 'ftp://a/b'"),
    ("datasets.diabetes.preprocess.file", "/etc/passwd", "expected file to be the name of a file in raw/"),
    ("datasets.diabetes.preprocess.test_fraction", 1.0, "datasets.diabetes.preprocess.test_fraction is 1.0; expected less than 1"),
    ("datasets.diabetes.preprocess.standardize", True, "datasets.diabetes.preprocess.standardize is not a known key"),
    ("datasets.mnist.preprocess.canvas", 32, "expected canvas 28 for the target digit, got 32"),
    ("datasets.mnist.preprocess.target", "digits", "datasets.mnist.preprocess.target is 'digits'; expected 'digit' or 'center'"),
    ("datasets.hymenoptera.preprocess.crop", 300, "expected crop (300) and train_crop (256) to be at most resize (256)"),
    ("datasets.hymenoptera.preprocess.train", "../elsewhere", "datasets.hymenoptera.preprocess.train is '../elsewhere'"),
    ("sources.hymenoptera.official.0.unpack.max_megabytes", 0, "official.0.unpack.max_megabytes is 0"),
    ("datasets.names.preprocess.max_length", "24", "datasets.names.preprocess.max_length is '24'"),
]

MODEL_ENTRIES = [
    (f"{LINE}.architectur", {}, f"{LINE}.architectur is not a known key (known: dataset, architecture, train, int8, gate)"),
    (LINE, None, f"{LINE} is null"),
    (f"{LINE}.dataset", "lines", f"{LINE}.dataset is 'lines'; expected one of "),
    (f"{LINE}.dataset", ["line"], f"{LINE}.dataset is ['line']"),
    (f"{CNN}.architecture.name", "cmn", f"{CNN}.architecture.name is 'cmn'; expected one of {', '.join(part_names('architectures'))}"),
    (
        f"{CNN}.architecture.name",
        "resnet50",
        f"{CNN}.architecture.name is 'resnet50', a network of torchvision: expected {{name:",
    ),
    (f"{CNN}.architecture.name", GONE, f"{CNN}.architecture.name is missing; expected one of {', '.join(part_names('architectures'))}"),
    (f"{CNN}.architecture.name", ["cnn"], f"{CNN}.architecture.name is ['cnn']"),
    (f"{CNN}.architecture", None, f"{CNN}.architecture is null"),
    (f"{CNN}.architecture", "cnn", f"{CNN}.architecture is 'cnn'"),
    (f"{CNN}.architecture.widths", [3], f"{CNN}.architecture.widths is not a known key"),
    (f"{CNN}.architecture.hidden", GONE, f"{CNN}.architecture.hidden is missing"),
    (f"{CNN}.architecture.convolutions.1.kernel", "5", f"{CNN}.architecture.convolutions.1.kernel is '5'"),
    (f"{CNN}.architecture.convolutions.0.kernal", 5, f"{CNN}.architecture.convolutions.0.kernal is not a known key"),
    ("models.names_gru.architecture.cell", "gru2", "models.names_gru.architecture.cell is 'gru2'"),
    ("models.names_gru.architecture.dropout", 1.0, "models.names_gru.architecture.dropout is 1.0"),
    ("models.hello_embedding.architecture.cell", "rnn_cell", "cell rnn_cell has one layer"),
    (f"{CNN}.architecture.hidden", [0], f"{CNN}.architecture.hidden.0 is 0; expected greater than or equal to 1"),
    ("models.diabetes_mlp.architecture.hidden", [6, -4], "models.diabetes_mlp.architecture.hidden.1 is -4"),
    ("models.hello_embedding.architecture.embedding", 0, "models.hello_embedding.architecture.embedding is 0"),
    (
        "models.hymenoptera_transfer.architecture.model",
        "resnet81",
        "architecture.model is 'resnet81'; expected a classifier of torchvision",
    ),
    ("models.hymenoptera_transfer.architecture.weights.official", "IMAGENET", "expected weights to be one of none, IMAGENET1K_V1"),
    ("models.hymenoptera_transfer.architecture.weights.sampel", "none", "sampel"),
]

RECIPES = [
    ("train.lrr", 0.1, "train.lrr is not a known key (known: loss, optimizer, lr, schedule, epochs, "),
    (
        "train.recipe",
        "lessons",
        "train.recipe is 'lessons'; expected one of image, image_fast, ",
    ),
    ("train.recipe", GONE, "train.recipe is missing"),
    ("train.clip_norm", "none", "train.clip_norm is 'none'; expected a valid number, or null"),
    ("train", None, "train is null"),
    ("train.lr", 0, "train.lr is 0; expected greater than 0"),
    ("train.lr", "0.1", "train.lr is '0.1'; expected a valid number."),
    ("train.lr", True, "train.lr is true; expected a valid number"),
    ("train.lr", INF, "train.lr is inf; expected a finite number"),
    ("train.epochs", 0, "train.epochs is 0"),
    ("train.epochs", 2.0, "train.epochs is 2.0; expected a valid integer"),
    ("train.epochs", None, "train.epochs is null"),
    ("train.epochs", {"sample": 3}, "train.epochs.official is missing"),
    ("train.epochs", {"sample": 3, "official": 0}, "train.epochs.official is 0"),
    ("train.epochs", {"sample": 3, "official": 3, "other": 3}, "train.epochs.other is not a known key (known: sample, official)"),
    ("train.batch_size", -1, "train.batch_size is -1"),
    ("train.clip_norm", 0, "train.clip_norm is 0"),
    ("train.ema", 1.0, "train.ema is 1.0; expected less than 1"),
    ("train.best_by", "accuracy", "train.best_by is 'accuracy'; expected 'loss' or 'metric'"),
    ("train.patience", 0, "train.patience is 0"),
]

NAMED_PARTS = [
    ("train.loss", None, "train.loss is null"),
    ("train.loss", {}, "train.loss.name is missing"),
    ("train.loss", "MSE", "train.loss is 'MSE'"),
    ("train.loss", {"name": "MES"}, "train.loss.name is 'MES'; for a regression target expected one of MSE, L1, SmoothL1."),
    (
        "train.loss",
        {"name": "MSE", "redution": "sum"},
        "the arguments of models.line_gd.train.loss (MSE) do not fit: mse_loss() got an unexpected",
    ),
    ("train.loss", {"name": "MSE", "reduction": "none"}, "train.loss.reduction is 'none'; expected mean"),
    ("train.loss", {"name": "MSE", "reduction": "sum"}, "train.loss.reduction is 'sum'; expected mean"),
    ("train.loss", {"name": "SmoothL1", "beta": -1.0}, "train.loss (SmoothL1) do not fit"),
    ("train.loss", {"name": "SmoothL1", "beta": "a"}, "train.loss.beta is 'a'; expected float, not a text"),
    ("train.optimizer", None, "train.optimizer is null"),
    ("train.optimizer", {"momentum": 0.9}, "train.optimizer.name is missing"),
    ("train.optimizer", {"name": "sgd"}, f"train.optimizer.name is 'sgd'; expected one of {', '.join(optimizer_names())}"),
    ("train.optimizer", {"name": "Optimizer"}, "train.optimizer.name is 'Optimizer'"),
    ("train.optimizer", {"name": "SGD", "momentun": 0.9}, "train.optimizer (SGD) do not fit: SGD.__init__() got an unexpected"),
    ("train.optimizer", {"name": "SGD", "momentum": -1}, "train.optimizer (SGD) do not fit: Invalid momentum value: -1"),
    ("train.optimizer", {"name": "SGD", "momentum": "0.9"}, "train.optimizer.momentum is '0.9'; expected float, not a text"),
    ("train.optimizer", {"name": "SGD", "momentum": 0.9, "nesterov": "no"}, "train.optimizer.nesterov is 'no'; expected bool"),
    ("train.optimizer", {"name": "SGD", "weight_decay": INF}, "train.optimizer.weight_decay is inf; expected a finite number"),
    ("train.optimizer", {"name": "Adam", "betas": [0.9, float("nan")]}, "train.optimizer.betas.1 is nan; expected a finite number"),
    (
        "train.optimizer",
        {"name": "SGD", "lr": 0.1},
        "train.optimizer.lr is 0.1: remove it and set models.line_gd.train.lr.",
    ),
    ("train.optimizer", {"name": "SGD", "momentum": True}, "train.optimizer.momentum is true; expected float, not true or false."),
    ("train.optimizer", {"name": "SGD", "dampening": None}, "train.optimizer.dampening is null; expected float, not null."),
    ("train.optimizer", {"name": "LBFGS", "max_iter": 2.5}, "train.optimizer.max_iter is 2.5; expected int, not a fraction."),
    ("train.optimizer", {"name": "LBFGS", "history_size": 0}, "train.optimizer (LBFGS) do not fit: IndexError: pop from empty list."),
    ("train.optimizer", {"name": "LBFGS", "history_size": -1}, "train.optimizer (LBFGS) do not fit: IndexError"),
    ("train.optimizer", {"name": "LBFGS", "line_search_fn": "x"}, "train.optimizer (LBFGS) do not fit: RuntimeError: only 'strong_wolfe'"),
    ("train.optimizer", {"name": "SGD", "params": [1]}, "train.optimizer (SGD) do not fit"),
    ("train.optimizer", {"name": "Adam", "betas": [0.9]}, "train.optimizer.betas is [0.9]; expected a list of 2 numbers."),
    ("train.optimizer", {"name": "Adam", "betas": [0.9, 1.0]}, "train.optimizer (Adam) do not fit: Invalid beta parameter at index 1: 1.0"),
    ("train.optimizer", {"name": "Adam", "fused": True, "foreach": True}, "train.optimizer"),
    ("train.optimizer", {"name": "AdamW", "weight_decay": None}, "train.optimizer.weight_decay is null; expected float, not null."),
    ("train.optimizer", {"name": "GridSearch"}, "train.optimizer (GridSearch) do not fit"),
    ("train.optimizer", {"name": "GridSearch", "start": "0"}, "train.optimizer"),
    ("train.schedule", "OneCycleLR", "train.schedule is 'OneCycleLR'"),
    ("train.schedule", {"name": "OneCycleLR"}, "train.schedule.interval is missing"),
    ("train.schedule", {"interval": "step"}, "train.schedule.name is missing"),
    ("train.schedule", {"name": "OneCycleLR", "interval": "batch"}, "train.schedule.interval is 'batch'; expected 'step' or 'epoch'"),
    (
        "train.schedule",
        {"name": "OneCycle", "interval": "step"},
        f"schedule.name is 'OneCycle'; expected one of {', '.join(schedule_names())} (to warm up",
    ),
    ("train.schedule", {"name": "LambdaLR", "interval": "epoch"}, "train.schedule.name is 'LambdaLR'"),
    ("train.schedule", {"name": "OneCycleLR", "interval": "step", "pct": 0.2}, "train.schedule (OneCycleLR) do not fit"),
    ("train.schedule", {"name": "OneCycleLR", "interval": "step", "pct_start": 3.0}, "train.schedule.pct_start is 3"),
    (
        "train.schedule",
        {"name": "OneCycleLR", "interval": "step", "total_steps": 5},
        "train.schedule ends after 5 of 500 steps: remove total_steps",
    ),
    ("train.schedule", {"name": "PolynomialLR", "interval": "step", "power": -1}, "train.schedule (PolynomialLR) do not fit: ZeroDivision"),
    ("train.schedule", {"name": "StepLR", "interval": "epoch"}, "train.schedule (StepLR) do not fit"),
    ("train.schedule", {"name": "StepLR", "interval": "epoch", "step_size": "30"}, "train.schedule.step_size is '30'; expected int"),
    ("train.schedule", {"name": "StepLR", "interval": "epoch", "step_size": 0}, "train.schedule (StepLR) do not fit: ZeroDivisionError"),
    (
        "train.schedule",
        {"name": "StepLR", "interval": "epoch", "step_size": 30, "gamma": "a"},
        "train.schedule.gamma is 'a'; expected float",
    ),
    ("train.schedule", {"name": "MultiStepLR", "interval": "epoch", "milestones": 3}, "train.schedule (MultiStepLR) do not fit"),
    ("train.schedule", {"name": "MultiStepLR", "interval": "epoch", "milestones": "a"}, "train.schedule.milestones is 'a'; expected Iter"),
    (
        "train.schedule",
        {"name": "CosineAnnealingLR", "interval": "epoch", "T_max": 0},
        "train.schedule (CosineAnnealingLR) do not fit",
    ),
    ("train.schedule", {"name": "ReduceLROnPlateau", "interval": "epoch", "mode": "most"}, "train.schedule (ReduceLROnPlateau) do not fit"),
    ("train.schedule", {"name": "ReduceLROnPlateau", "interval": "step"}, "train.schedule.interval must be epoch for ReduceLROnPlateau"),
    ("train.schedule", {"name": "CyclicLR", "interval": "step"}, "train.schedule (CyclicLR) do not fit"),
    (
        "train.schedule",
        {"name": "StepLR", "interval": "epoch", "step_size": 1, "gamma": -0.5},
        "train.schedule makes the learning rate -0.005, less than 0: change its arguments.",
    ),
    ("train.schedule", {"name": "OneCycleLR", "interval": "step", "max_lr": -5}, "train.schedule makes the learning rate -"),
    ("train.schedule", {"name": "StepLR", "interval": "epoch", "step_size": 1.5}, "step_size is 1.5; expected int, not a fraction."),
]

AUGMENTATIONS = [
    (None, "train.augment is null"),
    ({"name": "RandomAffine"}, "train.augment is {'name': 'RandomAffine'}"),
    ([{"degrees": 3}], "train.augment.0.name is missing"),
    (["RandomAffine"], "train.augment.0 is 'RandomAffine'"),
    ([{"name": "RandomAfine"}], "train.augment[0].name is 'RandomAfine'; expected a transform of torchvision.transforms.v2"),
    ([{"name": "functional"}], "train.augment[0].name is 'functional'"),
    ([{"name": "RandomHorizontalFlip", "p": 0.5}, {"name": "RandomAffine"}], "train.augment[1] (RandomAffine) do not fit"),
    ([{"name": "RandomAffine", "degree": 3}], "train.augment[0] (RandomAffine) do not fit"),
    ([{"name": "RandomAffine", "degrees": "x"}], "train.augment[0].degrees is 'x'; expected float"),
    ([{"name": "RandomAffine", "degrees": 3, "scale": [2, 1]}], "train.augment[0] (RandomAffine) do not fit"),
    ([{"name": "RandomAffine", "degrees": 3, "translate": ["a", "b"]}], "train.augment[0] (RandomAffine) do not fit"),
    ([{"name": "RandomHorizontalFlip", "p": 3}], "train.augment[0] (RandomHorizontalFlip) do not fit"),
    ([{"name": "RandomCrop", "size": 28, "padding_mode": "mirror"}], "train.augment[0] (RandomCrop) do not fit"),
    ([{"name": "RandomCrop", "size": -28}], "train.augment[0] (RandomCrop) do not fit: size must be 1 or more"),
    ([{"name": "RandomCrop", "size": 28, "padding": -1}], "train.augment[0] (RandomCrop) do not fit: size must be"),
    ([{"name": "RandomResizedCrop", "size": 28, "scale": [0, 1]}], "train.augment[0] (RandomResizedCrop) do not fit: size must be"),
    ([{"name": "RandomCrop", "size": "28"}], "models.mnist_cnn.train.augment"),
    ([{"name": "RandomResizedCrop", "size": 28, "scale": ["a", 2]}], "models.mnist_cnn.train.augment"),
    ([{"name": "ColorJitter", "brightnes": 1}], "train.augment[0] (ColorJitter) do not fit"),
    ([{"name": "ColorJitter", "brightness": -1}], "train.augment[0] (ColorJitter) do not fit"),
    ([{"name": "Lambda", "lambd": 5}], "train.augment[0] (Lambda) do not fit"),
]

WHOLE_RECIPES = [
    ("recipes", GONE, "recipes is missing"),
    (RECIPE, None, f"{RECIPE} is null"),
    (f"{RECIPE}.lrr", 0.1, f"{RECIPE}.lrr is not a known key (known: loss, optimizer, lr, schedule, epochs, "),
    (f"{RECIPE}.batch_size", GONE, f"{RECIPE}.batch_size is missing: add it"),
    (f"{RECIPE}.epochs", {"sample": 3}, f"{RECIPE}.epochs.official is missing"),
]

BY_SOURCE = {"sample": 0.5, "official": 0.5}
GATES_AND_BOUNDS = [
    ("gate", GONE, "gate is missing"),
    ("gate.num_resample", 100, "gate.num_resample is not a known key (known: num_resamples, confidence)"),
    ("gate.num_resamples", 10, "gate.num_resamples is 10"),
    ("gate.confidence", 95, "gate.confidence is 95; expected less than 1"),
    ("gate.confidence", 0.5, "gate.confidence is 0.5; expected greater than 0.5"),
    (f"{CNN}.gate.at_last", BY_SOURCE, f"{CNN}.gate.at_last is not a known key (known: metric, at_least, at_most, tolerance)"),
    (f"{CNN}.gate.metric", "acuracy", f"{CNN}.gate.metric is 'acuracy'; expected one of accuracy, macro_f1 for a multiclass task."),
    (f"{CNN}.gate.metric", "mae", f"{CNN}.gate.metric is 'mae'; expected one of accuracy, macro_f1 for a multiclass task."),
    (f"{LINE}.gate.metric", "accuracy", f"{LINE}.gate.metric is 'accuracy'; expected one of mae, rmse for a regression task."),
    (f"{CNN}.gate.at_least", GONE, f"{CNN}.gate expects at_least alone as the bound of the metric accuracy."),
    (f"{CNN}.gate.at_most", BY_SOURCE, f"{CNN}.gate expects at_least alone as the bound of the metric accuracy."),
    (f"{LINE}.gate.at_least", BY_SOURCE, f"{LINE}.gate expects at_most alone as the bound of the metric mae."),
    (f"{CNN}.gate.at_least.sample", GONE, f"{CNN}.gate.at_least.sample is missing"),
    (f"{CNN}.gate.at_least.oficial", 0.9, f"{CNN}.gate.at_least.oficial is not a known key"),
    (f"{CNN}.gate.at_least", "0.9", f"{CNN}.gate.at_least"),
    (f"{CNN}.gate.tolerance", -0.1, f"{CNN}.gate.tolerance"),
    (f"{CNN}.gate.tolerance", GONE, f"{CNN}.gate.tolerance is missing"),
    (f"{CNN}.gate.tolerance.sample", -0.1, f"{CNN}.gate.tolerance.sample is -0.1; expected greater than or equal to 0"),
    (f"{CNN}.gate.tolerance.official", None, f"{CNN}.gate.tolerance.official is null"),
]

MISTAKES = [
    *ROOT_AND_SHARED,
    *DATASETS,
    *MODEL_ENTRIES,
    *WHOLE_RECIPES,
    *GATES_AND_BOUNDS,
    *((f"{LINE}.{path}", value, named) for path, value, named in [*RECIPES, *NAMED_PARTS]),
    *((f"{CNN}.train.augment", value, named) for value, named in AUGMENTATIONS),
]


@pytest.mark.parametrize(("path", "value", "named"), MISTAKES)
def test_a_mistake_is_refused_by_name(refusal: Refusal, path: str, value: Any, named: str) -> None:
    said = refusal(changed(path, value))
    assert named in said


def test_without_a_mistake_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The params that the mistakes are made in are right: each refusal is of its mistake."""
    monkeypatch.chdir(tmp_path)
    accepted(few_params())


@pytest.mark.parametrize("value", [1e-4, 3, 1])
def test_a_whole_number_is_a_number_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    monkeypatch.chdir(tmp_path)
    accepted(changed(f"{LINE}.train.lr", value))


# A gate stands on what evaluate measures


@pytest.mark.parametrize(
    ("key", "value"), [("gate.at_least.official", None), ("gate.at_least", 0.9), ("gate.tolerance", 0.01), ("gate", GONE)]
)
def test_a_model_may_have_one_bound_for_both_sources_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: Any) -> None:
    monkeypatch.chdir(tmp_path)
    accepted(changed(f"{CNN}.{key}", value))


def test_data_of_ones_own_needs_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    params = few_params()
    about = {"use": "To try.", "limits": "Made up.", "licence": "our own"}
    params["datasets"]["own"] = params["datasets"]["line"] | {"raw": "data/own/raw", "about": about}
    params["models"]["own"] = params["models"]["line_gd"] | {"dataset": "own"}
    (tmp_path / "data/own").mkdir(parents=True)
    (tmp_path / "data/own/raw.dvc").touch()
    accepted(params)


@pytest.mark.parametrize("name", part_names("tasks"))
def test_every_metric_that_a_gate_may_have_is_measured(name: str) -> None:
    task = take_part("tasks", name, "task")
    (*_, num_outputs), targets = task.example(3)
    logits = torch.zeros(*task.example(3)[0])
    targets.reshape(-1)[-1] = 1  # two classes
    outputs = [output.numpy() for output in task.outputs(logits, torch.ones(targets.shape))]
    measured = task.measure(targets, outputs, partial(with_interval, num_resamples=100, seed=0))
    assert set(task.METRICS) <= set(measured) and task.SCORE in task.METRICS and num_outputs


# An architecture must take the dataset's inputs and learn its task


DATASET_OF = {"image": "mnist", "features": "diabetes", "characters": "names"}
WRONG_INPUTS = [
    (name, dataset)
    for name in part_names("architectures")
    for kind, dataset in DATASET_OF.items()
    if kind not in take_part("architectures", name, "name").INPUTS
]


def params_with_every_architecture(name: str, dataset: str) -> dict[str, Any]:
    """The params with a model of the architecture `name`, as it is committed, on another dataset."""
    params = few_params()
    committed = next(entry for entry in COMMITTED["models"].values() if entry["architecture"]["name"] == name)
    params["models"]["own"] = {**committed, "dataset": dataset}
    return params


@pytest.mark.parametrize(("name", "dataset"), WRONG_INPUTS)
def test_an_architecture_on_another_kind_of_input_is_refused(refusal: Refusal, name: str, dataset: str) -> None:
    said = refusal(params_with_every_architecture(name, dataset))
    assert said.startswith(f"error: params.yaml: models.own.architecture.name is {name}, which takes ")
    assert f"but the dataset {dataset} has " in said


@pytest.mark.parametrize(("name", "dataset", "task"), [("rnn_tagger", "names", "multiclass"), ("rnn_classifier", "hello", "sequence")])
def test_an_architecture_on_another_task_is_refused(refusal: Refusal, name: str, dataset: str, task: str) -> None:
    said = refusal(params_with_every_architecture(name, dataset))
    assert said.startswith(f"error: params.yaml: models.own.architecture.name is {name}, which answers once per ")
    assert f"but the dataset {dataset} is a {task} task: choose another architecture or dataset." in said


FAMILY = """
from typing import Literal
from torch import nn
from stages.common.params import Section
INPUTS, PER = ("features",), "item"
class Params(Section):
    name: Literal["mine"]
def build(params, meta):
    return nn.Linear(1, 1)
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("INPUTS, PER", "_, PER"), "error: stages/architectures/mine.py lacks INPUTS: compare it with stages/architectures/mlp.py."),
        (("def build", "def biuld"), "error: stages/architectures/mine.py lacks build: "),
        (
            ('Literal["mine"]', 'Literal["other"]'),
            'error: stages/architectures/mine.py: the field `name` of its Params must be Literal["mine"]',
        ),
        (
            ('("features",)', '("feature",)'),
            "error: stages/architectures/mine.py: INPUTS has 'feature'; expected some of ",
        ),
        (('"item"', '"items"'), "error: stages/architectures/mine.py: PER is 'items'; expected character or item."),
        (("):", ")"), "error: stages/architectures/mine.py line 6 cannot be imported (SyntaxError: expected ':'"),
        (
            ("from torch import nn", "from torch import nm"),
            "error: stages/architectures/mine.py cannot be imported (ImportError: cannot import",
        ),
        (("", ""), ""),
    ],
)
def test_a_family_with_a_mistake_is_named_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: tuple[str, str], said: str
) -> None:
    (tmp_path / "architectures").mkdir()
    (tmp_path / "architectures/mine.py").write_text(FAMILY.replace(*change))
    monkeypatch.setattr(stages.architectures, "__path__", [*stages.architectures.__path__, str(tmp_path / "architectures")])
    monkeypatch.setattr("stages.check.part_names", lambda shelf: ["mine"])
    monkeypatch.setattr("stages.common.shelves.part_names", lambda shelf: [*part_names(shelf), "mine"])
    monkeypatch.delitem(sys.modules, "stages.architectures.mine", raising=False)
    monkeypatch.chdir(tmp_path)
    write(changed(f"{LINE}.architecture", {"name": "mine"}))
    monkeypatch.setattr(sys, "argv", ["check", "params.yaml"])
    with pytest.raises(SystemExit) as left:
        run_stage(check, usage="")
    assert left.value.code == bool(said) and capsys.readouterr().err.startswith(said)


def test_augmentations_of_what_is_no_picture_are_refused(refusal: Refusal) -> None:
    said = refusal(changed("models.names_gru.train.augment", [{"name": "RandomHorizontalFlip"}]))
    assert "models.names_gru.train.augment works only on pictures, but the dataset has characters: set it to []" in said


# A loss must fit the dataset's target


def losses(task: str) -> tuple[str, ...]:
    fitting: tuple[str, ...] = take_part("tasks", task, "task").LOSSES
    return fitting


TASKS = {"line_gd": "regression", "diabetes_mlp": "binary", "mnist_cnn": "multiclass", "hello_embedding": "sequence"}


@pytest.mark.parametrize(("model", "loss"), [(model, loss) for model, task in TASKS.items() for loss in LOSSES if loss not in losses(task)])
def test_a_loss_that_does_not_fit_the_target_is_refused_with_those_that_do(refusal: Refusal, model: str, loss: str) -> None:
    said = refusal(changed(f"models.{model}.train.loss", {"name": loss}))
    fitting = ", ".join(losses(TASKS[model]))
    key, task = f"models.{model}.train.loss.name", TASKS[model]
    assert said == f"error: params.yaml: {key} is {loss}, which does not fit the dataset's {task} target; use one of {fitting}.\n"


@pytest.mark.parametrize(("model", "loss"), [(model, loss) for model, task in TASKS.items() for loss in losses(task)])
def test_a_loss_that_fits_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, loss: str) -> None:
    monkeypatch.chdir(tmp_path)
    accepted(changed(f"models.{model}.train.loss", {"name": loss}))


@pytest.mark.parametrize("weights", [[1.0] * 10, [1, 2], [0.5, 1, 2]])
def test_class_weights_of_any_number_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: list[float]) -> None:
    """How many classes there are is known when the data is there: train refuses another number."""
    monkeypatch.chdir(tmp_path)
    accepted(changed(f"{CNN}.train.loss", {"name": "CrossEntropy", "weight": weights}))


SCHEDULES: dict[str, dict[str, Any]] = {
    "StepLR": {"step_size": 10},
    "MultiStepLR": {"milestones": [10, 20]},
    "CosineAnnealingWarmRestarts": {"T_0": 10},
    "CyclicLR": {"base_lr": 0.001},
    "ExponentialLR": {"gamma": 0.99},
}


# ReduceLROnPlateau follows the loss of val, which is measured after an epoch; with interval step it is among the mistakes above.
BY_STEP = [name for name in schedule_names() if name != "ReduceLROnPlateau"]


@pytest.mark.parametrize(("name", "interval"), [(name, "epoch") for name in schedule_names()] + [(name, "step") for name in BY_STEP])
def test_every_schedule_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, interval: str) -> None:
    monkeypatch.chdir(tmp_path)
    accepted(changed(f"{LINE}.train.schedule", {"name": name, "interval": interval, **SCHEDULES.get(name, {})}))


def test_a_grid_has_no_schedule(refusal: Refusal) -> None:
    said = refusal(changed("models.line_grid.train.schedule", {"name": "StepLR", "interval": "step", "step_size": 3}))
    assert "models.line_grid.train.schedule must be null for GridSearch" in said


# Names of entries


@pytest.mark.parametrize("name", ["../up", "a/b", "a b", "a.b", "a@b", "a;b", "-a", ".a", "a$b", "naïve", "a\nb", ""])
@pytest.mark.parametrize("section", ["sources", "datasets", "recipes", "models"])
def test_a_name_that_is_no_plain_name_is_refused(refusal: Refusal, section: str, name: str) -> None:
    params = few_params()
    params[section][name] = next(iter(params[section].values()))
    shown = " ".join(repr(name).split())
    expected = "expected letters, digits, _ and -, a letter or digit first"
    assert refusal(params) == f"error: params.yaml: {section} has the name {shown}; {expected}.\n"


def test_a_name_that_is_no_text_is_refused(refusal: Refusal) -> None:
    params = few_params()
    params["models"][7] = params["models"]["line_gd"]
    assert "models.7" in refusal(params)


@pytest.mark.parametrize("name", ["a", "A-1_b", "2nd"])
def test_a_plain_name_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    params = few_params()
    params["models"][name] = params["models"]["line_gd"] | {"dataset": name}
    params["datasets"][name] = params["datasets"]["line"]
    accepted(params)


# The file itself


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "params.yaml must hold keys and values"),
        ("- source\n", "params.yaml must hold keys and values"),
        ("source: [sample\n", "params.yaml line 2, column 1: "),
        ("source: sample\nsource: sample\n", 'line 2, column 1: found duplicate key "source"'),
        (
            "source: sample\n",
            "; ".join(
                f"{section} is missing: add it" for section in ("runtime", "sources", "datasets", "recipes", "models", "evaluate", "export")
            ),
        ),
    ],
)
def test_a_file_that_is_not_params_is_refused(refusal: Refusal, text: str, named: str) -> None:
    assert named in refusal(text)


def test_a_key_written_twice_is_refused_in_the_committed_file(refusal: Refusal) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    doubled = text.replace("lr: 0.01, epochs: 500", "lr: 0.01, lr: 0.5, epochs: 500", 1)
    assert doubled != text
    assert 'duplicate key "lr" with value "0.5"' in refusal(doubled)


def test_a_missing_file_is_refused(refusal: Refusal) -> None:
    assert refusal(GONE) == "error: params.yaml is not in this folder: run the command in the root of the repository.\n"


def test_another_file_is_not_checked_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(few_params())
    Path("params.yaml").rename("other.yaml")
    with pytest.raises(UserError, match=r"^other.yaml is not the file that the stages read: give params.yaml"):
        check("other.yaml")


def test_what_the_check_writes_never_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    accepted(few_params())
    before = CHECKED.read_bytes()
    accepted(changed(f"{LINE}.train.lr", 0.02))
    assert CHECKED.read_bytes() == before


def test_a_mistake_leaves_the_earlier_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    accepted(few_params())
    write(changed(f"{LINE}.train.lr", 0))
    with pytest.raises(UserError):
        check("params.yaml")
    folders = {"data", "data/checked", "data/checked/datasets"}
    assert {path.as_posix() for path in Path().rglob("*")} == folders | {"params.yaml", "data/checked/params.json"} | DATASET_FILES
    assert CHECKED.read_text() == '{\n  "checked": "params.yaml"\n}\n'


def run_check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stages.check", "params.yaml"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_the_command_refuses_a_typo_in_one_line(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("momentum: 0.9", "momentun: 0.9", 1)
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    result = run_check(tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: params.yaml: the arguments of models.line_gd.train.optimizer (SGD) do not fit: ")
    assert "momentun" in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_the_command_accepts_the_committed_params_in_silence(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    result = run_check(tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / CHECKED).is_file()


@pytest.mark.parametrize("schedule", [{"name": "OneCycleLR", "interval": "step", "pct_start": share} for share in (0.2, 0.3, 0.5)])
@pytest.mark.parametrize("epochs", [2, 5, 10])
def test_a_cycle_over_any_number_of_epochs_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: dict[str, Any], epochs: int
) -> None:
    monkeypatch.chdir(tmp_path)
    train = COMMITTED["models"]["mnist_cnn"]["train"]
    accepted(changed(f"{CNN}.train", train | {"schedule": schedule, "epochs": epochs}))


def test_what_flows_and_stages_need_to_know_of_a_dataset_changes_with_its_input_and_task_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    accepted(few_params())
    before = {path.name: json.loads(path.read_text()) for path in (FOLDER / "datasets").iterdir()}
    line = before["line.json"]
    assert (line["input"], line["task"], line["score"], line["metrics"]) == (
        "features",
        "regression",
        "mae",
        {"mae": "lower", "rmse": "lower"},
    )
    copied = tmp_path / "stages"
    shutil.copytree(ROOT / "stages", copied, ignore=shutil.ignore_patterns("__pycache__"))
    with (copied / "tasks/regression.py").open("a") as file:
        file.write("# a comment\n")
    monkeypatch.setattr("stages.check.STAGES", copied)
    accepted(few_params())
    after = {path.name: json.loads(path.read_text()) for path in (FOLDER / "datasets").iterdir()}
    assert [name for name in before if before[name] != after[name]] == ["line.json"]
