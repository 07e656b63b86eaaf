"""Makes a model of each of some real tables, sets of pictures and texts as their owner would, by `new` and `dvc repro` alone, and writes
what came of it.

Command: DATASETS_MIRROR=FOLDER python -m benchmarks.own_data [--work FOLDER] [NAME ...]
         python -m benchmarks.own_data --unseen FOLDER [--work FOLDER]
Reads:   the committed state of this repository, which it clones into the work folder (logs/own_data), and DATASETS_MIRROR; --unseen: a
         folder of CSV files
Writes:  benchmarks/results/own_data.json, an entry a dataset (those of others stay as they are); --unseen: results/unseen_tables.json

Of each: the lines that were written, the seconds from `new` to the exported file and how many of a core's they were, the test figures with
those of the baselines, the size of model.onnx and the time of an item in it on one thread. Of tables also LightGBM at its defaults on the
same rows (train and val together, for it has no use for val; a date as days, and as month, day and day of the week), and whether predict.py
answers the owner's file as it is.
energy is a workbook, which is saved as CSV first. Needs the group benchmark of pyproject.toml; without LightGBM its figures are left out.

--unseen races tables that nobody looked at, LightGBM beside. Which they are is a rule and no choice: of the files of 500 to 20,000 lines,
sorted by a hash of their names, the first 24 that `new` describes unasked with its last column as the target. Those that the results have
are not raced again: take them out of the file for that.
"""

import argparse
import base64
import hashlib
import importlib.util
import json
import os
import resource
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
# Below FOLDER.
OTHERS: dict[str, tuple[str, list[str]]] = {
    "hymenoptera_own": ("hymenoptera/hymenoptera_data", []),
    "fruit": ("pictures/fruit", []),
    "sign_digits": ("pictures/sign_digits", []),
    "cifar10_own": ("cifar10_jpeg", []),
    "sms_spam": ("texts/sms_spam/sms.tsv", ["--target", "column 1"]),
    "language17": ("texts/language17/Language Detection.csv", ["--target", "column 2"]),
}
ACCEPTED = ("cifar10_own",)  # 97 pictures of its official test are copies of some in train: audit stops at that, and rightly
DATASETS = {name: (f"tables/{file}", told) for name, (file, told) in TABLES.items()} | OTHERS
FIGURES = ("log_loss", "accuracy", "macro_f1", "auc", "rmse", "mae", "r2")
WRITTEN = ("params.yaml", "dvc.yaml")
RESAMPLES = 1000
WARM_UP, TIMED, MOST_SECONDS = 10, 1000, 20.0  # calls
UNSEEN, LEAST_LINES, MOST_LINES = 24, 500, 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--work", type=Path, default=ROOT / "logs" / "own_data", help="where the clone is made; what is there is removed")
    parser.add_argument("--unseen", type=Path, metavar="FOLDER", help="race the tables in it instead")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(DATASETS):
        parser.error(f"no such dataset: {', '.join(sorted(unknown))}; known: {', '.join(DATASETS)}")
    if not arguments.unseen:
        require_mirror(parser)
    shutil.rmtree(arguments.work, ignore_errors=True)
    clone = make_clone(arguments.work.resolve())
    if arguments.unseen:
        race_unseen(clone, arguments.unseen.resolve())
        return
    for name in arguments.names or DATASETS:
        file, told = DATASETS[name]
        path = as_csv(Path(os.environ["DATASETS_MIRROR"]) / file, clone.parent)
        entry = measure(clone, name, path, told, name in ACCEPTED)
        results = read_result("own_data").get("models", {}) | {name: entry}
        command = "DATASETS_MIRROR=FOLDER python -m benchmarks.own_data"
        write_result("own_data", {"command": command, "models": {one: results[one] for one in DATASETS if one in results}})
        print(f"{name}: {entry['seconds']} s, {entry['metrics']}", flush=True)


def race_unseen(clone: Path, folder: Path) -> None:
    """Tables by the rule, and those among the first that `new` had a question about, in its words."""
    files = [path for path in folder.glob("[!.]*.csv") if LEAST_LINES <= path.read_bytes().count(b"\n") <= MOST_LINES]
    known, models, asked = read_result("unseen_tables").get("models", {}), dict[str, Any](), dict[str, str]()
    for path in sorted(files, key=lambda path: hashlib.sha256(path.name.encode()).hexdigest()):
        target = pd.read_csv(path, nrows=1, encoding_errors="replace").columns[-1]
        name = f"unseen_{len(models)}"
        command = [sys.executable, "-m", "entries.new", str(path), "--target", target, "--name", name, "--dry-run"]
        tried = subprocess.run(command, cwd=clone, env=environment(), capture_output=True, text=True, check=False)
        if tried.returncode:
            asked[path.name] = tried.stderr.strip().removeprefix("error: ")
            continue
        models[path.stem] = known.get(path.stem) or measure(clone, name, path, ["--target", target], accepted=True)
        command_line = "python -m benchmarks.own_data --unseen FOLDER"
        write_result("unseen_tables", {"command": command_line, "files": len(files), "asked": asked, "models": known | models})
        print(f"{path.name}: {models[path.stem]['metrics']}, LightGBM {models[path.stem]['lightgbm']}", flush=True)
        if len(models) == UNSEEN:
            return


def measure(clone: Path, name: str, path: Path, told: list[str], accepted: bool = False) -> dict[str, Any]:
    """`accepted`: findings of audit that stop a training are accepted, and named in the entry."""
    command = ["python", "-m", "entries.new", str(path), *told, "--name", name]
    before = sum(count_lines(clone / page) for page in WRITTEN)
    started, used = time.monotonic(), core_seconds()
    run([sys.executable, *command[1:]], clone)
    entries = sum(count_lines(clone / page) for page in WRITTEN) - before
    stopped_by = accept(clone, name) if accepted else []
    run(["dvc", "repro", "--quiet", f"export@{name}"], clone)
    seconds, used = time.monotonic() - started, core_seconds() - used
    processed, folder = clone / "data" / name / "processed", clone / "models" / name
    meta, exported, schema = read_meta(processed), folder / "exported" / "model.onnx", clone / "data" / "schemas" / f"{name}.yaml"
    is_table = meta.input.table is not None
    entry = {
        "command": shlex.join([*command[:3], path.name, *command[4:]]),
        "task": meta.task,
        "rows": sum(count.total for count in meta.counts.values()),
        "inputs": meta.input.shape[0] if is_table else None,
        "classes": len(meta.classes or []) or None,
        "written": {"entries": entries, "schema": count_lines(schema) if schema.exists() else 0},
        "seconds": round(seconds, 1),
        "core_seconds": round(used, 1),
        "metrics": figures(json.loads((folder / "metrics.json").read_text())),
        "training": json.loads((folder / "training.json").read_text()),
        "onnx_kb": round(exported.stat().st_size / 1000),
        "row_us": row_us(exported),
        "commit": run(["git", "rev-parse", "--short", "HEAD"], clone).strip(),
        "date": today(),
        "hardware": hardware(),
    }
    if stopped_by:
        entry["accepted"] = stopped_by
    if is_table:
        entry["lightgbm"] = lightgbm(processed, meta) if importlib.util.find_spec("lightgbm") else None
        entry["predict"] = predict(clone, exported, path)
    return entry


def core_seconds() -> float:
    """Of all processes that this one has started and that have ended: whatever else the machine does, they are the same."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def accept(clone: Path, name: str) -> list[str]:
    """Accepts, in the clone's params.yaml, what stops the training: its names."""
    run(["dvc", "repro", "--quiet", f"audit@{name}"], clone)
    stopped_by: list[str] = json.loads((clone / "data" / name / "audit" / "verdict.json").read_text())["stopped_by"]
    if stopped_by:
        params = clone / "params.yaml"
        lines = params.read_text(encoding="utf-8").splitlines(keepends=True)
        place = next(number for number, line in enumerate(lines) if f"raw: data/{name}/raw" in line)
        lines.insert(place, f"    accept: [{', '.join(stopped_by)}]\n")
        params.write_text("".join(lines), encoding="utf-8")
    return stopped_by


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
    """Median microseconds of a single item, the golden one of the signature, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    signature = json.loads((exported.parent / "signature.json").read_text(encoding="utf-8"))
    golden = signature["golden"].get("inputs") or {signature["input"]["name"]: signature["golden"]["input"]}
    feed, times, first = {name: as_array(values) for name, values in golden.items()}, list[float](), time.perf_counter()
    while len(times) < WARM_UP + TIMED and (len(times) < 2 * WARM_UP or time.perf_counter() - first < MOST_SECONDS):
        started = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - started)
    return round(statistics.median(times[WARM_UP:]) * 1e6, 1)


def as_array(values: dict[str, Any]) -> np.ndarray:
    if values["dtype"] == "string":
        return np.array(values["values"], dtype=object).reshape(values["shape"])
    return np.frombuffer(base64.b64decode(values["base64"]), dtype=values["dtype"]).reshape(values["shape"])


def predict(clone: Path, exported: Path, path: Path) -> dict[str, Any] | None:
    """How many rows of the owner's file predict.py answers, and the seconds it takes; null where it does not take the file."""
    command = [sys.executable, "examples/predict.py", str(exported), str(path), "--json"]
    started = time.monotonic()
    done = subprocess.run(command, cwd=clone, env=environment(), capture_output=True, text=True, check=False)
    answers = len(done.stdout.splitlines())
    return {"rows": answers, "seconds": round(time.monotonic() - started, 1)} if answers and not done.returncode else None


if __name__ == "__main__":
    main()
