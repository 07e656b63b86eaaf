"""What the real files hold once preprocessed: facts that a change of the code must not move.

The files are looked for where the environment variable DATASETS_MIRROR says, else in ../shared/datasets beside the
repository; without them these tests skip.
"""

import contextlib
import gzip
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from stages.common.meta import read_meta
from stages.common.splits import SPLITS, read_split
from stages.preprocess import preprocess
from stages.reading.contents import write_source
from tests.toy import RUNTIME, source_of

REPOSITORY = Path(__file__).parents[1]
MIRROR = Path(os.environ.get("DATASETS_MIRROR") or REPOSITORY.parent / "shared/datasets")
PARAMS = YAML(typ="safe", pure=True).load(REPOSITORY / "params.yaml")


def from_mirror(name):
    path = MIRROR / name
    if not path.exists():
        pytest.skip(f"{path} is not there: set DATASETS_MIRROR to a folder with the real files")
    return path


def build(root, name, entry):
    """Preprocess data/<name>/raw, which the caller has filled, as official data; returns meta and every split."""
    runtime = RUNTIME
    (root / "params.yaml").write_text(json.dumps({"runtime": runtime, "datasets": {name: entry | {"raw": f"data/{name}/raw"}}}))
    write_source(root / "data" / name / "raw", "official")
    with contextlib.chdir(root):
        preprocess(name)
    processed = root / "data" / name / "processed"
    return read_meta(processed), {split: read_split(processed, split) for split in SPLITS}


def build_plain(root, name):
    """The dataset `name` of params.yaml from plain files of the mirror, copied to raw/ under their names."""
    entry = PARAMS["datasets"][name]
    raw = root / "data" / name / "raw"
    raw.mkdir(parents=True)
    for file in PARAMS["sources"][source_of(name)]["official"]:
        shutil.copy(from_mirror(file["path"]), raw / Path(file["path"]).name)
    return build(root, name, entry)


def totals(meta):
    return {split: counts.total for split, counts in meta.counts.items()}


def test_mnist_has_its_known_digits(tmp_path):
    meta, splits = build_plain(tmp_path, "mnist")
    assert totals(meta) == {"train": 55000, "val": 5000, "test": 10000}
    both = [meta.counts["train"].per_class[name] + meta.counts["val"].per_class[name] for name in meta.classes]
    assert both == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert list(meta.counts["test"].per_class.values()) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert meta.source == "official" and meta.left_out.count == 0
    assert meta.input.mean == pytest.approx([0.1307], abs=2e-4) and meta.input.std == pytest.approx([0.3081], abs=2e-4)
    assert splits["test"][1][:5].tolist() == [7, 2, 1, 0, 4]
    assert splits["test"][0].tobytes() == gzip.decompress(from_mirror("mnist/t10k-images-idx3-ubyte.gz").read_bytes())[16:]


def test_centres_of_mass_of_real_digits_lie_near_the_middle_of_where_they_were_placed(tmp_path):
    meta, splits = build_plain(tmp_path, "mnist_center")
    assert totals(meta) == {"train": 55000, "val": 5000, "test": 10000}
    targets = splits["train"][1]
    # MNIST centres its digits by mass at (14, 14) of 28x28; the spots are 0 to 4, so 2 in the mean.
    np.testing.assert_allclose(targets.mean(axis=0), [16.0, 16.0], atol=0.2)
    assert targets.min() > 12 and targets.max() < 20


def test_names_have_their_known_counts(tmp_path):
    meta, splits = build_plain(tmp_path, "names")
    assert totals(meta)["train"] + totals(meta)["val"] == 13374 and totals(meta)["test"] == 6700
    assert len(meta.classes) == 18 and meta.left_out.count == 0
    assert meta.counts["train"].per_class["Russian"] + meta.counts["val"].per_class["Russian"] == 6272
    assert max((inputs != 0).sum(axis=1).max() for inputs, _ in splits.values()) == 19

    # The files are like that: 15.6 % of test's names also stand in the official train file, 11.5 % with the same country.
    rows = {
        split: [(name.tobytes(), country) for name, country in zip(inputs, targets.tolist(), strict=True)]
        for split, (inputs, targets) in splits.items()
    }
    known = {*rows["train"], *rows["val"]}
    known_names = {name for name, _ in known}
    assert round(np.mean([name in known_names for name, _ in rows["test"]]), 3) == 0.156
    assert round(np.mean([row in known for row in rows["test"]]), 3) == 0.115


def test_diabetes_has_its_known_rows_and_missing_values(tmp_path):
    meta, splits = build_plain(tmp_path, "diabetes")
    assert sum(totals(meta).values()) == 768 and totals(meta)["test"] == 154
    ones = sum(counts.per_class["diabetes"] for counts in meta.counts.values())
    assert (768 - ones, ones) == (500, 268)
    features = np.concatenate([inputs for inputs, _ in splits.values()])
    missing = dict(zip(meta.input.names, (features == 0).sum(axis=0).tolist(), strict=True))
    assert {name: missing[name] for name in meta.input.zero_is_missing} == {
        "Glucose": 5,
        "BloodPressure": 35,
        "SkinThickness": 227,
        "Insulin": 374,
        "BMI": 11,
    }


def test_hymenoptera_leaves_out_the_gif_that_says_image_not_found(tmp_path):
    entry = PARAMS["datasets"]["hymenoptera"]
    raw = tmp_path / "data/hymenoptera/raw"
    shutil.copytree(from_mirror("hymenoptera/hymenoptera_data"), raw / "hymenoptera_data")
    files = {
        folder: len(list((raw / "hymenoptera_data" / folder).iterdir())) for folder in ("train/ants", "train/bees", "val/ants", "val/bees")
    }
    assert files == {"train/ants": 124, "train/bees": 121, "val/ants": 70, "val/bees": 83}
    meta, splits = build(tmp_path, "hymenoptera", entry)
    (note,) = meta.notes
    assert (meta.left_out.count, note.count, note.examples) == (0, 1, ["hymenoptera_data/train/ants/imageNotFound.gif"])
    both = [meta.counts["train"].per_class[name] + meta.counts["val"].per_class[name] for name in meta.classes]
    assert both == [123, 121] and meta.counts["test"].per_class == {"ants": 70, "bees": 83}
    assert splits["train"][0].shape[1:] == splits["test"][0].shape[1:] == (256, 256, 3)


@pytest.mark.slow
def test_the_jpeg_copy_of_cifar10_has_its_known_counts_and_mean(tmp_path):
    raw = tmp_path / "data/cifar10_jpeg/raw"
    raw.mkdir(parents=True)
    for split in ("train", "test"):
        shutil.copy(from_mirror(f"cifar10_jpeg/{split}.zip"), raw)
    section = {"task": "multiclass", "train": "train", "test": "test", "resize": None, "crop": 32, "train_crop": 32, "normalize": "train"}
    entry = {"kind": "pictures", "preprocess": section | {"val_fraction": 0.1, "max_bad_fraction": 0.0}}
    meta, _ = build(tmp_path, "cifar10_jpeg", entry)
    assert len(meta.classes) == 10
    assert {split: set(counts.per_class.values()) for split, counts in meta.counts.items()} == {
        "train": {4500},
        "val": {500},
        "test": {1000},
    }
    # Of the original pixels: 0.4914, 0.4822, 0.4465; the copy is lossy.
    assert meta.input.mean == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.003)


def test_original_pixels_of_cifar10_read_back_from_the_official_layout(tmp_path):
    """The real batches are not in every mirror: a part of them with the exact pixels stands in, written as batch files."""
    part = np.load(from_mirror("cifar10/partial/cifar10_partial.npz"), allow_pickle=False)
    folder = tmp_path / "data/cifar10/raw/cifar-10-batches-bin"
    folder.mkdir(parents=True)
    train = np.column_stack([part["y_train"].astype(np.uint8), part["x_train"]])
    for number, records in enumerate(np.array_split(train, 5), start=1):
        (folder / f"data_batch_{number}.bin").write_bytes(records.tobytes())
    (folder / "test_batch.bin").write_bytes(np.column_stack([part["y_test"].astype(np.uint8), part["x_test"]]).tobytes())
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n")
    meta, splits = build(tmp_path, "cifar10", PARAMS["datasets"]["cifar10"])
    assert totals(meta)["train"] + totals(meta)["val"] == 8068 and totals(meta)["test"] == 1017
    assert splits["test"][0].transpose(0, 3, 1, 2).reshape(1017, 3072).tobytes() == part["x_test"].tobytes()
    assert meta.input.mean == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.01)
