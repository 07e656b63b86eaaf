"""The committed params.yaml, entry by entry: right as it stands, refused by name with any key misspelt, missing or of another type.

And it stays readable by every tool that touches it: DVC writes it anew for each `dvc exp run -S`.
"""

import copy
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent

from stages.check import CHECKED, Gate, check, check_dataset, check_download, check_model
from stages.common.params import Runtime, Section, check_section
from stages.evaluation.bootstrap import Evaluate
from stages.exporting.section import Export
from stages.reporting.section import Report
from stages.shell.errors import UserError
from stages.training.recipe import as_recipe

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
PARAMS: dict[str, Any] = YAML(typ="safe").load(TEXT)
SHARED: dict[str, type[Section]] = {"runtime": Runtime, "evaluate": Evaluate, "report": Report, "export": Export, "gate": Gate}
# Sections in which a part, chosen by `name`, finds its own arguments; those with defaults may be left out.
CHOICES = tuple(f"{section}{part}" for section in ("", "train.") for part in ("loss", "optimizer", "schedule", "augment"))
ORIGINS = {f"data/{name}/raw": check_download(name, entry) for name, entry in PARAMS["sources"].items()}
TASKS = {name: check_dataset(name, entry, ORIGINS) for name, entry in PARAMS["datasets"].items()}
RECIPES = PARAMS["recipes"]

Key = tuple[str | int, ...]


# Recipes for data of one's own, which no model of the lessons has, and one that might: minutes, where its stand-in has sixteen photographs.
FOR_OWN = {"finetune": "hymenoptera_transfer"}


def check_entry(section: str, name: str, entry: Any) -> None:
    if section == "models":
        check_model(name, entry, RECIPES, TASKS)
    elif section == "recipes":
        as_recipe(entry, "official", f"recipes.{name}")
        for model, other in PARAMS["models"].items():
            if other["train"]["recipe"] == name:
                check_model(model, other, RECIPES | {name: entry}, TASKS)
            elif FOR_OWN.get(name) == model:
                check_model(model, other | {"train": {"recipe": name}}, RECIPES | {name: entry}, TASKS)
    elif section == "datasets":
        check_dataset(name, entry, ORIGINS)
    elif section == "sources":
        check_download(name, entry)
    else:
        check_section(SHARED[section], entry, section)


def walk(value: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Every value in `value`, itself too, with its keys."""
    yield key, value
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, inner in below:
        yield from walk(inner, (*key, part))


REMOVED = object()


def put(entry: Any, key: Key, value: Any) -> Any:
    """A copy with another value at the key, or without the key."""
    changed = copy.deepcopy(entry)
    section = changed
    for part in key[:-1]:
        section = section[part]
    if value is REMOVED:
        del section[key[-1]]
    else:
        section[key[-1]] = value
    return changed


def dotted(key: Key) -> str:
    return ".".join(map(str, key))


def refusal(section: str, name: str, entry: Any) -> str | None:
    try:
        check_entry(section, name, entry)
    except UserError as error:
        said = str(error)
    else:
        return None
    assert said.startswith("params.yaml: ")
    assert "\n" not in said
    return said


NAMED = [(section, name) for section in ("models", "recipes", "datasets", "sources") for name in PARAMS[section]]
ENTRIES = NAMED + [(section, "") for section in SHARED]


@pytest.mark.parametrize(("section", "name"), ENTRIES)
def test_an_entry_is_right_as_it_stands_and_refused_with_any_key_misspelt_missing_or_of_another_type(section: str, name: str) -> None:
    entry, accepted = PARAMS[section][name] if name else PARAMS[section], []
    check_entry(section, name, entry)
    for key, value in walk(entry):
        is_argument = dotted(key).startswith(CHOICES)
        if isinstance(value, dict):
            said = refusal(section, name, put(entry, (*key, "mistyped"), 1))
            if said is None or "mistyped" not in said or not (is_argument or dotted((*key, "mistyped")) in said):
                accepted.append((dotted(key), "unknown", said))
        if key and not isinstance(key[-1], int) and not is_optional(section, key):
            said = refusal(section, name, put(entry, key, REMOVED))
            if said is None or str(key[-1]) not in said:
                accepted.append((dotted(key), "missing", said))
        # Of its own flags torch asks only whether they are true.
        if key and not (isinstance(value, bool) and is_argument):
            said = refusal(section, name, put(entry, key, 5 if isinstance(value, str) else "of another type"))
            if said is None or not any(part in said for part in [part for part in key if isinstance(part, str)][-2:]):
                accepted.append((dotted(key), "of another type", said))
    assert accepted == []


def is_optional(section: str, key: Key) -> bool:
    """The arguments of a part of torch or torchvision with a default there, and what a file or archive may do without."""
    if section == "datasets" and key == ("accept",):
        return True
    if section == "models" and (key == ("gate",) or (key[0] == "train" and len(key) == 2 and key[1] != "recipe")):
        return True
    if section == "recipes" and len(key) == 1:  # without `fit` a recipe is of the other kind, and refused for all that this kind needs
        return key[0] in ("fit", "schedule", "augment", "clip_norm", "ema", "patience", "late_dropout", "fit_first")
    if section in ("models", "recipes"):
        is_argument = dotted(key).startswith(CHOICES)
        return is_argument and key[-1] not in ("name", "interval", "degrees", "size", "start")
    optional = {"unpack", "units", "ink", "test_fraction", "format", "leave_out", "sha256", "contents_sha256", "addresses"}
    return bool(optional & set(key))


def test_the_whole_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "data/schemas", "data/schemas")
    Path("params.yaml").write_text(TEXT, encoding="utf-8")
    check("params.yaml")
    assert (CHECKED / "params.json").is_file()


def test_what_is_committed_needs_no_network_and_no_gpu() -> None:
    assert PARAMS["source"] == "sample"
    assert PARAMS["runtime"]["device"] in ("auto", "cpu")


def test_every_dataset_recipe_and_source_is_used() -> None:
    assert {entry["dataset"] for entry in PARAMS["models"].values()} == set(PARAMS["datasets"])
    assert {entry["train"]["recipe"] for entry in PARAMS["models"].values()} == set(RECIPES) - set(FOR_OWN)
    assert {entry["raw"] for entry in PARAMS["datasets"].values()} == set(ORIGINS)


# What other tools make of the file


def test_no_value_is_shared_between_entries() -> None:
    """An alias would let one `dvc exp run -S models.a.train.lr=...` change two models, or none."""
    events = YAML(pure=True).parse(io.StringIO(TEXT))
    shared = [event for event in events if isinstance(event, AliasEvent) or getattr(event, "anchor", None)]
    assert shared == []
    assert "<<" not in TEXT


def rewritten(text: str) -> str:
    """`text` read and written back as DVC does it, comments and all."""
    yaml = YAML()
    yaml.default_flow_style = False
    written = io.StringIO()
    yaml.dump(yaml.load(text), written)
    return written.getvalue()


@pytest.mark.parametrize("pure", [False, True])
def test_a_rewrite_keeps_every_value_and_comment(pure: bool) -> None:
    written = rewritten(TEXT)
    assert YAML(typ="safe", pure=pure).load(written) == PARAMS
    assert [line.partition("#")[2] for line in written.splitlines() if "#" in line] == [
        line.partition("#")[2] for line in TEXT.splitlines() if "#" in line
    ]
    assert rewritten(written) == written, "a second rewrite changes nothing more"


def test_setting_params_changes_nothing_else(tmp_path: Path) -> None:
    """What `dvc exp run -S` does to the file, by DVC's own function."""
    path, expected = tmp_path / "params.yaml", copy.deepcopy(PARAMS)
    path.write_text(TEXT, encoding="utf-8")
    overrides = ["models.diabetes_mlp.architecture.hidden=[16,8]", "++models.diabetes_mlp.train.optimizer={name: Adam}"]
    expected["models"]["diabetes_mlp"]["architecture"]["hidden"] = [16, 8]
    expected["models"]["diabetes_mlp"]["train"]["optimizer"] = {"name": "Adam"}
    for name, entry in expected["models"].items():
        changed = {"batch_size": 7} if "fit" in RECIPES[entry["train"]["recipe"]] else {"lr": 0.0123, "epochs": 7}
        overrides += [f"++models.{name}.train.{key}={value}" for key, value in changed.items()]
        entry["train"] |= changed
    apply_overrides(str(path), overrides)
    assert YAML(typ="safe").load(path) == expected
    for name, entry in expected["models"].items():
        check_model(name, entry, RECIPES, TASKS)
