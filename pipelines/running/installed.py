"""Which models were made with other versions of torch, torchvision or onnx than those that are installed now.

stages/shell/notices.py, which may not be imported here, says the same for `check`.
"""

import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path


def notice(models: Iterable[str], root: Path = Path()) -> str | None:
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
