"""Removes models and datasets: their entries, what dvc.lock notes of them, and what was written for them.

Command: python -m entries.remove NAME [NAME ...] [--dry-run] [--yes]          (make remove NAME=line_sgd)
Reads:   params.yaml, dvc.yaml, dvc.lock, prefect.yaml, git's tags
Writes:  params.yaml, dvc.yaml and dvc.lock, without the entries and otherwise byte for byte as they were; deletes outputs below models/NAME
         or data/NAME, with the .dvc file of raw data, and logs

A NAME may be a folder (models/line_sgd), where a model and a dataset have the same name, and it may be one that params.yaml has no more.
dvc.lock is written last: a removal that was killed is known by it or by the files that are left, and the same command ends it.
"""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from entries.belongings import GRAPH, LOCK, PARAMS, Entry, Project, delete, find_entry, read_project
from entries.command import (
    alone_with_entries,
    by_hand,
    plots_of,
    print_changes,
    print_commit,
    released,
    run,
    stages_that_name,
    write_texts,
)
from entries.lines import Keys, LayoutError, parse, without
from pipelines.dvc.entries import is_in_cache, with_entries
from stages.shell.errors import UserError


@dataclass
class Removal:
    """What goes with one entry, and what a person should know."""

    entry: Entry
    from_files: list[str] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def remove(names: list[str], dry_run: bool = False, yes: bool = False) -> None:
    entries = find_entries(read_project(), names)
    if dry_run:
        before, after, removals = plan(names, yes)
        print_removals(removals, "would remove")
        print_changes(before, after)
        return
    with alone_with_entries("make remove", entries):
        before, after, removals = plan(names, yes)
        write_texts(before, after, (PARAMS, GRAPH))
        for removal in removals:
            for path in removal.paths:
                delete(path)
            removal.remarks += tidy(removal.entry)
        write_texts(before, after, (LOCK,))
    print_removals(removals, "removed")
    print_commit([*after, *(entry.folder for entry in entries)], "--update", f"Remove {', '.join(entry.name for entry in entries)}")


def find_entries(project: Project, names: list[str]) -> list[Entry]:
    return list(dict.fromkeys(find_entry(project, name) for name in names))


def plan(names: list[str], yes: bool) -> tuple[dict[Path, str], dict[Path, str], list[Removal]]:
    """The texts of the files before and after, and what goes. Raises UserError where something may not go."""
    project = read_project()
    entries = find_entries(project, names)
    for entry in entries:
        refuse_needed(project, entry, entries)
        refuse_loss(project, entry, yes)
    removals, texts = [], dict(project.texts)
    for entry in entries:
        removals.append(removal := Removal(entry))
        take_out_of_files(project, texts, removal)
        removal.paths = project.lying(entry)
        remark(project, removal)
    stages = {stage: None for entry in entries for stage in project.stages(entry)}
    texts[LOCK] = with_entries(texts[LOCK], dict(stages)) if stages else texts[LOCK]
    return project.texts, texts, removals


def refuse_needed(project: Project, entry: Entry, going: list[Entry]) -> None:
    """By a model that stays, or by a stage that somebody has written."""
    if users := [name for name in project.users(entry) if Entry("models", name) not in going]:
        raise UserError(f'the {entry} is used by {", ".join(users)}: remove these first, or with it (make remove NAME="...").')
    if stages := stages_that_name(project, entry):
        raise UserError(f"dvc.yaml: the stage {stages[0]} names {entry.folder}: change or remove that stage first.")


def refuse_loss(project: Project, entry: Entry, yes: bool) -> None:
    """Raw data that no stage has made goes only if DVC's cache has it."""
    raw = entry.raw
    if yes or entry.section != "datasets" or raw.is_symlink() or not raw.is_dir() or (raw / ".source").exists():
        return
    if not (entry.pointer.exists() and is_in_cache(Path.cwd(), entry.pointer)):
        raise UserError(
            f"{raw} was not made by a stage, and DVC's cache does not have it: move it away, or add it (dvc add {raw}), or say --yes "
            "(make remove NAME=... ARGS=--yes) if it may be lost."
        )


def take_out_of_files(project: Project, texts: dict[Path, str], removal: Removal) -> None:
    """The entry out of params.yaml and dvc.yaml, in `texts`."""
    entry = removal.entry
    if project.has(entry):
        cut(texts, PARAMS, (entry.section, entry.name), removal)
    if keys := project.artifact(entry):
        cut(texts, GRAPH, keys, removal)
    plots = list(plots_of(with_graph(project, texts), entry))
    for place in [place for place, _, is_alone in plots if is_alone][::-1]:  # from the last, so that the places of the others stay
        cut(texts, GRAPH, ("plots", place), removal)
    removal.remarks += by_hand(entry, [name for _, name, is_alone in plots if not is_alone])


def with_graph(project: Project, texts: dict[Path, str]) -> Project:
    """With dvc.yaml as it is in `texts`."""
    return Project(texts, project.params, parse(texts[GRAPH]), project.noted)


def cut(texts: dict[Path, str], path: Path, keys: Keys, removal: Removal) -> None:
    what = ".".join(map(str, keys)) if keys[0] != "plots" else "a plot"
    try:
        texts[path] = without(texts[path], keys)
    except LayoutError as error:
        why = f"{what} cannot be removed by this command, since {error}"
        raise UserError(f"{path}: {why}: take it out by hand, and run this again for the rest.") from error
    removal.from_files.append(f"{path}: {what}")


def remark(project: Project, removal: Removal) -> None:
    entry = removal.entry
    removal.from_files += [f"{LOCK}: {stage}" for stage in project.stages(entry)]
    if tags := released(entry):
        removal.remarks.append(f"its released versions stay, as tags: {', '.join(tags)}.")


def tidy(entry: Entry) -> list[str]:
    """Removes folders that are empty now, and what `dvc add` wrote into .gitignore; says what is left, since no stage wrote it."""
    folder, ignored = entry.folder, entry.folder / ".gitignore"
    if entry.section == "datasets" and ignored.is_file():
        lines = [line for line in ignored.read_text(encoding="utf-8").splitlines(keepends=True) if line.strip() != "/raw"]
        if lines:
            ignored.write_text("".join(lines), encoding="utf-8")
        else:
            ignored.unlink()
    for path in [*sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True), folder]:
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()
    others = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [f"{folder} stays, with what no stage wrote: {', '.join(others)}."] if others else []


def print_removals(removals: list[Removal], done: str) -> None:
    for removal in removals:
        print(f"{removal.entry}: {done}")
        for line in [*removal.from_files, *map(str, removal.paths)]:
            print(f"  {line}")
        for line in removal.remarks:
            print(f"note: {line}")
    print("note: what DVC has in its cache stays there (until dvc gc), and git's history too.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m entries.remove", description="Remove models and datasets.")
    parser.add_argument("names", nargs="+", metavar="NAME", help="of a model or dataset, or its folder: models/line_sgd")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    parser.add_argument("--yes", action="store_true", help="also raw data that nobody could bring back")
    arguments = parser.parse_args()
    run(lambda: remove(arguments.names, arguments.dry_run, arguments.yes))


if __name__ == "__main__":
    main()
