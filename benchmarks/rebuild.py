"""Races ways to rebuild the whole sample pipeline: `dvc repro`, `dvc repro` in several terminals, and `python -m pipelines.rebuild`.

Command: python -m benchmarks.rebuild [--jobs N] [--work FOLDER]
Reads:   the committed state of this repository, which it clones into the work folder, once a racer
Writes:  benchmarks/results/rebuild.json

Cold: no data, no model, nothing in DVC's cache. In the terminals, of which there are as many as jobs, one first makes what all share
(`dvc repro preprocess`), and then each its share of the models with `dvc --wait-for-lock repro`; where DVC gives up because another
has a file in use, it is run again a second later. Lost is a stage that has run and is not in dvc.lock at the end, so that the next
`dvc repro` runs it again. Warm: nothing has changed; an empty
Prefect flow with its server is timed in the same turn, and what the rebuild takes longer than that is its own. Nothing else may run.
"""

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.hardware import hardware, today, write_result
from benchmarks.real_data import environment, run
from pipelines.dvc.pipeline import Pipeline
from pipelines.rebuilding.build import longest_way_to_the_end

ROOT = Path(__file__).parents[1]
DVC = [sys.executable, "-m", "dvc"]
REBUILD = [sys.executable, "-m", "pipelines.rebuild"]
NUM_WARM = 5
PATIENCE_S = 1800  # with a terminal in which DVC gives up
EMPTY_FLOW = """
from prefect import flow
from pipelines.serving.server import run_for_command_line
from prefect.states import Completed
import pipelines.rebuild

@flow(persist_result=False)
def nothing():
    return Completed(message="nothing")

run_for_command_line(nothing, {})
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="at a time; default: as many as cores")
    parser.add_argument("--work", type=Path, default=ROOT / "logs" / "rebuild_race")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    flow = cold(work / "rebuild", lambda root: [run([*REBUILD, "--jobs", str(arguments.jobs)], root)])
    serial = cold(work / "serial", lambda root: [run([*DVC, "repro", "--quiet"], root)])
    terminals = cold(work / "terminals", lambda root: in_terminals(root, arguments.jobs))
    seconds = json.loads((work / "rebuild" / "logs" / "rebuild" / "seconds.json").read_text())
    result = {
        "jobs": arguments.jobs,
        "num_stages": len(seconds),
        "cold": {"dvc repro": serial, f"dvc repro in {arguments.jobs} terminals": terminals, "rebuild": flow},
        "critical_path_s": round(critical_path(work / "rebuild", seconds), 1),
        "work_s": round(sum(seconds.values()), 1),
        "same_lock_file": (work / "rebuild" / "dvc.lock").read_bytes() == (work / "serial" / "dvc.lock").read_bytes(),
        "warm": warm(work / "rebuild"),
        "commit": run(["git", "rev-parse", "--short", "HEAD"], ROOT).strip(),
        "command": "python -m benchmarks.rebuild",
        "hardware": hardware(),
        "date": today(),
    }
    write_result("rebuild", result)
    print(json.dumps(result, indent=2))


def cold(root: Path, rebuild: Any) -> dict[str, Any]:
    """Seconds on the clock and of the cores, how often DVC gave up, and how many stages were lost."""
    run(["git", "clone", "--quiet", str(ROOT), str(root)], root.parent)
    (root / "dvc.lock").unlink(missing_ok=True)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    output = rebuild(root)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    measured = {
        "seconds": round(seconds, 1),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "gave_up": sum(said.count("is busy") + said.count("Unable to acquire lock") for said in output),
        "lost": run([*DVC, "repro"], root).count("Running stage"),
    }
    print(root.name, measured, flush=True)
    return measured


def in_terminals(root: Path, number: int) -> list[str]:
    models = list(YAML(typ="safe").load(root / "params.yaml")["models"])
    shares = [[f"{stage}@{model}" for model in models[place::number] for stage in ("evaluate", "export")] for place in range(number)]
    shared = run([*DVC, "repro", "--quiet", "preprocess"], root)
    with ThreadPoolExecutor(number) as pool:
        return [shared, *pool.map(lambda targets: patiently([*DVC, "--wait-for-lock", "repro", *targets], root), shares)]


def patiently(command: list[str], root: Path) -> str:
    """Runs it until it succeeds, as one would; all that it said."""
    said, until = "", time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        finished = subprocess.run(
            command, cwd=root, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        said += finished.stdout
        if not finished.returncode:
            return said
        time.sleep(1)
    sys.exit(f"in vain: {' '.join(command)}\n{said}")


def critical_path(root: Path, seconds: dict[str, float]) -> float:
    """The slowest chain of stages, by how long each took in the flow."""
    with contextlib.chdir(root):  # DVC names stages as seen from the current folder
        after = {stage.name: list(stage.after) for stage in Pipeline(root, print).plan()}
    return max(longest_way_to_the_end(after, seconds).values())


def warm(root: Path) -> dict[str, Any]:
    """Nothing to do, in turns."""
    repro, flow, empty, looked = [], [], [], []
    for _ in range(NUM_WARM):
        repro.append(timed([*DVC, "repro", "--quiet"], root)[0])
        empty.append(timed([sys.executable, "-c", EMPTY_FLOW], root)[0])
        seconds, said = timed(REBUILD, root)
        flow.append(seconds)
        looked.append(of_the_flow(said))
    own = [one - other for one, other in zip(flow, empty, strict=True)]
    spread = {"dvc repro": repro, "rebuild": flow, "empty flow": empty, "rebuild beyond the empty flow": own, "in the flow": looked}
    return {
        name: {"median_s": round(statistics.median(times), 2), "from_s": round(min(times), 2), "to_s": round(max(times), 2)}
        for name, times in spread.items()
    } | {"n": NUM_WARM}


def timed(command: list[str], root: Path) -> tuple[float, str]:
    started = time.monotonic()
    said = run(command, root)
    return time.monotonic() - started, said


def of_the_flow(said: str) -> float:
    """Seconds between the first and the last line of Prefect's log."""
    clocks = re.findall(r"^(\d\d):(\d\d):(\d\d\.\d+) \| ", said, flags=re.MULTILINE)
    first, *_, last = (int(hours) * 3600 + int(minutes) * 60 + float(seconds) for hours, minutes, seconds in clocks)
    return (last - first) % 86400


if __name__ == "__main__":
    main()
