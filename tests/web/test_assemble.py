"""What of models/ comes onto the page."""

import json
import threading
from pathlib import Path

import pytest
import requests

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


def models_of(page: Path) -> list[str]:
    return [entry["model"] for entry in json.loads((page / "models.json").read_text())]


def test_a_model_that_params_yaml_has_no_more_is_left_out_and_named(folder, capsys):
    (folder / "params.yaml").write_text("models:\n  kept: {}\n")
    assert assemble.assemble(folder / "page", folder / "models") == 1
    assert models_of(folder / "page") == ["kept"]
    assert not (folder / "page" / "models" / "gone").exists()
    assert capsys.readouterr().err.endswith("models: left out, without an entry in the params.yaml beside it: gone\n")


def test_ones_own_models_come_first_and_pictures_are_there_if_they_were_made(folder):
    (folder / "models" / "kept" / "exported" / "signature.json").write_text('{"source": "own"}')
    (folder / "models" / "kept" / "exported" / "learning_curve.png").unlink()
    assert assemble.assemble(folder / "page", folder / "models") == 2
    assert models_of(folder / "page") == ["kept", "gone"]
    (first, _) = json.loads((folder / "page" / "models.json").read_text())
    assert sorted(first["files"]) == sorted(file.name for file in (folder / "page" / "models" / "kept").iterdir())
    assert "learning_curve.png" not in first["files"]
    assert assemble.assemble(folder / "page", folder / "models", ["gone"]) == 1
    assert models_of(folder / "page") == ["gone"]
    with pytest.raises(SystemExit, match=r"^error: other is not exported in .*: there are gone, kept\.$"):
        assemble.assemble(folder / "page", folder / "models", ["gone", "other"])


def test_where_only_leftovers_are_exported_there_is_no_page(folder):
    (folder / "params.yaml").write_text("models:\n  new: {}\n")
    with pytest.raises(SystemExit, match=r"^error: nothing is exported in "):
        assemble.assemble(folder / "page", folder / "models")


def test_a_page_whose_name_is_made_to_point_here_reads_nothing(tmp_path):
    (tmp_path / "models.json").write_text("[]")
    with assemble.listen(tmp_path, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/models.json"
        said = {host: requests.get(address, headers={"Host": host}, timeout=30).status_code for host in ("evil.example", "localhost:1", "")}
        assert (said, requests.get(address, timeout=30).text) == ({"evil.example": 403, "localhost:1": 200, "": 403}, "[]")
        server.shutdown()
