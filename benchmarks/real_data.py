"""A clone of this repository in which the real data is used, for the benchmarks that need it.

Where the committed params.yaml cannot be used the clone's is changed: `source: official`; CIFAR-10 comes from the JPEG copy in the
mirror (source and dataset cifar10_jpeg, added here).
"""

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]

JPEG_SOURCE = {
    "kind": "files",
    "official": [
        {"path": f"cifar10_jpeg/{split}.zip", "sha256": sha256, "unpack": {"max_megabytes": 200, "folder": split}}
        for split, sha256 in (
            ("train", "db1d97e295438a1fc80ebc6ea1a1c56bd627cf900e10c0feb7dc09b6c8c9aece"),
            ("test", "6c887066a4086d1a396d7bdf9015dd0af187d06e9edad255daea6ab4158f39a0"),
        )
    ],
}
JPEG_DATASET = {
    "kind": "pictures",
    "raw": "data/cifar10_jpeg/raw",
    "about": {
        "use": "To tell ten kinds of vehicles and animals apart in pictures of 32x32.",
        "limits": "The pictures are CIFAR-10's, encoded again as JPEG, which is lossy: figures are lower than on the original.",
        "licence": "none stated by its makers",
    },
    "preprocess": {
        "task": "multiclass",
        "train": "train",
        "test": "test",
        "resize": None,
        "crop": 32,
        "train_crop": 32,
        "normalize": "train",
        "val_fraction": 0.1,
        "max_bad_fraction": 0.0,
    },
}


def require_mirror(parser: argparse.ArgumentParser) -> None:
    """The official files come from a folder, wherever the clone is."""
    if not os.environ.get("DATASETS_MIRROR"):
        parser.error("set DATASETS_MIRROR to a folder with the official files")
    os.environ["DATASETS_MIRROR"] = str(Path(os.environ["DATASETS_MIRROR"]).resolve())


def make_clone(work: Path) -> Path:
    """A clone of the committed state; an earlier one is brought to it, so that what has not changed is not rebuilt."""
    if not (work / ".git").exists():
        work.parent.mkdir(parents=True, exist_ok=True)
        run(["git", "clone", "--quiet", str(ROOT), str(work)], work.parent)
    run(["git", "fetch", "--quiet", str(ROOT), "HEAD"], work)
    run(["git", "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"], work)
    return work


def environment() -> dict[str, str]:
    """This process's, with this Python's programs first."""
    return {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}


def run(command: list[str], folder: Path) -> str:
    """Run a command with this Python's programs first; its standard output."""
    finished = subprocess.run(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if finished.returncode:
        sys.exit(f"{' '.join(command)} failed in {folder}:\n{finished.stdout}")
    return finished.stdout


def build_data(clone: Path, datasets: list[str]) -> None:
    """The processed data of the clone, by DVC.

    Where that is not installed, as on a machine that only trains, by the stages themselves; then what is there is taken as it is.
    """
    if importlib.util.find_spec("dvc"):
        run([sys.executable, "-m", "dvc", "repro", "--quiet", *(f"audit@{dataset}" for dataset in datasets)], clone)
        return
    for dataset in datasets:
        if not (clone / "data" / dataset / "processed" / "meta.json").exists():
            raw = Path(YAML(typ="safe").load(clone / "params.yaml")["datasets"][dataset]["raw"])
            if not (clone / raw).exists():
                run([sys.executable, "-m", "stages.download", raw.parent.name], clone)
            run([sys.executable, "-m", "stages.check", "params.yaml"], clone)
            run([sys.executable, "-m", "stages.preprocess", dataset], clone)
            run([sys.executable, "-m", "stages.audit", dataset], clone)


def change_params(path: Path, seed: int, threads: int) -> None:
    yaml = YAML()
    yaml.width = 4096
    params = yaml.load(path)
    params["source"] = "official"
    params["runtime"]["seed"], params["runtime"]["threads"] = seed, threads
    params["sources"]["cifar10_jpeg"], params["datasets"]["cifar10_jpeg"] = JPEG_SOURCE, JPEG_DATASET
    for model in ("cifar10_cnn", "cifar10_resnet"):
        params["models"][model]["dataset"] = "cifar10_jpeg"
    yaml.dump(params, path)
