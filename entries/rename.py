"""Gives a model or dataset another name, and keeps what was made under the old one as far as its bytes do not hold the name.

Command: python -m entries.rename OLD NEW [--dry-run]                          (make rename OLD=a NEW=b)
Reads:   params.yaml, dvc.yaml, dvc.lock, prefect.yaml, git's tags
Writes:  params.yaml and dvc.yaml, with the new name and otherwise byte for byte as they were; dvc.lock.
         Moves models/OLD or data/OLD, and logs

A model is not trained again: neither its checkpoint nor what evaluate makes of it holds its name. Its exported files do, and are made
again. A dataset's raw data is kept; meta.json holds the dataset's name, so it is preprocessed again, and its models, whose checkpoints
hold meta.json, are trained again. tests/entries/test_rename.py compares what is kept with what is made anew.

Where params.yaml has the new name already, by hand or since a renaming was killed, the rest is done.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from entries.belongings import (
    GRAPH,
    LOCK,
    PARAMS,
    RESUME,
    TENSORBOARD,
    TRITON,
    Entry,
    Project,
    delete,
    find_entry,
    hidden,
    is_plain,
    read_project,
)
from entries.command import alone_with_entries, by_hand, print_changes, print_commit, released, run, write_texts
from entries.lines import Key, LayoutError, as_word, replaced
from pipelines.dvc.entries import with_entries
from stages.shell.errors import UserError

# The stages whose outputs do not hold the name.
KEPT = {"datasets": ("download",), "models": ("train", "evaluate")}


def rename(given: str, new_name: str, dry_run: bool = False) -> None:
    old, new = find_both(read_project(), given, new_name)
    if dry_run:
        project = read_project()
        print_changes(project.texts, changed_texts(project, old, new))
        print_outcome(project, old, new, "would be called")
        return
    with alone_with_entries("make rename", [old, new]):
        project = read_project()
        old, new = find_both(project, given, new_name)
        after = changed_texts(project, old, new)
        write_texts(project.texts, after, (PARAMS, GRAPH))
        move_files(project, old, new)
        write_texts(project.texts, after, (LOCK,))
    print_outcome(project, old, new, "is now called")
    print_commit([*after, old.folder, new.folder], "--all", f"Rename {old.name} to {new.name}")


def find_both(project: Project, given: str, new_name: str) -> tuple[Entry, Entry]:
    """The entry and what it will be. Raises UserError where the one is unknown, or the other is no name or taken."""
    old = find_entry(project, given)
    new = Entry(old.section, new_name)
    if not is_plain(new_name):
        raise UserError(f"{new_name!r} cannot be a name; expected letters, digits, _ and -, a letter or digit first.")
    if new == old:
        raise UserError(f"the {old} has that name already.")
    if project.has(old) and project.has(new):
        raise UserError(f"params.yaml has a {new} already: choose another name.")
    if not project.has(old) and not project.has(new):
        raise UserError(f"params.yaml has no {old}, only leftovers of it: make remove NAME={old.folder} removes them.")
    is_begun = project.has(new)  # then its files may be there, but not those of both
    if is_filled(new.folder) and (is_filled(old.folder) or not is_begun):
        raise UserError(f"{new.folder} is there already: choose another name, or remove it (make remove NAME={new.folder}).")
    if (noted := project.stages(new)) and (project.stages(old) or not is_begun):
        raise UserError(f"dvc.lock has {noted[0]} already: choose another name, or make remove NAME={(old if is_begun else new).folder}.")
    return old, new


def is_filled(folder: Path) -> bool:
    return folder.is_symlink() or folder.is_file() or (folder.is_dir() and any(folder.iterdir()))


def changed_texts(project: Project, old: Entry, new: Entry) -> dict[Path, str]:
    return {
        PARAMS: changed_params(project, old, new),
        GRAPH: changed_graph(project, old, new),
        LOCK: changed_lock(project, old, new),
    }


def changed_params(project: Project, old: Entry, new: Entry) -> str:
    """The entry's name, and of a dataset where models name it."""
    if not project.has(old):
        return project.texts[PARAMS]

    def change(keys: tuple[Key, ...], is_key: bool, word: str) -> str:
        is_name = is_key and keys == (old.section, old.name)
        is_reference = not is_key and len(keys) == 3 and (keys[0], keys[2]) == ("models", "dataset") and keys[1] in users
        return renamed_word(word, old, new) if is_name or is_reference else word

    users = project.users(old)
    section = {new.name if name == old.name else name: entry for name, entry in project.params[old.section].items()}
    expected = project.params | {old.section: section}
    if users:
        expected["models"] = expected["models"] | {name: expected["models"][name] | {"dataset": new.name} for name in users}
    return edited(PARAMS, project, change, expected)


def renamed_word(word: str, old: Entry, new: Entry) -> str:
    """A name as it is written in the file, with its quotes if it has them."""
    return as_word(new.name) if word == old.name else word.replace(old.name, new.name)


def changed_graph(project: Project, old: Entry, new: Entry) -> str:
    """The artifact, and every path in the entry's folder."""

    def in_new_folder(word: str) -> str:
        return re.sub(rf"(?<![\w./-]){re.escape(old.folder.as_posix())}(?![\w.-])", new.folder.as_posix(), word)

    def change(keys: tuple[Key, ...], is_key: bool, word: str) -> str:
        is_name = is_key and keys == project.artifact(old)
        return renamed_word(word, old, new) if is_name else in_new_folder(word)

    def expect(value: Any) -> Any:
        if isinstance(value, dict):
            return {in_new_folder(key) if isinstance(key, str) else key: expect(part) for key, part in value.items()}
        if isinstance(value, list):
            return [expect(part) for part in value]
        return in_new_folder(value) if isinstance(value, str) else value

    expected = expect(project.graph)
    if project.artifact(old):
        expected["artifacts"] = {new.name if name == old.name else name: artifact for name, artifact in expected["artifacts"].items()}
    return edited(GRAPH, project, change, expected)


def edited(path: Path, project: Project, change: Any, expected: Any) -> str:
    try:
        return replaced(project.texts[path], change, expected)
    except LayoutError as error:
        raise UserError(f"{path} cannot be edited by this command, since {error}: change the name by hand, and run this again.") from error


def changed_lock(project: Project, old: Entry, new: Entry) -> str:
    """What is kept is noted under the new name, and the rest is not noted any more."""
    changes: dict[str, tuple[str, Any] | None] = {}
    for stage, template in project.templates(old.section).items():
        if (noted := f"{stage}@{old.name}") in project.noted:
            is_kept = stage in KEPT[old.section]
            entry = moved_entry(project.noted[noted], str(template.get("cmd")), old, new)
            changes[noted] = (f"{stage}@{new.name}", entry) if is_kept else None
    return with_entries(project.texts[LOCK], changes) if changes else project.texts[LOCK]


def moved_entry(entry: dict[str, Any], command: str, old: Entry, new: Entry) -> dict[str, Any]:
    """An entry of dvc.lock with the new name in its command, the keys of its params and its paths."""

    def moved(thing: dict[str, Any]) -> dict[str, Any]:
        path = Path(thing["path"])
        is_own = path.is_relative_to(old.folder)
        return thing | {"path": (new.folder / path.relative_to(old.folder)).as_posix()} if is_own else thing

    def rekeyed(key: str) -> str:
        return f"{new.key}{key.removeprefix(old.key)}" if key == old.key or key.startswith(f"{old.key}.") else key

    content = dict(entry)
    if entry.get("cmd") == command.replace("${key}", old.name):
        content["cmd"] = command.replace("${key}", new.name)
    for kind in ("deps", "outs"):
        if kind in content:
            content[kind] = [moved(thing) for thing in content[kind]]
    if "params" in content:
        content["params"] = {
            path: {rekeyed(key): value for key, value in values.items()} if isinstance(values, dict) else values
            for path, values in content["params"].items()
        }
    return content


def move_files(project: Project, old: Entry, new: Entry) -> None:
    """What holds the old name is deleted first; then the folder is renamed at once."""
    if is_filled(old.folder):
        outputs = [path for stage in made_again(project, old) for path in project.outputs(old, stage)]
        for path in [*outputs, *hidden(outputs)]:
            delete(path)
        old.folder.rename(new.folder)
    if old.section == "models":
        for logs in (RESUME, TENSORBOARD):
            if (logs / old.name).is_dir():
                delete(logs / new.name)
                (logs / old.name).rename(logs / new.name)
        for path in [TRITON / old.name, *TRITON.glob(f"{old.name}.*")]:
            delete(path)


def made_again(project: Project, entry: Entry) -> Iterator[str]:
    return (stage for stage in project.templates(entry.section) if stage not in KEPT[entry.section])


def print_outcome(project: Project, old: Entry, new: Entry, is_called: str) -> None:
    """`project` is that of before."""
    kept = [stage for stage in project.stages(old) if stage.partition("@")[0] in KEPT[old.section]]
    again = [f"{stage}@{new.name}" for stage in made_again(project, old)]
    print(f"The {old} {is_called} {new.name}.")
    if kept:
        print(f"Kept, since the name is not in it: what {' and '.join(kept)} made.")
    users = project.users(old) + project.users(new)
    print(f"To run again, since what they make holds the name: {', '.join([*again, *(f'train@{model}' for model in users)])}.")
    print(f"Next: dvc repro {'' if users else ' '.join(again)}".rstrip())
    if tags := released(old):
        print(f"note: released versions keep the old name: {', '.join(tags)}; {new.name} begins with v1.0.0.")
    for remark in by_hand(old, []):
        print(f"note: {remark}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m entries.rename", description="Give a model or dataset another name.")
    parser.add_argument("old", metavar="OLD", help="its name, or its folder: models/line_sgd")
    parser.add_argument("new", metavar="NEW", help="the new name")
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    arguments = parser.parse_args()
    run(lambda: rename(arguments.old, arguments.new, arguments.dry_run))


if __name__ == "__main__":
    main()
