"""Measures what many pictures cost: CIFAR-10's 60,000 JPEGs in three shapes of raw data, and photographs of half a megabyte.

Command: DATASETS_MIRROR=FOLDER python -m benchmarks.pictures [--work FOLDER]     (default: logs/pictures; needs 1 GB there)
Reads:   the committed state of this repository, which it clones into the work folder, and FOLDER/cifar10_jpeg
Writes:  benchmarks/results/pictures.json

Of each shape of the raw data (a file a picture, the two zips as they were found, one zip as `make new` packs it): the processor's seconds
of `dvc add`, of `dvc repro preprocess` and of the stage alone, and what the clock said; the peak memory of the stage; what lies on the
disk. The photographs are drawn: blurred colours with noise, 2000x1500 pixels, of about 500 kB.
"""

import argparse
import io
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from benchmarks.hardware import hardware, today, write_result
from benchmarks.real_data import JPEG_DATASET, environment, make_clone, require_mirror
from stages.reading.pictures import cuts_of
from stages.reading.raw_files import pack

ROOT = Path(__file__).parents[1]
SPLITS = ("train", "test")
NUM_PHOTOGRAPHS, QUALITY, NOISE = 40, 80, 5.0
RESIZE, CROP = 256, 224
MANY = 100_000  # photographs that the figures are multiplied to


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "logs" / "pictures", help="where the clone is made; what is there is removed")
    arguments = parser.parse_args()
    require_mirror(parser)
    shutil.rmtree(arguments.work, ignore_errors=True)
    clone = make_clone(arguments.work.resolve() / "clone")
    yaml = YAML()
    params = yaml.load(clone / "params.yaml")
    params["models"], params["sources"], params["datasets"] = {}, {}, {"cifar10_jpeg": JPEG_DATASET}
    yaml.dump(params, clone / "params.yaml")
    graph = yaml.load(clone / "dvc.yaml")
    graph["artifacts"], graph["plots"] = {}, []
    yaml.dump(graph, clone / "dvc.yaml")
    zips = [Path(os.environ["DATASETS_MIRROR"]) / "cifar10_jpeg" / f"{split}.zip" for split in SPLITS]
    result: dict[str, Any] = {"files": {}}
    for name, lay in {"folder": as_folder, "zips": as_zips, "packed": as_packed}.items():
        result["files"][name] = measure(clone, zips, lay)
        print(name, result["files"][name], flush=True)
    result["photographs"] = photographs()  # last: a process's peak counts that of the process that started it
    print(result["photographs"], flush=True)
    shutil.rmtree(arguments.work)
    command = "DATASETS_MIRROR=FOLDER python -m benchmarks.pictures"
    write_result("pictures", result | {"command": command, "hardware": hardware(), "date": today()})


def as_folder(raw: Path, zips: list[Path]) -> None:
    for path in zips:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(raw)


def as_zips(raw: Path, zips: list[Path]) -> None:
    raw.mkdir()
    for path in zips:
        shutil.copy(path, raw)


def as_packed(raw: Path, zips: list[Path]) -> None:
    beside = raw.with_name("beside")
    as_folder(beside, zips)
    raw.mkdir()
    pack(beside, raw / "pictures.zip")
    shutil.rmtree(beside)


def measure(clone: Path, zips: list[Path], lay: Callable[[Path, list[Path]], None]) -> dict[str, Any]:
    folder = clone / "data" / "cifar10_jpeg"
    for path in (folder, clone / ".dvc" / "cache", clone / "dvc.lock", clone / "data" / "checked"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    folder.mkdir()
    lay(folder / "raw", zips)
    added = timed(clone, ["dvc", "add", "--quiet", str(folder / "raw")])
    built = timed(clone, ["dvc", "repro", "--quiet", "preprocess@cifar10_jpeg"])
    places = {"raw": folder / "raw", "processed": folder / "processed", "cache": clone / ".dvc" / "cache"}
    disk = {name: size_mb(path) for name, path in places.items()}
    files = sum(path.is_file() for path in (folder / "raw").rglob("*"))
    stage = timed(clone, ["stages.preprocess", "cifar10_jpeg"])
    return {
        "raw_files": files,
        "add": added,
        "repro": built,
        "preprocess": stage,
        "disk_mb": disk,
    }


def timed(clone: Path, module: list[str]) -> dict[str, float]:
    """Of a command and what it starts: seconds by the clock and of the processor, and the peak memory of the largest process."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", *module], cwd=clone, env=environment(), stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(module)} failed in {clone}")
    seconds = round(time.monotonic() - started, 1)
    return {"clock_s": seconds, "cpu_s": round(usage.ru_utime + usage.ru_stime, 1), "peak_mb": round(usage.ru_maxrss / 1024)}


def size_mb(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1)


def photographs() -> dict[str, Any]:
    """The processor's time for one, its size, and what so many would take."""
    rng, contents = np.random.default_rng(0), list[bytes]()
    for _ in range(NUM_PHOTOGRAPHS):
        colours = Image.fromarray(rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)).resize((2000, 1500), Image.Resampling.BICUBIC)
        noisy = np.asarray(colours) + rng.normal(0, NOISE, (1500, 2000, 1))
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file := io.BytesIO(), "JPEG", quality=QUALITY)
        contents.append(file.getvalue())
    started = time.process_time()
    for content in contents:
        cuts_of(content, RESIZE, [CROP])
    seconds = (time.process_time() - started) / NUM_PHOTOGRAPHS
    item = 3 * CROP * CROP
    return {
        "kb": round(float(np.mean(list(map(len, contents)))) / 1000),
        "ms": round(1000 * seconds, 1),
        "many": MANY,
        "many_hours": round(seconds * MANY / 3600, 2),
        "crop": CROP,
        "many_processed_gb": round(item * MANY / 1e9, 1),
    }


if __name__ == "__main__":
    main()
