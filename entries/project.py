"""What belongs to a model, dataset or source of params.yaml, and what the commands `new`, `remove` and `rename` share."""

import contextlib
import difflib
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from entries.lines import parse
from pipelines.dvc.errors import GraphError
from pipelines.dvc.lock_file import parsed, parsed_lock, replace
from pipelines.dvc.waiting import TMP, repository_lock, undisturbed
from pipelines.running.git import GitError, git
from pipelines.running.leftovers import FOLDERS, SCHEMAS, UNFINISHED
from pipelines.running.locks import BusyError, alone
from stages.common.files import alone_with
from stages.common.params import read_params
from stages.shell.errors import Interrupted, UserError, interruptible, leave

PARAMS, GRAPH, LOCK, DEPLOYMENTS, LOGS = Path("params.yaml"), Path("dvc.yaml"), Path("dvc.lock"), Path("prefect.yaml"), Path("logs")
SECTIONS = ("datasets", "sources", "models")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # as the stage `check` takes it


@dataclass(frozen=True)
class Entry:
    """`section` is one of SECTIONS. A dataset and a source of one name share a folder, in which raw/ is the source's."""

    section: str
    name: str

    def __str__(self) -> str:
        return f"{self.section.removesuffix('s')} {self.name}"

    @property
    def folder(self) -> Path:
        return Path(FOLDERS[self.section]) / self.name

    @property
    def paths(self) -> re.Pattern[str]:
        """Finds the paths in a text that are the entry's own."""
        rest = {"models": "", "datasets": r"(?!/raw\b)", "sources": "/raw"}[self.section]
        return re.compile(rf"(?<![\w./-]){re.escape(self.folder.as_posix())}{rest}(?![\w.-])")

    @property
    def schema(self) -> Path:
        """How a table is read, which `make new` writes; other kinds of data have none."""
        return Path(SCHEMAS) / f"{self.name}.yaml"

    @property
    def logs(self) -> list[Path]:
        """Where trainings and `make triton` write for a model."""
        places = [LOGS / kind / self.name for kind in ("resume", "tensorboard", "triton")]
        return [*places, *(LOGS / "triton").glob(f"{self.name}.*")] if self.section == "models" else []


class Project:
    """params.yaml, dvc.yaml and dvc.lock of the current folder, as text and as what they say. dvc.lock may be missing.

    Raises UserError or GraphError where one cannot be read.
    """

    def __init__(self) -> None:
        self.params = read_params()
        # YAML takes no surrogates: what is not UTF-8 is found when a text is parsed.
        self.texts = {path: path.read_bytes().decode(errors="surrogateescape") if path.exists() else "" for path in (PARAMS, GRAPH, LOCK)}
        self.graph, self.noted = parsed(self.texts[GRAPH], "dvc.yaml"), parsed_lock(self.texts[LOCK])["stages"]
        if not isinstance(self.graph, dict):
            raise UserError("dvc.yaml must hold keys and values (stages, artifacts).")

    def write(self, texts: dict[Path, str], *paths: Path) -> None:
        """Each of the files is replaced whole, if it changes at all."""
        for path in paths:
            if texts[path] != self.texts[path]:
                replace(path, texts[path].encode(), TMP)

    def values(self, entry: Entry) -> dict[str, Any]:
        """What params.yaml says of it."""
        values = (self.params.get(entry.section) or {}).get(entry.name)
        return values if isinstance(values, dict) else {}

    def entries(self, section: str) -> list[Entry]:
        return [Entry(section, name) for name in self.params.get(section) or {}]

    def has(self, entry: Entry) -> bool:
        return entry in self.entries(entry.section)

    def users(self, entry: Entry) -> list[Entry]:
        """The models of a dataset, or the datasets that read raw files of a source; none of a model."""
        if entry.section == "datasets":
            return [model for model in self.entries("models") if self.values(model).get("dataset") == entry.name]
        return [dataset for dataset in self.entries("datasets") if self.source(dataset) == entry]

    def source(self, dataset: Entry) -> Entry | None:
        """The source whose raw files a dataset reads, with an entry or, for data of one's own, without; None where they lie elsewhere."""
        parts = Path(str(self.values(dataset).get("raw"))).parts
        return Entry("sources", parts[1]) if parts[:1] == ("data",) and parts[2:3] == ("raw",) else None

    def templates(self, section: str) -> dict[str, Any]:
        """The stages in dvc.yaml that there are once for each entry of a section, by name."""
        stages, each = self.graph.get("stages") or {}, f"${{{section}}}"
        return {name: stage["do"] for name, stage in stages.items() if isinstance(stage, dict) and stage.get("foreach") == each}

    def stages(self, entry: Entry) -> list[str]:
        """Those of the entry that dvc.lock notes."""
        return [name for stage in self.templates(entry.section) if (name := f"{stage}@{entry.name}") in self.noted]

    def outputs(self, entry: Entry, stage: str) -> list[Path]:
        """What a stage writes for the entry, by dvc.yaml and dvc.lock, and what it, or this, leaves beside that when it is killed."""
        template = self.templates(entry.section)[stage]
        listed = [out for kind in ("outs", "metrics", "plots") for out in template.get(kind) or []]
        names = [(out if isinstance(out, str) else next(iter(out))).replace("${key}", entry.name) for out in listed]
        names += [out["path"] for out in (self.noted.get(f"{stage}@{entry.name}") or {}).get("outs") or []]
        paths = [Path(name) for name in dict.fromkeys(names) if entry.paths.match(name)]
        return paths + [path.with_name(f".{path.name}.{suffix}") for path in paths for suffix in ("part", "old", "removed")]

    def is_artifact(self, entry: Entry) -> bool:
        return entry.section == "models" and entry.name in (self.graph.get("artifacts") or {})

    def lying(self, entry: Entry) -> list[Path]:
        """What lies here of it. Raw data comes before its .dvc file, by which it is known that DVC's cache has it."""
        paths = [path for stage in self.templates(entry.section) for path in self.outputs(entry, stage)]
        own = {"sources": [entry.folder / "raw", entry.folder / "raw.dvc"], "datasets": [entry.schema, entry.folder / UNFINISHED]}
        paths += own.get(entry.section, entry.logs)
        return [path for path in dict.fromkeys(paths) if path.exists() or path.is_symlink()]

    def is_left(self, entry: Entry) -> bool:
        """Whether params.yaml lacks it, and something of it is left. Raw data that a dataset reads is in use."""
        is_used = self.has(entry) or (entry.section == "sources" and self.users(entry))
        return not is_used and bool(self.stages(entry) or self.is_artifact(entry) or self.lying(entry))

    def find(self, given: str, together: bool = False) -> list[Entry]:
        """What a name, or a folder such as models/line_sgd, means of what params.yaml has and of what is left: a model; or a dataset, a
        source, or both. Raises UserError where there is none, or a model and another, unless they may go `together`.
        """
        folder, _, name = given.rstrip("/").rpartition("/")
        entries = [Entry(section, name) for section in SECTIONS if folder in ("", FOLDERS[section]) and NAME.fullmatch(name)]
        found = [entry for entry in entries if self.has(entry) or self.is_left(entry)]
        if not found:
            names = list(dict.fromkeys(entry.name for section in SECTIONS for entry in self.entries(section)))
            close = difflib.get_close_matches(name, names, n=3)
            known = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names) or 'none'}."
            raise UserError(f"there is no model, dataset or source {given!r} in params.yaml, models/, data/ or dvc.lock; {known}")
        folders = dict.fromkeys(entry.folder.as_posix() for entry in found)
        if len(folders) > 1 and not (together and self.are_one(name, found)):
            raise UserError(f"{name} is a {found[0].section.removesuffix('s')} and a model: say {' or '.join(folders)}.")
        return found

    def are_one(self, name: str, found: list[Entry]) -> bool:
        """Whether a dataset and a model of one name are as `make new` makes them: nothing else needs the dataset; or both are left over."""
        dataset, model = Entry("datasets", name), Entry("models", name)
        return not any(map(self.has, found)) or (self.has(model) and self.users(dataset) == [model])


def unignore_raw(folder: Path) -> None:
    """Takes back what `dvc add` wrote into .gitignore."""
    ignored = folder / ".gitignore"
    if ignored.is_file():
        lines = ignored.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = "".join(line for line in lines if line.strip() != "/raw")
        ignored.write_text(kept, encoding="utf-8") if kept else ignored.unlink()


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


@contextlib.contextmanager
def holding(who: str, entries: Collection[Entry]) -> Iterator[None]:
    """No rebuild in this folder, no other DVC command, and no stage at work on what belongs to the entries."""
    root, folders = Path.cwd(), dict.fromkeys(str(entry.folder.absolute()) for entry in entries)
    with contextlib.ExitStack() as held:
        held.enter_context(alone(who))
        held.enter_context(repository_lock(root, print))
        held.enter_context(undisturbed(root, who, [], folders))
        for entry in entries:
            if (resume := LOGS / "resume" / entry.name).is_dir() and entry.section == "models":
                refusal = f"Another process is training {entry.name} here: wait until it has ended, or stop it."
                held.enter_context(alone_with(resume, refusal))
        yield


def words(value: Any) -> Iterator[str]:
    """All words in what a YAML file says, keys among them."""
    if isinstance(value, dict | list):
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from words(part)
    elif isinstance(value, str):
        yield value


def remarks(entry: Entry) -> list[str]:
    """A sentence where prefect.yaml names the entry (mnist_cnn, or train@mnist_cnn)."""
    with contextlib.suppress(OSError, ValueError, YAMLError):
        named = words(parse(DEPLOYMENTS.read_text(encoding="utf-8")))
        if any(word == entry.name or word.endswith(f"@{entry.name}") for word in named):
            return [f"{DEPLOYMENTS} names {entry.name}: change it by hand."]
    return []


def show_commit(entries: Collection[Entry], option: str, message: str) -> None:
    """How the change is committed, with an option of `git add`; nothing without git."""
    schemas = [entry.schema for entry in entries if entry.section == "datasets"]
    paths = map(str, dict.fromkeys([PARAMS, GRAPH, LOCK, *(entry.folder for entry in entries), *schemas]))
    with contextlib.suppress(GitError):
        if changed := [path for path in paths if git("status", "--porcelain", "--", path, folder=Path.cwd())]:
            print(f"To commit it: git add {option} -- {shlex.join(changed)} && git commit --message {shlex.quote(message)}")


def run(work: Callable[[], None]) -> None:
    """Ends the process with a sentence and 1 (after a signal, as stages do) where the work cannot be done."""
    try:
        with interruptible():
            work()
            sys.stdout.flush()
    except BrokenPipeError:  # nobody reads any more what is printed; the work was done, or was only to be shown
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except (UserError, GraphError, BusyError) as error:
        leave(error, str(error))
    except OSError as error:
        what = f"{error.filename or 'a file'} cannot be used ({error.strerror})"
        leave(error, f"{what}: fix the path, its permissions or the disk; the same command does the rest.")
    except Interrupted as error:
        leave(error, f"Stopped by {error}; the same command does the rest.", 128 + error.number)


def ask(question: str, option: str) -> str:
    """On a terminal; elsewhere, and where no answer comes, a UserError names the option."""
    if sys.stdin.isatty():
        with contextlib.suppress(EOFError):
            return input(f"{question} ").strip()
        print()
    raise UserError(f"{question} Say it with {option}.")
