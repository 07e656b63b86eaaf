"""Merges dvc.lock stage by stage, so that nothing is trained again that either side of a git merge has trained.

Command: python -m pipelines.dvc.merge                      ends a conflict in dvc.lock, and in the metrics that belong to it
         python -m pipelines.dvc.merge BASE OURS THEIRS     git's merge driver of dvc.lock, which `make hooks` installs
Reads:   the three versions: from git's index, or the files named; params.yaml and the files that stages depend on
Writes:  dvc.lock and the metrics, and adds them to git's index; the driver writes OURS

A stage that one side alone has changed, added or removed is taken from that side. Where both have changed it, the entry is taken whose
params and dependencies are those of the merged tree; where that is true of both or neither, ours. The driver does not decide that,
since params.yaml may not be merged yet: it then leaves a conflict.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

from pipelines.dvc.errors import GraphError
from pipelines.dvc.lock_file import LOCK, PARAMS, as_text, find, parsed, parsed_lock, refuse_marks, replace
from pipelines.running.git import GitError, git

BASE, OURS, THEIRS = 1, 2, 3  # as git numbers them in its index


class Merge:
    """Of the three texts. `entries` are decided, in the order of ours with theirs in between; `open` names those that are not."""

    def __init__(self, base: str, ours: str, theirs: str):
        before, self.ours, self.theirs = (parsed_lock(text)["stages"] for text in (base, ours, theirs))
        self.entries, self.open = dict[str, Any](), list[str]()
        for name in in_one_order(list(self.ours), list(self.theirs)):
            was, our, their = (side.get(name) for side in (before, self.ours, self.theirs))
            if our != their and was not in (our, their):
                self.open.append(name)
            if entry := their if our == was else our:
                self.entries[name] = entry

    def text(self) -> str:
        return as_text({"schema": "2.0", "stages": self.entries})

    def decide(self, root: Path, params: Any) -> None:
        """Takes of each open entry the side that fits what is in the folder `root` and its params; ours where that does not tell.

        Where one side has removed the stage, the other's entry stays only if it fits.
        """
        made = dict[str, str]()
        for name in dict.fromkeys([*self.entries, *self.open]):
            if name in self.open:
                sides = [side[name] for side in (self.ours, self.theirs) if name in side]
                fitting = [side for side in sides if fits(side, root, params, made)]
                self.entries[name] = (fitting or sides)[0]
                if len(sides) == 1 and not fitting:
                    made |= dict.fromkeys(outs_of(self.entries.pop(name)), "")
                    continue
            made |= outs_of(self.entries[name])
        self.open.clear()


def in_one_order(ours: list[str], theirs: list[str]) -> list[str]:
    """The names of both, in the order of ours; those of theirs alone follow the one that they follow there."""
    order = list(ours)
    for place, name in enumerate(theirs):
        if name not in ours:
            order.insert(order.index(theirs[place - 1]) + 1 if place else 0, name)
    return order


def outs_of(entry: Any) -> dict[str, str]:
    """The md5 of an entry's outputs, by their paths."""
    return {out["path"]: out.get("md5", "") for out in entry.get("outs", [])}


def fits(entry: Any, root: Path, params: Any, made: dict[str, str]) -> bool:
    """Whether an entry's params are those of params.yaml, and its dependencies those of the entries before (`made`) or of the folder.

    A folder that no stage makes, or a file that is not there, does not tell.
    """
    if any(find(params, key) != value for key, value in entry.get("params", {}).get(PARAMS, {}).items()):
        return False
    for dep in entry.get("deps", []):
        file = root / dep["path"]
        md5 = md5_of(file.read_bytes()) if dep["path"] not in made and file.is_file() else made.get(dep["path"])
        if md5 not in (None, dep.get("md5")):
            return False
    return True


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def drive(base: Path, ours: Path, theirs: Path) -> int:
    """As git's merge driver: 0 where all is decided."""
    merge = Merge(*(path.read_text(encoding="utf-8") for path in (base, ours, theirs)))
    ours.write_text(merge.text(), encoding="utf-8")
    if merge.open:
        both = ", ".join(merge.open)
        print(f"{LOCK}: both sides have built {both}: resolve {PARAMS}, then python -m pipelines.dvc.merge", file=sys.stderr)
    return bool(merge.open)


def end_conflict(root: Path) -> str:
    """Merges dvc.lock of the repository `root`, and takes the metrics that belong to it; a sentence about what is left to do."""
    unmerged = unmerged_versions(root)
    if LOCK not in unmerged:
        return f"{LOCK} has no conflict: nothing is changed."
    refuse_marks(root, PARAMS, "dvc.yaml")
    merge = Merge(*(unmerged[LOCK].get(side, "") for side in (BASE, OURS, THEIRS)))
    merge.decide(root, parsed((root / PARAMS).read_text(encoding="utf-8"), PARAMS))
    contents = {LOCK: merge.text()}
    for path, md5 in (out for entry in merge.entries.values() for out in outs_of(entry).items()):
        for content in unmerged.get(path, {}).values():
            if md5_of(content.encode()) == md5:
                contents[path] = content
    for path, content in contents.items():
        replace(root / path, content.encode(), (root / path).parent)
    git("add", "--", *contents, folder=root)
    left = sorted(set(unmerged) - set(contents))
    first = f"Resolve {', '.join(left)} too, and commit" if left else "Commit"
    return f"Merged: {', '.join(contents)}. {first}; then run dvc pull, if the other side was built elsewhere, and dvc repro."


def unmerged_versions(root: Path) -> dict[str, dict[int, str]]:
    """Of each file in conflict, its versions in git's index."""
    found: dict[str, dict[int, str]] = {}
    for line in filter(None, git("ls-files", "--unmerged", "-z", folder=root).split("\0")):
        (_, blob, side), path = line.partition("\t")[0].split(), line.partition("\t")[2]
        found.setdefault(path, {})[int(side)] = git("cat-file", "blob", blob, folder=root, strip=False)
    return found


def main() -> None:
    paths = [Path(argument) for argument in sys.argv[1:]]
    try:
        if len(paths) == 3:
            sys.exit(drive(*paths))
        if paths:
            sys.exit("usage: python -m pipelines.dvc.merge [BASE OURS THEIRS]")
        print(end_conflict(Path.cwd()))
    except (GraphError, GitError, OSError, UnicodeError, ValueError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
