"""`python -m stages.audit NAME`: what it writes, what stops a training and how that is accepted, and that its page runs nothing."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.audit import audit
from stages.auditing.findings import NAMES, Finding
from stages.auditing.page import as_page
from stages.check import check
from stages.shell.errors import UserError
from stages.train import train
from tests.stages.auditing.presses import build, presses, written
from tests.toy import ROOT, Project

HOSTILE = '<script>alert("x")</script>'


def leaking():
    """A table with one severe finding, and one that is not."""
    table = presses()
    table["outcome_code"] = [{"0": 11, "1": 42}[label] for label in table["bad"]]
    table["plant"] = [7] * len(table["bad"])
    return table


def contents(root):
    return {path.name: path.read_bytes() for path in sorted((root / "data/presses/audit").iterdir())}


def test_the_severe_come_first_and_the_verdict_has_their_names_alone(tmp_path, capsys):
    build(tmp_path, leaking())
    assert list(contents(tmp_path)) == ["findings.json", "report.html", "verdict.json"]
    found = written(tmp_path)
    assert {key: value for key, value in found.items() if key != "findings"} == {"dataset": "presses", "rows": 120, "looked_at": 120}
    assert [finding["name"] for finding in found["findings"]] == ["same_as_target", "constant_column"]
    for finding in found["findings"]:
        assert list(finding) == ["name", "severity", "accepted", "sentence", "advice", "columns", "lines", "count"]
    assert written(tmp_path, file="verdict") == {"stopped_by": ["same_as_target"]}
    said = capsys.readouterr()
    assert said.out == "presses: 2 findings, 1 of which stop the training: data/presses/audit/report.html\n"
    assert [line.split(" (")[0] for line in said.err.splitlines()] == [
        "stops the training: The column outcome_code is another name of bad",
        "warning: The column plant is 7 in every row of train.",
    ]


def test_an_accepted_finding_stays_in_the_report_and_stops_nothing(tmp_path, capsys):
    build(tmp_path, leaking(), accept=["same_as_target"])
    assert written(tmp_path)["findings"][0]["accepted"] is True
    assert written(tmp_path, file="verdict") == {"stopped_by": []}
    assert "Accepted in params.yaml" in contents(tmp_path)["report.html"].decode()
    assert "outcome_code" not in capsys.readouterr().err


def test_the_same_data_give_the_same_bytes(tmp_path):
    build(tmp_path, leaking())
    before = contents(tmp_path)
    with contextlib.chdir(tmp_path):
        audit("presses")
    assert contents(tmp_path) == before


def test_dates_later_than_today_are_said_and_written_nowhere(tmp_path, capsys):
    table = presses() | {"due_on": [f"2{place % 9}00-01-{place % 28 + 1:02}" for place in range(120)]}
    found = build(tmp_path, table, types={"due_on": {"type": "date", "formats": ["%Y-%m-%d"]}})
    assert "warning: The column due_on has dates later than today in " in capsys.readouterr().err
    assert not [finding for finding in found.values() if "today" in finding["sentence"]]


def test_what_check_has_not_written_is_asked_for(tmp_path):
    build(tmp_path, presses())
    before = contents(tmp_path)
    (tmp_path / "data/checked/accepted/presses.json").unlink()
    with (
        contextlib.chdir(tmp_path),
        pytest.raises(UserError, match=r"accepted/presses\.json is missing or damaged: run python -m stages\.check"),
    ):
        audit("presses")
    assert contents(tmp_path) == before


def test_words_of_the_data_are_escaped_in_the_page_and_on_the_terminal(tmp_path, capsys):
    table = presses()
    name = f"{HOSTILE.replace(',', '')}\x1b[31m"
    table[name] = [{"0": f"{HOSTILE}a", "1": "b"}[label] for label in table["bad"]]
    table = {
        column.replace('"', "'"): [str(cell).replace('"', "'") if column == name else cell for cell in cells]
        for column, cells in table.items()
    }
    build(tmp_path, table)
    page = contents(tmp_path)["report.html"].decode()
    assert "&lt;script&gt;" in page and "<script" not in page and "\x1b" not in page
    said = capsys.readouterr().err
    assert "\x1b" not in said and "\\x1b[31m" in said


def test_the_page_of_every_severity_needs_no_network_and_no_script(tmp_path):
    example = {"split": "train", "place": 0, "name": HOSTILE, "label": HOSTILE}
    findings = [
        Finding(name, "stop", "A sentence.", "do something", [HOSTILE], [1], 1, examples=[[example] * 2]).as_dict() for name in NAMES
    ]

    def shown(one):
        return one | {"text": None, "picture": "data:image/jpeg;base64,AAAA"}

    page = as_page({"dataset": "presses", "rows": 1000, "looked_at": 10, "findings": findings}, shown)
    assert not re.search(r'(src|href)="(?!data:image)|@import|url\(', page) and "<script" not in page
    assert page.count('<img src="data:image/jpeg;base64,AAAA"') == 2 * len(NAMES)
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page and "@media print" in page
    assert "columns were measured on 10 of them" in page
    assert all(f"datasets.presses.accept: [{name}]" in page for name in NAMES)
    assert "Nothing was found" in as_page({"dataset": "presses", "rows": 10, "looked_at": 10, "findings": []}, shown)


def test_a_large_dataset_is_looked_at_in_an_even_sample(tmp_path, monkeypatch):
    monkeypatch.setattr("stages.auditing.data.MAX_ROWS", 60)
    found = build(tmp_path, leaking())
    assert written(tmp_path)["looked_at"] == 60 and "same_as_target" in found


# Training


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path, "numbers")


def test_a_training_is_refused_by_a_severe_finding_and_names_it_the_file_and_the_key(own):
    folder = own.root / "data/numbers/audit"
    (folder / "verdict.json").write_text(json.dumps({"stopped_by": ["label_variants", "same_as_target"]}))
    with pytest.raises(UserError) as refused:
        train("own")
    assert str(refused.value) == (
        "The audit of numbers stops the training by label_variants, same_as_target in data/numbers/audit/findings.json: fix the data as "
        "data/numbers/audit/report.html says, or accept it in params.yaml (datasets.numbers.accept: [label_variants, same_as_target])."
    )
    assert not own.folder.exists()


def test_a_training_without_an_audit_is_refused(own):
    shutil.rmtree(own.root / "data/numbers/audit")
    with pytest.raises(UserError, match=r"verdict\.json is missing or damaged: run python -m stages\.audit numbers \(or dvc repro\) first"):
        train("own")


# Accepting


def test_check_writes_what_is_accepted_beside_what_preprocess_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    shutil.copytree(ROOT / "data/schemas", "data/schemas")
    written_by_check = []
    for content in (
        text,
        text.replace("  line:\n    kind: points\n", "  line:\n    accept: [tells_target, duplicate_rows]\n    kind: points\n", 1),
    ):
        Path("params.yaml").write_text(content, encoding="utf-8")
        check("params.yaml")
        written_by_check.append({path.as_posix(): path.read_bytes() for path in Path("data/checked").rglob("*.json")})
    before, after = written_by_check
    assert [path for path in after if after[path] != before[path]] == ["data/checked/accepted/line.json"]
    assert json.loads(after["data/checked/accepted/line.json"]) == {"accept": ["duplicate_rows", "tells_target"]}


def test_the_data_side_starts_without_torch(tmp_path):
    build(tmp_path, presses())
    command = "import sys; from stages.audit import audit; audit('presses'); print('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\nFalse\n")


def test_the_page_of_the_docs_has_every_finding_in_the_words_of_the_code():
    text = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, flags=re.MULTILINE)) == NAMES
