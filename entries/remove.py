"""Removes models, datasets and sources: their entries, what dvc.lock notes of them, and what was written for them.

Command: python -m entries.remove NAME [NAME ...] [--dry-run] [--yes]          (make remove NAME=line_sgd)
Reads:   params.yaml, dvc.yaml, dvc.lock, prefect.yaml, git's tags
Writes:  params.yaml, dvc.yaml and dvc.lock, without the entries and otherwise byte for byte as they were; deletes outputs below models/NAME
         or data/NAME, with the .dvc file of raw data, and logs

A NAME may be a folder (models/line_sgd), where a model and a dataset have the same name. A dataset's raw files, and their source, go with
the last dataset that reads them. What is left of an entry that params.yaml lacks goes before an entry of the same name. params.yaml is
written last: after a kill the same command still finds the entry there, and does the rest.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from entries.lines import Keys, parse, without
from entries.project import GRAPH, LOCK, PARAMS, Entry, Project, delete, editing, holding, read_project, remarks, run, show_commit, words
from pipelines.dvc.entries import is_in_cache, with_entries
from stages.shell.errors import UserError


@dataclass
class Removal:
    """`going` has what goes with each entry, as it is shown, Paths where it is deleted; `texts` are those of the three files after it."""

    project: Project
    going: dict[Entry, list[str | Path]]
    texts: dict[Path, str]
    remarks: list[str]

    def cut(self, entry: Entry, path: Path, keys: Keys) -> None:
        what = "a plot" if keys[0] == "plots" else ".".join(map(str, keys))
        with editing(path, f"{what} cannot be removed"):
            self.texts[path] = without(self.texts[path], keys)
        self.going[entry].append(f"{path}: {what}")


def remove(names: list[str], dry_run: bool = False, yes: bool = False) -> None:
    removal = plan(names, yes)
    if dry_run:
        print_removal(removal, "would remove")
        removal.project.print_changes(removal.texts)
        return
    with holding("make remove", removal.going):
        removal = plan(names, yes)
        for path in [thing for things in removal.going.values() for thing in things if isinstance(thing, Path)]:
            delete(path)
        for entry in removal.going:
            removal.remarks += tidy(removal, entry)
        removal.project.write(removal.texts, LOCK, GRAPH, PARAMS)
    print_removal(removal, "removed")
    show_commit(removal.going, "--update", f"Remove {', '.join(dict.fromkeys(entry.name for entry in removal.going))}")


def plan(names: list[str], yes: bool) -> Removal:
    """Raises UserError where something may not go."""
    project = read_project()
    going, said = choose(project, names)
    for entry in going:
        refuse_needed(project, entry, going)
        refuse_loss(entry, yes)
    removal = Removal(project, {entry: [] for entry in going}, dict(project.texts), said)
    for entry in going:
        take_out(removal, entry)
    take_out_plots(removal)
    if stages := {stage: None for entry in going for stage in project.stages(entry)}:
        removal.texts[LOCK] = with_entries(project.texts[LOCK], dict(stages))
    return removal


def choose(project: Project, names: list[str]) -> tuple[list[Entry], list[str]]:
    """The entries that go, and sentences about what stays, and what goes unasked."""
    going, said = dict[Entry, None](), []
    for found in map(project.find, names):
        left = [entry for entry in found if not project.has(entry)]
        going |= dict.fromkeys(left or found[:1])
        said += [f"the {entry} stays, since params.yaml has it." for entry in found if left and entry not in left]
    for dataset, source in [(entry, project.source(entry)) for entry in going if entry.section == "datasets"]:
        if source and (users := [user.name for user in project.users(source) if user not in going]):
            said.append(f"{source.folder}/raw stays, for {', '.join(users)}.")
        elif source and source not in going:
            said.append(f"{source.folder}/raw goes with the last dataset that reads it, {dataset.name}.")
            going[source] = None
    return list(going), said


def refuse_needed(project: Project, entry: Entry, going: list[Entry]) -> None:
    """By another entry, or by a stage that somebody has written."""
    if users := [user.name for user in project.users(entry) if user not in going]:
        together = " ".join([entry.name, *users])
        raise UserError(f'the {entry} is used by {", ".join(users)}: remove these first, or with it (make remove NAME="{together}").')
    for name, stage in (project.graph.get("stages") or {}).items():
        if any(entry.paths.search(word) for word in words(stage)):
            raise UserError(f"dvc.yaml: the stage {name} names {entry.folder}: change or remove that stage first.")


def refuse_loss(entry: Entry, yes: bool) -> None:
    """Raw data that no stage has made goes only if DVC's cache has it."""
    raw, pointer = entry.folder / "raw", entry.folder / "raw.dvc"
    if yes or entry.section != "sources" or raw.is_symlink() or not raw.is_dir() or (raw / ".source").exists():
        return
    if not (pointer.exists() and is_in_cache(Path.cwd(), pointer)):
        raise UserError(
            f"{raw} was not made by a stage, and DVC's cache does not have it: move it away, or add it (dvc add {raw}), or say --yes "
            "(make remove NAME=... ARGS=--yes) if it may be lost."
        )


def take_out(removal: Removal, entry: Entry) -> None:
    """The entry out of the removal's texts, and what else goes and stays of it."""
    project = removal.project
    if project.has(entry):
        removal.cut(entry, PARAMS, (entry.section, entry.name))
    if keys := project.artifact(entry):
        removal.cut(entry, GRAPH, keys)
    removal.remarks += remarks(entry)
    removal.going[entry] += [*(f"{LOCK}: {stage}" for stage in project.stages(entry)), *project.lying(entry)]


def take_out_plots(removal: Removal) -> None:
    """Those in dvc.yaml that draw nothing but files of what goes."""
    plots = parse(removal.texts[GRAPH]).get("plots") or []
    places = list(enumerate(plots)) if isinstance(plots, list) else [(key, {key: value}) for key, value in plots.items()]
    for place, plot in reversed(places):  # from the last, so that the places of the others stay
        files = {word for word in words(plot) if word.startswith(("models/", "data/"))}
        owners = {file: [entry for entry in removal.going if entry.paths.search(file)] for file in files}
        if files and all(owners.values()):
            removal.cut(owners[min(files)][0], GRAPH, ("plots", place))
        elif any(owners.values()):
            name = plot if isinstance(plot, str) else next(iter(plot))
            removal.remarks.append(f"{GRAPH}: the plot {name!r} draws files of others beside these: change it by hand.")


def tidy(removal: Removal, entry: Entry) -> list[str]:
    """Removes folders that are empty now, and what `dvc add` wrote into .gitignore; says what is left, since no stage wrote it."""
    folder, ignored = entry.folder, entry.folder / ".gitignore"
    if entry.section == "sources" and ignored.is_file():
        lines = ignored.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = "".join(line for line in lines if line.strip() != "/raw")
        ignored.write_text(kept, encoding="utf-8") if kept else ignored.unlink()
    for path in [*sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True), folder]:
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()
    beside = Entry("datasets" if entry.section == "sources" else "sources", entry.name)
    is_shared = beside.folder == folder and beside not in removal.going and removal.project.lying(beside)
    if is_shared or not folder.is_dir():
        return []
    return [f"{folder} stays, with what no stage wrote: {', '.join(sorted(path.name for path in folder.iterdir()))}."]


def print_removal(removal: Removal, done: str) -> None:
    for entry, things in removal.going.items():
        print(f"{entry}: {done}", *things, sep="\n  ")
    for remark in dict.fromkeys([*removal.remarks, "what DVC has in its cache stays there (until dvc gc), and git's history too."]):
        print(f"note: {remark}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m entries.remove", description="Remove models, datasets and sources.")
    parser.add_argument("names", nargs="+", metavar="NAME", help="of a model, dataset or source, or its folder: models/line_sgd")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    parser.add_argument("--yes", action="store_true", help="also raw data that nobody could bring back")
    arguments = parser.parse_args()
    run(lambda: remove(arguments.names, arguments.dry_run, arguments.yes))


if __name__ == "__main__":
    main()
