"""Editing YAML by lines: an entry goes or is renamed, and every other byte stays, on the real files and on odd ones."""

from pathlib import Path

import pytest

from entries.lines import LayoutError, parse, replaced, without

PARAMS, GRAPH = ((Path(__file__).parents[2] / name).read_bytes().decode() for name in ("params.yaml", "dvc.yaml"))


def removed_lines(before, after):
    """The lines that `after` lacks, which stood together; all others are as they were."""
    before, after = before.splitlines(keepends=True), after.splitlines(keepends=True)
    first = next((place for place, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), len(after))
    last = first + len(before) - len(after)
    assert before[:first] + before[last:] == after
    return before[first:last]


def test_all_entries_of_params_yaml_can_go_one_after_another():
    text, expected = PARAMS, parse(PARAMS)
    sections = ("sources", "datasets", "models")
    for keys in [(section, name) for section in sections for name in reversed(expected[section])]:
        (section, name), left = keys, without(text, keys)
        del expected[section][name]
        if expected[section]:
            assert [line for line in removed_lines(text, left) if line.startswith(f"  {name}:")]
        assert "\n\n\n" not in left
        text = left
    assert parse(text) == expected
    assert all(f"\n{section}: {{}}\n" in text for section in sections)
    assert [line for line in PARAMS.splitlines() if line.startswith("#")] == [line for line in text.splitlines() if line.startswith("#")]


def test_an_artifact_of_dvc_yaml_goes_with_its_line_alone():
    name = list(parse(GRAPH)["artifacts"])[1]
    assert removed_lines(GRAPH, without(GRAPH, ("artifacts", name))) == [
        f"  {name}: {{path: models/{name}/exported/model.onnx, type: model}}\n"
    ]


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
    ("text", "keys", "why"),
    [
        ("m: {a: 1, b: 2}\n", ("m", "a"), "not on lines of its own"),
        ("m:\n- a: 1\n  b: 2\n", ("m", 0, "a"), "not on lines of its own"),
        ("m:\n  a: &base {x: 1}\n  b: *base\n", ("m", "a"), "anchor"),
        ("base: &base\n  a: 1\nm:\n  <<: *base\n  b: 2\n", ("m", "a"), "merged"),
    ],
)
def test_what_lines_cannot_do_is_refused(text, keys, why):
    with pytest.raises(LayoutError, match=why):
        without(text, keys)


def test_a_word_is_replaced_where_it_stands_and_nowhere_else():
    text = 'a: {"a": b, c: a}  # a\n'
    assert replaced(text, ("a", "a"), "z", is_key=True) == 'a: {"z": b, c: a}  # a\n'
    for name, written in {"z": "z", "2024": '"2024"', "null": '"null"', "1e3": '"1e3"'}.items():
        assert replaced(text, ("a", "c"), name) == f'a: {{"a": b, c: {written}}}  # a\n'


def test_a_word_that_stands_for_others_too_is_left_to_a_person():
    with pytest.raises(LayoutError, match="laid out"):
        replaced("a: &x b\nc: *x\n", ("a",), "z")
