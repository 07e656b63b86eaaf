"""The two remotes of a release: DVC's, for data and models, and git's, where no version's tag goes whose data is not on DVC's."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.dvc.at_commit import data_at
from pipelines.dvc.errors import GraphError, MissingPackage
from pipelines.dvc.pipeline import Pipeline
from pipelines.releasing.git import Git
from pipelines.releasing.versions import ReleaseError, read_versions, subject_of
from pipelines.running.git import GitError

MADE_BY = ("train", "evaluate", "export")  # the checkpoint too, with which the next version is compared


@dataclass(frozen=True)
class Remotes:
    """The DVC remote `of_dvc`, or the default one, and the git remote `of_git`, if there is to be one."""

    pipeline: Pipeline
    git: Git
    of_dvc: str | None
    of_git: str | None

    def check_dvc(self) -> None:
        try:
            self.pipeline.check_remote(self.of_dvc)
        except MissingPackage:
            raise
        except GraphError as error:
            how = "a release pushes to the DVC remote of --remote, or to the default one: dvc remote add, commit .dvc/config, run again"
            raise ReleaseError(f"{str(error).rstrip('.')}; {how}.") from error

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
