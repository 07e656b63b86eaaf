"""What a newcomer sees: time and disk of a fresh clone's first `make repro`, of a second one, and of `make test`.

`import torch` is timed beside them: processors of one name differ by a factor of two.

Command: python -m benchmarks.fresh_clone FOLDER
Reads:   the committed state of this repository, which it clones into FOLDER (must not exist; it is left there)
Writes:  benchmarks/results/fresh_clone.json
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.hardware import hardware, today, write_result

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    timed(["git", "clone", "--quiet", str(ROOT), str(folder)], Path.cwd())
    result = {
        "install_s": timed(["make", ".venv/.installed"], folder),
        "import_torch_s": statistics.median(timed([".venv/bin/python", "-c", "import torch"], folder) for _ in range(3)),
        "repro_s": timed(["make", "repro"], folder),
        "second_repro_s": timed(["make", "repro"], folder),
        "test_s": timed(["make", "test"], folder),
        "venv_gb": disk(folder / ".venv"),
        "rest_gb": disk(folder) - disk(folder / ".venv"),
        "hardware": hardware(),
        "date": today(),
    }
    write_result("fresh_clone", result)
    print(json.dumps(result, indent=2))


def timed(command: list[str], folder: Path) -> float:
    """Seconds that the command took; its output is shown, and its failure ends the benchmark."""
    started = time.monotonic()
    # This script's own environment must not help: the clone makes its own.
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if ".venv" not in part)
    if subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, check=False).returncode:
        sys.exit(f"{' '.join(command)} failed in {folder}")
    return round(time.monotonic() - started, 1)


def disk(folder: Path) -> float:
    """GB on the disk, each file once."""
    output = subprocess.run(["du", "--summarize", "--block-size=1MB", str(folder)], capture_output=True, text=True, check=True).stdout
    return int(output.split()[0]) / 1000


if __name__ == "__main__":
    main()
