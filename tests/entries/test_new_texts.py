"""`make new` of texts: how files are laid out, which columns are texts and classes, and what is not told."""

import gzip
import json
from pathlib import Path

import pytest

from entries.lines import parse
from stages.datasets.text import Preprocess
from tests.entries.small import file, new, refusal, write

pytestmark = pytest.mark.usefixtures("small", "quick")

FRACTIONS = {"test_fraction": 0.2, "val_fraction": 0.0, "keep_copies_together": True}
TEXTS = [f"{word} number {place} of the day" for place in range(20) for word in ("спам", "Ham, said he,", "चाय", '"茶", ')]
KINDS = ["bad", "good"]


def rows(sign=",", header=(), quote=True, label_first=False):
    lines = [list(header)] if header else []
    for place, text in enumerate(TEXTS):
        cell = '"' + text.replace('"', '""') + '"' if quote else text
        pair = [cell, KINDS[place % 2]]
        lines.append(pair[::-1] if label_first else pair)
    return "".join(f"{sign.join(line)}\n" for line in lines)


SEVERAL = "text,kind\n" + "".join(f"text number {place},{['wet', 'wet|cold', 'cold|wet', ''][place % 4]}\n" for place in range(40))


def made(name="notes"):
    params = parse(Path("params.yaml").read_text())
    dataset, model = params["datasets"][name], params["models"][name]
    assert (dataset["kind"], model["architecture"]["name"], model["train"]) == ("text", "ngrams", {"recipe": "ngrams"})
    Preprocess.model_validate(dataset["preprocess"])
    return {key: value for key, value in dataset["preprocess"].items() if key not in ("max_length", "max_bad_fraction")}


@pytest.mark.parametrize(
    ("name", "content", "told", "expected"),
    [
        ("notes.csv", rows(header=("text", "kind")), [], {"text": ["text"], "label": "kind"}),
        ("notes.csv", rows(), [], {"format": {"header": False}, "text": ["column 1"], "label": "column 2"}),
        (
            "notes.tsv",
            rows("\t", quote=False, label_first=True).replace("Ham, said he,", '"Ham said he'),
            [],
            {"format": {"separator": "\t", "header": False, "quotes": "plain"}, "text": ["column 2"], "label": "column 1"},
        ),
        (
            "notes.csv",
            rows(";", header=("a", "b")).replace("спам", "Größe"),
            ["--encoding", "cp1252"],
            {"format": {"separator": ";", "encoding": "cp1252"}, "text": ["a"], "label": "b"},
        ),
        (
            "notes.csv",
            "id,title,body,kind\n"
            + "".join(f'{place},t{text[:9]!r},"{text}",{KINDS[place % 2]}\n' for place, text in enumerate("ab" * 10)),
            ["--text", "title", "--text", "body", "--target", "kind"],
            {"text": ["title", "body"], "label": "kind"},
        ),
        (
            "notes.jsonl",
            "".join(json.dumps({"body": text, "kind": KINDS[place % 2]}) + "\n" for place, text in enumerate(TEXTS)),
            [],
            {"text": ["body"], "label": "kind"},
        ),
        (
            "notes.jsonl",
            "".join(json.dumps({"body": text, "kind": KINDS[: place % 3]}) + "\n" for place, text in enumerate(TEXTS)),
            [],
            {"text": ["body"], "label": "kind", "task": "multilabel"},
        ),
        (
            "notes.csv",
            SEVERAL,
            ["--set", "task=multilabel", "--set", 'label_separator="|"'],
            {"text": ["text"], "label": "kind", "task": "multilabel", "label_separator": "|"},
        ),
        ("notes.csv", rows(header=("text", "kind")), ["--set", "case=keep"], {"text": ["text"], "label": "kind", "case": "keep"}),
    ],
)
def test_the_layout_and_the_columns_of_a_file_are_found(name, content, told, expected):
    encoding = told[1] if "--encoding" in told else "utf-8"
    if encoding != "utf-8":
        content = content.encode(encoding, errors="ignore").decode(encoding)
    assert new(file(name, content, encoding), *told) == 0
    assert made() == {"file": name, "task": "binary"} | FRACTIONS | expected
    assert Path("data/notes/raw", name).read_bytes() == content.encode(encoding)


def test_a_compressed_file_is_read_and_says_what_it_holds(capsys):
    assert new(file("notes.csv.gz", gzip.compress(rows(header=("text", "kind")).encode())), "--set", "max_length=10") == 0
    said = capsys.readouterr().out
    assert "notes.csv.gz: 80 texts of" in said and "2 classes: bad 40, good 40" in said and "texts in text, classes in kind" in said
    assert "80 are longer than 10 characters, and are cut there (max_length)" in said


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ([{"body": text, "kind": KINDS[: place % 3]} for place, text in enumerate(TEXTS)], "notes.jsonl: 80 texts of"),
        (
            [{"body": text, "kind": KINDS[place % 2]} for place, text in enumerate(TEXTS)] + ["cut"],
            "left out: 1, such as notes.jsonl line 81: expected a JSON object on each line (Unterminated string starting at character 1)",
        ),
    ],
)
def test_what_is_counted_is_what_preprocess_keeps(capsys, objects, said):
    lines = [json.dumps(one) if isinstance(one, dict) else f'"{one}' for one in objects]
    assert new(file("notes.jsonl", "\n".join(lines)), "--dry-run") == 0
    heard = capsys.readouterr().out
    assert said in heard and ("left out" in heard) == ("left out" in said)


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (["bad/{}.txt", "good/{}.txt"], {"folders": ["class"]} | FRACTIONS),
        (
            ["train/bad/{}.txt", "train/good/{}.txt", "test/bad/{}.txt", "test/good/{}.txt"],
            {"folders": ["split", "class"], "val_fraction": 0.0},
        ),
        (["mails/bad/{}.txt", "letters/good/{}.txt"], {"folders": ["any", "class"]} | FRACTIONS),
    ],
)
def test_folders_say_the_classes(capsys, places, expected):
    for number, text in enumerate(TEXTS[:20]):
        for place in places:
            path = Path("../notes", place.format(number))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text} {place}", encoding="utf-8")
    assert new("../notes") == 0
    assert made() == {"task": "binary"} | expected
    assert len(list(Path("data/notes/raw").rglob("*.txt"))) == 20 * len(places)
    assert ("to take folders of level 1 instead (letters, mails): --set 'folders=[class, any]'" in capsys.readouterr().out) == (
        "mails" in places[0]
    )


def test_files_for_the_splits_are_read_as_such_and_splits_inside_classes_are_refused(capsys):
    for name in ("train.csv", "test.csv"):
        Path("../notes").mkdir(exist_ok=True)
        Path("../notes", name).write_text(rows(header=("text", "kind")), encoding="utf-8")
    assert new("../notes") == 0
    files = {"train": "train.csv", "test": "test.csv"}
    assert made() == {"file": files, "text": ["text"], "label": "kind", "task": "binary", "val_fraction": 0.0}
    assert {path.name for path in Path("data/notes/raw").iterdir()} >= set(files.values())
    Path("../notes/test.csv").write_text("text\nhello\n")
    assert "test.csv has no column kind, which train.csv has: give files" in refusal(capsys, "../notes", "--name", "others")
    for place in ("bad/train/1.txt", "bad/test/2.txt", "good/train/3.txt", "good/test/4.txt"):
        write(Path("../mails", place), f"text {place}")
    assert "(train/bad), or say what the folders are (--set 'folders=[class, split]')" in refusal(capsys, "../mails").replace(
        "test/", "train/"
    )
    assert new("../mails", "--set", "folders=[class, split]") == 0
    assert made("mails") == {"folders": ["class", "split"], "task": "binary", "val_fraction": 0.0}


def test_a_file_for_each_class_has_a_text_a_line():
    Path("../notes").mkdir()
    for kind in KINDS:
        Path("../notes", f"{kind}.txt").write_text("".join(f"{text} {kind}\n" for text in TEXTS), encoding="utf-8")
    assert new("../notes") == 0
    assert made() == {"task": "binary", "folders": [], "each": "line"} | FRACTIONS


@pytest.mark.parametrize(
    ("name", "content", "told", "said"),
    [
        ("notes.jsonl", "not json\n", [], "notes.jsonl is not a file with a JSON object on each line"),
        ("notes.jsonl", '{"a": "b", "c": "d"}\n', [], "Which column of notes.jsonl is to be predicted (a, c)?"),
        (
            "notes.csv",
            rows(header=("text", "kind")),
            ["--text", "body", "--target", "kind"],
            "notes.csv has no column 'body'; it has text, kind",
        ),
        ("notes.csv", rows(header=("text", "kind")), ["--text", "text", "--target", "text"], "check --target"),
        ("notes.csv", rows(header=("text", "kind")), ["--set", "max_length=0"], "preprocess.max_length"),
        ("notes.csv", rows(header=("text", "kind")) + f"{'x' * 140_000},bad\n", [], "notes.csv line 82: a cell that begins there has more"),
        (
            "notes.csv",
            rows(header=("text", "kind")) + "x,\x1b[2J\n" * 9,
            [],
            "9 of 89 texts cannot be used, such as notes.csv line 82: has a label of more than 200 characters, or one that cannot be shown",
        ),
        ("notes.csv", SEVERAL + "x,\n" * 9, [], "if wet|cold is several classes, say --set task=multilabel --set 'label_separator=\"|\"'"),
        (
            "notes.csv",
            rows(header=("text", "kind")),
            ["--text", "text", *["--target", "kind"] * 2],
            "one column says the classes of a text",
        ),
        ("notes.json", json.dumps([{"a": "b"}]), [], "holds a list, not a JSON object on each line: write one object a line (jq -c '.[]' "),
        (
            "notes.json",
            json.dumps({"a": [{"b": "c"}]}),
            [],
            """has a list of all: write one object a line (jq -c '.["a"][]' notes.json > """,
        ),
        ("notes.json", json.dumps({"a": "b"}, indent=1), [], "holds objects that go on over several lines: write one object a line"),
        ("notes.jsonl", '{"a": {"b": "c"}, "d": "e"}\n' * 9, [], "flatten each line, so that its keys hold texts and labels themselves"),
    ],
)
def test_what_must_be_told_is_asked_for_in_one_sentence(capsys, name, content, told, said):
    assert said in refusal(capsys, file(name, content), *told)


def test_a_table_with_other_columns_stays_a_table_and_names_its_texts(capsys):
    texts = [text.replace(",", "").replace('"', "") for text in TEXTS]
    content = "size,text,kind\n" + "".join(f"{place * 7 % 50}.5,{text},{KINDS[place % 2]}\n" for place, text in enumerate(texts))
    assert new(file("notes.csv", content), "--target", "kind") == 0
    assert parse(Path("params.yaml").read_text())["datasets"]["notes"]["kind"] == "table"
    assert "text reads like texts: a model of those alone comes of --text 'text'" in capsys.readouterr().out
