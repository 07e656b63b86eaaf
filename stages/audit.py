"""Looks at a dataset for what makes figures better than they are, or models worse than they could be.

Command: python -m stages.audit NAME
Reads:   data/NAME/processed; data/checked/datasets/NAME.json, of which the schema of a table, and data/checked/accepted/NAME.json, the
         findings that params.yaml accepts; params.yaml: datasets.NAME.preprocess
Writes:  data/NAME/audit/: findings.json (stages/auditing/findings.py says what is in it), report.html, the same for people, and
         verdict.json, by which train refuses a dataset with severe findings that are not accepted

It ends well whatever it finds, so that its report is there to be read; the findings are said on stderr.
"""

import datetime
import json
import sys
from pathlib import Path
from typing import Any

from stages.auditing import column_checks, item_checks, row_checks
from stages.auditing.data import Audited, read_audited
from stages.auditing.findings import Finding, joined
from stages.auditing.page import MAX_SENTENCE, Shown, as_page
from stages.common.files import as_json, replacing_folder
from stages.common.meta import read_meta
from stages.common.params import look_up, read_params
from stages.common.shown import as_shown
from stages.shell.errors import UserError, run_stage

WAYS = ("group", "time", "split")  # keys of `preprocess` of those kinds of data that have them
COPIES_KEY = "keep_copies_together"  # likewise
SAID_AS = {"stop": "stops the training", "warn": "warning"}


def audit(name: str) -> None:
    folder, section = Path("data") / name, look_up(read_params(), "datasets", name, "preprocess")
    accepted, schema = read_checked(name, "accepted").get("accept", []), read_checked(name, "datasets").get("schema", {})
    label = schema["targets"][0] if schema else "the class"
    ways = {way: str(section[way]) for way in WAYS if section.get(way) is not None}
    keeps = {"keeps_copies": read_checked(name, "datasets").get("keeps_copies", False), "copies_are_kept": bool(section.get(COPIES_KEY))}
    data = read_audited(folder / "processed", read_meta(folder / "processed"), label, ways, **keeps)
    findings = found(data, accepted)
    stopped_by = [finding.name for finding in findings if finding.severity == "stop" and not finding.accepted]
    facts = {"dataset": name, "rows": len(data.hashes), "looked_at": len(data.sample_places)}
    with replacing_folder(folder / "audit") as fresh:
        written = facts | {"findings": [finding.as_dict() for finding in findings]}
        (fresh / "findings.json").write_bytes(as_json(written))
        (fresh / "report.html").write_text(as_page(written, Shown(data)), encoding="utf-8")
        (fresh / "verdict.json").write_bytes(as_json({"stopped_by": list(dict.fromkeys(stopped_by))}))
    told = [one for one in findings if one.severity != "note" and not one.accepted]
    said = [(SAID_AS[one.severity], f"{one.sentence} ({one.name}: {one.advice}.)") for one in told]
    for what, sentence in [*said, *(("warning", sentence) for sentence in later_than_today(data))]:
        print(f"{what}: {as_shown(sentence, MAX_SENTENCE)}", file=sys.stderr)  # names of columns may hold what a terminal obeys
    stops = f", {len(stopped_by)} of which stop the training" if stopped_by else ""
    print(f"{name}: {len(findings) or 'no'} finding{'s'[: len(findings) != 1]}{stops}: {folder / 'audit' / 'report.html'}")


def later_than_today(data: Audited) -> list[str]:
    """Sentences that stand in no file: the same data would have another report on another day."""
    today = (datetime.datetime.now(datetime.UTC).date() - datetime.date(1970, 1, 1)).days
    later = {column.name: int((cells > today).sum()) for _, column, cells in data.with_columns("date")}
    return [f"The column {name} has dates later than today in {count:,} rows." for name, count in later.items() if count]


def read_checked(name: str, what: str) -> dict[str, Any]:
    """What check has written of the dataset below data/checked/<what>."""
    path = Path("data") / "checked" / what / f"{name}.json"
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise UserError(f"{path} is missing or damaged: run python -m stages.check params.yaml (or dvc repro) first.") from error
    return content


def found(data: Audited, accepted: list[str]) -> list[Finding]:
    """The severe ones first; of a handful of items only that they are one."""
    if len(data.hashes) < row_checks.FEW_ROWS:
        findings = [*row_checks.few_rows(data), *row_checks.left_out_rows(data)]
    else:
        of_rows = [*([] if data.keeps_copies else row_checks.OF_COPIES), *row_checks.CHECKS, *column_checks.CHECKS]
        findings = [finding for check in of_rows for finding in check(data)]
        if data.items is not None:
            findings += [finding for check in item_checks.CHECKS for finding in check(data, data.items)]
    return [finding.judged(accepted) for finding in joined(findings)]


if __name__ == "__main__":
    run_stage(audit, usage="python -m stages.audit NAME")
