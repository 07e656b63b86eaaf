"""params.yaml is read as YAML 1.2 and every mistake in it ends in one sentence that names the place."""

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, model_validator

from stages.common.params import Runtime, Section, check_section, check_source, look_up, read_params, read_section
from stages.shell.errors import UserError
from tests.toy import RUNTIME


class Blade(Section):
    width: int
    teeth: list[int]


class Plough(Section):
    """A section with every sort of thing in it."""

    name: str
    depth: float = Field(gt=0)
    count: int = Field(ge=1)
    pulled_by: Literal["ox", "horse"]
    wheels: bool
    blade: Blade
    spare: Blade | None

    @model_validator(mode="after")
    def _an_ox_is_slow(self) -> "Plough":
        if self.pulled_by == "ox" and self.depth > 1:
            raise ValueError("expected depth of at most 1 for an ox")
        return self


BLADE: dict[str, Any] = {"width": 3, "teeth": [1, 2]}
PLOUGH: dict[str, Any] = {"name": "a", "depth": 0.5, "count": 2, "pulled_by": "ox", "wheels": True, "blade": BLADE, "spare": None}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(content: str | bytes) -> str:
    Path("params.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as refused:
        read_params()
    return str(refused.value)


def test_yaml_is_read_as_version_1_2() -> None:
    Path("params.yaml").write_text("a: no\nb: 1e-3\nc: 010\nd: null\ne: 1_000\nf: [1, 2.0, 'x']\ng: on\nh: 1.0e-4\n")
    assert read_params() == {"a": "no", "b": 0.001, "c": 10, "d": None, "e": 1000, "f": [1, 2.0, "x"], "g": "on", "h": 0.0001}


def test_what_is_read_is_plain() -> None:
    Path("params.yaml").write_text("a: {b: [{c: 1}]}\n")
    params = read_params()
    assert [type(params), type(params["a"]), type(params["a"]["b"]), type(params["a"]["b"][0])] == [dict, dict, list, dict]


@pytest.mark.parametrize("content", ["\ufeffa: ü\n", "a: ü\r\n", "# a comment\n---\na: ü\n...\n"])
def test_a_byte_order_mark_windows_lines_and_document_marks_change_nothing(content: str) -> None:
    Path("params.yaml").write_bytes(content.encode())
    assert read_params() == {"a": "ü"}


def test_a_missing_file_says_where_to_stand() -> None:
    with pytest.raises(UserError) as refused:
        read_params()
    assert str(refused.value) == "params.yaml is not in this folder: run the command in the root of the repository."


@pytest.mark.parametrize("content", ["", "\n\n", "# only a comment\n", "---\n", "- a\n- b\n", "source\n", "null\n", "3\n"])
def test_a_file_without_keys_is_refused(content: str) -> None:
    assert refusal(content) == "params.yaml must hold keys and values (source, runtime, datasets, models, ...)."


@pytest.mark.parametrize(
    ("content", "place", "problem"),
    [
        ("source: sample\nsource: official\n", "line 2, column 1", 'duplicate key "source"'),
        ("runtime:\n  seed: 0\n  threads: 1\n  seed: 1\n", "line 4, column 3", 'duplicate key "seed"'),
        ("a: {lr: 1, lr: 2}\n", "line 1, column 12", 'duplicate key "lr"'),
        ("a:\n\tb: 1\n", "line 2, column 1", "cannot start any token"),
        ("a: [1, 2\nb: 3\n", "line 2, column 2", "expected ',' or ']'"),
        ("a: {b: 1\n", "line 2, column 1", "expected ',' or '}'"),
        ("a: b: c\n", "line 1, column 5", "mapping values are not allowed"),
        ("a:\n  b: 1\n c: 2\n", "line 3, column 2", "expected"),
        ("a: *lost\n", "line 1, column 4", "undefined alias"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1", "another document"),
        ("a: 'open\n", "line 2, column 1", "found unexpected end of stream"),
    ],
)
def test_broken_yaml_is_named_by_line_and_column(content: str, place: str, problem: str) -> None:
    said = refusal(content)
    assert said.startswith(f"params.yaml {place}: ")
    assert problem in said
    assert said.endswith("; fix the file and run again.")


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [touch pwned]", "!!python/name:os.system", "!mine 3"])
def test_a_tag_never_makes_an_object(tag: str) -> None:
    assert "could not determine a constructor" in refusal(f"a: {tag}\n")
    assert [path.name for path in Path.cwd().iterdir()] == ["params.yaml"]


@pytest.mark.parametrize("content", [b"a: \xff\xfe\n", b"a: \x00\n", b"a: \x07\n", b"a: 2026-13-01\n", b"a: !!int x\n", b"\x80\x81PNG"])
def test_what_is_not_text_or_not_a_value_is_refused(content: bytes) -> None:
    assert refusal(content).startswith("params.yaml: not valid YAML (")


def test_looking_up_finds_values_at_any_depth() -> None:
    params = {"models": {"cnn": {"train": {"lr": 0.1, "schedule": None}}}}
    assert look_up(params, "models", "cnn", "train", "lr") == 0.1
    assert look_up(params, "models", "cnn", "train", "schedule") is None
    assert look_up(params) is params


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("modles",), "params.yaml has no modles; known there: source, models."),
        (("models", "cmn"), "params.yaml has no models.cmn; known there: cnn, mlp."),
        (("models", "cnn", "lr"), "params.yaml has no models.cnn.lr; known there: none."),
        (("source", "kind"), "params.yaml has no source.kind; known there: none."),
        (("models", "mlp", "lr", "x"), "params.yaml has no models.mlp.lr; known there: none."),
    ],
)
def test_a_key_that_is_not_there_is_refused_with_those_that_are(keys: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as refused:
        look_up({"source": "sample", "models": {"cnn": {}, "mlp": None}}, *keys)
    assert str(refused.value) == said


def test_a_section_is_read_by_its_keys() -> None:
    Path("params.yaml").write_text(f"tools:\n  first: {PLOUGH}\n".replace("True", "true").replace("None", "null").replace("'", ""))
    plough = read_section(Plough, "tools", "first")
    assert (plough.depth, plough.blade.teeth, plough.spare) == (0.5, [1, 2], None)


def test_a_section_cannot_be_changed() -> None:
    plough = check_section(Plough, PLOUGH, "tools")
    with pytest.raises(ValueError, match="frozen"):
        plough.depth = 0.4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dept": 1}, "plough.dept is not a known key (known: name, depth, count, pulled_by, wheels, blade, spare)"),
        ({"depth": 0}, "plough.depth is 0; expected greater than 0"),
        ({"depth": "0.5"}, "plough.depth is '0.5'; expected a valid number"),
        ({"depth": True}, "plough.depth is true; expected a valid number"),
        ({"depth": float("nan")}, "plough.depth is nan; expected a finite number"),
        ({"depth": float("inf")}, "plough.depth is inf; expected a finite number"),
        ({"depth": None}, "plough.depth is null; expected a valid number"),
        ({"count": 2.0}, "plough.count is 2.0; expected a valid integer"),
        ({"count": "2"}, "plough.count is '2'; expected a valid integer"),
        ({"count": True}, "plough.count is true; expected a valid integer"),
        ({"count": 0}, "plough.count is 0; expected greater than or equal to 1"),
        ({"wheels": 1}, "plough.wheels is 1; expected a valid boolean"),
        ({"wheels": "yes"}, "plough.wheels is 'yes'; expected a valid boolean"),
        ({"name": 3}, "plough.name is 3; expected a valid string"),
        ({"pulled_by": "mule"}, "plough.pulled_by is 'mule'; expected 'ox' or 'horse'"),
        ({"blade": BLADE | {"with": 1}}, "plough.blade.with is not a known key"),
        ({"blade": BLADE | {"width": "3"}}, "plough.blade.width is '3'; expected a valid integer"),
        ({"blade": BLADE | {"teeth": [1, "x"]}}, "plough.blade.teeth.1 is 'x'; expected a valid integer"),
        ({"blade": BLADE | {"teeth": 3}}, "plough.blade.teeth is 3; expected a valid list"),
        ({"blade": None}, "plough.blade is null; expected a section of keys and values"),
        ({"spare": 3}, "plough.spare is 3; expected a section of keys and values, or null"),
        ({"depth": 2}, "expected depth of at most 1 for an ox"),
    ],
)
def test_a_mistake_is_named_by_its_key(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as refused:
        check_section(Plough, PLOUGH | changes, "plough")
    assert str(refused.value).startswith("params.yaml: plough")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", list(PLOUGH))
def test_nothing_has_a_default(key: str) -> None:
    with pytest.raises(UserError) as refused:
        check_section(Plough, {other: value for other, value in PLOUGH.items() if other != key}, "models.mine.plough")
    assert str(refused.value) == f"params.yaml: models.mine.plough.{key} is missing: add it{' (it may be null)' if key == 'spare' else ''}."


def test_all_mistakes_of_a_section_are_said_at_once() -> None:
    with pytest.raises(UserError) as refused:
        check_section(Plough, PLOUGH | {"depht": 1, "count": "x"}, "plough")
    assert "plough.depht is not a known key" in str(refused.value)
    assert "plough.count is 'x'" in str(refused.value)


def test_the_root_has_no_name_of_its_own() -> None:
    with pytest.raises(UserError) as refused:
        check_section(Blade, {"width": 1, "teeth": [], "depth": 2}, "")
    assert str(refused.value) == "params.yaml: depth is not a known key (known: width, teeth)."


@pytest.mark.parametrize("values", [None, [], [PLOUGH], "plough", 3])
def test_a_section_that_is_no_section_is_refused(values: object) -> None:
    with pytest.raises(UserError, match=r"^params.yaml: plough is .*; expected a section of keys and values"):
        check_section(Plough, values, "plough")


@pytest.mark.parametrize("source", ["sample", "official"])
def test_a_source_is_one_of_two(source: str) -> None:
    assert check_source(source) == source


@pytest.mark.parametrize("source", ["Sample", "oficial", "", None, True, 0, ["sample"], {"sample": 1}])
def test_another_source_is_refused(source: object) -> None:
    with pytest.raises(UserError) as refused:
        check_source(source)
    assert str(refused.value) == f"params.yaml: source is {source!r}; expected sample or official."


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": -1}, "runtime.seed"),
        ({"seed": 2**31}, "runtime.seed"),
        ({"seed": 0.0}, "runtime.seed"),
        ({"threads": 0}, "runtime.threads"),
        ({"threads": "auto"}, "runtime.threads"),
        ({"device": "gpu"}, "runtime.device"),
        ({"device": "cuda:1"}, "runtime.device"),
        ({"mixed_precision": "true"}, "runtime.mixed_precision"),
        ({"workers": 2}, "runtime.workers"),
    ],
)
def test_a_wrong_runtime_is_refused(changes: dict[str, Any], key: str) -> None:
    assert check_section(Runtime, RUNTIME, "runtime").threads == 1
    with pytest.raises(UserError, match=f"^params.yaml: {key} is "):
        check_section(Runtime, RUNTIME | changes, "runtime")


@pytest.mark.parametrize("content", ["a: !!bool abc\n", 'a: !!int ""\n'])
def test_a_value_that_is_not_what_its_tag_says_is_refused(content: str) -> None:
    assert refusal(content).startswith("params.yaml: not valid YAML")


@pytest.mark.parametrize("content", ["a: " + "[" * 3000 + "]" * 3000, "a: " + "[" * 25 + "]" * 25, "a: &b [*b]\n", "a: &b {c: *b}\n"])
def test_what_is_nested_too_deeply_or_in_itself_is_refused(content: str) -> None:
    assert refusal(content).startswith("params.yaml is nested more than 20 deep, or an alias contains itself")


def test_aliases_that_swell_are_shown_in_short() -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]
    Path("params.yaml").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError) as refused:
        check_section(Plough, read_params()["l9"], "plough")
    assert len(str(refused.value)) < 10_000


def test_a_number_of_thousands_of_digits_is_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match="is a number of thousands of digits; expected"):
        check_section(Plough, PLOUGH | {next(iter(PLOUGH)): 16**5000}, "plough")
