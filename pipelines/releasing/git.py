"""The git repository that a release is made in: whether it is fit for one, its commits and tags, and the remote that they are pushed to."""

from collections.abc import Iterable
from pathlib import Path

from pipelines.running.git import GitError, git


class Git:
    """The repository whose root is the folder `root`. Raises GitError where git refuses, with git's reason."""

    def __init__(self, root: Path):
        self.root = root
        if Path(self.run("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            raise GitError("the folder of .dvc is not the root of its git repository, which is where releases are made from.")

    def run(self, *arguments: str, stdin: str = "") -> str:
        """What git writes to stdout."""
        return git(*arguments, folder=self.root, stdin=stdin)

    def tells(self, *arguments: str) -> str:
        """As run(); empty where git refuses."""
        try:
            return self.run(*arguments)
        except GitError:
            return ""

    def check_identity(self) -> None:
        for role in ("AUTHOR", "COMMITTER"):
            if not self.tells("-c", "user.useConfigOnly=true", "var", f"GIT_{role}_IDENT"):  # else git makes up a name of the machine's
                how = f"set git config user.name and user.email, or GIT_{role}_NAME and GIT_{role}_EMAIL"
                raise GitError(f"git does not know who releases: {how}.")

    def check_branch(self) -> str:
        """The branch that a release commits on."""
        if branch := self.tells("symbolic-ref", "--quiet", "--short", "HEAD"):
            return branch
        raise GitError("git is on no branch (a detached HEAD): switch to the one to release from, and run again.")

    def lines(self, command: str, *arguments: str, paths: Iterable[Path] = ()) -> list[str]:
        """What git lists of these paths."""
        specs = [f":(top,literal){path.relative_to(self.root)}" for path in paths]
        return [line for line in self.run(command, "-z", *arguments, "--", *specs).split("\0") if line]

    def changed(self, untracked: str = "no", paths: Iterable[Path] = ()) -> list[str]:
        """Files that are not as HEAD has them, in the working tree or staged; paths from the root. `untracked` ones too, if "all"."""
        return [line[3:] for line in self.lines("status", "--porcelain", "--no-renames", f"--untracked-files={untracked}", paths=paths)]

    def ignored(self, paths: list[Path]) -> list[str]:
        """Those of the files that git does not know and would not add, because a .gitignore names them."""
        return self.lines("ls-files", "--others", "--ignored", "--exclude-standard", paths=paths)

    def not_in_head(self, files: Iterable[Path]) -> list[str]:
        """Those of the files that a clone of HEAD would not have, or not with these contents: ignored ones and links to elsewhere too.

        Contents are compared, because git can be told to take a file for unchanged (git update-index --skip-worktree).
        """
        entries = (line.split("\t", 1) for line in self.lines("ls-tree", "-r", "HEAD"))
        head, root = {path: what.split()[2] for what, path in entries}, self.root.resolve()
        targets = {file: file.resolve() for file in sorted(files) if file.is_file()}
        inside = [target.relative_to(root).as_posix() for target in targets.values() if target.is_relative_to(root)]
        now = dict(zip(inside, self.run("hash-object", "--stdin-paths", stdin="\n".join(inside)).splitlines(), strict=True))
        same = {root / path for path, found in now.items() if head.get(path) == found}
        names = {file: file.relative_to(self.root) for file in targets}
        known = {file for file, name in names.items() if any(path.as_posix() in head for path in (name, *name.parents))}  # links are files
        return [names[file].as_posix() for file, target in targets.items() if target not in same or file not in known]

    def head(self) -> str:
        return self.run("rev-parse", "HEAD")

    def commit(self, paths: list[str], message: str) -> str:
        """Commits the files as they are, and nothing else that is staged; without files it is an empty commit. The new commit."""
        specs = ["--", *(f":(top,literal){path}" for path in paths)] if paths else []
        if specs:
            self.run("add", *specs)
        self.run("commit", "--quiet", "--allow-empty", "--only", "--file=-", *specs, stdin=message)
        return self.head()

    def tag(self, tags: dict[str, tuple[str, str]]) -> None:
        """Makes annotated tags of names to (commit, message): all or, where one of them cannot be, none."""
        who = self.run("var", "GIT_COMMITTER_IDENT")
        lines = ["start"]
        for name, (commit, message) in tags.items():
            content = f"object {commit}\ntype commit\ntag {name}\ntagger {who}\n\n{message}\n"
            lines.append(f"create refs/tags/{name} {self.run('mktag', stdin=content)}")
        self.run("update-ref", "--stdin", stdin="\n".join([*lines, "commit", ""]))

    def tags(self) -> dict[str, str]:
        """The annotated tags and the hashes of the tags themselves."""
        lines = self.run("for-each-ref", "--format=%(objecttype) %(objectname) %(refname:lstrip=2)", "refs/tags").splitlines()
        return {name: found for kind, found, name in (line.split(" ", 2) for line in lines) if kind == "tag"}

    def on_remote(self, remote: str) -> dict[str, str]:
        """The names of the remote's branches and tags, with their hashes."""
        lines = self.run("ls-remote", "--heads", "--tags", "--", remote).splitlines()
        return {name: found for found, name in (line.split("\t") for line in lines) if not name.endswith("^{}")}

    def check_remote(self, remote: str, branch: str | None, models: Iterable[str]) -> None:
        """Raises GitError where a push of the branch, or of the models' next tags, must fail."""
        theirs, ours = self.on_remote(remote), self.tags()
        for ref, found in theirs.items():
            name = ref.removeprefix("refs/tags/")
            model, is_version, _ = name.partition("@v")
            if name != ref and is_version and model in models and ours.get(name) != found:
                take = f"git tag --delete {name}; git fetch {remote} tag {name}" if name in ours else f"git fetch --tags {remote}"
                raise GitError(f"{remote} has {name}, which is {'another tag' if name in ours else 'not'} here: {take}, and run again.")
        tip = theirs.get(f"refs/heads/{branch}")
        if tip and self.tells("merge-base", tip, "HEAD") != tip:  # git refuses where it has never seen the tip
            raise GitError(f"{remote} has commits of {branch} that are not here: git pull {remote} {branch}, and run again.")

    def push(self, remote: str, branch: str | None, tags: list[str]) -> None:
        """Pushes all of it, or nothing."""
        refs = [f"HEAD:refs/heads/{branch}"] if branch else []
        self.run("push", "--quiet", "--atomic", "--", remote, *refs, *(f"refs/tags/{tag}" for tag in tags))
