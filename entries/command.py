"""What `remove` and `rename` share: the folder for themselves, what stays, what a person has to do, and how a mistake is said."""

import contextlib
import difflib
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml.error import YAMLError

from entries.belongings import GRAPH, RESUME, Entry, Project
from entries.lines import parse
from pipelines.dvc.entries import repository_and_paths, write
from pipelines.dvc.errors import GraphError
from pipelines.running.git import GitError, git
from pipelines.running.locks import BusyError, alone
from stages.common.files import alone_with
from stages.shell.errors import DISK_FULL, Interrupted, UserError, interruptible, leave

DEPLOYMENTS = Path("prefect.yaml")


@contextlib.contextmanager
def alone_with_entries(who: str, entries: Iterable[Entry]) -> Iterator[None]:
    """No rebuild in this folder, no other DVC command, and no stage at work on what belongs to the entries."""
    entries = list(entries)
    with contextlib.ExitStack() as held:
        held.enter_context(alone(who))
        held.enter_context(repository_and_paths(Path.cwd(), who, [entry.folder for entry in entries], print))
        for entry in entries:
            if entry.section == "models" and (RESUME / entry.name).is_dir():
                refusal = f"Another process is training {entry.name} here: wait until it has ended, or stop it."
                held.enter_context(alone_with(RESUME / entry.name, refusal))
        yield


def write_texts(before: dict[Path, str], after: dict[Path, str], paths: Iterable[Path]) -> None:
    """Each of the files is replaced whole, if it changes at all."""
    for path in paths:
        if after[path] != before[path]:
            write(path, after[path], Path.cwd())


def print_changes(before: dict[Path, str], after: dict[Path, str]) -> None:
    """Those of params.yaml and dvc.yaml, as diff shows them."""
    for path in (path for path in after if path.suffix == ".yaml"):
        old, new = before[path].splitlines(keepends=True), after[path].splitlines(keepends=True)
        sys.stdout.writelines(difflib.unified_diff(old, new, str(path), str(path), n=1))


def plots_of(project: Project, entry: Entry) -> Iterator[tuple[str | int, str, bool]]:
    """The plots in dvc.yaml that draw files of the entry: place, name, and whether they draw nothing else."""
    plots = project.graph.get("plots") or []
    for place, plot in enumerate(plots) if isinstance(plots, list) else [(key, {key: value}) for key, value in plots.items()]:
        files = {text for text in map(str, words(plot)) if text.startswith(("models/", "data/"))}
        own = {text for text in files if entry.is_named_in(text)}
        if own:
            yield place, plot if isinstance(plot, str) else next(iter(plot)), own == files


def words(value: Any) -> Iterator[str]:
    """All words in what a YAML file says, keys among them."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield str(key)
            yield from words(part)
    elif isinstance(value, list):
        for part in value:
            yield from words(part)
    elif isinstance(value, str):
        yield value


def stages_that_name(project: Project, entry: Entry) -> list[str]:
    """The stages that somebody has added to dvc.yaml and that name a file of the entry."""
    stages = project.graph.get("stages") or {}
    return [name for name, stage in stages.items() if any(entry.is_named_in(word) for word in words(stage))]


def is_in_deployments(entry: Entry) -> bool:
    """Whether prefect.yaml names it, as a parameter such as mnist_cnn or train@mnist_cnn."""
    try:
        content = parse(DEPLOYMENTS.read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError):
        return False
    return any(word == entry.name or word.endswith(f"@{entry.name}") for word in words(content))


def released(entry: Entry) -> list[str]:
    """The tags of a model's released versions."""
    if entry.section != "models":
        return []
    with contextlib.suppress(GitError):
        return git("tag", "--list", f"{entry.name}@v*", folder=Path.cwd()).split()
    return []


def print_commit(paths: Iterable[Path], option: str, message: str) -> None:
    """How the change is committed, with an option of `git add`; nothing without git."""
    with contextlib.suppress(GitError):
        changed = [path for path in map(str, paths) if git("status", "--porcelain", "--", path, folder=Path.cwd())]
        if changed:
            print(f"To commit it: git add {option} -- {shlex.join(changed)} && git commit --message {shlex.quote(message)}")


def by_hand(entry: Entry, plots: Iterable[str]) -> list[str]:
    """Sentences about what a person has to change."""
    shared = [f"{GRAPH}: the plot {name!r} draws files of others beside those of the {entry}: change it by hand." for name in plots]
    return shared + ([f"{DEPLOYMENTS} names {entry.name}: change it by hand."] if is_in_deployments(entry) else [])


def run(work: Callable[[], None]) -> NoReturn:
    """Ends the process: with 0, or with a sentence and 1 (after a signal, as stages do)."""
    again = "the same command goes on from there"
    try:
        with interruptible():
            work()
    except (UserError, GraphError, BusyError) as error:
        leave(error, str(error))
    except OSError as error:
        if error.errno in DISK_FULL:
            leave(error, f"The disk is full: free some space; {again}.")
        leave(error, f"{error.filename or 'a file'} cannot be used ({error.strerror}): fix the path or its permissions; {again}.")
    except Interrupted as error:
        leave(error, f"Stopped by {error}; {again}.", 128 + error.number)
    sys.exit(0)
