"""What belongs to a model or dataset of params.yaml: its stages, and what they and the tools have written for it."""

import difflib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from entries.lines import Keys, parse
from pipelines.dvc.entries import lock_entries
from pipelines.running.leftovers import FOLDERS
from stages.common.params import read_params
from stages.shell.errors import UserError, reason

PARAMS, GRAPH, LOCK = Path("params.yaml"), Path("dvc.yaml"), Path("dvc.lock")
RESUME, TENSORBOARD, TRITON = Path("logs") / "resume", Path("logs") / "tensorboard", Path("logs") / "triton"
WORDS = {"datasets": "dataset", "models": "model"}


@dataclass(frozen=True)
class Entry:
    """`section` is models or datasets."""

    section: str
    name: str

    def __str__(self) -> str:
        return f"{WORDS[self.section]} {self.name}"

    @property
    def key(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def folder(self) -> Path:
        return Path(FOLDERS[self.section]) / self.name

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    @property
    def pointer(self) -> Path:
        """The .dvc file of raw data that somebody has added."""
        return self.folder / "raw.dvc"

    @property
    def logs(self) -> list[Path]:
        """What trainings and `make triton` have left of a model, as far as it is there."""
        if self.section == "datasets":
            return []
        places = [RESUME / self.name, TENSORBOARD / self.name, TRITON / self.name, *TRITON.glob(f"{self.name}.*")]
        return [path for path in places if path.exists()]

    def is_named_in(self, text: str) -> bool:
        """Whether a text has a path in the folder."""
        return re.search(rf"(?<![\w./-]){re.escape(self.folder.as_posix())}(?![\w.-])", text) is not None


@dataclass(frozen=True)
class Project:
    """The three files, as text and as what they say. dvc.lock may be missing; its text is empty then."""

    texts: dict[Path, str]
    params: dict[str, Any]
    graph: dict[str, Any]
    noted: dict[str, Any]

    def has(self, entry: Entry) -> bool:
        return entry.name in (self.params.get(entry.section) or {})

    def names(self) -> list[str]:
        return [name for section in FOLDERS for name in self.params.get(section) or {}]

    def users(self, entry: Entry) -> list[str]:
        """The models of a dataset; none of a model."""
        models = self.params.get("models") or {}
        names = [name for name, model in models.items() if isinstance(model, dict) and model.get("dataset") == entry.name]
        return names if entry.section == "datasets" else []

    def templates(self, section: str) -> dict[str, Any]:
        """The stages in dvc.yaml that there are once for each entry of a section, by name."""
        stages, each = self.graph.get("stages") or {}, f"${{{section}}}"
        return {name: stage["do"] for name, stage in stages.items() if isinstance(stage, dict) and stage.get("foreach") == each}

    def stages(self, entry: Entry) -> list[str]:
        """Those of the entry that dvc.lock notes."""
        return [name for stage in self.templates(entry.section) if (name := f"{stage}@{entry.name}") in self.noted]

    def outputs(self, entry: Entry, stage: str) -> list[Path]:
        """What a stage writes for the entry, by dvc.yaml and dvc.lock."""
        template = self.templates(entry.section)[stage]
        listed = [out for kind in ("outs", "metrics", "plots") for out in template.get(kind) or []]
        paths = [(out if isinstance(out, str) else next(iter(out))).replace("${key}", entry.name) for out in listed]
        paths += [out["path"] for out in (self.noted.get(f"{stage}@{entry.name}") or {}).get("outs") or []]
        return [path for path in map(Path, dict.fromkeys(paths)) if path.is_relative_to(entry.folder)]

    def artifact(self, entry: Entry) -> Keys | None:
        """Where dvc.yaml has it as an artifact."""
        is_there = entry.section == "models" and entry.name in (self.graph.get("artifacts") or {})
        return ("artifacts", entry.name) if is_there else None

    def lying(self, entry: Entry) -> list[Path]:
        """What lies here of it. Raw data comes before its .dvc file, by which it is known that DVC's cache has it."""
        outputs = [path for stage in self.templates(entry.section) for path in self.outputs(entry, stage)]
        outputs += [entry.raw] if entry.section == "datasets" else []
        places = [*outputs, *hidden(outputs), entry.pointer, *entry.logs]
        return [path for path in dict.fromkeys(places) if path.exists() or path.is_symlink()]

    def is_left(self, entry: Entry) -> bool:
        """Whether anything of it is left anywhere but in params.yaml."""
        return bool(self.stages(entry) or self.artifact(entry) or self.lying(entry))


def read_project() -> Project:
    """Of the current folder. Raises UserError where a file is missing or cannot be read."""
    params = read_params()
    texts = {path: read(path) for path in (PARAMS, GRAPH)} | {LOCK: read(LOCK) if LOCK.exists() else ""}
    try:
        graph = parse(texts[GRAPH])
    except (YAMLError, ValueError) as error:
        raise UserError(f"dvc.yaml cannot be read ({reason(error)}): fix it, and run this again.") from error
    if not isinstance(graph, dict):
        raise UserError("dvc.yaml must hold keys and values (stages, artifacts), and does not.")
    return Project(texts, params, graph, lock_entries(texts[LOCK]))


def read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        raise UserError(f"{path} is not in this folder: run the command in the root of the repository.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8: fix it, and run this again.") from error


def find_entry(project: Project, given: str) -> Entry:
    """The entry that a person means by a name, or by its folder: models/line_sgd. It may be one of which only leftovers remain.

    Raises UserError where there is none, or two.
    """
    folder, _, name = given.rstrip("/").rpartition("/")
    sections = [section for section, path in FOLDERS.items() if folder in ("", path)]
    found = [entry for section in sections if is_plain(name) and (project.has(entry := Entry(section, name)) or project.is_left(entry))]
    if not found:
        close = difflib.get_close_matches(name, project.names(), n=3)
        known = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(project.names()) or 'none'}."
        raise UserError(f"there is no model or dataset {given!r} in params.yaml, models/, data/ or dvc.lock; {known}")
    if len(found) > 1:
        raise UserError(f"{name} is a dataset and a model: say {' or '.join(entry.folder.as_posix() for entry in found)}.")
    return found[0]


def is_plain(name: str) -> bool:
    """Whether the stage `check` takes it as a name."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) is not None


def hidden(outputs: list[Path]) -> list[Path]:
    """What a stage, or this, may have left beside outputs when it was killed."""
    return [path.with_name(f".{path.name}.{suffix}") for path in outputs for suffix in ("part", "old", "removed")]


def delete(path: Path) -> None:
    """A folder is renamed first: it is there as a whole, or not at all. Of a link, the link alone."""
    if path.is_dir() and not path.is_symlink():
        aside = path if path.name.endswith(".removed") else path.with_name(f".{path.name}.removed")
        if aside != path:
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
        shutil.rmtree(aside)
    else:
        path.unlink(missing_ok=True)
