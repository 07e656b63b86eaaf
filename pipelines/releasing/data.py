"""The data of versions: what must be on the DVC remote before their tags go to a git remote."""

import posixpath
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from pipelines.dvc.errors import GraphError
from pipelines.dvc.lock_file import find, parsed
from pipelines.dvc.pipeline import Pipeline
from pipelines.releasing.git import Git
from pipelines.releasing.versions import exported_hash


def push_data_of(pipeline: Pipeline, git: Git, tags: Iterable[str], remote: str | None) -> dict[str, str]:
    """Pushes what the DVC remote lacks of these versions' data. The tags whose data is lost, and what of it, as parts of a sentence."""
    noted, needed, reasons = dict[str, Noted](), dict[str, dict[str, str]](), dict[str, str]()
    for tag in tags:
        commit = git.run("rev-parse", f"refs/tags/{tag}^{{}}")
        try:
            noted[commit] = noted.get(commit) or Noted(git, commit)
        except GraphError as error:
            reasons[tag] = f"{error}: git tag --delete {tag}"
        else:
            needed[tag] = noted[commit].data_of(tag.partition("@")[0])
    wanted = {md5 for data in needed.values() for md5 in data.values()}
    lost = pipeline.push_hashes(wanted, remote) if wanted else set()
    for tag, data in needed.items():
        if not data:
            reasons[tag] = f"the dvc.lock of its commit notes no exported model of this name: git tag --delete {tag}"
        elif paths := sorted(path for path, md5 in data.items() if md5 in lost):
            what = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
            reasons[tag] = f"neither DVC's cache nor the DVC remote has {what} of it: build it again at that tag, or git tag --delete {tag}"
    return reasons


class Noted:
    """What the dvc.lock and the .dvc files of a commit note."""

    def __init__(self, git: Git, commit: str):
        self.lock = parsed(git.tells("show", f"{commit}:dvc.lock"), f"dvc.lock of {commit}")
        stages = find(self.lock, "stages")  # of a commit that somebody tagged: it may be anything
        self.stages = {name: entry for name, entry in stages.items() if isinstance(entry, dict)} if isinstance(stages, dict) else {}
        files = git.files_of(commit) if self.stages else {}
        self.in_git = {str(path) for file in map(PurePosixPath, files) for path in (file, *file.parents)}
        self.stages |= {file: watched(file, parsed(git.run("show", f"{commit}:{file}"), file)) for file in files if file.endswith(".dvc")}
        self.outs = {name: {out["path"]: out.get("md5") for out in entry.get("outs", [])} for name, entry in self.stages.items()}

    def data_of(self, model: str) -> dict[str, str]:
        """The hashes, by their paths, of the data that a model as of this commit needs; empty if it has no such model.

        That is what the stages that make and measure it wrote and read, as far as it is not in git: not the exported files alone, but also
        the checkpoint, with which the next version is compared, and the data, without which nobody can build the version again.
        """
        if exported_hash(self.lock, model) is None:
            return {}
        found, waiting, seen = dict[str, str](), [f"{stage}@{model}" for stage in ("train", "evaluate", "export")], set[str]()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self.stages:
                continue
            seen.add(name)
            needed = dict(self.outs[name])
            for dep in self.stages[name].get("deps", []):
                makers = self.makers_of(dep["path"])
                waiting += makers
                if not makers and not is_elsewhere(dep["path"]):
                    needed[dep["path"]] = dep.get("md5")
            found |= {path: md5 for path, md5 in needed.items() if md5 and path not in self.in_git}
        return found

    def makers_of(self, path: str) -> list[str]:
        """The stages and .dvc files of which an output is at this path, in it, or around it."""
        return [name for name, outs in self.outs.items() if any(out == path or is_in(out, path) or is_in(path, out) for out in outs)]


def watched(file: str, noted: Any) -> dict[str, Any]:
    """What a .dvc file notes, as an entry of dvc.lock; without what DVC does not push."""
    folder = posixpath.join(posixpath.dirname(file), noted.get("wdir", ""))
    is_import = any("repo" in dep for dep in noted.get("deps", []))  # of another repository, which keeps the data
    outs = [] if is_import else [out for out in noted.get("outs", []) if out.get("push", True)]
    return {"outs": [out | {"path": posixpath.normpath(posixpath.join(folder, out["path"]))} for out in outs]}


def is_in(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def is_elsewhere(path: str) -> bool:
    """Whether it is outside the repository, as a stage's dependency may be."""
    return path.startswith(("/", "../")) or "://" in path
