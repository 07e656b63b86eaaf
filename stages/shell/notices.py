"""What `check` says beside refusals: what is left of removed entries, and which models other versions of the libraries made.

Flows say the same (pipelines/running/leftovers.py and installed.py, which may not import this); tests compare them.
"""

import json
import re
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

# By section: the folder, the stages, and what they alone write there.
BELONGINGS = {
    "sources": ("data", "download", ("raw/.source",)),
    "datasets": ("data", "preprocess|audit", ("processed/meta.json", ".new")),
    "models": ("models", "train|evaluate|export|report", ("training.json", "exported/signature.json")),
}


def leftovers(entries: dict[str, dict[str, Any]]) -> list[str]:
    """What lies in data/, models/ or dvc.lock and has no entry, such as models/line_sgd. Raw data with a .dvc file is somebody's own, and
    raw data that a dataset reads is in use, by whatever it was made.
    """
    lock = Path("dvc.lock").read_text(encoding="utf-8", errors="replace") if Path("dvc.lock").is_file() else ""
    found: dict[str, None] = {}
    known = {section: set(names) for section, names in entries.items()}
    known["sources"] |= {Path(values["raw"]).parent.name for values in entries["datasets"].values() if "raw" in values}
    for section, (folder, stages, marks) in BELONGINGS.items():
        names = set(re.findall(rf"^  (?:{stages})@([\w-]+):$", lock, flags=re.MULTILINE))
        marked = [path.relative_to(folder) for mark in marks for path in Path(folder).glob(f"*/{mark}")]
        names |= {path.parts[0] for path in marked if path.name != ".source" or not Path(folder, path.parts[0], "raw.dvc").exists()}
        names |= {path.stem for path in Path("data/schemas").glob("*.yaml")} if section == "datasets" else set()
        found |= dict.fromkeys(f"{folder}/{name}" for name in sorted(names - known[section]))
    return list(found)


def made_with_others(models: Iterable[str], root: Path = Path()) -> str | None:
    """One line, or None where there are no such models. A checkpoint that cannot be read is left to the stages."""
    made = {name: versions_of(root / "models" / name / "checkpoint.safetensors") for name in models}
    others = {name: versions for name, versions in made.items() if any(version(library) != own for library, own in versions.items())}
    if not others:
        return None
    libraries = sorted({f"{library} {own}" for versions in others.values() for library, own in versions.items() if version(library) != own})
    rebuilt = f"to rebuild one with those installed now: dvc repro --force train@{next(iter(others))}"
    return f"{', '.join(others)}: made with {', '.join(libraries)}, but other versions are installed now; {rebuilt}"


def versions_of(checkpoint: Path) -> dict[str, str]:
    """By library; none where there is no checkpoint, or one that says nothing of them."""
    try:
        with checkpoint.open("rb") as file:
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), 1 << 24)))
        versions = json.loads(header["__metadata__"]["reprise"])["versions"]
        return {str(library): str(own) for library, own in versions.items() if library in ("torch", "torchvision", "onnx")}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return {}
