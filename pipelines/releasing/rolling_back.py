"""Takes released versions back, so that the one before is the newest again for whoever asks GTO or DVC."""

from pipelines.releasing.git import Git
from pipelines.releasing.versions import ReleaseError, Version, exported_hash, following, lock_of, newest, read_versions


class RollBack:
    """Takes versions of one model back.

    A tag MODEL@v1.2.0! takes the version out of GTO's registry. DVC 3.67 (`dvc artifacts get`) does not look at it and gives the
    greatest version whatever became of it, so the version before gets a new number too, on a commit of the same files.
    """

    def __init__(self, git: Git, model: str):
        self.git, self.model = git, model
        versions = read_versions(git.root)
        if model not in versions:
            raise ReleaseError(
                f"{model} has no version that could be rolled back; models that have: {', '.join(sorted(versions)) or 'none'}."
            )
        self.versions = versions[model]

    def take_back(self, version: Version) -> str:
        """Rolls it back, with all that are of the same bytes; a sentence about what became of it."""
        if not version.is_released:
            return f"{version.tag} was rolled back before; {self.stands(newest(self.versions))}."
        gone = [other for other in self.versions if other.is_released and self.is_same(other, version)]
        tags = {f"{other.tag}!": (other.commit, f"{self.model} {other.name} is rolled back") for other in gone}
        left = newest([other for other in self.versions if other not in gone])
        said = self.stands(left)
        if left and left != self.versions[0]:
            said = f"the newest version is {self.add_again(left, tags)}, which is {left.name} again"
        self.git.tag(tags)
        return f"{', '.join(other.tag for other in gone)} rolled back; {said}."

    def find(self, what: str) -> Version:
        """The version MODEL@v1.2.0, or the newest of MODEL."""
        found = newest(self.versions) if what == self.model else next((one for one in self.versions if one.tag == what), None)
        if found is None:
            names = ", ".join(f"{one.tag}{'' if one.is_released else ' (rolled back)'}" for one in self.versions)
            raise ReleaseError(f"{what} is no released version; known: {names}.")
        return found

    def is_same(self, one: Version, other: Version) -> bool:
        """Whether both are of the same bytes, as a version is that came back when another was rolled back."""
        exported = exported_hash(lock_of(self.git, one), self.model)
        return one == other or (exported is not None and exported == exported_hash(lock_of(self.git, other), self.model))

    def add_again(self, version: Version, tags: dict[str, tuple[str, str]]) -> str:
        """Adds a tag for the version under the number after the greatest; returns the tag."""
        tag = f"{self.model}@{following(self.versions, 'patch')}"
        message = f"{tag} is {version.name} again"
        tags[tag] = self.git.commit_again(version.commit, message), message
        return tag

    def stands(self, version: Version | None) -> str:
        return f"the newest version is {version.tag}" if version else f"{self.model} has no released version left"
