"""Makes a model of a table of so many rows as its owner would, a stage at a time, on one core.

Command: python -m benchmarks.large_table [--rows N ...] [--work FOLDER]        (default: 100000 1000000)
Reads:   the committed state of this repository, which it clones into the work folder (logs/large_table)
Writes:  benchmarks/results/large_table.json

The rows are made here: eight numbers, two columns of words, and a class that follows from five of them with noise. Processor seconds stand
beside those of the clock, since others at work on the machine change them little; `mb` is the most memory that the stage's process held.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import csv
from ruamel.yaml import YAML

from benchmarks.hardware import hardware, today, write_result
from benchmarks.real_data import make_clone, run

ROOT = Path(__file__).parents[1]
STAGES = ("preprocess", "audit", "train", "evaluate", "export", "report")
COLOURS, SHOPS = ["red", "green", "blue", "grey"], [f"s{place:02}" for place in range(30)]
KB = 1024  # of a MB, as Linux counts
# In a process of its own: one that is started from here would begin with this one's memory, and that would count.
MEASURED = """
import json, resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"seconds": used.ru_utime + used.ru_stime, "kb": used.ru_maxrss}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000], metavar="N")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "logs" / "large_table", help="where the clone is made; what is there is removed"
    )
    arguments = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    clone = make_clone(arguments.work.resolve())
    tables = []
    for number in arguments.rows:
        tables.append(measure(clone, number))
        print(tables[-1], flush=True)
    result = {"command": "python -m benchmarks.large_table", "tables": tables, "hardware": hardware(), "date": today()}
    write_result("large_table", result)


def measure(clone: Path, number: int) -> dict[str, Any]:
    name, file = f"rows_{number}", clone / "rows.csv"
    write_rows(file, number)
    steps = {"new": timed(clone, "entries.new", str(file), "--target", "bought", "--name", name)}
    timed(clone, "stages.check", "params.yaml")
    steps |= {stage: timed(clone, f"stages.{stage}", name) for stage in STAGES}
    params = YAML(typ="safe").load(clone / "params.yaml")["models"][name]
    return {"rows": number, "file_mb": round(file.stat().st_size / 1e6, 1), "train": dict(params["train"]), "steps": steps}


def write_rows(path: Path, number: int) -> None:
    rng = np.random.default_rng(0)
    numbers, colour, shop = rng.normal(size=(number, 8)).round(3), rng.integers(0, 4, number), rng.integers(0, 30, number)
    logit = numbers[:, 0] + np.sin(2 * numbers[:, 1]) + (colour == 2) * numbers[:, 2] + 0.1 * (shop - 15) * (numbers[:, 3] > 0)
    bought = rng.random(number) < 1 / (1 + np.exp(-logit))
    columns = {f"x{place}": column for place, column in enumerate(numbers.T)}
    words = {"colour": np.array(COLOURS)[colour], "shop": np.array(SHOPS)[shop], "bought": np.where(bought, "yes", "no")}
    csv.write_csv(pyarrow.table(columns | words), path)


def timed(clone: Path, module: str, *told: str) -> dict[str, float]:
    started = time.monotonic()
    told_by = run([sys.executable, "-c", MEASURED, sys.executable, "-m", module, *told], clone).splitlines()[-1]
    used: dict[str, float] = json.loads(told_by)
    return {"core_seconds": round(used["seconds"], 1), "seconds": round(time.monotonic() - started, 1), "mb": round(used["kb"] / KB)}


if __name__ == "__main__":
    main()
