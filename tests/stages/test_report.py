"""`python -m stages.report MODEL` over one toy of every kind, and a table: what the page says, and that it needs nothing else."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from stages.common.comparison import ENDS, own_metrics, verdict
from stages.common.files import write_files
from stages.common.meta import Category, Column, Format, Input, Table
from stages.common.shelves import take_task
from stages.common.splits import SplitWriter
from stages.evaluate import evaluate
from stages.modelling.model import Model, as_checkpoint
from stages.report import report
from stages.reporting import items
from stages.shell.errors import UserError
from tests.toy import TOYS, Data, Project, build, describe, toy

TRAINING = {"best_epoch": 1, "epochs": 2, "recipe": {}, "seed": 0}
CURVE = b"epoch,split,loss,accuracy\n1,train,0.5,0.7\n1,val,0.6,0.6\n2,train,0.4,0.8\n2,val,0.5,0.7\n"
HOSTILE = "<script>alert(1)</script> $x_{ {{7*7}} & \"'\u202e"
LEVELS = ["red", "green", HOSTILE]
VOID = {"meta", "br", "img"}


class Elements(HTMLParser):
    """All tags of a page with their attributes; fails where one is not closed."""

    def __init__(self, page):
        super().__init__()
        self.found, self.open = [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


class Reported(Project):
    """A project whose model is evaluated and has learning curves."""

    def __init__(self, root, name, architecture=None, data=None):
        super().__init__(root, name, architecture, data)
        architecture, meta = architecture or TOYS[name], self.data.meta
        checkpoint = as_checkpoint(build(architecture, meta).network, architecture, meta, TRAINING)
        write_files({self.folder / "checkpoint.safetensors": checkpoint, self.folder / "plots" / "learning_curve.csv": CURVE})
        evaluate("own")

    def page(self):
        report("own")
        return (self.folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **named: Reported(tmp_path, *arguments, **named)


def text_of(page):
    """What a person reads, without pictures."""
    page = re.sub(r"<(style|svg)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", page).replace("\xa0", " ").replace("&nbsp;", " ").split())


@pytest.mark.parametrize("name", TOYS)
def test_every_kind_gets_a_page_that_needs_nothing_else_with_the_same_bytes_again(name, project):
    own = project(name)
    page = own.page()
    assert len(page.encode()) < 2_000_000
    elements = Elements(page).found
    assert not {tag for tag, _ in elements} & {"script", "link", "iframe", "object", "form"}
    references = [
        value for _, given in elements for key, value in given.items() if key.split(":")[-1] in ("src", "href", "action", "style")
    ]
    assert not [
        one for one in references if re.search(r"https?:|//|url\((?!#)", one) and not re.match(r"data:image/(png|jpeg);base64,", one)
    ]
    assert "http://" not in page and "https://" not in page and "@import" not in page
    assert [given["id"] for tag, given in elements if tag == "section"][:4] == ["quality", "data", "training", "errors"]
    metrics = json.loads((own.folder / "metrics.json").read_bytes())
    assert all(key.replace("_", " ") in text_of(page) for key in own_metrics(metrics) if not key.endswith(ENDS))
    assert own.page() == page


@pytest.mark.parametrize("name", TOYS)
def test_a_single_test_item_is_enough(name, tmp_path, monkeypatch, project):
    data = toy(name)
    single = tuple(values[:1] for values in data.splits["test"])
    counts = data.meta.counts | {"test": data.meta.counts["test"].model_copy(update={"total": 1})}
    own = project(name, data=Data(data.meta.model_copy(update={"counts": counts}), data.splits | {"test": single}))
    assert "There are too few" in text_of(own.page())


# Pictures and texts


class WithFiles(Data):
    """Data of many raw files, each with its name."""

    def write(self, processed):
        super().write(processed)
        first = 0
        for name, (inputs, targets) in self.splits.items():
            with SplitWriter(
                processed / f"{name}.safetensors", inputs.shape[1:], inputs.dtype.name, targets.shape[1:], targets.dtype.name, lines=True
            ) as writer:
                writer.add(inputs, targets, np.arange(first, first + len(inputs)))
            first += len(inputs)
        (processed / "items.json").write_text(json.dumps([f"{HOSTILE} {place}.jpg" for place in range(first)]))


def example(split, place, label):
    return {"split": split, "place": place, "name": f"{HOSTILE} {place}", "label": label}


@pytest.mark.parametrize("name", ["shapes", "words"])
def test_classes_are_shown_and_copies_side_by_side_and_files_have_their_names(name, project):
    data = toy(name)
    num = np.bincount(data.splits["train"][1], minlength=len(data.meta.classes))
    per_class = dict(zip(data.meta.classes, num.tolist(), strict=True))
    counts = data.meta.counts | {"train": data.meta.counts["train"].model_copy(update={"per_class": per_class})}
    own = project(name, data=WithFiles(data.meta.model_copy(update={"counts": counts}), data.splits))
    finding = {"name": "copies", "severity": "warn", "accepted": False, "sentence": "Some are copies.", "advice": "remove them"}
    finding["examples"] = [[example("train", 0, "a"), example("test", 1, "b")]] * 9
    (own.processed.with_name("audit") / "findings.json").write_text(json.dumps({"findings": [finding]}))
    page = own.page()
    part = section(page, "data")
    sheets = re.findall(r'<div class="class"><b>(.*?)</b> <small>([\d,]+)</small>(.*?)</div></div>', part, flags=re.DOTALL)
    assert {found: int(count) for found, count, _ in sheets} == per_class
    item = r"<img " if name == "shapes" else r"<bdi>"
    assert all(1 <= len(re.findall(item, shown)) <= 8 for *_, shown in sheets)
    pairs = re.findall(r'<div class="group">(.*?)</div>\s*</div>', part, flags=re.DOTALL)
    assert len(pairs) == 3 and all(len(re.findall(item, pair)) == 2 for pair in pairs), "of nine the first"
    assert "train, a: &lt;script&gt;" in pairs[0] and "test, b: &lt;script&gt;" in pairs[0]
    worst = section(page, "worst")
    assert worst.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4 and "the line" not in text_of(worst).lower()
    assert "<script" not in page and "\u202e" not in page and "\\u202e" in page


# A table


class ByRule(torch.nn.Module):
    """Knows the answer of a table from its number x: above 0 the second class, but for `red` the other way round."""

    def forward(self, rows):
        return 4 * rows[:, :1]


TABLE = Table(
    format=Format(),
    numbers=["x", "noise", "day"],
    dates=["day"],
    times=[],
    categories=[Category(name=HOSTILE, levels=LEVELS, rare=[])],
    columns={
        "x": Column(type="number"),
        HOSTILE: Column(type="category", levels=LEVELS),
        "noise": Column(type="number"),
        "day": Column(type="date", formats=["%Y-%m-%d"]),
    },
    edges=[[-2.0, *([0.0] * 23), 2.0]] * 3,
    gaps=[],
)
ARCHITECTURE = {"name": "table", "members": 1, "hidden": [4], "dropout": 0.0}


def rows_of_a_table(count=400):
    """Numbers x and noise, a day, and a code: whoever is `red` (code 2) is of the other class than x says."""
    rng = np.random.default_rng(0)
    rows = np.stack([rng.normal(size=count), rng.normal(size=count), 20_000 + np.arange(count) % 300, rng.integers(2, 5, count)], axis=1)
    targets = (rows[:, 0] > 0) ^ (rows[:, 3] == 2)
    rows[::10, 1], rows[::20, 2] = np.nan, np.nan
    return rows.astype(np.float32), targets.astype(np.int64)


@pytest.fixture
def table(project, monkeypatch):
    rows, targets = rows_of_a_table()
    splits = {"train": (rows, targets), "val": (rows[:10], targets[:10]), "test": (rows, targets)}
    described = Input(kind="table", shape=[4], dtype="float32", table=TABLE)
    meta = describe("tables", described, "binary", ["no", HOSTILE], None, splits)

    class WithLines(Data):
        def write(self, processed):
            super().write(processed)
            for name, (inputs, values) in self.splits.items():
                with SplitWriter(processed / f"{name}.safetensors", (4,), "float32", (), "int64", lines=True) as writer:
                    writer.add(inputs, values, np.arange(len(inputs)) + 1002)

    monkeypatch.setattr(Model, "logits", lambda self, inputs: ByRule()(inputs))  # what matters is what it answers
    return project("tables", ARCHITECTURE, WithLines(meta, splits))


def section(page, name):
    return re.search(rf'<section id="{name}">.*?</section>', page, flags=re.DOTALL).group()


def test_names_and_cells_are_shown_as_text_whatever_stands_in_them(table):
    page = table.page()
    assert "<script" not in page and "\u202e" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt; $x_{ {{7*7}}") > 5
    assert not [tag for tag, _ in Elements(page).found if tag == "script"]


def test_the_column_that_decides_matters_and_the_others_do_not(table):
    part = section(table.page(), "columns")
    named = [text for text in re.findall(r"<text[^>]*>(.*?)</text>", part) if re.match(r"(x|noise|day|&lt;.*)$", text)]
    assert named[0] == "x" and len(named) == 4
    lost = text_of(part).partition("Nothing was lost without: ")[2]
    assert lost.startswith("&lt;script&gt;") and lost.endswith(", noise, day.")


def test_the_segment_in_which_the_model_is_wrong_is_found_and_no_other(table):
    found = re.findall(
        r"<tr><td>(.*?)</td><td>(.*?)</td><td class=\"n\">([\d,]+)</td>\s*<td class=\"n\"><b>(.*?)</b>", section(table.page(), "weak")
    )
    assert [(band, error) for _, band, _, error in found] == [("red", "100.0\xa0%")]


def test_the_worst_answers_have_their_line_in_the_file_and_their_cells(table):
    rows, targets = rows_of_a_table()
    worst = np.argsort(-np.abs(rows[:, 0]) * ((rows[:, 0] > 0) != targets), kind="stable")[:4]
    lines = re.findall(r'<td class="n">(\d+)</td><td>', section(table.page(), "worst"))
    assert [int(line) for line in lines] == (worst + 1002).tolist()  # of params.yaml: report.num_mistakes


def test_missing_shares_and_values_of_each_column_are_told(table):
    text = text_of(section(table.page(), "data"))
    assert "x number \u2013 \u2013" in text and "noise number 10.0 % 10.0 %" in text
    assert "day date 5.0 % 5.0 % 2024-10-05 / " in text and "words \u2013 \u2013 3:" in text


def test_a_large_split_is_shown_by_items_evenly_spaced(table, monkeypatch):
    monkeypatch.setattr("stages.report.MAX_ITEMS", 100)
    text = text_of(table.page())
    assert "From here on: 100 rows, evenly spaced over the 400 of the test split." in text
    assert items.evenly(400, 100)[[0, -1]].tolist() == [0, 399] and len(set(items.evenly(400, 100).tolist())) == 100


def test_baselines_stand_beside_the_model_with_a_plain_sentence_on_which_is_better(table):
    path = table.folder / "metrics.json"
    own = {name: value for name, value in json.loads(path.read_bytes()).items() if not name.startswith("baseline_")}
    added = {"log_loss": 0.001, "accuracy": 0.91, "accuracy_low": 0.9, "accuracy_high": 0.92}
    path.write_text(
        json.dumps(own | {f"baseline_boosting_{name}": value for name, value in added.items()} | {"baseline_majority_auc": 0.5})
    )
    text = text_of(section(table.page(), "quality"))
    assert "Gradient boosting is better: log-loss 0.001 against" in text
    assert "this model the largest class gradient boosting" in text
    assert re.search(r"accuracy higher [\d.]+ \([\d. to]+\) 0\.91 \(0\.9 to 0\.92\) macro f1", text)


def test_findings_of_the_audit_are_told_and_which_are_accepted(table):
    path = table.processed.with_name("audit") / "findings.json"
    assert "The checks of the data have found nothing." in text_of(section(table.page(), "data"))
    one = {"name": "same_as_target", "severity": "stop", "accepted": False, "sentence": f"{HOSTILE} tells all.", "advice": "drop it"}
    other = {"name": "duplicate_rows", "severity": "warn", "accepted": True, "sentence": "Rows are equal.", "advice": "look"}
    path.write_text(json.dumps({"findings": [one, other]}))
    text = text_of(section(table.page(), "data"))
    assert "stop same_as_target : &lt;script&gt;" in text and "tells all. drop it" in text
    assert "accepted duplicate_rows : Rows are equal. look" in text and "found nothing" not in text


def test_the_sentence_about_the_best_baseline_is_the_cards(table):
    metrics = json.loads((table.folder / "metrics.json").read_bytes())
    assert verdict(metrics, take_task(table.data.meta.task)) in text_of(section(table.page(), "quality"))


# Mistakes


def test_a_failure_leaves_the_earlier_report(project):
    own = project("numbers")
    before = own.page()
    (own.folder / "metrics.json").write_text("{")
    with pytest.raises(UserError, match=r"^models/own/metrics\.json is damaged: run python -m stages\.evaluate own again\.$"):
        report("own")
    assert (own.folder / "report.html").read_text(encoding="utf-8") == before


def test_without_plots_it_says_which_file_is_missing(project):
    own = project("numbers")
    shutil.rmtree(own.folder / "plots")
    with pytest.raises(FileNotFoundError, match=r"learning_curve\.csv"):
        report("own")
