"""The small pipeline, built."""

import contextlib
import shutil

import pytest

from pipelines.dvc.pipeline import Pipeline
from tests.pipelines.small import make_small, rebuild


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    make_small(folder)
    with contextlib.chdir(folder):
        rebuild(Pipeline(folder, print))
    return folder


@pytest.fixture
def built(template, tmp_path, monkeypatch):
    """A copy of it; the current folder."""
    folder = shutil.copytree(template, tmp_path / "built", symlinks=True)
    monkeypatch.chdir(folder)
    return folder
