"""Releases the models that pass their gate: pushes data and models to the DVC remote, and tags their versions in git.

Command: python -m pipelines.release [--accept MODEL] [--bump major|minor|patch] [--remote NAME] [--push-to NAME] [MODEL ...]
         python -m pipelines.release --roll-back MODEL[@VERSION] [--push-to NAME [--remote NAME]]
Reads:   dvc.yaml, dvc.lock, params.yaml (gate, models.<model>.gate), models/<model>/metrics.json and plots/predictions.csv, git's tags
Writes:  the DVC remote; a commit of what the pipeline has written besides (dvc.lock, metrics.json); the tags MODEL@v1.2.0 on it;
         the output of the last versions' evaluation, under logs/release/<run>/

Everything is decided before anything is written, and what others see is written last: the data, then the commit, then all tags at
once, then the push to a git remote, where no tag goes whose data is not on the DVC remote. A release that is killed, and run again,
ends in the same tags.
"""

import argparse
import re
import sys
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_args

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import TerminationSignal
from prefect.futures import wait
from prefect.states import Completed, Failed, State
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from pipelines.dvc.errors import GraphError
from pipelines.dvc.lock_file import hash_of, parsed
from pipelines.dvc.pipeline import Pipeline
from pipelines.releasing import versions
from pipelines.releasing.gate import (
    Gate,
    HeldBack,
    Interval,
    Outcome,
    Verdict,
    as_state,
    as_table,
    beside,
    not_pushed,
    read_metric,
    read_rows,
)
from pipelines.releasing.git import Git
from pipelines.releasing.versions import Bump, ReleaseError, Remotes, Version
from pipelines.running.commands import Commands, folder_of_run
from pipelines.running.git import GitError
from pipelines.running.limit import count_of_server
from pipelines.running.locks import BusyError
from pipelines.running.slots import SlotError, Slots, num_cores, num_gpus
from pipelines.serving.presence import announce
from pipelines.serving.server import one_line, run_for_command_line, stopped

LOGS = Path("logs") / "release"
AT_ONCE: Any = ThreadPoolTaskRunner(max_workers=num_cores())  # Prefect's type of it does not fit where Prefect wants it

# Prefect keeps and shows what a run was given. Its server refuses what does not match before there is a run.
NO_CREDENTIALS = r"^(?![\s\S]*://[\s\S]*@)"
GitRemote = Annotated[str, Field(json_schema_extra={"pattern": NO_CREDENTIALS})]


@flow(persist_result=False, task_runner=AT_ONCE)
def release(
    models: list[str] | None = None,
    accept: list[str] | None = None,
    bump: Bump = "minor",
    remote: str | None = None,
    push_to: GitRemote | None = None,
    roll_back: str | None = None,
) -> State[None]:
    """Release the models that pass their gate, or roll one back.

    Args:
        models: Of params.yaml. None: all of them.
        accept: Models that are released without a comparison with the last version, or though they were rolled back. Their bound stands.
        bump: The part of the version that counts up. The first version is v1.0.0.
        remote: The DVC remote that gets data and models. None: the default one.
        push_to: The git remote that gets the branch and the tags. None: they stay here until a later run pushes them.
        roll_back: MODEL or MODEL@v1.2.0: instead of all that, take back this version (or the newest), so that the one before is the
            newest again.
    """
    log = get_run_logger()
    try:
        announce()
        if roll_back is not None and (models or accept or bump != "minor" or (remote and not push_to)):
            raise ReleaseError("to roll back and to release are two commands: with roll_back give only push_to, and remote with it.")
        remotes = Remotes(Pipeline(Path.cwd(), log.warning), Git(Path.cwd()), remote, push_to)
        # Rebuilds and other releases wait: from what is read here to the tags nothing may change.
        with remotes.pipeline.held(), Commands(folder_of_run(LOGS)) as commands:
            if roll_back is not None:
                return rolled_back(roll_back, remotes)
            made = Release(remotes, commands, models or [], accept or [], bump)
            made.check()
            with remotes.pipeline.reading(made.stages):
                verdicts = made.decide()
                kept = made.publish(verdicts)
    except (BusyError, GraphError, GitError, ReleaseError) as error:
        return Failed(message=str(error))
    except OSError as error:
        return Failed(message=f"{error.filename or 'the disk'}: {error.strerror}: fix that and run again; what was tagged is whole.")
    except (KeyboardInterrupt, TerminationSignal) as error:
        return stopped(error)
    create_markdown_artifact(as_table(verdicts), key="release", description="What became of every model")
    log.info("%s", as_table(verdicts))
    return as_state(verdicts, kept)


def rolled_back(what: str, remotes: Remotes) -> State[None]:
    remotes.git.check_identity()
    remotes.check_git(None, [what.partition("@")[0]])
    version, message = versions.take_back(remotes.git, what)
    # Of the model alone, the same command would take one version more back.
    kept = remotes.push_tags(None, again=f"--roll-back {version.tag}")
    get_run_logger().info("%s", message)
    return Failed(message=f"{message.rstrip('.')}; {not_pushed(kept)}.") if kept else Completed(message=message)


class Release:
    """Of `models`, or all. Those in `accept` need not be compared with their last version; `bump` is what counts up."""

    def __init__(self, remotes: Remotes, commands: Commands, models: list[str], accept: list[str], bump: Bump):
        self.remotes, self.commands, self.named, self.accept, self.bump = remotes, commands, models, accept, bump
        self.pipeline, self.git = remotes.pipeline, remotes.git
        self.params, self.artifacts = self.pipeline.params(), self.pipeline.artifacts()
        self.models = list(dict.fromkeys(models)) or list(self.params["models"])

    def check(self) -> None:
        """Raises, in one sentence, whatever stands in the way of a release, before any work is done for it."""
        known = list(self.params["models"])
        if unknown := [model for model in [*self.models, *self.accept] if model not in known]:
            raise ReleaseError(f"params.yaml has no model {', '.join(unknown)}; known: {', '.join(known)}.")
        self.branch, self.head = self.git.check_branch(), self.git.head()
        self.git.check_identity()
        wanted = [f"{stage}@{model}" for model in self.models for stage in ("evaluate", "export")]
        self.stages = {stage.name: stage for stage in self.pipeline.plan(wanted)}
        self.check_tree()
        if stale := [name for name in self.stages if not self.pipeline.is_up_to_date(name)]:
            raise ReleaseError(f"not up to date: {', '.join(stale)}; run python -m pipelines.rebuild, and then the release again.")
        self.pipeline.check_remote(self.remotes.of_dvc)
        self.remotes.check_git(self.branch, known)
        self.versions = defaultdict(list, versions.read_versions(self.git.root))

    def check_tree(self) -> None:
        """What is released must be what its commit says, params and code too, or nobody could build it again from a clone."""
        ours = self.pipeline.written_besides()
        if changed := sorted(set(self.git.changed()) - {path.relative_to(self.git.root).as_posix() for path in ours}):
            raise ReleaseError(f"{', '.join(changed)} differ from the last commit: commit or discard the changes, and run again.")
        config = present([self.git.root / ".dvc" / "config", self.git.root / ".dvcignore"])
        code = (self.git.root / "stages").rglob("*.py")  # what a stage imports need not be among its dependencies
        lacking = {*self.git.not_in_head({*self.pipeline.sources_of(self.stages), *code, *config}), *self.git.ignored(present(ours))}
        if lacking:
            how = "commit it (git add --force, where git ignores it; dvc add FOLDER for raw data), or move it away, and run again"
            raise ReleaseError(f"not committed: {', '.join(sorted(lacking))}; nobody could build it again from a clone: {how}.")

    def decide(self) -> dict[str, Verdict]:
        """What is to become of every model; each is a task of its own, since a last version may have to be evaluated."""
        verdicts = {model: Verdict(why="see Prefect's log") for model in self.models}

        @task(name="gate", task_run_name="gate@{model}", cache_policy=NO_CACHE, persist_result=False)
        def judge(model: str) -> State[None]:
            verdict = verdicts[model] = self.judged(model)
            return (Failed if verdict.outcome is Outcome.HELD_BACK else Completed)(message=verdict.text)

        wait([judge.submit(model) for model in self.models])
        return verdicts

    def judged(self, model: str) -> Verdict:
        """Runs in a thread of its own."""
        known = self.versions[model]
        last = versions.newest(known)
        verdict = Verdict(last=last.name if last else "")
        try:
            if (gate := Gate.of(self.params, model)) is None:
                raise HeldBack(f"it has no gate: add models.{model}.gate to params.yaml, with the figure to reach")
            metrics = Path("models") / model / "metrics.json"
            verdict.metric, verdict.now, verdict.beside = gate.metric, read_metric(metrics, gate.metric), beside(metrics, gate.metric)
            exported = hash_of(self.pipeline.noted(), f"export@{model}", f"models/{model}/exported")
            if last and versions.noted(self.git, last, "export", "exported") == exported:
                verdict.outcome, verdict.version, verdict.passed_gate = Outcome.ALREADY, last.name, last.passed_gate
                return verdict
            if model not in self.artifacts:
                raise HeldBack(f"dvc.yaml has no artifact {model}, by which its versions are found: add a line under artifacts there")
            if versions.subject_of(f"{model}@{versions.FIRST}") is None:
                raise HeldBack("GTO reads no tag of this name, which must begin and end with a letter or a digit")
            gone = [version for version in known if not version.is_released]
            taken_back = [version.name for version in gone if versions.noted(self.git, version, "export", "exported") == exported]
            if taken_back and model not in self.accept:
                again = f"rebuild it with other params, or release it all the same with {model} --accept {model}"
                raise HeldBack(f"it is, byte for byte, {taken_back[0]}, which was rolled back: {again}")
            if verdict.now is None:
                raise HeldBack(f"evaluate could not measure {gate.metric} on this test split (models.{model}.gate.metric)")
            gate.check(verdict.now.value)
            if last and model not in self.accept:
                verdict.before, verdict.difference = self.compared(last, gate)
                if gate.is_worse(verdict.difference):
                    than = f"from that of {last.name} on the same test split, which may be worse than the tolerance of {gate.tolerance:g}"
                    again = f"to release it all the same, {model} --accept {model}"
                    raise HeldBack(f"{gate.score} differs by {verdict.difference.signed} {than}: {again}")
            verdict.outcome, verdict.version = Outcome.RELEASED, versions.following(known, self.bump)
        except (HeldBack, GraphError, OSError) as error:
            verdict.why = one_line(error)
        return verdict

    def compared(self, last: Version, gate: Gate) -> tuple[Interval | None, Interval]:
        """The last version's metric on the present test split, and the difference of the scores, row by row."""
        model = last.model
        predictions, metrics = (Path("models") / model / name for name in ("plots/predictions.csv", "metrics.json"))
        try:
            source = parsed(self.git.tells("show", f"{last.commit}:params.yaml") or "{}", f"params.yaml of {last.tag}").get("source")
            if source not in (None, self.params["source"]):
                raise HeldBack(f"it was trained with source: {source}, and this one with source: {self.params['source']}")
            with tempfile.TemporaryDirectory(dir=self.commands.logs, prefix=f"{model}.") as name:
                folder = Path(name)
                self.evaluate(last, folder)
                difference = gate.difference(read_rows(folder / predictions), read_rows(predictions))
                return read_metric(folder / metrics, gate.metric), difference
        except (HeldBack, GraphError, SlotError, OSError, ValueError, KeyError) as error:
            why = f"{last.name} cannot be compared with it ({one_line(error)})"
            raise HeldBack(f"{why}: to do without, {model} --accept {model}") from error

    def evaluate(self, version: Version, folder: Path) -> None:
        """Evaluates a version's weights, from DVC's cache or remote, in `folder`, with the present code, data and params.yaml."""
        stage, root = self.stages[f"evaluate@{version.model}"], self.git.root
        own = Path("models") / version.model / "checkpoint.safetensors"
        md5 = versions.noted(self.git, version, "train", own.name)
        if md5 is None:
            raise HeldBack(f"the dvc.lock of {version.tag} notes no checkpoint")
        # All of stages: an earlier version may be of another architecture than the present one.
        places = {path.relative_to(root) for path in self.pipeline.reads(stage.name)} | {Path("params.yaml")}
        links = {place: root / place for place in places if place.parts[0] != "stages"} | {Path("stages"): root / "stages"}
        for place, target in (links | {own: self.pipeline.fetch(md5, self.remotes.of_dvc)}).items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).symlink_to(target)
        assert stage.command is not None
        with Slots.of(self.pipeline, count_of_server()).held(num_gpus(stage), lambda: not self.commands.is_over) as slot:
            tell = partial(get_run_logger().info, "%s")
            ended = self.commands.run(f"gate@{version.model}", stage.command, folder, slot.environment, tell, slot.files)
        if ended.code:
            raise HeldBack(f"with the present code and data, evaluate ends with {ended}")

    def publish(self, verdicts: dict[str, Verdict]) -> dict[str, str]:
        """Makes the decisions true, in an order in which nobody ever finds a tag without its data. The tags that it kept here, and why."""
        if going := {model: verdict for model, verdict in verdicts.items() if verdict.outcome is Outcome.RELEASED}:
            try:
                self.pipeline.push(self.remotes.of_dvc)  # what dvc.lock notes: all of it is in DVC's cache, else it would not be up to date
            except GraphError as error:
                failed = f"data and models could not be pushed to the DVC remote ({error})"
                raise ReleaseError(f"{failed}, so nothing was tagged: fix that, and run again.") from error
            if self.git.head() != self.head:
                raise ReleaseError("somebody has committed, or switched the branch, meanwhile: nothing was tagged; run again.")
            commit, written = self.head, self.git.changed("all", present(self.pipeline.written_besides()))
            if written or any(version.commit == commit for model in going for version in self.versions[model]):  # GTO knows one a commit
                names = ", ".join(f"{model} {verdict.version}" for model, verdict in going.items())
                commit = self.git.commit(written, f"Release {names}\n\nWhat the pipeline wrote for it, and nothing else.\n")
            self.git.tag({f"{model}@{verdict.version}": (commit, verdict.as_message(model)) for model, verdict in going.items()})
        return self.remotes.push_tags(self.branch, again=" ".join(self.named))


def present(paths: list[Path]) -> list[Path]:
    return [path for path in paths if path.exists()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.release", description="Release the models that pass their gate.")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="of params.yaml; default: all of them")
    parser.add_argument(
        "--accept", action="append", metavar="MODEL", help="if it is released, without a comparison with the last version; its bound stands"
    )
    parser.add_argument("--bump", choices=get_args(Bump), default="minor", help="what counts up in the version; default: minor")
    parser.add_argument("--remote", metavar="NAME", help="the DVC remote that gets data and models; default: DVC's default one")
    parser.add_argument("--push-to", metavar="NAME", help="the git remote that gets the branch and the tags; default: none")
    parser.add_argument("--roll-back", metavar="MODEL[@VERSION]", help="take this version (or the newest) back, and nothing else")
    arguments = parser.parse_args()
    if arguments.push_to and not re.match(NO_CREDENTIALS, arguments.push_to):
        how = "name it by git remote add NAME ADDRESS, leave the password to a credential helper of git's, and give --push-to NAME"
        sys.exit(f"error: --push-to is an address with a user name or password, which Prefect would keep and show: {how}.")
    run_for_command_line(release, vars(arguments))


if __name__ == "__main__":
    main()
