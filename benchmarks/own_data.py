"""Makes a model of each of nine real tables as their owner would, by `new` and `dvc repro` alone, and writes what came of it.

Command: DATASETS_MIRROR=FOLDER python -m benchmarks.own_data [--work FOLDER] [TABLE ...]
Reads:   the committed state of this repository, which it clones into the work folder (logs/own_data), and FOLDER/tables
Writes:  benchmarks/results/own_data.json: an entry a table; those of other tables stay as they are

Of each table: the lines that were written, the seconds from `new` to the exported file, the test figures with those of the baselines,
LightGBM at its defaults on the same rows (train and val together, for it has no use for val; a date as days, and as month, day and day of
the week), the size of model.onnx and the time of a row in it, and whether predict.py answers the owner's file as it is. energy is a
workbook, which is saved as CSV first. Needs the group benchmark of pyproject.toml; without LightGBM its figures are left out.
"""

import argparse
import importlib.util
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: since 1.29 ONNX Runtime reports its use to its makers
import onnxruntime

from benchmarks.hardware import hardware, read_result, today, write_result
from benchmarks.real_data import environment, make_clone, require_mirror, run
from stages.common.meta import Meta, read_meta
from stages.common.shelves import take_task
from stages.common.splits import read_split
from stages.evaluation.bootstrap import Bootstrap

ROOT = Path(__file__).parents[1]
INCOME = "Durchschnitt-liches Einkommen je Steuerpflichtigen in EUR (2010)"
# The file below FOLDER/tables, and what `new` is told besides it and the name.
TABLES = {
    "bank": ("bank/bank-additional.csv", ["--target", "y"]),
    "telco": ("telco/Telco-Customer-Churn.csv", ["--target", "Churn"]),
    "german_credit": ("german_credit/german.csv", ["--target", "column 21", "--no-header"]),
    "penguins": ("penguins/penguins_raw.csv", ["--target", "Species"]),
    "shoppers": ("shoppers/online_shoppers_intention.csv", ["--target", "Revenue"]),
    "california": ("california/housing.csv", ["--target", "median_house_value"]),
    "seoul_bike": ("seoul_bike/SeoulBikeData.csv", ["--target", "Rented Bike Count"]),
    "hamburg": ("hamburg/Daten_fuer_die_Stadtteilprofile_2014.csv", ["--target", INCOME]),
    "energy": ("energy/ENB2012_data.xlsx", ["--target", "Y1", "--drop", "Y2"]),
}
FIGURES = ("log_loss", "accuracy", "auc", "rmse", "mae", "r2")
WRITTEN = ("params.yaml", "dvc.yaml")
RESAMPLES = 1000
WARM_UP, TIMED = 100, 1000  # calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="default: all")
    parser.add_argument("--work", type=Path, default=ROOT / "logs" / "own_data", help="where the clone is made; what is there is removed")
    arguments = parser.parse_args()
    if unknown := set(arguments.tables) - set(TABLES):
        parser.error(f"no such table: {', '.join(sorted(unknown))}; known: {', '.join(TABLES)}")
    require_mirror(parser)
    shutil.rmtree(arguments.work, ignore_errors=True)
    clone = make_clone(arguments.work.resolve())
    for name in arguments.tables or TABLES:
        entry = measure(clone, name)
        results = read_result("own_data").get("models", {}) | {name: entry}
        command = "DATASETS_MIRROR=FOLDER python -m benchmarks.own_data"
        write_result("own_data", {"command": command, "models": {table: results[table] for table in TABLES if table in results}})
        print(f"{name}: {entry['seconds']} s, {entry['metrics']}", flush=True)


def measure(clone: Path, name: str) -> dict[str, Any]:
    file, told = TABLES[name]
    path = as_csv(Path(os.environ["DATASETS_MIRROR"]) / "tables" / file, clone.parent)
    command = ["python", "-m", "entries.new", str(path), *told, "--name", name]
    before = sum(count_lines(clone / page) for page in WRITTEN)
    started = time.monotonic()
    run([sys.executable, *command[1:]], clone)
    entries = sum(count_lines(clone / page) for page in WRITTEN) - before
    run(["dvc", "repro", "--quiet", f"export@{name}"], clone)
    seconds = time.monotonic() - started
    processed, folder = clone / "data" / name / "processed", clone / "models" / name
    meta, exported = read_meta(processed), folder / "exported" / "model.onnx"
    return {
        "command": shlex.join([*command[:3], path.name, *command[4:]]),
        "task": meta.task,
        "rows": sum(count.total for count in meta.counts.values()),
        "inputs": meta.input.shape[0],
        "written": {"entries": entries, "schema": count_lines(clone / "data" / "schemas" / f"{name}.yaml")},
        "seconds": round(seconds, 1),
        "metrics": figures(json.loads((folder / "metrics.json").read_text())),
        "training": json.loads((folder / "training.json").read_text()),
        "lightgbm": lightgbm(processed, meta) if importlib.util.find_spec("lightgbm") else None,
        "onnx_kb": round(exported.stat().st_size / 1000),
        "row_us": row_us(exported),
        "predict": predict(clone, exported, path),
        "commit": run(["git", "rev-parse", "--short", "HEAD"], clone).strip(),
        "date": today(),
        "hardware": hardware(),
    }


def as_csv(path: Path, folder: Path) -> Path:
    """The file itself, or the first sheet of a workbook, without what is blank, saved in the folder as its owner would save it."""
    if path.suffix != ".xlsx":
        return path
    sheet = pd.read_excel(path).dropna(axis="index", how="all").dropna(axis="columns", how="all")
    sheet.to_csv(folder / f"{path.stem}.csv", index=False)
    return folder / f"{path.stem}.csv"


def count_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def figures(metrics: dict[str, float]) -> dict[str, float]:
    """Those that are compared, of the model and of its baselines, with the ends of their intervals."""
    return {name: value for name, value in metrics.items() if name.removesuffix("_low").removesuffix("_high").endswith(FIGURES)}


def lightgbm(processed: Path, meta: Meta) -> dict[str, float]:
    """What LightGBM reaches on test at its defaults, one thread, and the seconds of its training."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    splits = {split: read_split(processed, split) for split in ("train", "val", "test")}
    rows = as_frame(np.concatenate([splits["train"][0], splits["val"][0]]), meta)
    targets = np.concatenate([splits["train"][1], splits["val"][1]])
    test, started = as_frame(splits["test"][0], meta), time.monotonic()
    if meta.task == "regression":
        model = LGBMRegressor(n_jobs=1, verbose=-1).fit(rows, targets[:, 0])
        outputs = [model.predict(test)[:, None]]
    else:
        model = LGBMClassifier(n_jobs=1, verbose=-1).fit(rows, targets)
        probabilities = model.predict_proba(test)
        outputs = [probabilities, probabilities.argmax(axis=1)]
    seconds = time.monotonic() - started
    bootstrap = Bootstrap(RESAMPLES, seed=0)
    measured = bootstrap.complete(take_task(meta.task).measure(splits["test"][1], outputs, bootstrap))
    return {name: round(value, 6) for name, value in figures(measured).items()} | {"seconds": round(seconds, 1)}


def as_frame(rows: np.ndarray, meta: Meta) -> pd.DataFrame:
    table = meta.input.table
    assert table is not None
    columns: dict[str, Any] = {f"number {place}": rows[:, place] for place in range(len(table.numbers))}
    for name in table.dates:
        days = pd.DatetimeIndex(pd.to_datetime(rows[:, table.numbers.index(name)].astype(float), unit="D"))
        columns |= {f"{name} {part}": getattr(days, part) for part in ("month", "day", "day_of_week")}
    for place, one in enumerate(table.categories, start=len(table.numbers)):
        columns[f"category {place}"] = pd.Categorical(rows[:, place].astype(int), categories=range(len(one.levels) + 2))
    frame = pd.DataFrame(columns)
    return frame.set_axis([f"column_{place}" for place in range(frame.shape[1])], axis="columns")  # it refuses brackets in names


def row_us(exported: Path) -> float:
    """Median microseconds of a single row, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    feed = {}
    for entry in session.get_inputs():
        is_text = entry.type == "tensor(string)"
        feed[entry.name] = np.full((1, entry.shape[1]), "" if is_text else 0, dtype=object if is_text else np.float32)
    times = []
    for _ in range(WARM_UP + TIMED):
        started = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - started)
    return round(statistics.median(times[WARM_UP:]) * 1e6, 1)


def predict(clone: Path, exported: Path, path: Path) -> dict[str, Any] | None:
    """How many rows of the owner's file predict.py answers, and the seconds it takes; null where it does not take the file."""
    command = [sys.executable, "examples/predict.py", str(exported), str(path), "--json"]
    started = time.monotonic()
    done = subprocess.run(command, cwd=clone, env=environment(), capture_output=True, text=True, check=False)
    answers = len(done.stdout.splitlines())
    return {"rows": answers, "seconds": round(time.monotonic() - started, 1)} if answers and not done.returncode else None


if __name__ == "__main__":
    main()
