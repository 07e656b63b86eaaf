"""Repositories that are built once, and copied for each test."""

import contextlib
import shutil
from pathlib import Path

import pytest

from pipelines.dvc.pipeline import Pipeline
from tests.pipelines.small import make_small, rebuild


@pytest.fixture(scope="session")
def made():
    """The folders that copy_of() has made, by the functions that fill them."""
    return {}


@pytest.fixture
def copy_of(made, tmp_path, tmp_path_factory, monkeypatch):
    """Takes a function that fills the current folder; a copy of what it makes is the current folder then."""

    def copy(make):
        if make not in made:
            made[make] = tmp_path_factory.mktemp("made")
            with contextlib.chdir(made[make]):
                make()
        folder = shutil.copytree(made[make], tmp_path / "copy", symlinks=True)
        monkeypatch.chdir(folder)
        return folder

    return copy


def build_small():
    make_small(Path())
    rebuild(Pipeline(Path.cwd(), print))


@pytest.fixture
def built(copy_of):
    """The small pipeline, built."""
    return copy_of(build_small)
