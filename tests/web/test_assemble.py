"""What of models/ comes onto the page."""

import json

import pytest

from web import assemble


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A repository with two exported models, and a runtime, of empty files."""
    monkeypatch.setattr(assemble, "RUNTIME", tmp_path / "runtime")
    (tmp_path / "runtime").mkdir()
    for name in assemble.VENDORED:
        (tmp_path / "runtime" / name).write_text("")
    for model in ("kept", "gone"):
        (tmp_path / "models" / model / "exported").mkdir(parents=True)
        for name in assemble.EXPORTED:
            (tmp_path / "models" / model / "exported" / name).write_text("")
    return tmp_path


def test_a_model_that_params_yaml_has_no_more_is_left_out_and_named(folder, capsys):
    (folder / "params.yaml").write_text("models: {kept: {}}\n")
    assert assemble.assemble(folder / "page", folder / "models") == 1
    assert json.loads((folder / "page" / "models.json").read_text()) == ["kept"]
    assert not (folder / "page" / "models" / "gone").exists()
    assert capsys.readouterr().out == "left out, without an entry in params.yaml: gone\n"


def test_without_a_params_yaml_all_models_are_on_the_page(folder, capsys):
    assert assemble.assemble(folder / "page", folder / "models") == 2
    assert capsys.readouterr().out == ""


def test_where_only_leftovers_are_exported_there_is_no_page(folder):
    (folder / "params.yaml").write_text("models: {new: {}}\n")
    with pytest.raises(SystemExit, match=r"^error: nothing is exported in "):
        assemble.assemble(folder / "page", folder / "models")


@pytest.mark.parametrize("text", ["models: [", "models:\n", "a: 1\n", "- 1\n"])
def test_a_params_yaml_that_cannot_be_read_is_named(folder, text):
    (folder / "params.yaml").write_text(text)
    with pytest.raises(SystemExit, match=r"^error: .*params\.yaml cannot be read \(.*\): fix it, and run again\.$"):
        assemble.assemble(folder / "page", folder / "models")
