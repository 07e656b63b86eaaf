"""A shelf's parts are found by their files' names, and every part keeps the contract that the stages rely on."""

import inspect
from pathlib import Path
from typing import get_args

import pytest

import stages.architectures
from stages.common import shelves
from stages.common.params import Section
from stages.common.shelves import part_names, take_part
from stages.shell.errors import UserError

ROOT = Path(__file__).parents[3]
SHELVES = ("sources", "datasets", "architectures")


def parameters(function: object) -> list[str]:
    assert callable(function)
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize("shelf", SHELVES)
def test_a_shelf_holds_its_files_and_nothing_else(shelf: str) -> None:
    files = {path.name for path in (ROOT / "stages" / shelf).iterdir() if path.name not in ("__init__.py", "__pycache__")}
    assert {f"{name}.py" for name in part_names(shelf)} == files
    assert part_names(shelf) == sorted(part_names(shelf))


@pytest.mark.parametrize(("shelf", "name"), [(shelf, name) for shelf in SHELVES for name in part_names(shelf)])
def test_every_part_is_taken_by_its_files_name(shelf: str, name: str) -> None:
    assert take_part(shelf, name, "key").__file__ == str(ROOT / "stages" / shelf / f"{name}.py")


@pytest.mark.parametrize("name", part_names("datasets"))
def test_a_kind_of_data_has_what_preprocess_and_the_check_ask_for(name: str) -> None:
    part = take_part("datasets", name, "key")
    assert issubclass(part.Preprocess, Section)
    assert hasattr(part.Preprocess, "task") or "task" in part.Preprocess.model_fields
    assert parameters(part.read) == ["raw", "preprocess", "seed"]


@pytest.mark.parametrize("name", part_names("sources"))
def test_a_source_has_what_download_and_the_check_ask_for(name: str) -> None:
    part = take_part("sources", name, "key")
    assert issubclass(part.Source, Section)
    fields = part.Source.model_fields
    assert ("sample" in fields) == hasattr(part, "STAND_IN"), "a stand-in says that it is one"
    if "sample" in fields or "official" not in fields:
        assert parameters(part.generate) == ["raw", "source"]


@pytest.mark.parametrize("name", part_names("architectures"))
def test_a_family_of_models_has_what_train_and_the_check_ask_for(name: str) -> None:
    part = take_part("architectures", name, "key")
    assert issubclass(part.Params, Section)
    assert get_args(part.Params.model_fields["name"].annotation) == (name,), "its params carry its file's name"
    assert parameters(part.build) == ["params", "meta"]
    if hasattr(part, "load_pretrained"):
        assert parameters(part.load_pretrained) == ["network", "params", "meta"]


@pytest.mark.parametrize(("shelf", "name"), [(shelf, name) for shelf in SHELVES for name in part_names(shelf)])
def test_every_part_says_what_it_is(shelf: str, name: str) -> None:
    assert (take_part(shelf, name, "key").__doc__ or "").strip()


@pytest.mark.parametrize(
    "name", ["cnm", "", "CNN", "cnn.py", "../common/params", "cnn/", "common.params", "__init__", "os", " cnn", "cnn\n", 3, None, ["cnn"]]
)
def test_a_name_that_no_file_has_is_refused_with_the_key_and_the_names(name: object) -> None:
    with pytest.raises(UserError) as refused:
        take_part("architectures", name, "models.mine.architecture.name")  # type: ignore[arg-type]
    assert str(refused.value) == (
        f"params.yaml: models.mine.architecture.name is {name!r}; expected one of "
        f"{', '.join(part_names('architectures'))} (the files in stages/architectures/)."
    )


def test_a_new_file_on_a_shelf_is_a_new_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No list to add it to: the file is the registry."""
    (tmp_path / "architectures").mkdir()
    (tmp_path / "architectures/perceptron_1958.py").write_text("build = 'Rosenblatt'\n")
    monkeypatch.setattr(shelves, "STAGES", tmp_path)
    monkeypatch.setattr(stages.architectures, "__path__", [str(tmp_path / "architectures")])
    assert part_names("architectures") == ["perceptron_1958"]
    assert take_part("architectures", "perceptron_1958", "key").build == "Rosenblatt"
