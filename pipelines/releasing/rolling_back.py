"""Takes released versions back, so that the one before is the newest again for GTO and for DVC.

A tag MODEL@v1.2.0! takes the version out of GTO's registry. DVC 3.67 (`dvc artifacts get`) does not look at it and gives the greatest
version, taken back or not, so the version before gets a new number too, on a commit of the same files.
"""

from pipelines.releasing.git import Git
from pipelines.releasing.versions import ReleaseError, Version, exported_hash, following, lock_of, newest, read_versions


def take_back(git: Git, what: str) -> tuple[Version, str]:
    """Rolls back MODEL@v1.2.0, or the newest version of MODEL, with all that are of the same bytes: the version, and what became of it."""
    model, all_versions = what.partition("@")[0], read_versions(git.root)
    if model not in all_versions:
        raise ReleaseError(
            f"{model} has no version that could be rolled back; models that have: {', '.join(sorted(all_versions)) or 'none'}."
        )
    versions = all_versions[model]
    version = newest(versions) if what == model else next((one for one in versions if one.tag == what), None)
    if version is None:
        names = ", ".join(f"{one.tag}{'' if one.is_released else ' (rolled back)'}" for one in versions)
        raise ReleaseError(f"{what} is not a released version; known: {names}.")
    if not version.is_released:
        return version, f"{version.tag} was rolled back before; {left_of(model, versions)}."
    hashes = {one: exported_hash(lock_of(git, one), model) for one in versions}  # a version that came back has those of another
    gone = [one for one in versions if one.is_released and (one == version or hashes[one] == hashes[version] is not None)]
    tags = {f"{one.tag}!": (one.commit, f"{model} {one.name} is rolled back") for one in gone}
    rest = [one for one in versions if one not in gone]
    said, left = left_of(model, rest), newest(rest)
    if left and left != versions[0]:
        tag = f"{model}@{following(versions, 'patch')}"
        message = f"{tag} is {left.name} again"
        tags[tag] = git.commit_again(left.commit, message), message
        said = f"the newest version is {tag}, which is {left.name} again"
    git.tag(tags)
    return version, f"{', '.join(one.tag for one in gone)} rolled back; {said}."


def left_of(model: str, versions: list[Version]) -> str:
    version = newest(versions)
    return f"the newest version is {version.tag}" if version else f"{model} has no released version left"
