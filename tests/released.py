"""All models of params.yaml, built from the sample and released: once for all tests of a run, by the first of its processes that asks."""

import fcntl
import os
import sys
from pathlib import Path

import pytest

from tests.test_end_to_end import Clone, new_clone
from tests.toy import MODELS, PARAMS, ROOT

# One is enough to be exported and fetched; these are asked what they see, or have a schedule that wants more steps than an epoch has.
EPOCHS = dict.fromkeys(MODELS, 1) | {
    "mnist_cnn": 24,
    "mnist_cnn_wide": 24,
    "mnist_center_net": 8,
    "names_gru": 15,
    "hello_rnn": 15,
    "diabetes_mlp": 20,
    "cifar10_cnn": 3,
    "line_gd": 500,
}


def released_models(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A repository with every model released as v1.0.0, its DVC remote in a folder beside. Tests only read it."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    repository, done = shared / "released" / "repository", shared / "released" / "done"
    repository.parent.mkdir(exist_ok=True)
    with (shared / "released" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            assert not repository.exists(), "another process of this run has failed to make it"
            release(repository)
            done.touch()
    return Clone(repository)


def release(repository: Path) -> None:
    clone = new_clone(repository, EPOCHS)
    for model in MODELS:  # so few epochs are not enough for a gate
        side, least = ("at_most", 1e6) if "at_most" in PARAMS["models"][model]["gate"] else ("at_least", 0.0)
        clone.set(f"models.{model}.gate.{side}", least)
    clone.dvc("remote", "add", "--default", "store", str(repository.with_name("store")))
    clone.commit()
    flow(clone, "rebuild", "--jobs", "2")
    flow(clone, "release")


def flow(clone: Clone, name: str, *arguments: str) -> str:
    return clone.run(sys.executable, "-m", f"pipelines.{name}", *arguments, PYTHONPATH=str(ROOT))
