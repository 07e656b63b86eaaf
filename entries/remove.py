"""Removes models, datasets and sources: their entries, what dvc.lock notes of them, and what was written for them.

Command: python -m entries.remove NAME [NAME ...] [--dry-run] [--yes]          (make remove NAME=line_sgd)
Reads:   params.yaml, dvc.yaml, dvc.lock, prefect.yaml
Writes:  params.yaml, dvc.yaml and dvc.lock, without the entries and otherwise byte for byte as they were; deletes outputs below models/NAME
         or data/NAME, with the .dvc file of raw data, and logs

A model and a dataset of one name go together where no other model uses the dataset, as `make new` makes them; else a NAME is a folder
(models/line_sgd). A dataset's raw files, and their source, go with the last dataset that reads them. What is left of an entry that
params.yaml lacks goes before an entry of the same name. params.yaml is written last: after a kill the same command still finds the entry
there, and does the rest.
"""

import argparse
from pathlib import Path

from entries.lines import Keys, parse, without
from entries.project import GRAPH, LOCK, PARAMS, Entry, Project, delete, holding, remarks, run, show_commit, unignore_raw, words
from pipelines.dvc.at_commit import is_in_cache
from pipelines.dvc.lock_file import with_entries
from pipelines.running.leftovers import UNFINISHED
from stages.shell.errors import UserError


def remove(names: list[str], dry_run: bool = False, yes: bool = False) -> None:
    removal = Removal(names, yes)
    if dry_run:
        removal.print("would remove")
        return
    with holding("make remove", removal.going):
        removal = Removal(names, yes)
        for path in [thing for things in removal.going.values() for thing in things if isinstance(thing, Path)]:
            delete(path)
        for entry in removal.going:
            removal.tidy(entry)
        removal.project.write(removal.texts, LOCK, GRAPH, PARAMS)
    removal.print("removed")
    show_commit(removal.going, "--update", f"Remove {', '.join(dict.fromkeys(entry.name for entry in removal.going))}")


class Removal:
    """What goes. `going` has it by entry, as it is shown, Paths where it is deleted; `texts` are those of the three files after it.

    Raises UserError where something may not go.
    """

    def __init__(self, names: list[str], yes: bool):
        self.project = project = Project()
        self.going, self.texts, self.remarks = dict[Entry, list[str | Path]](), dict(project.texts), list[str]()
        self.choose(names)
        for entry, things in self.going.items():
            self.refuse_needed(entry)
            if not (yes or self.is_copy(entry)):
                refuse_loss(entry)
            if project.has(entry):
                self.cut(entry, PARAMS, (entry.section, entry.name))
            if project.is_artifact(entry):
                self.cut(entry, GRAPH, ("artifacts", entry.name))
            self.remarks += remarks(entry)
            things += [*(f"{LOCK}: {stage}" for stage in project.stages(entry)), *project.lying(entry)]
        self.cut_plots()
        if stages := [stage for entry in self.going for stage in project.stages(entry)]:
            self.texts[LOCK] = with_entries(project.texts[LOCK], dict.fromkeys(stages))

    def choose(self, names: list[str]) -> None:
        """Fills `going`, and says what stays, and what goes unasked."""
        project = self.project
        for name in names:
            found = project.find(name, together=True)
            left = [entry for entry in found if not project.has(entry)]
            self.going |= {entry: [] for entry in left or found if entry.section != "sources" or entry in left or entry == found[0]}
            self.remarks += [f"the {entry} stays, since params.yaml has it." for entry in found if left and entry not in left]
        for dataset, source in [(entry, project.source(entry)) for entry in self.going if entry.section == "datasets"]:
            if source and (users := [user.name for user in project.users(source) if user not in self.going]):
                self.remarks.append(f"{source.folder}/raw stays, for {', '.join(users)}.")
            elif source and source not in self.going:
                self.remarks.append(f"{source.folder}/raw goes with the last dataset that reads it, {dataset.name}.")
                self.going[source] = []

    def is_copy(self, entry: Entry) -> bool:
        """Whether its raw data is what a `make new` that was killed had copied."""
        return not self.project.has(Entry("datasets", entry.name)) and (entry.folder / UNFINISHED).exists()

    def refuse_needed(self, entry: Entry) -> None:
        """By another entry, or by a stage that somebody has written."""
        if users := [user.name for user in self.project.users(entry) if user not in self.going]:
            together = " ".join([entry.name, *users])
            raise UserError(f'the {entry} is used by {", ".join(users)}: remove these first, or with it (make remove NAME="{together}").')
        for name, stage in (self.project.graph.get("stages") or {}).items():
            if any(entry.paths.search(word) for word in words(stage)):
                raise UserError(f"dvc.yaml: the stage {name} names {entry.folder}: change or remove that stage first.")

    def cut(self, entry: Entry, path: Path, keys: Keys) -> None:
        self.texts[path] = without(self.texts[path], keys)
        self.going[entry].append(f"{path}: {'a plot' if keys[0] == 'plots' else '.'.join(map(str, keys))}")

    def cut_plots(self) -> None:
        """Those in dvc.yaml that draw nothing but files of what goes."""
        for place, plot in reversed([*enumerate(parse(self.texts[GRAPH]).get("plots") or [])]):  # the places of those before stay
            files = {word for word in words(plot) if word.startswith(("models/", "data/"))}
            owners = [next((entry for entry in self.going if entry.paths.search(file)), None) for file in sorted(files)]
            if owners and owners[0] and all(owners):
                self.cut(owners[0], GRAPH, ("plots", place))
            elif any(owners):
                name = plot if isinstance(plot, str) else next(iter(plot))
                self.remarks.append(f"{GRAPH}: the plot {name!r} draws files of others beside these: change it by hand.")

    def tidy(self, entry: Entry) -> None:
        """Removes folders that are empty now, and what `dvc add` wrote into .gitignore; says what is left, since no stage wrote it."""
        folder = entry.folder
        if entry.section == "sources":
            unignore_raw(folder)
        for path in [*sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True), folder]:
            if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
                path.rmdir()
        beside = Entry("datasets" if entry.section == "sources" else "sources", entry.name)
        is_shared = beside.folder == folder and beside not in self.going and self.project.lying(beside)
        if folder.is_dir() and not is_shared:
            names = ", ".join(sorted(path.name for path in folder.iterdir()))
            self.remarks.append(f"{folder} stays, with what no stage wrote: {names}.")

    def print(self, done: str) -> None:
        for entry, things in self.going.items():
            print(f"{entry}: {done}", *things, sep="\n  ")
        for remark in dict.fromkeys([*self.remarks, "DVC's cache (until dvc gc), git's history and released versions stay."]):
            print(f"note: {remark}")


def refuse_loss(entry: Entry) -> None:
    """Raw data that no stage has made goes only if DVC's cache has it."""
    raw, pointer = entry.folder / "raw", entry.folder / "raw.dvc"
    if entry.section != "sources" or raw.is_symlink() or not raw.is_dir() or (raw / ".source").exists():
        return
    if not (pointer.exists() and is_in_cache(Path.cwd(), pointer)):
        raise UserError(
            f"{raw} was not made by a stage, and DVC's cache does not have it: move it away, or add it (dvc add {raw}), or say --yes "
            "(make remove NAME=... ARGS=--yes) if it may be lost."
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m entries.remove", description="Remove models, datasets and sources.")
    parser.add_argument("names", nargs="+", metavar="NAME", help="of a model, dataset or source, or its folder: models/line_sgd")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    parser.add_argument("--yes", action="store_true", help="also raw data that nobody could bring back")
    arguments = parser.parse_args()
    run(lambda: remove(arguments.names, arguments.dry_run, arguments.yes))


if __name__ == "__main__":
    main()
