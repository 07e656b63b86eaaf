"""Tells which stages `dvc repro` or a rebuild would run now, and why. Nothing is run or changed.

Command: python -m pipelines.dvc.preview [TARGET ...]
Reads:   dvc.yaml, dvc.lock, params.yaml, and what the stages read and wrote

`dvc repro --dry` takes what comes after a stage that would run for unchanged. Here it is named: it runs unless that stage writes the
same again. A stage whose `meta` in dvc.yaml says `constant: true` always does.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from pipelines.dvc.errors import GraphError
from pipelines.dvc.pipeline import Pipeline


def preview(pipeline: Pipeline, targets: Iterable[str] = ()) -> dict[str, str]:
    """Why each of the stages would run, by its name; those that are up to date are left out."""
    reasons, replacing, restoring = dict[str, str](), set[str](), set[str]()
    for stage in pipeline.plan(targets):
        changes = [change for change in pipeline.changes(stage.name) if change.maker not in reasons]
        after = [name for name in stage.after if name in replacing]
        if not (changes or after):
            continue
        kinds = {change.kind for change in changes}
        is_known = "never built" not in kinds and not {*after, *restoring & {*stage.after}} and pipeline.is_known(stage.name)
        why = [str(change) for change in changes] + ([f"after {', '.join(after)}"] if after and "never built" not in kinds else [])
        reasons[stage.name] = f"{'from the cache: ' if is_known else ''}{'; '.join(why)}"
        if is_known and kinds == {"output"}:
            restoring.add(stage.name)
        elif not stage.meta.get("constant"):
            replacing.add(stage.name)
    return reasons


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.dvc.preview", description="Tell which stages would run now, and why.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="stages of dvc.yaml, and what they need; default: everything")
    try:
        pipeline = Pipeline(Path.cwd(), lambda line: print(line, file=sys.stderr))
        targets = parser.parse_args().targets
        reasons = preview(pipeline, targets)
    except (GraphError, OSError) as error:
        sys.exit(f"error: {error}")
    width = max(map(len, reasons), default=0)
    for name, why in reasons.items():
        print(f"{name:{width}}  {why}")
    print(f"{len(reasons)} of {len(pipeline.plan(targets))} stages would run.")


if __name__ == "__main__":
    main()
