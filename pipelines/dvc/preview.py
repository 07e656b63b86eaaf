"""Tells which stages `dvc repro` or a rebuild would run now, and why. Nothing is run or changed.

Command: python -m pipelines.dvc.preview [TARGET ...], or python -m pipelines.rebuild --dry-run [TARGET ...], which starts slower
Reads:   dvc.yaml, dvc.lock, params.yaml, and what the stages read and wrote

`dvc repro --dry` takes what comes after a stage that would run for unchanged. Here it is named: it runs unless that stage writes the
same again, as one does of which only those deps changed that its `meta` in dvc.yaml calls `constant`.
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
        if "never built" in kinds:
            after = []
        elif not after and not restoring.intersection(stage.after) and pipeline.is_known(stage.name):
            kinds.add("from the cache")
        why = "; ".join([*map(str, changes), *([f"after {', '.join(after)}"] if after else [])])
        reasons[stage.name] = f"from the cache: {why}" if "from the cache" in kinds else why
        if kinds == {"from the cache", "output"}:  # what dvc.lock notes
            restoring.add(stage.name)
        elif after or not {change.what for change in changes} <= {*stage.meta.get("constant", [])}:
            replacing.add(stage.name)
    return reasons


def show(targets: list[str]) -> None:
    """Prints it, a line for each stage that would run. The process ends with a sentence where DVC refuses."""
    try:
        pipeline = Pipeline(Path.cwd(), lambda line: print(line, file=sys.stderr))
        number, reasons = len(pipeline.plan(targets)), preview(pipeline, targets)
    except (GraphError, OSError) as error:
        sys.exit(f"error: {error}")
    width = max(map(len, reasons), default=0)
    for name, why in reasons.items():
        print(f"{name:{width}}  {why}")
    print(f"{len(reasons)} of {number} stages would run.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.dvc.preview", description="Tell which stages would run now, and why.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="stages of dvc.yaml, and what they need; default: everything")
    show(parser.parse_args().targets)


if __name__ == "__main__":
    main()
