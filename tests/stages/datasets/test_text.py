"""Texts of one's own: files and folders as they are found, what is left out, and how they are split."""

import gzip
import json

import numpy as np
import pytest

from stages.common.splits import SPLITS, SplitFile
from stages.datasets.text import Preprocess
from stages.inputs.text import as_texts
from stages.reading.texts import TextFormat, texts_below
from stages.shell.errors import UserError

SECTION = {"task": "binary", "max_length": 50, "test_fraction": 0.2, "val_fraction": 0.0, "max_bad_fraction": 0.1}
TABLE = {"text": ["note"], "label": "kind"}
FEW = [(f"{kind} text number {number}", kind) for number in range(20) for kind in ("good", "bad")]


def write(place, files, **section):
    """Files by their paths below raw/, each a text in UTF-8 or bytes."""
    for name, content in files.items():
        path = place.raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    place.describe("text", **{key: value for key, value in (SECTION | section).items() if value is not None})


def table(rows, header="note,kind\n"):
    return header + "".join(f"{text},{kind}\n" for text, kind in rows)


def found_in(place, meta):
    """By where each text stands: its split, itself and its class (or several)."""
    found, items = {}, place.processed / "items.json"
    names = json.loads(items.read_bytes()) if items.exists() else None
    for split in SPLITS:
        file = SplitFile(place.processed, split)
        rows, targets, lines = (file.read(name, 0, file.count) for name in ("inputs", "targets", "lines"))
        assert rows.dtype == np.int32
        for text, target, line in zip(as_texts(rows, meta.input), targets, lines.tolist(), strict=True):
            classes = meta.classes[target] if targets.ndim == 1 else [meta.classes[one] for one in np.flatnonzero(target)]
            found[line if names is None else names[line]] = split, text, classes
    return found


def texts_of(place, meta):
    return {name: (text, classes) for name, (_, text, classes) in sorted(found_in(place, meta).items())}


EVERYONE = ["grüße", "Ελλάδα", "Привет", "नमस्ते", "中文", "\U0001f98a\u200d\U0001f680", "مرحبا", "தமிழ்"]
MANY = [(text, kind) for text in EVERYONE for kind in ("a", "b")]
LINES = "".join(json.dumps({"note": text, "kind": kind}) + "\n" for text, kind in MANY)
FORMS = {
    "a table": ({"a.csv": table(MANY)}, {"file": "a.csv"}),
    "gzipped, in another encoding": ({"a.CSV.gz": table(MANY).encode("utf-16")}, {"file": "a.CSV.gz"}),
    "the label first, no header": ({"a.tsv": "".join(f"{kind}\t{text}\n" for text, kind in MANY)},
        {"file": "a.tsv", "format": {"separator": "\t", "header": False}, "text": ["column 2"], "label": "column 1"}),
    "objects": ({"a.jsonl": LINES}, {"file": "a.jsonl"}),
    "objects, with signs as they are": (
        {"a.ndjson.gz": "\ufeff" + "".join(json.dumps({"note": text, "kind": kind}, ensure_ascii=False) + "\r\n" for text, kind in MANY)},
        {"file": "a.ndjson.gz"}),
    "a file each": ({f"{kind}/{place}.txt": text for place, (text, kind) in enumerate(MANY)}, {"folders": ["class"]}),
    "a file each, in three encodings": (
        {f"{kind}/{place}.txt": text.encode(("utf-8-sig", "utf-16", "utf-32")[place % 3]) for place, (text, kind) in enumerate(MANY)},
        {"folders": ["class"]}),
    "a line each": ({f"{kind}.txt": "\n\n".join(EVERYONE) for kind in "ab"}, {"folders": [], "each": "line"}),
}  # fmt: skip


@pytest.mark.parametrize(("files", "section"), FORMS.values(), ids=FORMS)
def test_texts_of_any_script_are_read_as_they_stand(place, files, section):
    write(place, files, **(TABLE if "file" in section else {}) | section)
    meta = place.run()
    assert sorted(texts_of(place, meta).values()) == sorted(MANY) and meta.left_out.count == 0
    assert meta.classes == ["a", "b"] and meta.input.text.max_length == 50


def test_quoted_cells_hold_line_ends_separators_and_doubled_quotes_and_plain_quotes_are_signs(place):
    rows = 'note,kind\n"two\r\nlines, and ""quotes""",a\n6" long,b\n' + "".join(f"x{number},{'ab'[number % 2]}\n" for number in range(20))
    write(place, {"a.csv": rows}, file="a.csv", **TABLE)
    texts = texts_of(place, place.run())
    assert texts[2] == ('two\r\nlines, and "quotes"', "a") and texts[4] == ('6" long', "b") and len(texts) == 22
    plain = 'a\t"not closed\nb\the said "no"\na\t"\n' + "".join(f"{'ab'[number % 2]}\tx{number}\n" for number in range(20))
    form = {"separator": "\t", "header": False, "quotes": "plain"}
    write(place, {"a.tsv": plain}, file="a.tsv", format=form, text=["column 2"], label="column 1")
    texts = texts_of(place, place.run())
    assert [texts[line] for line in (1, 2, 3)] == [('"not closed', "a"), ('he said "no"', "b"), ('"', "a")] and len(texts) == 23


def test_several_columns_are_joined_and_texts_are_put_in_nfc_and_cut(place, capsys):
    rows = [f"subject {number},e\u0301{'x' * 10 * number}\0,{'ab'[number % 2]}".replace("\0", "") for number in range(20)]
    write(place, {"a.csv": "subject,body,kind\n" + "\n".join(rows)}, file="a.csv", text=["subject", "body"], label="kind")
    meta = place.run()
    texts = texts_of(place, meta)
    assert texts[3] == ("subject 1\né" + "x" * 10, "b") and texts[21][0] == ("subject 19\né" + "x" * 190)[:50]
    assert " 16 are longer than 50 characters and cut." in meta.description
    assert "16 of 20 texts are longer than preprocess.max_length (50) and are cut there" in capsys.readouterr().err


def test_what_cannot_be_used_is_left_out_counted_and_named(place):
    bad = ['" \t ",bad', "x,", "x,bad,b", f"x,{'y' * 201}", "x,\x07", "x,c"]
    write(place, {"a.csv": table(FEW) + "\n".join(bad)}, file="a.csv", classes=["bad", "good"], max_bad_fraction=0.2, **TABLE)
    meta = place.run()
    assert meta.left_out.count == 6 and meta.left_out.examples == [
        "a.csv line 42: has no text",
        "a.csv line 43: has no label",
        "a.csv line 44: has 3 cells, not 2",
        "a.csv line 45: has a label of more than 200 characters, or one that cannot be shown",
        "a.csv line 46: has a label of more than 200 characters, or one that cannot be shown",
    ]
    objects = [
        '{"note": 1, "kind": [2',
        "[]",
        '{"note": ["a"], "kind": "a"}',
        '{"kind": "a"}',
        '{"note": "a", "kind": ["a", "b"]}',
        "[" * 100_000,
        '{"note": {"a": "b"}, "kind": "a"}',
        '{"note": "a", "kind": {"a": "b"}}',
    ]
    good = [json.dumps({"note": text, "kind": kind == "good"}) for text, kind in FEW]
    write(place, {"b.json": "\n".join(good + objects)}, file="b.json", max_bad_fraction=0.2, **TABLE)
    (place.raw / "a.csv").unlink()
    meta = place.run()
    assert meta.classes == ["false", "true"] and meta.left_out.count == 8
    assert "line 41: expected a JSON object on each line (Expecting ',' delimiter at character 23)" in meta.left_out.examples[0]
    assert [example.split(": ", 1)[1][:40] for example in meta.left_out.examples[1:]] == [
        "expected a JSON object on each line", "note is not a text", "has no text", "has 2 labels (key: task)",
    ]  # fmt: skip


def test_several_labels_are_several_classes_at_once(place):
    rows = [f"text {number},{' | '.join(word for word, each in (('wet', 2), ('cold', 3)) if number % each == 0)}" for number in range(60)]
    write(place, {"a.csv": "note,kind\n" + "\n".join(rows)}, file="a.csv", task="multilabel", label_separator="|", **TABLE)
    meta = place.run()
    texts = texts_of(place, meta)
    assert meta.classes == ["cold", "wet"]
    assert [texts[line][1] for line in (2, 3, 4, 5)] == [["cold", "wet"], [], ["wet"], ["cold"]]


# Splits


def splits_of(place, meta):
    return {name: split for name, (split, _, _) in found_in(place, meta).items()}


def test_equal_texts_and_groups_stay_together_and_near_copies_where_that_is_asked_for(place):
    words = [" ".join(f"{word:x}" for word in np.random.default_rng(number).integers(0, 1 << 20, 12)) for number in range(40)]
    copies = [(f"{[words[n // 4], words[n // 4].upper()][n % 2]}{'!' * (n % 4 > 1)}", ("x", "y")[n // 4 % 2]) for n in range(160)]
    write(place, {"a.csv": table(copies)}, file="a.csv", max_length=100, **TABLE)
    for near in (False, True):
        place.entry["preprocess"]["keep_copies_together"] = near
        splits = list(dict(sorted(splits_of(place, place.run()).items())).values())
        assert all(len(set(splits[start : start + 2])) == 1 for start in range(0, 160, 2))
        assert all(len(set(splits[start : start + 4])) == 1 for start in range(0, 160, 4)) == near
        assert splits.count("test") == 32
    rows = [f"text {number},{'ab'[number % 2]},sender {number % 20}" for number in range(200)]
    write(place, {"a.csv": "note,kind,sender\n" + "\n".join(rows)}, file="a.csv", group="sender", val_fraction=0.25, **TABLE)
    splits = splits_of(place, place.run())
    assert all(len({splits[line] for line in range(2 + sender, 202, 20)}) == 1 for sender in range(20))
    assert [list(splits.values()).count(split) for split in SPLITS] == [120, 40, 40]


PARTS = [("train", "Test")[place % 5 > 3] for place in range(40)]
WAYS = {
    "a column": (
        {"a.csv": table(((text, f"{kind},{part}") for (text, kind), part in zip(FEW, PARTS, strict=True)), "note,kind,part\n")},
        {"file": "a.csv", "split": "part"} | TABLE,
    ),
    "files": (
        {"a.csv": table(FEW[:32]), "b.csv": table(FEW[32:])},
        {"file": {"train": "a.csv", "test": "b.csv"}} | TABLE,
    ),
    "folders": (
        {f"{part.lower()}/{kind}/{place}.txt": text for place, ((text, kind), part) in enumerate(zip(FEW, PARTS, strict=True))},
        {"folders": ["split", "class"]},
    ),
}


@pytest.mark.parametrize(("files", "section"), WAYS.values(), ids=WAYS)
def test_splits_may_be_said_and_val_is_held_out_of_train_where_it_is_not(place, files, section):
    write(place, files, test_fraction=None, val_fraction=0.25, **section)
    meta = place.run()
    assert [meta.counts[split].total for split in SPLITS] == [24, 8, 8]
    assert meta.counts["val"].per_class == {"bad": 4, "good": 4}


def test_copies_across_splits_that_are_said_go_to_the_later_one_where_that_is_asked_for(place, capsys):
    files = {"a.csv": table(FEW[:32]), "b.csv": table([*FEW[32:], *((text.upper(), kind) for text, kind in FEW[:3]), ("new", "worse")])}
    write(place, files, file={"train": "a.csv", "test": "b.csv"}, test_fraction=None, keep_copies_together=True, **TABLE)
    meta = place.run()
    assert meta.counts["test"].total == 14 and meta.counts["train"].total == 29
    assert "3 texts have copies in a later split (train, val, test) than their own, and were moved there" in capsys.readouterr().err
    assert meta.left_out.examples == ["b.csv line 13: has the label 'worse', which no text of train has"]


# Refusals

GROWN = [(f"{text}; and it goes on like this for quite a while; as all of them do", kind) for text, kind in FEW]
REFUSED = {
    "no such column": (table(FEW), {"text": ["message"]}, "has no column message; it has note, kind: correct preprocess.text"),
    "a separator": (table(FEW).replace(",", ";"), {}, "has no column note; it has note;kind: with ',' between cells it has one"),
    "no header": (table(FEW, ""), {"format": {"header": False}}, "with preprocess.format.header: false columns are called column 1"),
    "an encoding": (table([("gr\u00fcn", "a")]).encode("cp1252"), {}, "say its encoding with `encoding` in preprocess.format"),
    "too much that is bad": (table([*FEW, *[("", "a")] * 9]), {}, "9 of 49 items are bad, more than max_bad_fraction (0.1) allows: "),
    "one class": (table([(text, "a") for text, _ in FEW]), {}, "train has 1 classes (a), but the task binary needs two: check"),
    "three classes": (table([*FEW, ("x", "c")]), {}, "train has 3 classes (bad, c, good), but the task binary needs two"),
    "nothing": ("note,kind\n", {}, "there are no texts in it (keys: preprocess.file, preprocess.folders)"),
    "a workbook": (b"PK\3\4", {}, "is a workbook or another zip file by its content"),
    "texts as labels": (table([(kind, text) for text, kind in FEW]), {}, "has more than 30 different labels, such as "),
    "a class of none": (table(FEW), {"task": "multiclass", "classes": ["bad", "good", "so-so"]}, "The class 'so-so' has no item"),
    "copies alone": (
        table(GROWN),
        {"keep_copies_together": True},
        "preprocess.keep_copies_together is true, and what it keeps together, 40 of 40 texts at most, leaves none for test: set it to ",
    ),
}


@pytest.mark.parametrize(("content", "section", "named"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_in_one_sentence(place, monkeypatch, content, section, named):
    monkeypatch.setattr("stages.datasets.text.MAX_CLASSES", 30)
    write(place, {"a.csv": content}, **{"file": "a.csv"} | TABLE | section)
    said = place.refusal()
    assert named in said and "\n" not in said


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({}, "expected either file, or folders"),
        ({"file": "a.csv"}, "expected text and label"),
        ({"folders": ["class"], "label": "a"}, "which folders say"),
        ({"folders": ["class", "class"]}, "once in folders"),
        ({"folders": ["split"], "test_fraction": 0.2}, "expected either test_fraction, or what says the test split"),
        ({"folders": [], "test_fraction": None}, "expected either test_fraction, or what says the test split"),
        ({"folders": [], "label_separator": "|"}, "expected no label_separator"),
        ({"folders": [], "classes": ["a", " b"]}, "expected classes that are all different, as they are shown"),
        ({"file": {"train": "a.csv"}, "test_fraction": None} | TABLE, "test"),
    ],
)
def test_keys_that_do_not_fit_each_other_are_refused(section, named):
    with pytest.raises(ValueError, match=named):
        Preprocess.model_validate({key: value for key, value in (SECTION | section).items() if value is not None})


# Files in folders


def test_other_files_links_and_other_depths_are_passed_over_or_named(tmp_path, capsys):
    raw = tmp_path / "raw"
    for name in (
        "a/1.txt",
        "a/.DS_Store",
        "__MACOSX/a/1.txt",
        "README.md",
        "2.txt",
        "a/b/3.txt",
        "a/Thumbs.db",
        ".git/4.txt",
        "d/e/1.txt",
        "a/7.txt",
    ):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_text("text")
    (tmp_path / "secret.txt").write_text("secret")
    (raw / "a/5.txt").symlink_to(tmp_path / "secret.txt")
    (raw / "a/6.txt").write_bytes("größe".encode("cp1252"))
    (raw / "c").symlink_to(tmp_path)
    left_out, form = frozenset({"d", "a/7.txt"}), TextFormat(encoding="cp1252")
    found = {one.name: one.problem or one.text for one in texts_below(raw, ["class"], "file", form, 50, left_out)}
    assert found == {
        "a/1.txt": "text",
        "a/5.txt": "is a link to a file elsewhere",
        "a/6.txt": "größe",
        "2.txt": "lies 0 folders deep; preprocess.folders has 1",
        "a/b/3.txt": "lies 2 folders deep; preprocess.folders has 1",
    }
    assert "files that are not .txt are passed over, 1: README.md" in capsys.readouterr().err
    (found,) = (one for one in texts_below(raw, ["class"], "file", TextFormat(), 50) if one.name == "a/6.txt")
    assert found.problem == "is not text in utf-8 (key: format.encoding)"


def test_no_more_of_a_file_is_read_than_counts_wherever_a_character_ends(tmp_path):
    for number, character in enumerate("xé文\U0001f98a"):
        (tmp_path / f"{number}.txt").write_text("a" + character * 100_000, encoding="utf-8")
    for one in texts_below(tmp_path, [], "file", TextFormat(), 10):
        assert not one.problem and 40 <= len(one.text) <= 200
    with pytest.raises(UserError, match="longer than 1,048,576 characters"):
        (tmp_path / "0.txt").write_text("a" * (1 << 21))
        list(texts_below(tmp_path, [], "line", TextFormat(), 10))
