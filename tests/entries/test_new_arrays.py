"""`make new` of pictures in arrays: which are pictures and which are labels, and that their classes must be named."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

import entries.networks
from entries.lines import parse
from stages.datasets.arrays import Preprocess
from tests.entries.small import new, refusal

pytestmark = pytest.mark.usefixtures("small", "quick")

CLASSES = ["--classes", "shirt, shoe, bag"]


def pictures(number, shape=(8, 8)):
    return np.random.default_rng(0).integers(0, 256, (number, *shape)).astype(np.uint8), (np.arange(number) % 3).astype(np.uint8)


def idx(values):
    return struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def in_idx():
    folder = Path("../clothes")
    folder.mkdir()
    for name, number in (("train", 30), ("t10k", 12)):
        x, y = pictures(number)
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(x)))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(y))
    (folder / "README").write_text("Zalando's")
    return str(folder.resolve())


def in_npz(**arrays):
    np.savez("../clothes.npz", **arrays)
    return str(Path("../clothes.npz").resolve())


def in_npy():
    x, y = pictures(30, (8, 9, 3))
    folder = Path("../clothes")
    folder.mkdir()
    np.save(folder / "X.npy", x)
    np.save(folder / "Y.npy", y.astype(np.int64))
    return str(folder.resolve())


def of(split, pictures, labels):
    return {split: {"pictures": pictures, "labels": labels}}


X, Y = pictures(30)
EACH = [
    (
        in_idx,
        of("train", "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte")
        | of("test", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte")
        | {"val_fraction": 0.0},
    ),
    (
        lambda: in_npz(x_train=X, y_train=Y),
        of("train", "clothes.npz/x_train", "clothes.npz/y_train") | {"test_fraction": 0.2, "val_fraction": 0.0},
    ),
    (
        lambda: in_npz(trainImages=X, trainLabels=Y[:, None], val_images=X[:9], val_labels=Y[:9], test_images=X[:6], test_labels=Y[:6]),
        of("train", "clothes.npz/trainImages", "clothes.npz/trainLabels")
        | of("val", "clothes.npz/val_images", "clothes.npz/val_labels")
        | of("test", "clothes.npz/test_images", "clothes.npz/test_labels"),
    ),
    (in_npy, of("train", "X.npy", "Y.npy") | {"test_fraction": 0.2, "val_fraction": 0.0}),
]


@pytest.mark.parametrize(("data", "expected"), EACH, ids=["idx", "npz", "three splits", "npy"])
def test_pictures_and_labels_are_told_by_their_shapes_and_splits_by_names(data, expected):
    new(data(), *CLASSES)
    params = parse(Path("params.yaml").read_text())
    dataset, model = params["datasets"]["clothes"], params["models"]["clothes"]
    assert dataset["preprocess"] == {"classes": ["shirt", "shoe", "bag"], "resize": 256, "normalize": "symmetric"} | expected
    assert (dataset["kind"], model["architecture"]["name"], model["train"]) == ("arrays", "efficientnet_lite", {"recipe": "head"})
    Preprocess.model_validate(dataset["preprocess"])
    used = {part[key].partition(".npz/")[0] for part in expected.values() if isinstance(part, dict) for key in part}
    assert {path.name.removesuffix(".npz") for path in Path("data/clothes/raw").iterdir()} == used


def test_many_small_ones_get_a_network_of_their_own(monkeypatch):
    monkeypatch.setattr(entries.networks, "MANY", 30)
    new(in_idx(), *CLASSES)
    params = parse(Path("params.yaml").read_text())
    assert params["models"]["clothes"]["architecture"]["name"] == "fast_resnet"
    section = params["datasets"]["clothes"]["preprocess"]
    assert (section["resize"], section["normalize"], section["val_fraction"]) == (None, "train", 0.1)


@pytest.mark.parametrize(
    ("data", "told", "named"),
    [
        (in_idx, ["--group", "x", "--split", "y"], "--group and --split mean nothing for arrays: leave them out"),
        (lambda: in_npz(x_test=X, y_test=Y), CLASSES, "by their names clothes.npz/x_test and clothes.npz/y_test are test. Put train's"),
        (in_idx, [], "What are the classes called that the labels 0 to 2 stand for"),
        (in_idx, ["--classes", "shirt,shoe"], "has the label 2 at item 2, expected 0 to 1"),
        (in_idx, ["--classes", "shirt,shoe,shoe"], "--classes names shoe twice"),
        (lambda: in_npz(x=X / 255, y=Y), CLASSES, "holds float64, expected whole numbers of 8 bits"),
        (lambda: in_npz(x=X, y=Y[:7]), CLASSES, "no array of pictures [n, height, width] has labels of the same number"),
        (lambda: in_npz(x=X, y=Y, fine_labels=Y), CLASSES, "several arrays could be train: clothes.npz/x and clothes.npz/y; "),
    ],
)
def test_what_cannot_be_told_is_refused_and_nothing_is_written(data, told, named, capsys):
    assert named in refusal(capsys, data(), *told)
