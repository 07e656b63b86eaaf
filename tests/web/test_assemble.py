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
    (folder / "params.yaml").write_text("models:\n  kept: {}\n")
    assert assemble.assemble(folder / "page", folder / "models") == 1
    assert json.loads((folder / "page" / "models.json").read_text()) == ["kept"]
    assert not (folder / "page" / "models" / "gone").exists()
    assert capsys.readouterr().err.endswith("models: left out, without an entry in the params.yaml beside it: gone\n")


def test_where_only_leftovers_are_exported_there_is_no_page(folder):
    (folder / "params.yaml").write_text("models:\n  new: {}\n")
    with pytest.raises(SystemExit, match=r"^error: nothing is exported in "):
        assemble.assemble(folder / "page", folder / "models")
