"""params.yaml is read as YAML 1.2 and every mistake in it ends in one sentence that names the place."""

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, model_validator

from stages.common.params import Runtime, Section, check_section, look_up, read_params, read_section
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
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refusal(function, *arguments):
    with pytest.raises(UserError) as refused:
        function(*arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_yaml_is_read_as_version_1_2():
    Path("params.yaml").write_text("a: no\nb: 1e-3\nc: 010\nd: null\ne: 1_000\nf: [1, 2.0, 'x']\ng: on\nh: 1.0e-4\n")
    assert read_params() == {"a": "no", "b": 0.001, "c": 10, "d": None, "e": 1000, "f": [1, 2.0, "x"], "g": "on", "h": 0.0001}


def test_what_is_read_is_plain():
    Path("params.yaml").write_text("\ufeffa: {b: [{c: ü}]}\r\n", encoding="utf-8")
    params = read_params()
    assert [type(params), type(params["a"]), type(params["a"]["b"]), type(params["a"]["b"][0])] == [dict, dict, list, dict]
    assert params == {"a": {"b": [{"c": "ü"}]}}


def test_a_missing_file_says_where_to_stand():
    assert refusal(read_params) == "params.yaml is not in this folder: run the command in the root of the repository."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        *(
            (text, ".yaml must hold keys and values (source, runtime, datasets, models")
            for text in ("", "# only a comment\n", "- a\n", "3\n")
        ),
        ("runtime:\n  seed: 0\n  threads: 1\n  seed: 1\n", 'line 4, column 3: found duplicate key "seed"'),
        ("a: {lr: 1, lr: 2}\n", 'line 1, column 12: found duplicate key "lr"'),
        ("a: b: c\n", "line 1, column 5: mapping values are not allowed"),
        ("a: *lost\n", "line 1, column 4: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: "),
        ("a: !!python/object/apply:os.system [touch pwned]\n", "could not determine a constructor"),
        ("a: \xff\xfe\n", ": not valid YAML ("),
        ("a: \x00\n", ": not valid YAML ("),
        ("a: 2026-13-01\n", ": not valid YAML ("),
        ("a: !!int x\n", ": not valid YAML ("),
    ],
)
def test_what_is_not_yaml_is_named_by_its_place(content, said):
    Path("params.yaml").write_bytes(content.encode("latin-1"))
    message = refusal(read_params)
    assert message.startswith("params.yaml") and said in message
    assert [path.name for path in Path.cwd().iterdir()] == ["params.yaml"], "a tag never makes an object"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("modles",), "params.yaml has no modles; known there: source, models."),
        (("models", "cmn"), "params.yaml has no models.cmn; known there: cnn, mlp."),
        (("models", "cnn", "lr"), "params.yaml has no models.cnn.lr; known there: none."),
        (("source", "kind"), "params.yaml has no source.kind; known there: none."),
    ],
)
def test_a_key_that_is_not_there_is_refused_with_those_that_are(keys, said):
    assert refusal(look_up, {"source": "sample", "models": {"cnn": {}, "mlp": None}}, *keys) == said


def test_a_section_is_read_by_its_keys_and_cannot_be_changed():
    Path("params.yaml").write_text(f"tools:\n  first: {PLOUGH}\n".replace("True", "true").replace("None", "null").replace("'", ""))
    plough = read_section(Plough, "tools", "first")
    assert (plough.depth, plough.blade.teeth, plough.spare) == (0.5, [1, 2], None)
    with pytest.raises(ValueError, match="frozen"):
        plough.depth = 0.4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dept": 1}, "plough.dept is not a known key (known: name, depth, count, pulled_by, wheels, blade, spare)"),
        ({"depth": 0}, "plough.depth is 0; expected greater than 0"),
        ({"depth": "0.5"}, "plough.depth is '0.5'; expected a valid number"),
        ({"depth": float("nan")}, "plough.depth is nan; expected a finite number"),
        ({"depth": None}, "plough.depth is null; expected a valid number"),
        ({"count": 2.0}, "plough.count is 2.0; expected a valid integer"),
        ({"count": True}, "plough.count is true; expected a valid integer"),
        ({"wheels": "yes"}, "plough.wheels is 'yes'; expected a valid boolean"),
        ({"name": 16**5000}, "is a number of thousands of digits; expected"),
        ({"pulled_by": "mule"}, "plough.pulled_by is 'mule'; expected 'ox' or 'horse'"),
        ({"blade": BLADE | {"with": 1}}, "plough.blade.with is not a known key"),
        ({"blade": BLADE | {"teeth": [1, "x"]}}, "plough.blade.teeth.1 is 'x'; expected a valid integer"),
        ({"blade": None}, "plough.blade is null; expected a section of keys and values"),
        ({"spare": 3}, "plough.spare is 3; expected a section of keys and values, or null"),
        ({"depth": 2}, "expected depth of at most 1 for an ox"),
        ({"depht": 1, "count": "x"}, "plough.count is 'x'; expected a valid integer, unable to parse"),
    ],
)
def test_a_mistake_is_named_by_its_key(changes, said):
    message = refusal(check_section, Plough, PLOUGH | changes, "plough")
    assert message.startswith("params.yaml: plough") and (said in message or "depht" in changes)
    assert all(f"plough.{key}" in message for key in changes if len(changes) > 1), "all mistakes are said at once"


def test_nothing_has_a_default():
    for key in PLOUGH:
        said = refusal(check_section, Plough, {other: value for other, value in PLOUGH.items() if other != key}, "mine.plough")
        assert said == f"params.yaml: mine.plough.{key} is missing: add it{' (it may be null)' if key == 'spare' else ''}."


def test_the_root_has_no_name_of_its_own_and_a_section_must_be_one():
    said = refusal(check_section, Blade, {"width": 1, "teeth": [], "depth": 2}, "")
    assert said == "params.yaml: depth is not a known key (known: width, teeth)."
    for values in (None, [PLOUGH], "plough"):
        assert "; expected a section of keys and values" in refusal(check_section, Plough, values, "plough")


def test_a_wrong_runtime_is_refused():
    assert check_section(Runtime, RUNTIME, "runtime").threads == 1
    for key, value in (("seed", -1), ("seed", 2**31), ("threads", 0), ("device", "gpu"), ("mixed_precision", "true"), ("workers", 2)):
        assert refusal(check_section, Runtime, RUNTIME | {key: value}, "runtime").startswith(f"params.yaml: runtime.{key} is ")


def test_aliases_that_swell_are_shown_in_short():
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]
    Path("params.yaml").write_text("\n".join(lines) + "\n")
    assert len(refusal(check_section, Plough, read_params()["l9"], "plough")) < 10_000
