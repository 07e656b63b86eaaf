"""The versions of the models that have been released: git's annotated tags, as GTO reads them (DVC's registry of models).

MODEL@v1.2.0 registers a version on a commit whose dvc.lock holds the model; MODEL@v1.2.0! says that it was rolled back. A release
writes its gate's figures into the tag's message. Anyone can make such a tag by hand (git tag, gto register): a version whose message is
of another form has not passed the gate. This tells mistakes, not forgeries: tags are not signed.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gto.base import BaseRegistryState
from gto.config import RegistryConfig
from gto.constants import Action
from gto.tag import TagVersionManager, parse_name
from gto.versions import SemVer
from scmrepo.git import Git as ScmGit

from pipelines.dvc.at_commit import data_at
from pipelines.dvc.errors import GraphError
from pipelines.dvc.lock_file import hash_of, parsed
from pipelines.dvc.pipeline import Pipeline
from pipelines.releasing.git import Git
from pipelines.running.git import GitError

FIRST = "v1.0.0"
MADE_BY = ("train", "evaluate", "export")  # the checkpoint too, with which the next version is compared

Bump = Literal["major", "minor", "patch"]


class ReleaseError(Exception):
    """The message is one sentence."""


@dataclass(frozen=True)
class Version:
    """`is_released` is False once it was rolled back; `passed_gate` is False where the tag was not made by a release."""

    model: str
    name: str
    commit: str
    is_released: bool
    passed_gate: bool

    @property
    def tag(self) -> str:
        return f"{self.model}@{self.name}"


def read_versions(root: Path) -> dict[str, list[Version]]:
    """Every model's versions, the greatest first."""
    scm, found = ScmGit(str(root)), dict[str, list[Version]]()
    try:
        state = TagVersionManager(scm=scm, config=RegistryConfig()).update_state(BaseRegistryState())
    finally:
        scm.close()
    for model, artifact in state.get_artifacts().items():
        registered = [version for version in artifact.get_versions(active_only=False) if version.is_registered]
        messages = {version.version: version.message for version in registered}
        found[model] = [
            Version(model, one.version, one.commit_hexsha, one.is_active, passed_gate(model, one.version, messages)) for one in registered
        ]
    return found


def passed_gate(model: str, name: str, messages: dict[str, str]) -> bool:
    """Whether the message of a version's tag is one that a release writes; `messages` has those of all the model's versions."""
    message = messages.get(name, "")
    if again := re.match(rf"{re.escape(f'{model}@{name}')} is (\S+) again\b", message):  # of a version that came back
        return passed_gate(model, again[1], {other: messages[other] for other in messages if other != name})
    return re.match(rf"{re.escape(f'{model} {name}')}\n\n\S+ \S+ \[", message) is not None  # as_message() of gate.py


def last_release(root: Path) -> Callable[[str], tuple[str, dict[str, float]] | None]:
    """What tells of a model the last version that was not rolled back, and its metrics; None where there is none, or no git."""
    try:
        git = Git(root)
    except GitError:
        return lambda _: None
    versions = read_versions(root)

    def tell(model: str) -> tuple[str, dict[str, float]] | None:
        last = newest(versions.get(model, []))
        return (last.name, json.loads(git.tells("show", f"{last.commit}:models/{model}/metrics.json") or "{}")) if last else None

    return tell


def newest(versions: list[Version]) -> Version | None:
    """The greatest that was not rolled back."""
    return next((version for version in versions if version.is_released), None)


def following(versions: list[Version], bump: Bump) -> str:
    """The name after the greatest, rolled back or not."""
    return getattr(SemVer(versions[0].name), f"bump_{bump}")().version if versions else FIRST


def noted(git: Git, version: Version, stage: str, output: str) -> str | None:
    """The hash of a stage's output in dvc.lock as it was; None where the commit notes none, for it may have been tagged by hand."""
    lock = parsed(git.tells("show", f"{version.commit}:dvc.lock"), f"dvc.lock of {version.tag}")
    return hash_of(lock, f"{stage}@{version.model}", f"models/{version.model}/{output}")


def subject_of(tag: str) -> tuple[str, bool] | None:
    """The version MODEL@v1.2.0 that a tag is about, and whether it registers it and does not take it back; None of any other tag."""
    parts = parse_name(tag, raise_on_fail=False)
    return (f"{parts['name']}@{parts['version']}", parts["action"] is Action.REGISTER) if "version" in parts else None


def take_back(git: Git, what: str) -> tuple[Version, str]:
    """Rolls back MODEL@v1.2.0, or the newest version of MODEL, with all that are of the same bytes: the version, and what became of it.

    A tag MODEL@v1.2.0! takes the version out of GTO's registry. DVC 3.67 (`dvc artifacts get`) does not look at it and gives the greatest
    version, taken back or not, so the version before gets a new number too, on a commit of the same files.
    """
    model, all_versions = what.partition("@")[0], read_versions(git.root)
    if model not in all_versions:
        known = ", ".join(sorted(all_versions)) or "none"
        raise ReleaseError(f"{model} has no version that could be rolled back; models that have: {known}.")
    versions = all_versions[model]
    version = newest(versions) if what == model else next((one for one in versions if one.tag == what), None)
    if version is None:
        names = ", ".join(f"{one.tag}{'' if one.is_released else ' (rolled back)'}" for one in versions)
        raise ReleaseError(f"{what} is not a released version; known: {names}.")
    gone: list[Version] = []
    if version.is_released:
        hashes = {one: noted(git, one, "export", "exported") for one in versions}  # a version that came back has those of another
        gone = [one for one in versions if one.is_released and (one == version or hashes[one] == hashes[version] is not None)]
    left = newest([one for one in versions if one not in gone])
    said = f"the newest version is {left.tag}" if left else f"{model} has no released version left"
    if not gone:
        return version, f"{version.tag} was rolled back before; {said}."
    tags = {f"{one.tag}!": (one.commit, f"{model} {one.name} is rolled back") for one in gone}
    if left and left != versions[0]:
        tag = f"{model}@{following(versions, 'patch')}"
        message = f"{tag} is {left.name} again"
        tags[tag] = git.run("commit-tree", f"{left.commit}^{{tree}}", "-p", left.commit, "-F", "-", stdin=message), message  # on no branch
        said = f"the newest version is {tag}, which is {left.name} again"
    git.tag(tags)
    return version, f"{', '.join(one.tag for one in gone)} rolled back; {said}."


@dataclass(frozen=True)
class Remotes:
    """The DVC remote `of_dvc`, or the default one, and the git remote `of_git`, where no version's tag goes whose data is not on DVC's."""

    pipeline: Pipeline
    git: Git
    of_dvc: str | None
    of_git: str | None

    def check_git(self, branch: str | None, models: Iterable[str]) -> None:
        """Raises GitError where a push of the branch, or of the models' next tags, must fail."""
        if self.of_git:
            self.git.check_remote(self.of_git, branch, models)

    def push_tags(self, branch: str | None, again: str) -> dict[str, str]:
        """Pushes the versions' tags that the git remote has not, also hand-made ones, with the branch; returns those it kept here, and why.

        Raises GitError, which says to run `again` to push them.
        """
        if not self.of_git:
            return {}
        theirs = self.git.on_remote(self.of_git)
        about = {tag: found for tag in self.git.tags() if f"refs/tags/{tag}" not in theirs and (found := subject_of(tag))}
        try:
            lost = self.push_data_of([tag for tag, (_, registers) in about.items() if registers])
            kept = {about[tag][0] for tag in lost}  # what takes such a version back stays here too
            if going := [tag for tag, (version, _) in about.items() if version not in kept]:
                for version in (version for versions in read_versions(self.git.root).values() for version in versions):
                    if version.tag in going and not version.passed_gate:
                        self.pipeline.tell(f"{version.tag} is pushed: it was tagged by hand, and has not passed the gate.")
                self.git.push(self.of_git, branch, going)
        except (GitError, GraphError) as error:
            arguments = " ".join(filter(None, [again, self.of_dvc and f"--remote {self.of_dvc}", f"--push-to {self.of_git}"]))
            why = f"the tags are made, and not yet pushed ({str(error).rstrip('.')})"
            raise GitError(f"{why}: python -m pipelines.release {arguments} pushes them.") from error
        return lost

    def push_data_of(self, tags: list[str]) -> dict[str, str]:
        """Pushes what the DVC remote lacks of these versions' data. The tags whose data is lost, and what of it, as parts of a sentence.

        It is asked for every file. What a version needs is what its stages wrote and read: without the data it cannot be built again.
        """
        by_commit, needed, reasons = defaultdict[str, list[str]](list), dict[str, dict[str, str]](), dict[str, str]()
        for tag in tags:
            by_commit[self.git.tells("rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}")].append(tag)
        for commit, of_commit in by_commit.items():
            stages = {tag: [f"{stage}@{tag.partition('@')[0]}" for stage in MADE_BY] for tag in of_commit}
            noted = data_at(self.git.root, commit, stages) if commit else {}
            for tag in of_commit:
                if isinstance(data := noted.get(tag, {}), GraphError):
                    reasons[tag] = f"{str(data).rstrip('.')}: git tag --delete {tag}"
                elif f"models/{tag.partition('@')[0]}/exported" not in data:
                    reasons[tag] = f"the dvc.lock of its commit notes no exported model of this name: git tag --delete {tag}"
                else:
                    needed[tag] = data
        wanted = {md5 for data in needed.values() for md5 in data.values()}
        lost = self.pipeline.push_hashes(wanted, self.of_dvc) if wanted else set()
        for tag, data in needed.items():
            if paths := sorted(path for path, md5 in data.items() if md5 in lost):
                what = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
                reasons[tag] = (
                    f"neither DVC's cache nor the DVC remote has {what} of it: build it again at that tag, or git tag --delete {tag}"
                )
        return reasons
