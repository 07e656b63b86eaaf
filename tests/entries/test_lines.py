"""Editing YAML by lines: an entry goes or is renamed, and every other byte stays, on the real files and on odd ones."""

import copy
from pathlib import Path

import pytest

from entries.lines import LayoutError, as_word, parse, replaced, without

ROOT = Path(__file__).parents[2]
PARAMS, GRAPH = ((ROOT / name).read_bytes().decode() for name in ("params.yaml", "dvc.yaml"))
DATA = parse(PARAMS)
ENTRIES = [(section, name) for section in ("sources", "datasets", "models") for name in DATA[section]]


def removed_lines(before, after):
    """The lines that `after` lacks, which stood together; all others are as they were."""
    before, after = before.splitlines(keepends=True), after.splitlines(keepends=True)
    first = next((place for place, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), len(after))
    last = first + len(before) - len(after)
    assert before[:first] + before[last:] == after
    return before[first:last]


@pytest.mark.parametrize("keys", ENTRIES, ids=".".join)
def test_any_entry_of_params_yaml_goes_and_all_else_stays(keys):
    after = without(PARAMS, keys)
    expected = copy.deepcopy(DATA)
    del expected[keys[0]][keys[1]]
    said = parse(after)
    assert said == expected and list(said[keys[0]]) == list(expected[keys[0]])
    assert [line for line in removed_lines(PARAMS, after) if line.startswith(f"  {keys[1]}:")]
    assert "\n\n\n" not in after


@pytest.mark.parametrize("name", parse(GRAPH)["artifacts"])
def test_any_artifact_of_dvc_yaml_goes_with_its_line_alone(name):
    assert removed_lines(GRAPH, without(GRAPH, ("artifacts", name))) == [
        f"  {name}: {{path: models/{name}/exported/model.onnx, type: model}}\n"
    ]


def test_all_entries_can_go_one_after_another():
    text, expected = PARAMS, copy.deepcopy(DATA)
    for keys in reversed(ENTRIES):
        text = without(text, keys)
        del expected[keys[0]][keys[1]]
    assert parse(text) == expected
    assert all(f"\n{section}: {{}}\n" in text for section in ("sources", "datasets", "models"))
    assert [line for line in PARAMS.splitlines() if line.startswith("#")] == [line for line in text.splitlines() if line.startswith("#")]


ODD = """\
# of the file

models:   # all of them

  # of a
  a: {x: 1}

  # a heading

  # of b
  # too
  b:
    x: |
      text

      # still text
    y: "two
      lines"
# at the margin, within b
    z: [1,
      2]
    # below b

  "c":
    - 1
  # between

  d: 4
# of the end
other: 5
"""


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("a", "  # of a\n  a: {x: 1}\n\n"),
        ("b", ODD[ODD.index("  # of b\n") : ODD.index('  "c":')]),
        ("c", '  "c":\n    - 1\n'),
        ("d", "\n  d: 4\n"),
    ],
)
def test_comments_go_with_what_they_stand_above_and_others_stay(name, gone):
    assert ODD.count(gone) == 1
    assert without(ODD, ("models", name)) == ODD.replace(gone, "")


def test_the_last_entry_leaves_an_empty_section():
    assert without("a:  # why\n  b: 1\n\nc: 2\n", ("a", "b")) == "a: {}  # why\n\nc: 2\n"
    assert without("a:\n- b: 1\n  c: 2\n", ("a", 0)) == "a: []\n"
    assert without("a:\n- b\n- c", ("a", 1)) == "a:\n- b\n"


def test_line_ends_of_windows_and_odd_characters_stay():
    text = "m:\r\n  a: ü\u2028\x85\r\n\r\n  b: 1\r\n"
    assert without(text, ("m", "b")) == "m:\r\n  a: ü\u2028\x85\r\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("m: {a: 1, b: 2}\n", "not on lines of its own"),
        ("m:\n  a: &base {x: 1}\n  b: *base\n", "anchor"),
        ("base: &base\n  a: 1\nm:\n  <<: *base\n  b: 2\n", "merged"),
        ("m:\n- a: 1\n  b: 2\n", "not on lines of its own"),
    ],
)
def test_what_lines_cannot_do_is_refused(text, why):
    keys = ("m", 0, "a") if "- a" in text else ("m", "a")
    with pytest.raises(LayoutError, match=why):
        without(text, keys)


def test_a_word_is_replaced_where_it_stands_and_nowhere_else():
    text = 'a: {"a": b, c: a}  # a\n'
    assert replaced(text, ("a", "a"), "z", is_key=True) == 'a: {"z": b, c: a}  # a\n'
    assert replaced(text, ("a", "c"), "2024") == 'a: {"a": b, c: "2024"}  # a\n'


def test_a_word_that_stands_for_others_too_is_left_to_a_person():
    with pytest.raises(LayoutError, match="laid out"):
        replaced("a: &x b\nc: *x\n", ("a",), "z")


@pytest.mark.parametrize(("name", "written"), [("plain", "plain"), ("2024", '"2024"'), ("null", '"null"'), ("1e3", '"1e3"')])
def test_a_name_that_would_be_something_else_gets_quotes(name, written):
    assert as_word(name) == written and parse(written) == name
