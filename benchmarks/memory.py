"""Trains on splits that grow tenfold while the memory that a training may take stays the same.

Command: python -m benchmarks.memory [--gb SIZE ...] [--work FOLDER]        (default: 0.8 2.5 8; needs the largest twice over on the disk)
Reads:   nothing: the pictures are noise of 32x32x3, made here
Writes:  benchmarks/results/memory.json

Every training is `python -m stages.train`, one pass over train, with runtime.stream_above_mb at STREAM_MB and the process's
own memory (RLIMIT_DATA: heap and anonymous maps) limited to LIMIT_MB. Besides, the smallest split is trained from memory, without the
limit, for the throughput that streaming loses: with a linear network, which waits for data as much as any, and with cifar10_cnn.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from benchmarks.hardware import hardware, today, write_result
from stages.common.files import as_json
from stages.common.meta import Counts, Input, LeftOut, Meta
from stages.common.splits import SplitWriter

ROOT = Path(__file__).parents[1]
STREAM_MB, LIMIT_MB, IN_MEMORY_MB = 400, 2000, 100_000
BATCH_SIZE = 256
ROW_BYTES = 32 * 32 * 3 + 8
CHUNK = 20_000
LINEAR = {"name": "mlp", "hidden": [], "activation": "relu"}
ROWS_OF_CNN = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, nargs="+", default=[0.8, 2.5, 8.0])
    parser.add_argument("--work", type=Path, default=ROOT / "logs" / "memory")
    arguments = parser.parse_args()
    work: Path = arguments.work.resolve()
    smallest = min(arguments.gb)
    cnn = YAML(typ="safe").load(ROOT / "params.yaml")["models"]["cifar10_cnn"]["architecture"]
    result: dict[str, Any] = {"stream_above_mb": STREAM_MB, "limit_mb": LIMIT_MB, "streamed": [], "in_memory": {}}
    for gb in sorted(arguments.gb):
        make_data(work, int(gb * 1e9) // ROW_BYTES)
        result["streamed"].append({"gb": gb, **train(work, LINEAR, STREAM_MB, LIMIT_MB)})
        print(result["streamed"][-1], flush=True)
        if gb == smallest:
            result["in_memory"]["linear"] = compare(work, LINEAR)
            result["in_memory"]["under_the_limit"] = train(work, LINEAR, IN_MEMORY_MB, LIMIT_MB // 2)
            print(result["in_memory"], flush=True)
    make_data(work, ROWS_OF_CNN)
    result["in_memory"]["cifar10_cnn"] = compare(work, cnn, STREAM_MB // 10)
    shutil.rmtree(work)
    write_result("memory", result | {"command": "python -m benchmarks.memory", "hardware": hardware(), "date": today()})
    print(json.dumps(result, indent=2))


def make_data(work: Path, count: int) -> None:
    """data/noise/processed with `count` rows in train and few in val."""
    shutil.rmtree(work, ignore_errors=True)
    processed = work / "data" / "noise" / "processed"
    processed.mkdir(parents=True)
    rng = np.random.default_rng(0)
    counts = {"train": count, "val": 1000, "test": 1000}
    for split, rows in counts.items():
        with SplitWriter(processed / f"{split}.safetensors", (32, 32, 3), "uint8", (), "int64") as writer:
            for start in range(0, rows, CHUNK):
                size = min(CHUNK, rows - start)
                pictures = np.frombuffer(rng.bytes(size * 3072), dtype=np.uint8).reshape(size, 32, 32, 3)
                writer.add(pictures, rng.integers(0, 10, size))
    meta = Meta(
        dataset="noise",
        description="Noise.",
        source="generated",
        task="multiclass",
        num_outputs=10,
        input=Input(kind="image", shape=[32, 32, 3], dtype="uint8", mean=[0.5] * 3, std=[0.3] * 3),
        classes=[str(number) for number in range(10)],
        outputs=None,
        counts={split: Counts(total=rows) for split, rows in counts.items()},
        left_out=LeftOut(count=0, examples=[]),
    )
    (processed / "meta.json").write_bytes(as_json(meta.model_dump(mode="json")))
    (processed.with_name("audit")).mkdir(exist_ok=True)
    (processed.with_name("audit") / "verdict.json").write_bytes(as_json({"stopped_by": []}))


def train(work: Path, architecture: dict[str, Any], stream_mb: int, limit_mb: int | None, epochs: int = 1) -> dict[str, Any]:
    """One `python -m stages.train`: its seconds, rows a second (start-up and the data's hash included) and peak memory."""
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    plainly: dict[str, Any] = {"augment": [], "ema": None, "schedule": None, "epochs": epochs, "batch_size": BATCH_SIZE}
    recipe = params["models"]["mnist_cnn"]["train"] | plainly
    params["runtime"] |= {"stream_above_mb": stream_mb, "threads": 1, "device": "cpu"}
    params["models"] = {"noise": {"dataset": "noise", "architecture": architecture, "train": recipe}}
    (work / "params.yaml").write_text(json.dumps(params))
    shutil.rmtree(work / "logs", ignore_errors=True)
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.train", "noise"],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=None if limit_mb is None else lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit_mb * 10**6,) * 2),
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    if code := os.waitstatus_to_exitcode(status):
        return {"exit_code": code, "said": errors.strip().splitlines()[-1]}
    rows = json.loads((work / "data/noise/processed/meta.json").read_text())["counts"]["train"]["total"] * epochs
    return {"seconds": round(seconds, 1), "rows_per_s": round(rows / seconds), "peak_mb": round(usage.ru_maxrss / 1024)}


def compare(work: Path, architecture: dict[str, Any], stream_mb: int = STREAM_MB) -> dict[str, Any]:
    """The same passes from memory and from the file, in turns."""
    from_memory, from_file = [], []
    for _ in range(3):
        from_memory.append(train(work, architecture, IN_MEMORY_MB, None, epochs=3)["rows_per_s"])
        from_file.append(train(work, architecture, stream_mb, None, epochs=3)["rows_per_s"])
    ratios = sorted(file / memory for file, memory in zip(from_file, from_memory, strict=True))
    return {"rows_per_s": from_memory, "streamed_rows_per_s": from_file, "streamed_of_in_memory": round(ratios[1], 3)}


if __name__ == "__main__":
    main()
