"""Makes one trial of a sweep: trains with other values of params.yaml in a folder of its own, and keeps the outcome as a DVC experiment.

Command: python -m pipelines.searching.trial JSON
Reads:   JSON, the arguments of make()
Writes:  the trial's folder; at the end the experiment, whose model is in DVC's cache by then

It is a program of its own because DVC takes the current folder for its repository's. A request to stop reaches the training too, which
saves its state in the folder; the next run of the same trial resumes there. The exit code is that of the stage that has failed;
NOT_THE_STAGE where something else was in the way and the same trial may well succeed another time.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.dvc.errors import GraphError
from pipelines.dvc.experiments import begin_copy, set_params
from pipelines.dvc.pipeline import Pipeline
from pipelines.dvc.waiting import repository_lock
from pipelines.running.git import GitError
from pipelines.searching.experiments import check_out, keep

NOT_THE_STAGE = 75
INDEX, PART = Path(".dvc/tmp/index"), Path(".dvc/tmp/index.part")  # git's, of the trial's folder
asked = list[int]()  # the requests to stop
say = partial(print, flush=True)


def make(root: Path, folder: Path, commit: str, tree: str, target: str, values: dict[str, Any], name: str) -> int:
    """Makes, or resumes, in `folder` the experiment `name` of the repository `root`: the stage `target` with `values` in params.yaml.

    Returns the exit code, as a shell gives it, and early once it is asked to stop. Raises GraphError and GitError.
    """
    if not (folder / INDEX).exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / INDEX).parent.mkdir(parents=True)
        check_out(root, tree, folder, folder / PART)
        begin_copy(root, folder)
        set_params(folder, values)
        (folder / PART).rename(folder / INDEX)  # it comes last: with it, all is there
    os.chdir(folder)
    pipeline = Pipeline(folder, say)
    stages = pipeline.plan([target])
    pipeline.take_from_cache(stage.name for stage in stages[:-1])
    for stage in stages:
        if asked:
            return 128 + signal.SIGTERM
        is_run = not pipeline.is_up_to_date(stage.name) and pipeline.begin(stage.name)
        if is_run:
            assert stage.command is not None
            environment = os.environ | {"DVC_STAGE": stage.name}
            code = subprocess.run(["/bin/sh", "-c", stage.command], cwd=stage.folder, env=environment, check=False).returncode
            if code:
                pipeline.give_up(stage.name)
                return 128 - code if code < 0 else code
        with repository_lock(root, say):  # no `dvc gc` can come between the end of a training and its experiment
            if is_run:
                pipeline.finish(stage.name)
            if stage.name == target:
                new = [path for stage in stages for path in pipeline.kept_by_git(stage.name) if path.exists()]
                keep(root, commit, folder, folder / INDEX, [folder / "dvc.lock", *new], name)
    return 0


def main() -> None:
    # The stage gets it as well, and ends; what has been done by then is put away here.
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    try:
        trial = json.loads(sys.argv[1])
        sys.exit(make(Path(trial.pop("root")), Path(trial.pop("folder")), **trial))
    except (GraphError, GitError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(NOT_THE_STAGE)


if __name__ == "__main__":
    main()
