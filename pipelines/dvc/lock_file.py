"""dvc.lock, and what can be looked up in it and in params.yaml."""

import os
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from dvc.stage.serialize import to_lockfile
from dvc.utils.serialize import dumps_yaml, load_yaml, parse_yaml

from pipelines.dvc.errors import GraphError, refusals

MISSING = object()
LOCK, PARAMS, TMP = "dvc.lock", "params.yaml", Path(".dvc") / "tmp"
HOW_TO_RESOLVE = {LOCK: "resolve params.yaml and dvc.yaml, then run python -m pipelines.dvc.merge"}


def refuse_marks(root: Path, *names: str) -> None:
    """Raises GraphError for the first of these files in which git has marked a conflict."""
    for name in names:
        path = root / name
        for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], start=1):
            if line.startswith((b"<<<<<<< ", b">>>>>>> ")):
                raise GraphError(f"{name} has a merge conflict (line {number}): {HOW_TO_RESOLVE.get(name, 'resolve it, and run again')}.")


class LockFile:
    """dvc.lock, always replaced whole. Entries are in the order of the graph, and those of stages that are no more at the end."""

    def __init__(self, root: Path, order: list[str]):
        self.path, self.scratch, self.places = root / LOCK, root / TMP, {name: place for place, name in enumerate(order)}
        self.content, self.texts = self._read(), dict[str, tuple[Any, str]]()

    @cached_property
    def data(self) -> dict[str, Any]:
        """Its content; read where it is needed, since that takes a while."""
        return parsed_lock(self.content.decode(), str(self.path))

    def _read(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""

    def is_changed_by_others(self) -> bool:
        return self._read() != self.content

    def note(self, stage: Any) -> None:
        """Replaces the stage's entry."""
        entries = self.data["stages"] | to_lockfile(stage)
        self.data["stages"] = dict(sorted(entries.items(), key=lambda entry: self.places.get(entry[0], len(self.places))))
        content = as_text(self.data, self.texts).encode()
        if content != self.content:
            replace(self.path, content, self.scratch)
            self.content = content


def as_text(data: Any, texts: dict[str, tuple[Any, str]] | None = None) -> str:
    """A dvc.lock as DVC writes it, which takes DVC most of a second: `texts` keeps the text of entries from one call to the next."""
    texts = {} if texts is None else texts
    for name, entry in data["stages"].items():
        if name not in texts or texts[name][0] != entry:
            texts[name] = entry, dumps_yaml({"stages": {name: entry}}).partition("\n")[2]
    rest = dumps_yaml({key: value for key, value in data.items() if key != "stages"})
    return rest + ("stages:\n" if data["stages"] else "stages: {}\n") + "".join(texts[name][1] for name in data["stages"])


def with_entries(text: str, changes: dict[str, tuple[str, Any] | None]) -> str:
    """A dvc.lock in which stages have another name and entry, or none; all others stay as they are."""
    lock = parsed_lock(text)
    entries = [changes.get(stage, (stage, entry)) for stage, entry in lock["stages"].items()]
    return as_text(lock | {"stages": dict(filter(None, entries))})


def replace(path: Path, content: bytes, scratch: Path) -> None:
    """Writes the file beside, in the folder `scratch`, and moves it into its place once it is on the disk."""
    beside = scratch / f"{path.name}.{os.getpid()}"
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def find(values: Any, key: str) -> Any:
    """The value of a params key such as "models.mnist_cnn.train"; MISSING where there is none."""
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            return MISSING
        values = values[part]
    return values


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, parsed again only where the file has changed."""
    stat = path.stat()
    return _read(path, (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=4)
def _read(path: Path, _version: tuple[int, int]) -> Any:
    return load_yaml(str(path))


def parsed(text: str, where: str) -> Any:
    """YAML as DVC reads it; `where` it is from is for the sentence that refuses it."""
    with refusals():
        return parse_yaml(text, where)


def parsed_lock(text: str, where: str = LOCK) -> dict[str, Any]:
    """A dvc.lock, which may be empty; under "stages" are its entries, by stage."""
    data = parsed(text, where)
    if not isinstance(data, dict) or not isinstance(data.get("stages") or {}, dict):
        raise GraphError(f"{where} is not laid out as DVC writes it: let DVC write it (dvc commit), and run this again.")
    return {"schema": "2.0"} | data | {"stages": dict(data.get("stages") or {})}


def hash_of(lock: Any, stage: str, path: str) -> str | None:
    """The hash that a dvc.lock notes of a stage's output; None where it notes none."""
    outs = find(lock, f"stages.{stage}.outs")
    return next((out.get("md5") for out in outs if out.get("path") == path), None) if isinstance(outs, list) else None
