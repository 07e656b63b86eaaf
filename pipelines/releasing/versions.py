"""The versions of the models that have been released: git's annotated tags, as GTO reads them (DVC's registry of models).

MODEL@v1.2.0 registers a version on a commit whose dvc.lock holds the model; MODEL@v1.2.0! says that it was rolled back. A release
writes its gate's figures into the tag's message. Anyone can make such a tag by hand (git tag, gto register): a version whose message is
of another form has not passed the gate. This tells mistakes, not forgeries: tags are not signed.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gto.base import BaseRegistryState
from gto.config import RegistryConfig
from gto.constants import Action
from gto.tag import TagVersionManager, parse_name
from gto.versions import SemVer
from scmrepo.git import Git as ScmGit

from pipelines.dvc.lock_file import hash_of, parsed
from pipelines.releasing.git import Git
from pipelines.running.git import GitError

FIRST = "v1.0.0"

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
    scm = ScmGit(str(root))
    try:
        state = TagVersionManager(scm=scm, config=RegistryConfig()).update_state(BaseRegistryState())
    finally:
        scm.close()
    return {model: as_versions(model, artifact.get_versions(active_only=False)) for model, artifact in state.get_artifacts().items()}


def as_versions(model: str, found: list[Any]) -> list[Version]:
    """GTO's versions of a model, in the same order."""
    messages = {version.version: version.message for version in found if version.is_registered}
    return [
        Version(model, version.version, version.commit_hexsha, version.is_active, passed_gate(model, version.version, messages))
        for version in found
        if version.is_registered
    ]


def passed_gate(model: str, name: str, messages: dict[str, str]) -> bool:
    """Whether the message of a version's tag is one that a release writes; `messages` has those of all the model's versions."""
    message = messages.get(name, "")
    if again := re.match(rf"{re.escape(f'{model}@{name}')} is (\S+) again\b", message):  # of a version that came back
        return passed_gate(model, again[1], {other: messages[other] for other in messages if other != name})
    return re.match(rf"{re.escape(f'{model} {name}')}\n\n\S+ \S+ \[", message) is not None  # as_message() of verdicts.py


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
    if not versions:
        return FIRST
    greatest = SemVer(versions[0].name)
    return {"major": greatest.bump_major, "minor": greatest.bump_minor, "patch": greatest.bump_patch}[bump]().version


def lock_of(git: Git, version: Version) -> Any:
    """dvc.lock as it was; None where the commit has none, for it may have been tagged by hand."""
    return parsed(git.tells("show", f"{version.commit}:dvc.lock"), f"dvc.lock of {version.tag}")


def exported_hash(lock: Any, model: str) -> str | None:
    """Of what a dvc.lock says is released as the model."""
    return hash_of(lock, f"export@{model}", f"models/{model}/exported")


def subject_of(tag: str) -> tuple[str, bool] | None:
    """The version MODEL@v1.2.0 that a tag is about, and whether it registers it and does not take it back; None of any other tag."""
    parts = parse_name(tag, raise_on_fail=False)
    return (f"{parts['name']}@{parts['version']}", parts["action"] is Action.REGISTER) if "version" in parts else None


def can_be_tagged(model: str) -> bool:
    """GTO wants a letter or digit at both ends."""
    return parse_name(f"{model}@{FIRST}", raise_on_fail=False).get("name") == model
