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


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_every_part_is_taken_by_its_files_name_says_what_it_is_and_has_what_the_stages_ask_for():
    for shelf in ("sources", "datasets", "architectures"):
        names = part_names(shelf)
        files = {path.name for path in (ROOT / "stages" / shelf).iterdir() if path.name not in ("__init__.py", "__pycache__")}
        assert {f"{name}.py" for name in names} == files and names == sorted(names)
        for name in names:
            part = take_part(shelf, name, "key")
            assert part.__file__ == str(ROOT / "stages" / shelf / f"{name}.py") and (part.__doc__ or "").strip()
    for part in (take_part("datasets", name, "key") for name in part_names("datasets")):
        assert issubclass(part.Preprocess, Section) and parameters(part.read) == [
            *("raw", "preprocess", "seed"),
            *(["schema"] if hasattr(part, "pinned") else []),
        ]
        if hasattr(part, "pinned"):
            assert issubclass(part.Schema, Section) and parameters(part.pinned) == ["dataset", "preprocess"]
        assert all(hasattr(part.Preprocess, name) or name in part.Preprocess.model_fields for name in ("task", "input_kind"))
    for part in (take_part("sources", name, "key") for name in part_names("sources")):
        fields = part.Source.model_fields
        assert issubclass(part.Source, Section)
        assert ("sample" in fields) == hasattr(part, "STAND_IN"), "a stand-in says that it is one"
        if "sample" in fields or "official" not in fields:
            assert parameters(part.generate) == ["raw", "source"]
    for name in part_names("architectures"):
        part = take_part("architectures", name, "key")
        assert issubclass(part.Params, Section) and parameters(part.build) == ["params", "meta"]
        assert get_args(part.Params.model_fields["name"].annotation) == (name,), "its params carry its file's name"
        if hasattr(part, "load_pretrained"):
            assert parameters(part.load_pretrained) == ["network", "params", "meta"]


@pytest.mark.parametrize("name", ["cnm", "", "CNN", "cnn.py", "../common/params", "common.params", "__init__", "cnn\n", 3, None, ["cnn"]])
def test_a_name_that_no_file_has_is_refused_with_the_key_and_the_names(name):
    with pytest.raises(UserError) as refused:
        take_part("architectures", name, "models.mine.architecture.name")
    assert str(refused.value) == (
        f"params.yaml: models.mine.architecture.name is {name!r}; expected one of "
        f"{', '.join(part_names('architectures'))} (the files in stages/architectures/)."
    )


def test_a_new_file_on_a_shelf_is_a_new_part(tmp_path, monkeypatch):
    """No list to add it to: the file is the registry."""
    (tmp_path / "architectures").mkdir()
    (tmp_path / "architectures/perceptron_1958.py").write_text("build = 'Rosenblatt'\n")
    monkeypatch.setattr(shelves, "STAGES", tmp_path)
    monkeypatch.setattr(stages.architectures, "__path__", [str(tmp_path / "architectures")])
    assert part_names("architectures") == ["perceptron_1958"]
    assert take_part("architectures", "perceptron_1958", "key").build == "Rosenblatt"
