"""Every kind of mistake in params.yaml is refused by name, in one line and with exit code 1, before anything is made.

tests/test_params.py has the committed entries with any key misspelt, missing or of another type; here are the other mistakes.
"""

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import stages.architectures
from stages.check import CHECKED, check
from stages.common.shelves import part_names, take_part
from stages.shell.errors import UserError, run_stage
from stages.training.schedules import schedule_names

ROOT = Path(__file__).parents[2]
COMMITTED: dict[str, Any] = YAML(typ="safe").load(ROOT / "params.yaml")
GONE = object()
INF = float("inf")
DATASETS = ("line", "hours", "hello", "diabetes", "mnist", "hymenoptera", "names", "names_texts")
LINE, CNN, GRU, TRANSFER = "models.line_gd", "models.mnist_cnn", "models.names_gru", "models.hymenoptera_transfer"
NGRAMS = "models.names_ngrams"
RESNET: dict[str, Any] = {"name": "torchvision_classifier", "model": "resnet18", "weights": "none", "frozen": True}


def few_params(model: str = "line_gd") -> dict[str, Any]:
    """One model and a dataset of each sort: the whole of params.yaml would be checked again for each mistake."""
    params = copy.deepcopy(COMMITTED)
    kept = {"models": (model,), "datasets": DATASETS, "sources": DATASETS}
    return params | {section: {name: entry for name, entry in params[section].items() if name in names} for section, names in kept.items()}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The params with `value` at `path` (keys and places in lists, with dots), or without it where the value is GONE."""
    *parents, last = path.split(".")
    params = few_params(parents[1] if parents[1:] and parents[0] == "models" else last if parents == ["models"] else "line_gd")
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


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["check", "params.yaml"])


Refusal = Callable[[Any], str]


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Runs the check's command line on params (or on a file's text); returns its one line on stderr."""

    def run(params: Any) -> str:
        if isinstance(params, str):
            Path("params.yaml").write_text(params, encoding="utf-8")
        elif params is not GONE:
            write(params)
        with pytest.raises(SystemExit) as left:
            run_stage(check, usage="")
        captured = capsys.readouterr()
        assert (left.value.code, captured.out) == (1, "")
        assert captured.err.startswith("error: params.yaml") and captured.err.endswith(".\n") and captured.err.count("\n") == 1
        assert {path.name for path in Path().iterdir()} <= {"params.yaml"}, "a mistake is refused before anything is made"
        return captured.err.removeprefix("error: ").removesuffix("\n")

    return run


def accepted(params: dict[str, Any]) -> None:
    write(params)
    check("params.yaml")
    assert (CHECKED / "params.json").read_text() == '{\n  "checked": "params.yaml"\n}\n'


def one_of(shelf: str) -> str:
    return f"expected one of {', '.join(part_names(shelf))}"


BY_SOURCE = {"sample": 0.5, "official": 0.5}
MISTAKES: list[tuple[str, Any, str]] = [
    ("models", None, "models is null"),
    ("source", "oficial", "source is 'oficial'; expected sample or official"),
    ("runtime.sed", 1, "runtime.sed is not a known key (known: seed, threads, device, "),
    ("runtime.threads", 100_000, "runtime.threads is 100000; expected less than or equal to 1024"),
    ("evaluate.num_resamples", 10, "evaluate.num_resamples is 10"),
    ("gate.confidence", 95, "gate.confidence is 95; expected less than 1"),
    ("export.tolerance", INF, "export.tolerance is inf; expected a finite number"),
    ("export.int8.calibration_rows", 299, "export.int8.calibration_rows is 299"),
    ("export.names.imag", "image", "imag is neither a kind of input nor an output"),
    ("export.names.label", "features", "expected different names, got 'features' twice"),
    ("export.names.label", "the label", "export.names.label is 'the label'"),
    # Sources and datasets
    ("sources.line.kind", "pionts", f"sources.line.kind is 'pionts'; {one_of('sources')}"),
    ("sources.line.train", [[1, 1e300]], "sources.line.train.0.1 is 1e+300"),
    ("sources.hello.target", "ohl", "expected input and target of the same length, got 5 and 3"),
    ("sources.diabetes.official.0.sha256", None, "expected a sha256"),
    ("sources.diabetes.official.0.path", "../diabetes.csv", "official.0.path is '../diabetes.csv'; expected a path such as"),
    ("sources.hymenoptera.official.0.unpack.max_megabytes", 0, "official.0.unpack.max_megabytes is 0"),
    ("datasets.line.kind", "pionts", f"datasets.line.kind is 'pionts'; {one_of('datasets')}"),
    ("datasets.line.raw", "data/../..", "datasets.line.raw is 'data/../..'"),
    ("datasets.line.raw", "data/birds/raw", "datasets.line.raw is data/birds/raw, a folder that does not exist and that no source makes"),
    ("datasets.line.about.licence", {}, "datasets.line.about.licence has an entry for nothing; expected generated, and no other"),
    ("datasets.mnist.about.licence", {"sample": "x"}, "about.licence has an entry for sample; expected official and sample"),
    ("datasets.mnist.about.licence", "x", "about.licence has an entry for one text; expected official and sample"),
    ("datasets.line.accept", ["duplicates"], "expected names of findings, of same_as_target, tells_target, "),
    ("datasets.line.accept", ["duplicates"], "got 'duplicates'"),
    ("datasets.line.preprocess.classes", ["a", "b"], "expected classes, two names, for the task binary and for no other"),
    ("datasets.hours.preprocess.classes", ["a", "a"], "expected classes with different names"),
    ("datasets.hello.preprocess.alphabet", "hhelo", "datasets.hello.preprocess.alphabet is 'hhelo'"),
    ("datasets.diabetes.preprocess.file", "/etc/passwd", "expected file to be the name of a file in raw/"),
    ("datasets.mnist.preprocess.canvas", 32, "expected canvas 28 for the target digit, got 32"),
    ("datasets.hymenoptera.preprocess.crop", 300, "expected crop (300) and train_crop (256) to be at most resize (288)"),
    # Models
    (LINE, None, f"{LINE} is null"),
    (f"{LINE}.dataset", "lines", f"{LINE}.dataset is 'lines'; expected one of "),
    (f"{CNN}.int8", ["dense"], f"{CNN}.int8.0 is 'dense'; expected 'convolution' or 'linear'"),
    (f"{CNN}.architecture.name", "cmn", f"{CNN}.architecture.name is 'cmn'; {one_of('architectures')}"),
    (f"{CNN}.architecture.name", GONE, f"{CNN}.architecture.name is ''; {one_of('architectures')}"),
    (f"{CNN}.architecture.hidden", [0], f"{CNN}.architecture.hidden.0 is 0; expected greater than or equal to 1"),
    ("models.hello_embedding.architecture.cell", "rnn_cell", "cell rnn_cell has one layer"),
    (f"{TRANSFER}.architecture.model", "lite9", "architecture.model is 'lite9'; expected 'lite0', 'lite1' or 'lite2'"),
    (f"{TRANSFER}.architecture", RESNET | {"model": "resnet81"}, "architecture.model is 'resnet81'; expected a classifier of torchvision"),
    (f"{TRANSFER}.architecture", RESNET | {"weights": "IMAGENET"}, "expected weights to be one of none, IMAGENET1K_V1"),
    (f"{CNN}.gate.metric", "acuracy", f"{CNN}.gate.metric is 'acuracy'; expected one of accuracy, macro_f1, balanced_accuracy, "),
    (f"{CNN}.gate.metric", "log_loss", f"{CNN}.gate expects at_most alone as the bound of the metric log_loss."),
    (f"{CNN}.gate.at_least", GONE, f"{CNN}.gate expects at_least alone as the bound of the metric accuracy."),
    (f"{CNN}.gate.at_most", BY_SOURCE, f"{CNN}.gate expects at_least alone as the bound of the metric accuracy."),
    (f"{LINE}.gate.at_least", BY_SOURCE, f"{LINE}.gate expects at_most alone as the bound of the metric mae."),
    (f"{CNN}.gate.tolerance.sample", -0.1, f"{CNN}.gate.tolerance.sample is -0.1; expected greater than or equal to 0"),
    # Parts that do not fit each other
    (f"{CNN}.dataset", "diabetes", f"{CNN}.architecture.name is cnn, which takes image, but the dataset diabetes has features: choose"),
    (f"{GRU}.dataset", "hello", "which answers once per item, but the dataset hello is a sequence task: choose another architecture"),
    (f"{LINE}.train.loss", {"name": "BCE"}, "regression target"),
    # Recipes
    (
        f"{TRANSFER}.train.lr",
        0.1,
        f"{TRANSFER}.train has fit and also lr, but a recipe with fit has fit and batch_size alone: remove fit, or",
    ),
    (f"{TRANSFER}.train.fit", {"C": [], "folds": 5, "standardise": False}, f"{TRANSFER}.train.fit.C is []"),
    (f"{TRANSFER}.train.fit", {"C": [0], "folds": 1, "standardise": False}, f"{TRANSFER}.train.fit.C.0 is 0; expected greater than 0; "),
    (f"{CNN}.train.recipe", "head", f"{CNN}.train has fit and also augment, ema, epochs, loss, lr, schedule, but"),
    (
        f"{CNN}.train",
        {"recipe": "head"},
        f"{CNN}.train has fit, but {CNN}.architecture.name is cnn, which has no features to fit a head on: choose",
    ),
    (
        f"{NGRAMS}.train.fit",
        {"C": [1], "folds": 2, "standardise": True},
        f"{NGRAMS}.train.fit.standardise must be false for ngrams, whose features are mostly 0",
    ),
    ("recipes.image.batch_size", GONE, "recipes.image.batch_size is missing: add it"),
    ("recipes.image.epochs", {"sample": 3}, "recipes.image.epochs.official is missing"),
    (f"{LINE}.train.recipe", "lessons", "train.recipe is 'lessons'; expected one of finetune, head, image, "),
    (f"{LINE}.train.clip_norm", "none", "train.clip_norm is 'none'; expected a valid number, or null"),
    (f"{LINE}.train.lr", True, "train.lr is true; expected a valid number"),
    (f"{LINE}.train.epochs", {"sample": 3, "official": 0}, "train.epochs.official is 0"),
    (
        f"{GRU}.train.augment",
        [{"name": "RandomHorizontalFlip"}],
        "augment works only on pictures, but the dataset has characters: set it to",
    ),
    (
        "models.line_grid.train.schedule",
        {"name": "StepLR", "interval": "step", "step_size": 3},
        "models.line_grid.train.schedule must be null for GridSearch",
    ),
]

# By part of a recipe: its name and arguments, and what is said after "params.yaml: models.line_gd.train.<part>" or of its arguments.
PARTS: list[tuple[str, Any, str]] = [
    ("loss", {"name": "MES"}, "train.loss.name is 'MES'; for a regression target expected one of MSE, L1, SmoothL1."),
    ("loss", {"name": "MSE", "redution": "sum"}, "train.loss (MSE) do not fit: mse_loss() got an unexpected"),
    ("loss", {"name": "MSE", "reduction": "sum"}, "train.loss.reduction is 'sum'; expected mean"),
    ("optimizer", {"name": "SGD", "momentun": 0.9}, "train.optimizer (SGD) do not fit: SGD.__init__() got an unexpected"),
    ("optimizer", {"name": "SGD", "momentum": "0.9"}, "train.optimizer.momentum is '0.9'; expected float, not a text"),
    ("optimizer", {"name": "Adam", "betas": [0.9, float("nan")]}, "train.optimizer.betas.1 is nan; expected a finite number"),
    ("optimizer", {"name": "SGD", "lr": 0.1}, "train.optimizer.lr is 0.1: remove it and set models.line_gd.train.lr."),
    ("optimizer", {"name": "LBFGS", "history_size": 0}, "train.optimizer (LBFGS) do not fit: IndexError: pop from empty list."),
    ("optimizer", {"name": "Adam", "betas": [0.9, 1.0]}, "train.optimizer (Adam) do not fit: Invalid beta parameter at index 1: 1.0"),
    ("schedule", {"name": "OneCycle", "interval": "step"}, f"expected one of {', '.join(schedule_names())} (to warm up"),
    ("schedule", {"name": "OneCycleLR", "interval": "step", "pct_start": 3.0}, "train.schedule.pct_start is 3"),
    ("schedule", {"name": "OneCycleLR", "interval": "step", "total_steps": 5}, "schedule ends after 5 of 500 steps: remove total_steps"),
    ("schedule", {"name": "OneCycleLR", "interval": "step", "max_lr": -5}, "train.schedule makes the learning rate -"),
    ("schedule", {"name": "PolynomialLR", "interval": "step", "power": -1}, "train.schedule (PolynomialLR) do not fit: ZeroDivision"),
    ("schedule", {"name": "StepLR", "interval": "epoch", "step_size": 1.5}, "step_size is 1.5; expected int, not a fraction."),
    ("schedule", {"name": "ReduceLROnPlateau", "interval": "step"}, "train.schedule.interval must be epoch for ReduceLROnPlateau"),
]
AUGMENTATIONS = [
    ([{"name": "RandomAfine"}], "train.augment[0].name is 'RandomAfine'; expected a transform of torchvision.transforms.v2"),
    ([{"name": "RandomHorizontalFlip", "p": 0.5}, {"name": "RandomAffine"}], "train.augment[1] (RandomAffine) do not fit"),
    ([{"name": "RandomAffine", "degrees": 3, "translate": ["a", "b"]}], "train.augment[0] (RandomAffine) do not fit"),
    ([{"name": "RandomCrop", "size": -28}], "train.augment[0] (RandomCrop) do not fit: size must be 1 or more"),
    ([{"name": "Lambda", "lambd": 5}], "train.augment[0] (Lambda) do not fit"),
]
MISTAKES += [(f"{LINE}.train.{part}", value, named) for part, value, named in PARTS]
MISTAKES += [(f"{CNN}.train.augment", value, named) for value, named in AUGMENTATIONS]


@pytest.mark.parametrize(("path", "value", "named"), MISTAKES)
def test_a_mistake_is_refused_by_name(refusal: Refusal, path: str, value: Any, named: str) -> None:
    assert named in refusal(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{LINE}.train.lr", 1),  # a whole number is a number too
        (f"{CNN}.gate.at_least.official", None),
        (f"{CNN}.gate.at_least", 0.9),
        (f"{CNN}.gate.tolerance", 0.01),
        (f"{CNN}.gate", GONE),
        (f"{CNN}.train.loss", {"name": "CrossEntropy", "weight": [0.5, 1, 2]}),  # train refuses another number than there are classes
        (f"{CNN}.train.schedule", {"name": "OneCycleLR", "interval": "step", "pct_start": 0.5}),
    ],
)
def test_what_may_be_right_is_accepted(path: str, value: Any) -> None:
    accepted(changed(path, value))


def test_data_of_ones_own_needs_no_source_and_names_may_be_any_plain_ones(refusal: Refusal) -> None:
    params = few_params()
    about = {"use": "To try.", "limits": "Made up.", "licence": {"sample": "our own"}}
    params["datasets"]["A-1_b"] = params["datasets"]["line"] | {"raw": "data/own/raw", "about": about}
    params["models"]["2nd"] = params["models"]["line_gd"] | {"dataset": "A-1_b"}
    assert "datasets.A-1_b.raw is data/own/raw, a folder that does not exist" in refusal(params)
    Path("data/own").mkdir(parents=True)
    Path("data/own/raw.dvc").touch()
    write(params)
    with pytest.raises(UserError, match=r"A-1_b\.about\.licence has an entry for sample; expected one text, and no other\.$"):
        check("params.yaml")
    about["licence"] = "our own"
    accepted(params)


@pytest.mark.parametrize(
    ("section", "name"),
    [("models", "../up"), ("models", "a.b"), ("sources", "a@b"), ("datasets", "-a"), ("recipes", "a\nb"), ("models", "")],
)
def test_a_name_that_is_no_plain_name_is_refused(refusal: Refusal, section: str, name: str) -> None:
    params = few_params()
    params[section][name] = next(iter(params[section].values()))
    expected = "expected letters, digits, _ and -, a letter or digit first"
    assert refusal(params) == f"params.yaml: {section} has the name {' '.join(repr(name).split())}; {expected}."


SCHEDULES: dict[str, dict[str, Any]] = {
    "StepLR": {"step_size": 10},
    "MultiStepLR": {"milestones": [10, 20]},
    "CosineAnnealingWarmRestarts": {"T_0": 10},
    "CyclicLR": {"base_lr": 0.001},
    "ExponentialLR": {"gamma": 0.99},
}


@pytest.mark.parametrize("name", schedule_names())
def test_every_schedule_is_accepted(name: str) -> None:
    for interval in ("epoch", "step")[: 1 if name == "ReduceLROnPlateau" else 2]:
        accepted(changed(f"{LINE}.train.schedule", {"name": name, "interval": interval, **SCHEDULES.get(name, {})}))


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
        (("INPUTS, PER", "_, PER"), " lacks INPUTS: compare it with stages/architectures/mlp.py."),
        (('Literal["mine"]', 'Literal["other"]'), ': the field `name` of its Params must be Literal["mine"]'),
        (("):", ")"), " line 6 cannot be imported (SyntaxError: expected ':'"),
        (("from torch import nn", "from torch import nm"), " cannot be imported (ImportError: cannot import"),
    ],
)
def test_a_family_with_a_mistake_is_named_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], said: str
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file of the same size and second would be taken for the one before
    (tmp_path / "architectures").mkdir()
    monkeypatch.setattr(stages.architectures, "__path__", [*stages.architectures.__path__, str(tmp_path / "architectures")])
    monkeypatch.setattr("stages.common.shelves.part_names", lambda shelf: [*part_names(shelf), "mine"])
    write(changed(f"{LINE}.architecture", {"name": "mine"}))
    for content in (FAMILY.replace(*change), FAMILY):
        (tmp_path / "architectures/mine.py").write_text(content)
        sys.modules.pop("stages.architectures.mine", None)
        if content != FAMILY:
            with pytest.raises(UserError) as refused:
                check("params.yaml")
            assert str(refused.value).startswith(f"stages/architectures/mine.py{said}")
        else:
            check("params.yaml")


# The file itself, and what is written


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("- source\n", "params.yaml must hold keys and values"),
        ("source: [sample\n", "params.yaml line 2, column 1: "),
        ("source: sample\nsource: sample\n", 'line 2, column 1: found duplicate key "source"'),
        ("source: sample\n", "runtime is missing: add it; sources is missing: add it; datasets is missing: add it"),
        (GONE, "params.yaml is not in this folder: run the command in the root of the repository."),
    ],
)
def test_a_file_that_is_not_params_is_refused(refusal: Refusal, text: Any, named: str) -> None:
    assert named in refusal(text)


def test_another_file_is_not_checked_in_its_place() -> None:
    write(few_params())
    Path("params.yaml").rename("other.yaml")
    with pytest.raises(UserError, match=r"^other.yaml is not the file that the stages read: give params.yaml"):
        check("other.yaml")


def test_a_mistake_leaves_the_earlier_result_which_never_changes() -> None:
    accepted(few_params())
    before = {path: path.read_bytes() for path in CHECKED.rglob("*") if path.is_file()}
    assert {path.name for path in before} == {"params.json", *(f"{name}.json" for name in DATASETS)}
    write(changed(f"{LINE}.train.lr", 0))
    with pytest.raises(UserError):
        check("params.yaml")
    assert {path: path.read_bytes() for path in CHECKED.rglob("*") if path.is_file()} == before
    accepted(changed(f"{LINE}.train.lr", 0.02))
    assert {path: path.read_bytes() for path in CHECKED.rglob("*") if path.is_file()} == before


def test_what_flows_and_stages_need_to_know_of_a_dataset_changes_with_its_input_and_task_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted(few_params())
    before = {path.name: json.loads(path.read_text()) for path in (CHECKED / "datasets").iterdir()}
    line = {"input": "features", "task": "regression", "score": "mae", "metrics": {"mae": "lower", "rmse": "lower", "r2": "higher"}}
    assert before["line.json"] == line | {"code": before["line.json"]["code"]}
    comment_in(tmp_path / "copy", "stages/tasks/regression.py", monkeypatch)
    accepted(few_params())
    after = {path.name: json.loads(path.read_text()) for path in (CHECKED / "datasets").iterdir()}
    assert [name for name in before if before[name] != after[name]] == ["line.json"]


def with_table() -> dict[str, Any]:
    params = few_params()
    params["datasets"]["diabetes_rows"] = copy.deepcopy(COMMITTED["datasets"]["diabetes_rows"])
    shutil.copytree(ROOT / "data/schemas", "data/schemas", dirs_exist_ok=True)
    return params


def comment_in(copy: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on check looks at a copy of the code in which this file has a line more."""
    for name in ("stages", "examples"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / file).open("a") as copied:
        copied.write("# a comment\n")
    monkeypatch.setattr("stages.check.STAGES", copy / "stages")


def checked() -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in (CHECKED / "datasets").iterdir()}


@pytest.mark.parametrize("file", ["examples/cells.py", "examples/pictures.py", "stages/reading/schema.py"])
def test_what_only_some_kinds_of_data_are_read_with_makes_only_these_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    params = with_table()
    accepted(params)
    before, kinds = checked(), {name: entry["kind"] for name, entry in params["datasets"].items()}
    comment_in(tmp_path / "copy", file, monkeypatch)
    accepted(params)
    readers = {kind for kind in kinds.values() if file in getattr(take_part("datasets", kind, "kind"), "READS", ())}
    assert "points" not in readers and readers
    assert {name for name, known in checked().items() if known != before[name]} == {name for name in kinds if kinds[name] in readers}


def test_a_schema_is_what_its_dataset_is_read_by_without_what_is_written_for_people() -> None:
    params = with_table()
    accepted(params)
    before, path = checked(), Path("data/schemas/diabetes_rows.yaml")
    assert before["diabetes_rows"]["schema"]["columns"]["Glucose"] == {"type": "number", "missing": ["0"]}
    assert [name for name, known in before.items() if "schema" in known] == ["diabetes_rows"]
    text = path.read_text()
    path.write_text(text.replace("why: nobody alive has 0", "why: nobody has 0"))
    accepted(params)
    assert checked() == before
    path.write_text(text.replace("BMI: {type: number", "BMI: {type: dropped"))
    accepted(params)
    assert [name for name, known in checked().items() if known != before[name]] == ["diabetes_rows"]


SCHEMA_MISTAKES = [
    ("targets: [Outcome]", "targets: [Outcom]", "expected the target 'Outcom' to be one of columns"),
    ("targets: [Outcome]", "targets: [Outcome, Outcome]", "expected targets that are all different"),
    (
        "targets: [Outcome]",
        "targets: [Age]",
        "task is binary, which does not fit the targets of data/schemas/diabetes_rows.yaml: Age",
    ),
    ("file: diabetes.csv", "file: ../diabetes.csv", "expected file to be the name of a file in the raw folder"),
    ('levels: ["0", "1"]', 'levels: ["0", "0"]', "expected levels that are all different"),
    ('levels: ["0", "1"]', "why: two", "a category needs levels"),
    ("Age: {type: number}", "Age: {type: date}", "a date needs formats"),
    ("Age: {type: number}", "Age: {type: date, formats: ['%d.%m']}", "expected one year"),
    ("Age: {type: number}", "Age: {tpye: number}", "columns.Age.tpye is not a known key"),
    ("file: diabetes.csv", "file: [", "data/schemas/diabetes_rows.yaml is not YAML"),
    ("file: diabetes.csv", 'file: "a\\0b"', "expected file to be the name of a file"),
    ("file: diabetes.csv", "file: diabetes.csv\nformat: {separator: '\"'}", "expected as separator one sign that is no letter"),
    ("file: diabetes.csv", "file: diabetes.csv\nformat: {separator: x}", "expected as separator one sign that is no letter"),
    ("Age: {type: number}", "Age: {type: number, decimal: ',', thousands: ','}", "expected two signs that differ"),
    ("Age: {type: number}", "Age: {type: number, units: [' kg']}", "expected units without digits, signs, brackets and blanks"),
    ("Age: {type: number}", "Age: {type: number, units: ['-']}", "got '-'"),
    ("Age: {type: number}", "Age: {type: number, units: ['.']}", "got '.'"),
    (
        "Age: {type: number}",
        "Age: {type: date, formats: ['%d.%m.%Y %H:%M']}\n  Age (second of the day): {type: number}",
        "expected no column 'Age (second of the day)', which is what the time of a date is called",
    ),
    ("Age: {type: number}", "Age: {type: category, levels: ['']}", "expected levels of 1 to 1000 characters"),
    ("Age: {type: number}", "Age: {type: category, levels: ['a ', b]}", "got 'a '"),
    ("Age: {type: number}", 'Age: {type: category, levels: ["e\\u0301"]}', "got 'e\u0301'"),
]


@pytest.mark.parametrize(("right", "wrong", "named"), SCHEMA_MISTAKES)
def test_a_mistake_in_a_schema_is_refused_by_its_file_and_key(right: str, wrong: str, named: str) -> None:
    write(with_table())
    path = Path("data/schemas/diabetes_rows.yaml")
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong))
    with pytest.raises(UserError) as refused:
        check("params.yaml")
    assert named in str(refused.value) and "data/schemas/diabetes_rows.yaml" in str(refused.value) and "\n" not in str(refused.value)
    assert not CHECKED.exists()


@pytest.mark.parametrize(
    ("preprocess", "named"),
    [
        ({"task": "regression"}, "preprocess.task is regression, which does not fit the targets of "),
        ({"task": "multiclass"}, "Outcome (2 levels)"),
        ({"group": "Patient"}, "preprocess.group is 'Patient', which is not a column of data/schemas/diabetes_rows.yaml"),
        ({"time": "Outcome"}, "preprocess.time is 'Outcome', which is not a column of "),
        ({"group": "Age", "time": "Age"}, "expected at most one of group, time and split"),
    ],
)
def test_what_params_ask_of_a_table_must_be_in_its_schema(preprocess: dict[str, str], named: str) -> None:
    params = with_table()
    params["datasets"]["diabetes_rows"]["preprocess"] |= preprocess
    write(params)
    with pytest.raises(UserError) as refused:
        check("params.yaml")
    assert str(refused.value).startswith("params.yaml: datasets.diabetes_rows.preprocess") and named in str(refused.value)


@pytest.mark.parametrize("name", ["schemas", "checked"])
@pytest.mark.parametrize("section", ["sources", "datasets"])
def test_a_folder_of_ours_below_data_is_no_name_of_a_dataset(refusal: Refusal, section: str, name: str) -> None:
    params = few_params()
    params[section][name] = copy.deepcopy(params[section]["line"])
    assert refusal(params) == f"params.yaml: {section} has the name {name!r}, but data/{name} is a folder of ours: choose another name."


def test_what_is_left_of_entries_that_are_gone_is_said_and_refuses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    write(few_params())
    noted = (
        "check",
        "download@line",
        "download@cifar10",
        "preprocess@names",
        "train@line_gd",
        "train@line_sgd",
        "export@line_sgd",
        "own@x",
    )
    Path("dvc.lock").write_text("stages:\n" + "".join(f"  {stage}:\n    cmd: x\n" for stage in noted))
    check("params.yaml")
    assert capsys.readouterr().out == (
        "notice: params.yaml has no entry for data/cifar10, models/line_sgd, but data/, models/ or dvc.lock still hold something of it: "
        'make remove NAME="data/cifar10 models/line_sgd"\n'
    )
    assert CHECKED.exists()


def test_the_command_accepts_the_committed_params_in_silence_and_refuses_a_typo_in_one_line(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    command, environment = [sys.executable, "-m", "stages.check", "params.yaml"], os.environ | {"PYTHONPATH": str(ROOT)}
    said = []
    shutil.copytree(ROOT / "data/schemas", tmp_path / "data/schemas")
    for content in (text.replace("momentum: 0.9", "momentun: 0.9", 1), text):
        (tmp_path / "params.yaml").write_text(content, encoding="utf-8")
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120)
        said.append((result.returncode, result.stdout, result.stderr))
    (code, out, err), right = said
    assert (code, out, right) == (1, "", (0, "", "")) and "momentun" in err and err.count("\n") == 1
    assert err.startswith("error: params.yaml: the arguments of models.line_gd.train.optimizer (SGD) do not fit: ")
    assert (CHECKED / "params.json").is_file()
