"""What lies in data/, models/ or dvc.lock of models and datasets that have no entry in params.yaml any more.

stages/check.py says the same: stages and pipelines may not import each other, and tests/entries/test_leftovers.py compares the two.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDERS = {"datasets": "data", "models": "models"}
STAGES = {"datasets": {"download", "preprocess"}, "models": {"train", "evaluate", "export"}}
# What the stages alone write: a folder without it is somebody's own. Raw data that has a .dvc file is too.
MARKS = {"datasets": ("processed/meta.json", "raw/.source"), "models": ("training.json", "exported/signature.json")}


def leftovers(params: Any, noted: Iterable[str], root: Path) -> list[str]:
    """Such as models/line_sgd, sorted; `noted` are the stages in dvc.lock."""
    found = []
    stages = [stage.partition("@")[::2] for stage in noted]
    for section, folder in FOLDERS.items():
        names = {name for stage, name in stages if name and stage in STAGES[section]}
        marked = [path.relative_to(root / folder) for mark in MARKS[section] for path in (root / folder).glob(f"*/{mark}")]
        names |= {path.parts[0] for path in marked if path.name != ".source" or not (root / folder / path.parts[0] / "raw.dvc").exists()}
        found += [f"{folder}/{name}" for name in sorted(names - set(params.get(section) or {}))]
    return found


def notice(found: list[str]) -> str:
    names = found[0] if len(found) == 1 else f'"{" ".join(found)}"'
    where = "of which data/, models/ or dvc.lock still hold something"
    return f"params.yaml has no entry for {', '.join(found)}, {where}: make remove NAME={names}"
