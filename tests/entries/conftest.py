import shutil
from pathlib import Path

import pytest

import entries.new
from tests.entries.small import make_small


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small project that looks built. Tests change copies of it only."""
    folder = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_small()
    return folder


@pytest.fixture
def small(made, tmp_path, monkeypatch):
    """A copy of it; the current folder."""
    shutil.copytree(made, tmp_path / "small")
    monkeypatch.chdir(tmp_path / "small")
    return tmp_path / "small"


@pytest.fixture
def quick(monkeypatch):
    """`dvc add` is left to the tests that are about it."""
    monkeypatch.setattr(entries.new, "dvc", lambda _, raw, failed: Path(f"{raw}.dvc").write_text(f"outs: [{{path: raw}}]  # {failed}\n"))
