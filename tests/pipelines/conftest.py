"""The small pipeline in a repository of its own."""

import pytest

from tests.pipelines.small import make_small


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A repository with the small pipeline, in which nothing has run yet; the current folder."""
    folder = tmp_path / "small"
    folder.mkdir()
    monkeypatch.chdir(folder)
    make_small(folder)
    return folder
