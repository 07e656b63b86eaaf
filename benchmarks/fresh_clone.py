"""What a newcomer sees: time and disk of a fresh clone's first `make repro`, of a second one, and of `make test`.

`import torch` is timed beside them: processors of one name differ by a factor of two. With --before COMMIT, clones of that take turns
with those of the committed state, for the same steps but the tests.

Command: python -m benchmarks.fresh_clone FOLDER [--before COMMIT] [--repeats N]
Reads:   the committed state of this repository, which it clones into FOLDER (must not exist; the last clone is left there)
Writes:  benchmarks/results/fresh_clone.json
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.hardware import hardware, today, write_result

ROOT = Path(__file__).parents[1]
STEPS = {"install_s": [".venv/.installed"], "repro_s": ["repro"], "second_repro_s": ["repro"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--before", metavar="COMMIT")
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    if folder.exists():
        sys.exit(f"{folder} exists")
    before, now = list[dict[str, float]](), list[dict[str, float]]()
    for _ in range(arguments.repeats):
        if arguments.before:
            before.append(steps_of(arguments.before, folder))
            print("before:", before[-1], flush=True)
        now.append(steps_of("HEAD", folder))
        print("now:", now[-1], flush=True)
    result: dict[str, Any] = {
        **medians(now),
        "import_torch_s": statistics.median(timed([".venv/bin/python", "-c", "import torch"], folder) for _ in range(3)),
        "test_s": timed(["make", "test"], folder),
        "venv_gb": disk(folder / ".venv"),
        "rest_gb": disk(folder) - disk(folder / ".venv"),
        "each": {"now": now, "before": before},
        **({"before": {"commit": arguments.before, **medians(before)}} if before else {}),
        "hardware": hardware(),
        "date": today(),
    }
    write_result("fresh_clone", result)
    print(json.dumps(result, indent=2))


def steps_of(commit: str, folder: Path) -> dict[str, float]:
    """The seconds of each step in a fresh clone of the commit, and from the clone to the last exported model."""
    shutil.rmtree(folder, ignore_errors=True)
    started = time.monotonic()
    timed(["git", "clone", "--quiet", str(ROOT), str(folder)], Path.cwd())
    timed(["git", "checkout", "--quiet", revision(commit)], folder)
    seconds: dict[str, float] = {}
    for step, targets in STEPS.items():
        seconds[step] = timed(["make", *targets], folder)
        if step == "repro_s":
            seconds["first_run_s"] = round(time.monotonic() - started, 1)
    return seconds


def revision(commit: str) -> str:
    return subprocess.run(["git", "rev-parse", commit], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {step: statistics.median(run[step] for run in runs) for step in runs[0]}


def timed(command: list[str], folder: Path) -> float:
    """Seconds that the command took; its output is shown, and its failure ends the benchmark."""
    started = time.monotonic()
    # This script's own environment must not help, nor the caches of pip and uv: the clone makes its own.
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if ".venv" not in part)
    if subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path, "PIP_NO_CACHE_DIR": "1", "UV_NO_CACHE": "1"}, check=False
    ).returncode:
        sys.exit(f"{' '.join(command)} failed in {folder}")
    return round(time.monotonic() - started, 1)


def disk(folder: Path) -> float:
    """GB on the disk, each file once."""
    output = subprocess.run(["du", "--summarize", "--block-size=1MB", str(folder)], capture_output=True, text=True, check=True).stdout
    return int(output.split()[0]) / 1000


if __name__ == "__main__":
    main()
