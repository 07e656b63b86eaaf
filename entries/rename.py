"""Gives a model or dataset another name, and keeps what was made under the old one as far as its bytes do not hold the name.

Command: python -m entries.rename OLD NEW [--dry-run]                          (make rename OLD=a NEW=b)
Reads:   params.yaml, dvc.yaml, dvc.lock, prefect.yaml
Writes:  params.yaml and dvc.yaml, with the new name (in paths of comments too) and otherwise byte for byte as they were; dvc.lock.
         Moves models/OLD, data/schemas/OLD.yaml and logs; deletes outputs that hold the old name

A model is not trained again: neither its checkpoint nor what evaluate makes of it holds its name. Its exported files do, and are made
again. A dataset's raw files stay where they are, with their source; meta.json holds the dataset's name, so it is preprocessed again, and
its models, whose checkpoints hold meta.json, are trained again. tests/entries/test_rename.py compares what is kept with what is made anew.

Where params.yaml has the new name already, by hand or since a renaming was killed, the rest is done.
"""

import argparse
import copy
import re
from pathlib import Path
from typing import Any

from entries.lines import replaced
from entries.project import GRAPH, LOCK, NAME, PARAMS, Entry, Project, delete, holding, remarks, run, show_commit
from pipelines.dvc.lock_file import with_entries
from stages.shell.errors import UserError

KEPT = ("train", "evaluate")  # the stages whose outputs do not hold the name


def rename(given: str, new_name: str, dry_run: bool = False) -> None:
    project = Project()
    old, new = find_both(project, given, new_name)
    if dry_run:
        changed_texts(project, old, new)
        print_outcome(project, old, new, "would be called")
        return
    with holding("make rename", [old, new]):
        project = Project()
        old, new = find_both(project, given, new_name)
        after = changed_texts(project, old, new)
        project.write(after, PARAMS, GRAPH)
        move_files(project, old, new)
        project.write(after, LOCK)
    print_outcome(project, old, new, "is now called")
    show_commit([old, new], "--all", f"Rename {old.name} to {new.name}")


def find_both(project: Project, given: str, new_name: str) -> tuple[Entry, Entry]:
    """The entry and what it will be. Raises UserError where the one is unknown, or the other is no name or taken."""
    old = project.find(given)[0]
    new, is_begun = Entry(old.section, new_name), project.has(Entry(old.section, new_name))
    if old.section == "sources":
        how = f"change it by hand, also in `raw` of its datasets, run dvc repro, then make remove NAME={old.folder}"
        raise UserError(f"{old.name} is the name of a source, which this command does not rename: {how}.")
    if not NAME.fullmatch(new_name):
        raise UserError(f"{new_name!r} cannot be a name; expected letters, digits, _ and -, a letter or digit first.")
    if project.has(old) == is_begun:
        taken = f"has a {new} already: choose another name"
        raise UserError(f"params.yaml {taken if is_begun else f'has no {old}, only leftovers of it: make remove NAME={old.folder}'}.")
    for where, is_there in ((str(new.folder), lambda entry: is_filled(project, entry)), ("dvc.lock", project.stages)):
        if is_there(new) and (is_there(old) or not is_begun):  # of a renaming that has begun, what was done is at the new place alone
            rest = f"make remove NAME={old.folder}" if is_begun else f"choose another name, or make remove NAME={new.folder}"
            raise UserError(f"{where} holds what was made for a {new}: {rest}.")
    return old, new


def is_filled(project: Project, entry: Entry) -> bool:
    """Whether something lies where the entry's files would: for a model anything, since its folder is moved whole."""
    folder = entry.folder
    if entry.section == "datasets":
        return bool(project.lying(entry))
    return folder.is_symlink() or folder.is_file() or (folder.is_dir() and any(folder.iterdir()))


def changed_texts(project: Project, old: Entry, new: Entry) -> dict[Path, str]:
    """The three files with the new name: of the entry, where models name the dataset, of the artifact, in paths, and of what is kept."""
    params, graph, lock = project.texts[PARAMS], project.texts[GRAPH], project.texts[LOCK]
    for user in project.users(old):
        params = replaced(params, ("models", user.name, "dataset"), new.name)
    if project.has(old):
        params = replaced(params, (old.section, old.name), new.name, is_key=True)
    if project.is_artifact(old):
        graph = replaced(graph, ("artifacts", old.name), new.name, is_key=True)
    graph = old.paths.sub(new.folder.as_posix(), graph)
    notes = dict[str, tuple[str, Any] | None]()
    for noted in project.stages(old):
        stage = noted.partition("@")[0]
        command = str(project.templates(old.section)[stage].get("cmd"))
        notes[noted] = (f"{stage}@{new.name}", moved_note(project.noted[noted], command, old, new)) if stage in KEPT else None
    return {PARAMS: params, GRAPH: graph, LOCK: with_entries(lock, notes) if notes else lock}


def moved_note(note: dict[str, Any], command: str, old: Entry, new: Entry) -> dict[str, Any]:
    """A stage's entry in dvc.lock with the new name in its command, its paths and the keys of its params."""
    moved = copy.deepcopy(note)
    if note.get("cmd") == command.replace("${key}", old.name):
        moved["cmd"] = command.replace("${key}", new.name)
    for thing in [*moved.get("deps", []), *moved.get("outs", [])]:
        thing["path"] = old.paths.sub(new.folder.as_posix(), thing["path"])
    own = re.compile(rf"^{old.section}\.{re.escape(old.name)}(?=\.|$)")
    for file, values in moved.get("params", {}).items():
        if isinstance(values, dict):
            moved["params"][file] = {own.sub(f"{new.section}.{new.name}", key): value for key, value in values.items()}
    return moved


def move_files(project: Project, old: Entry, new: Entry) -> None:
    """What holds the old name is deleted first; then a model's folder is renamed at once."""
    for stage in [stage for stage in project.templates(old.section) if stage not in KEPT]:
        for path in project.outputs(old, stage):
            delete(path)
    if old.section == "models" and is_filled(project, old):
        old.folder.rename(new.folder)
    if old.section == "datasets" and old.schema.exists():
        old.schema.rename(new.schema)
    for path in old.logs:
        if path.parent.name == "triton":
            delete(path)
        elif path.is_dir():
            delete(path.with_name(new.name))
            path.rename(path.with_name(new.name))


def print_outcome(project: Project, old: Entry, new: Entry, is_called: str) -> None:
    """`project` is that of before."""
    again = [f"{stage}@{new.name}" for stage in project.templates(old.section) if stage not in KEPT]
    users = [f"train@{model.name}" for model in project.users(old) + project.users(new)]
    print(f"The {old} {is_called} {new.name}. To run again, since what they make holds the name: {', '.join(again + users)}.")
    print(f"Next: dvc repro {'' if users else ' '.join(again)}".rstrip(), *(f"note: {remark}" for remark in remarks(old)), sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m entries.rename", description="Give a model or dataset another name.")
    parser.add_argument("old", metavar="OLD", help="its name, or its folder: models/line_sgd")
    parser.add_argument("new", metavar="NEW", help="the new name")
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    arguments = parser.parse_args()
    run(lambda: rename(arguments.old, arguments.new, arguments.dry_run))


if __name__ == "__main__":
    main()
