"""Writes the report of one model: a page for people, in one file that needs no other and no network.

Command: python -m stages.report MODEL
Reads:   models/<MODEL>/{checkpoint.safetensors,metrics.json} and plots/{learning_curve,breakdown}.csv; data/<dataset>/processed:
         the splits, meta.json and items.json; data/<dataset>/audit/findings.json; params.yaml: runtime, report
Writes:  models/<MODEL>/report.html
"""

import csv
import json
from pathlib import Path
from typing import Any

from stages.common.comparison import verdict
from stages.common.files import write_files
from stages.common.meta import read_meta
from stages.common.params import Runtime, look_up, read_params, read_section
from stages.common.splits import SPLITS, SplitFile, read_names
from stages.modelling.devices import prepare_torch
from stages.modelling.model import load_checkpoint
from stages.reporting.items import MAX_ITEMS, Items, evenly, importance
from stages.reporting.page import Known, as_page
from stages.reporting.section import Report
from stages.shell.errors import UserError, run_stage


def report(name: str) -> None:
    runtime, section = read_section(Runtime, "runtime"), read_section(Report, "report")
    dataset = Path("data") / look_up(read_params(), "models", name, "dataset")
    processed = dataset / "processed"
    folder = Path("models") / name
    model, description = load_checkpoint(folder / "checkpoint.safetensors")
    device = prepare_torch(runtime)
    described, names = read_meta(processed).input, read_names(processed)
    files = {split: SplitFile(processed, split) for split in SPLITS}
    splits = {split: Items(file, model, described, evenly(file.count, MAX_ITEMS), names) for split, file in files.items()}
    metrics = read_json(folder / "metrics.json", "evaluate", name)
    known = Known(
        name=name,
        description=description,
        metrics=metrics,
        curve=read_rows(folder / "plots" / "learning_curve.csv"),
        breakdown=read_rows(folder / "plots" / "breakdown.csv"),
        findings=read_json(dataset / "audit" / "findings.json", "audit", dataset.name)["findings"],
        importance=importance(splits["test"], device, runtime.seed),
        num_mistakes=section.num_mistakes,
        verdict=verdict(metrics, model.task),
    )
    page = as_page(known, splits, splits["test"].answers(device)).encode()
    write_files({folder / "report.html": page})
    print(f"{name}: report.html, {len(page) / 1e6:.2f} MB")


def read_json(path: Path, stage: str, name: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is damaged: run python -m stages.{stage} {name} again.") from error
    return content


def read_rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


if __name__ == "__main__":
    run_stage(report, usage="python -m stages.report MODEL")
