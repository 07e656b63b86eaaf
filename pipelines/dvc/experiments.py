"""Folders in which experiments are made, beside the workspace."""

import functools
import operator
from pathlib import Path
from typing import Any

from dvc.config import Config
from dvc.config_schema import RelPath
from dvc.repo import Repo
from dvc.repo.experiments.refs import ExpRefInfo
from dvc.utils.serialize import modify_yaml

from pipelines.dvc.errors import refusals
from pipelines.dvc.lock_file import PARAMS


def begin_copy(root: Path, folder: Path) -> None:
    """Makes the files of the repository `root` in `folder` a DVC repository of their own, without git, which shares the cache of `root`.

    Nothing large is copied: what is taken from the cache becomes links into it.
    """
    with refusals():
        own = Repo(str(root))
        settings = own.config.read("local")
        # DVC writes no settings that are not ASCII, so these paths are relative: to the settings' folder, and to the trial's own.
        settings["cache"] |= {"dir": RelPath(own.cache.local_cache_dir), "type": "symlink,copy"}
        settings["core"] |= {"no_scm": True, "site_cache_dir": ".dvc/tmp/site"}
        own.close()
        with Config(str(folder / ".dvc")).edit("local", validate=False) as config:
            config.update({section: values for section, values in settings.items() if values})


def set_params(folder: Path, values: dict[str, Any]) -> None:
    """Writes values into the params.yaml of `folder` by their keys, which are there; its comments stay."""
    with refusals(), modify_yaml(str(folder / PARAMS)) as params:
        for key, value in values.items():
            *parents, last = key.split(".")
            functools.reduce(operator.getitem, parents, params)[last] = value


def experiment_ref(commit: str, name: str) -> str:
    """The git reference that makes a commit upon `commit` an experiment of this name."""
    return str(ExpRefInfo(commit, name))
