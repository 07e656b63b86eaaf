import pytest

from tests.entries.small import make_small


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A small project that looks built; the current folder."""
    folder = tmp_path / "small"
    folder.mkdir()
    monkeypatch.chdir(folder)
    make_small()
    return folder
