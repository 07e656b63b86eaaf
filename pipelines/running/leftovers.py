"""What lies in data/, models/ or dvc.lock of models, datasets and sources that have no entry in params.yaml any more.

stages/shell/notices.py, which may not be imported here, finds the same for `check`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDERS = {"sources": "data", "datasets": "data", "models": "models"}
STAGES = {"sources": {"download"}, "datasets": {"preprocess", "audit"}, "models": {"train", "evaluate", "export", "report"}}
SCHEMAS = "data/schemas"  # of tables: a file a dataset
# What the stages and `make new` alone write: a folder without it is somebody's own. Raw data that has a .dvc file is too.
UNFINISHED = ".new"  # stands in data/<name> until `make new` has written its entries
MARKS = {
    "sources": ("raw/.source",),
    "datasets": ("processed/meta.json", UNFINISHED),
    "models": ("training.json", "exported/signature.json"),
}


def leftovers(params: Any, noted: Iterable[str], root: Path) -> list[str]:
    """Such as models/line_sgd; `noted` are the stages in dvc.lock. Raw data that a dataset reads is in use, by whatever it was made."""
    found: dict[str, None] = {}
    stages = [stage.partition("@")[::2] for stage in noted]
    known = {section: set(params.get(section) or {}) for section in FOLDERS}
    datasets = (params.get("datasets") or {}).values()
    known["sources"] |= {Path(str(values["raw"])).parent.name for values in datasets if isinstance(values, dict) and "raw" in values}
    for section, folder in FOLDERS.items():
        names = {name for stage, name in stages if name and stage in STAGES[section]}
        marked = [path.relative_to(root / folder) for mark in MARKS[section] for path in (root / folder).glob(f"*/{mark}")]
        names |= {path.parts[0] for path in marked if path.name != ".source" or not (root / folder / path.parts[0] / "raw.dvc").exists()}
        names |= {path.stem for path in (root / SCHEMAS).glob("*.yaml")} if section == "datasets" else set()
        found |= dict.fromkeys(f"{folder}/{name}" for name in sorted(names - known[section]))
    return list(found)


def notice(found: list[str]) -> str:
    names = found[0] if len(found) == 1 else f'"{" ".join(found)}"'
    where = "but data/, models/ or dvc.lock still hold something of it"
    return f"params.yaml has no entry for {', '.join(found)}, {where}: make remove NAME={names}"
