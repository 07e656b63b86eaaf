"""The stage over every dataset of params.yaml: same bytes twice, what meta.json says, and nothing of test in train."""

import contextlib
import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageOps
from ruamel.yaml import YAML

from stages.common.meta import Input, read_meta
from stages.common.shelves import part_names, take_part
from stages.common.splits import SPLITS, read_split
from stages.download import download
from stages.inputs import features, image
from stages.preprocess import preprocess
from stages.reading import pictures
from stages.reading.idx import write_idx
from stages.shell.errors import UserError
from tests.toy import RUNTIME, source_of

REPOSITORY = Path(__file__).parents[2]
PARAMS = YAML(typ="safe", pure=True).load(REPOSITORY / "params.yaml")
NAMES = list(PARAMS["datasets"])
SPLITTING_NAMES = [name for name in NAMES if PARAMS["datasets"][name]["kind"] != "sequence"]  # its one example trains and tests


def write_params(root, datasets, source="sample", seed=0):
    params = {"source": source, "runtime": RUNTIME | {"seed": seed}, "sources": PARAMS["sources"], "datasets": datasets}
    (root / "params.yaml").write_text(json.dumps(params))


def raw_of(root, name):
    return root / PARAMS["datasets"][name]["raw"]


def generate(root, name, source="sample"):
    write_params(root, {name: PARAMS["datasets"][name]}, source)
    with contextlib.chdir(root):
        download(source_of(name))


def build(root, name):
    with contextlib.chdir(root):
        preprocess(name)
    return root / "data" / name / "processed"


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module", params=NAMES)
def built(request, tmp_path_factory):
    """A dataset of params.yaml, generated and preprocessed twice: name, root of the first, processed folders of both."""
    roots = [tmp_path_factory.mktemp(request.param) for _ in range(2)]
    for root in roots:
        generate(root, request.param)
    return SimpleNamespace(name=request.param, roots=roots, processed=[build(root, request.param) for root in roots])


def test_the_same_seed_generates_and_preprocesses_the_same_bytes(built):
    first, second = (contents(root / "data") for root in built.roots)
    assert first == second


def test_nothing_but_three_splits_and_a_page_is_written(built):
    assert set(contents(built.processed[0])) == {"train.safetensors", "val.safetensors", "test.safetensors", "meta.json"}
    assert {path.name for path in built.processed[0].parent.iterdir()} <= {"raw", "processed"}


def test_tensors_are_what_meta_says(built):
    meta = read_meta(built.processed[0])
    assert meta.dataset == built.name and meta.left_out.count == 0
    for split in SPLITS:
        inputs, targets = read_split(built.processed[0], split)
        assert len(inputs) == len(targets) == meta.counts[split].total
        assert inputs.dtype == meta.input.dtype
        assert targets.dtype == {"regression": np.float32, "multilabel": np.uint8}.get(meta.task, np.int64)
        if meta.input.kind == "image" and split != "train":
            assert list(inputs.shape[1:]) == meta.input.shape
        if meta.task in ("binary", "multiclass"):
            assert np.bincount(targets, minlength=len(meta.classes)).tolist() == list(meta.counts[split].per_class.values())
        if meta.task == "sequence":
            assert targets.min(initial=0) >= 0 and targets.max(initial=0) < len(meta.classes)


def test_a_sample_says_that_it_is_a_stand_in(built):
    meta = read_meta(built.processed[0])
    has_official = "official" in PARAMS["sources"][source_of(built.name)]
    assert meta.source == ("sample" if has_official else "generated")
    assert meta.description.startswith("A stand-in for ") == has_official
    assert meta.description.endswith(".")


@pytest.mark.parametrize("name", SPLITTING_NAMES)
def test_no_item_stands_in_two_splits(name, tmp_path):
    generate(tmp_path, name)
    processed = build(tmp_path, name)
    size = read_meta(processed).input.shape[0]
    items = {}
    for split in SPLITS:
        inputs = read_split(processed, split)[0]
        if name == "hymenoptera":  # train keeps a larger crop: compare the middle
            edge = (inputs.shape[1] - size) // 2
            inputs = inputs[:, edge : edge + size, edge : edge + size]
        items[split] = {item.tobytes() for item in inputs}
        assert len(items[split]) == len(inputs)
    assert not (items["train"] & items["val"] or items["train"] & items["test"] or items["val"] & items["test"])


def change_points(raw, processed):
    (raw / "test.csv").write_text("x,y\n-50,0\n")


def change_csv(raw, processed):
    """Doubles and shifts every feature of the rows that are in test; a row's label decides its split, so that stays."""
    test = {tuple(row) for row in read_split(processed, "test")[0].tolist()}
    header, *lines = (raw / "diabetes.csv").read_text().splitlines()
    changed = [header]
    for line in lines:
        *features, label = np.array(line.split(","), dtype=np.float32).tolist()
        changed.append(",".join([*(f"{2 * value + 1000}" for value in features), f"{label:g}"]) if tuple(features) in test else line)
    (raw / "diabetes.csv").write_text("\n".join(changed) + "\n")


def change_mnist(raw, processed):
    number = len(read_split(processed, "test")[0])
    write_idx(raw / "t10k-images-idx3-ubyte.gz", np.random.default_rng(9).integers(0, 256, (number, 28, 28)))
    write_idx(raw / "t10k-labels-idx1-ubyte.gz", np.full(number, 3))


def change_cifar10(raw, processed):
    path = raw / "cifar-10-batches-bin/test_batch.bin"
    records = 255 - np.frombuffer(path.read_bytes(), dtype=np.uint8).reshape(-1, 3073)
    records[:, 0] = 7
    path.write_bytes(records.tobytes())


def change_image_folder(raw, processed):
    test = raw / "hymenoptera_data/val"
    for path in sorted(test.rglob("*.jpg")):
        ImageOps.invert(Image.open(path)).save(path)
    (test / "ants/0000.jpg").rename(test / "bees/moved.jpg")


def change_tagged_images(raw, processed):
    """Inverts the pictures that are in test; a picture's labels decide its split, so they stay."""
    test = {picture.tobytes() for picture in read_split(processed, "test")[0]}
    for path in sorted((raw / "pictures").iterdir()):
        picture = Image.open(path).convert("RGB")
        if np.asarray(picture).tobytes() in test:
            ImageOps.invert(picture).save(path)


def change_names(raw, processed):
    path = raw / "names_test.csv.gz"
    path.write_bytes(gzip.compress(b'"Ooo","Polish"\n"Iii","Irish"\n'))


CHANGES = {
    "points": change_points,
    "csv": change_csv,
    "mnist": change_mnist,
    "cifar10": change_cifar10,
    "image_folder": change_image_folder,
    "tagged_images": change_tagged_images,
    "names": change_names,
}


@pytest.mark.parametrize("name", SPLITTING_NAMES)
def test_changing_test_items_and_labels_changes_nothing_that_trains(name, tmp_path):
    change = CHANGES[PARAMS["datasets"][name]["kind"]]  # a new kind needs its own here
    generate(tmp_path, name)
    processed = build(tmp_path, name)
    before, meta_before = contents(processed), read_meta(processed)
    change(raw_of(tmp_path, name), processed)
    build(tmp_path, name)
    after, meta_after = contents(processed), read_meta(processed)
    assert before["train.safetensors"] == after["train.safetensors"]
    assert before["val.safetensors"] == after["val.safetensors"]
    assert meta_before.input == meta_after.input and meta_before.classes == meta_after.classes
    assert before["test.safetensors"] != after["test.safetensors"]


def many_digits(raw, number):
    pictures = np.random.default_rng(0).integers(0, 256, (number, 28, 28)).astype(np.uint8)
    for prefix in ("train", "t10k"):
        write_idx(raw / f"{prefix}-images-idx3-ubyte.gz", pictures)
        write_idx(raw / f"{prefix}-labels-idx1-ubyte.gz", np.arange(number) % 10)


def many_records(raw, number):
    folder = raw / "cifar-10-batches-bin"
    folder.mkdir()
    for name in [*(f"data_batch_{batch}.bin" for batch in range(1, 6)), "test_batch.bin"]:
        records = np.zeros((number // 5, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(number // 5) % 10
        (folder / name).write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij"))


def many_pictures(raw, number):
    for split in ("train", "test"):
        for name in ("a", "b"):
            (raw / split / name).mkdir(parents=True)
            for index in range(number // 4):
                Image.new("RGB", (64, 64), (index % 256, 0, 0)).save(raw / split / name / f"{index}.bmp")


def many_rows(raw, number):
    header = ",".join(["label", *(f"f{feature}" for feature in range(200))])
    rows = (",".join([str(row % 2), *(["1.5"] * 200)]) for row in range(number))
    (raw / "rows.csv").write_text("\n".join([header, *rows]))


def many_names(raw, number):
    for split in ("train", "test"):
        text = "".join(f"Name{'x' * (index % 50)},{'AB'[index % 2]}\n" for index in range(number))
        (raw / f"names_{split}.csv.gz").write_bytes(gzip.compress(text.encode()))


CSV_SECTION = {"file": "rows.csv", "label": "label", "classes": ["a", "b"], "zero_is_missing": [], "standardise": True}
PICTURE_SECTION = {"train": "train", "test": "test", "resize": None, "crop": 64, "train_crop": 64, "normalize": "train"}
MANY = {
    "mnist": (many_digits, 2000, {"target": "digit", "canvas": 28, "val_fraction": 0.1}),
    "cifar10": (many_records, 1000, {"val_fraction": 0.1}),
    "image_folder": (many_pictures, 200, PICTURE_SECTION | {"val_fraction": 0.1, "max_bad_fraction": 0}),
    "csv": (many_rows, 1800, CSV_SECTION | {"test_fraction": 0.2, "val_fraction": 0.1, "max_bad_fraction": 0}),
    "names": (many_names, 1000, {"max_length": 1000, "val_fraction": 0.1, "max_bad_fraction": 0}),
}


def peak_and_size(root, kind, number, monkeypatch):
    write, _, section = MANY[kind]
    part = take_part("datasets", kind, "kind")
    monkeypatch.setattr(pictures, "CHUNK_BYTES", 200_000)
    if hasattr(part, "CHUNK"):
        monkeypatch.setattr(part, "CHUNK", 32)
    raw = root / "data/many/raw"
    raw.mkdir(parents=True)
    write(raw, number)
    write_params(root, {"many": {"kind": kind, "raw": "data/many/raw", "preprocess": section}})
    tracemalloc.start()
    try:
        processed = build(root, "many")
        return tracemalloc.get_traced_memory()[1], sum(path.stat().st_size for path in processed.iterdir())
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind == "csv" else []) for kind in MANY])
def test_memory_does_not_grow_with_the_dataset(kind, tmp_path, monkeypatch):
    """But for the labels, some bytes an item, which the stratified split needs: hence the tenth, and items that are not tiny."""
    number = MANY[kind][1]
    peak_and_size(tmp_path / "first", kind, number // 20, monkeypatch)  # imports and caches
    peak, size = peak_and_size(tmp_path / "small", kind, number, monkeypatch)
    larger_peak, larger_size = peak_and_size(tmp_path / "large", kind, 3 * number, monkeypatch)
    assert larger_size > 2.9 * size
    assert larger_peak - peak < 0.1 * (larger_size - size)


@pytest.mark.parametrize("seed", range(3))
def test_features_are_measured_the_same_in_any_chunks(seed):
    rng = np.random.default_rng(seed)
    values = 1e9 + rng.normal(size=(1000, 3))  # a sum of squares would lose every digit of this std
    values[rng.random((1000, 3)) < 0.3] = 0
    values[rng.random(1000) < 0.1, 1] = np.nan
    measured = features.Measurement(Input(kind="features", shape=[3], dtype="float32", names=["a", "b", "c"], zero_is_missing=["a", "b"]))
    for chunk in np.split(values, [0, 1, 400, 999]):
        measured.add(chunk)
    present = [column[(column != 0) & ~np.isnan(column)] for column in values.T[:2]] + [values[:, 2]]
    mean, std = measured.measured().values()
    np.testing.assert_allclose(mean, [column.mean() for column in present], rtol=1e-12)
    np.testing.assert_allclose(std, [column.std() for column in present], rtol=1e-6)


def test_a_constant_feature_or_channel_has_std_one():
    measured = features.Measurement(Input(kind="features", shape=[1], dtype="float32", names=["a"]))
    measured.add(np.full((5, 1), 7.0))
    assert measured.measured() == {"mean": [7.0], "std": [1.0]}
    pixels = image.Measurement(Input(kind="image", shape=[3, 3, 1], dtype="uint8"))
    pixels.add(np.full((2, 3, 3, 1), 255, dtype=np.uint8))
    assert pixels.measured() == {"mean": [1.0], "std": [1.0]}


def test_pixels_are_measured_exactly():
    pictures = np.random.default_rng(0).integers(0, 256, (50, 7, 5, 3)).astype(np.uint8)
    measured = image.Measurement(Input(kind="image", shape=[7, 5, 3], dtype="uint8"))
    measured.add(pictures[:20])
    measured.add(pictures[20:])
    np.testing.assert_allclose(measured.measured()["mean"], (pictures / 255).mean(axis=(0, 1, 2)), rtol=1e-14)
    np.testing.assert_allclose(measured.measured()["std"], (pictures / 255).std(axis=(0, 1, 2)), rtol=1e-14)


def test_points_written_in_params_are_generated_under_every_source(tmp_path):
    generate(tmp_path, "line", source="official")
    assert read_meta(build(tmp_path, "line")).source == "generated"


@pytest.mark.parametrize("kind", part_names("datasets"))
def test_every_kind_of_data_has_what_the_stages_call(kind):
    part = take_part("datasets", kind, "kind")
    assert all(hasattr(part, name) for name in ("Preprocess", "read"))


def run(root, *arguments):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-m", "stages.preprocess", *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
    )


def test_the_command_writes_the_dataset_and_says_nothing(tmp_path):
    generate(tmp_path, "line")
    finished = run(tmp_path, "line")
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
    assert read_meta(tmp_path / "data/line/processed").counts["train"].total == 3


@pytest.mark.parametrize(
    ("name", "datasets", "sentence"),
    [
        ("lin", {"line": PARAMS["datasets"]["line"]}, "error: params.yaml has no datasets.lin; known there: line."),
        ("line", {"line": {"kind": "point"}}, "error: params.yaml: datasets.line.kind is 'point'; expected one of cifar10, csv,"),
        ("line", {"line": PARAMS["datasets"]["line"]}, "error: data/line/raw is missing: run python -m stages.download line"),
    ],
)
def test_the_command_names_a_mistake_in_one_sentence(tmp_path, name, datasets, sentence):
    write_params(tmp_path, datasets)
    finished = run(tmp_path, name)
    assert finished.returncode == 1
    assert finished.stderr.startswith(sentence) and finished.stderr.count("\n") == 1


def test_the_data_side_never_imports_torch(tmp_path):
    modules = ["stages.preprocess", *(f"stages.datasets.{kind}" for kind in part_names("datasets"))]
    program = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, check=False).returncode == 0


@pytest.mark.parametrize("content", [b"", b"real\n", b"\xff"])
def test_data_of_unknown_origin_is_refused(tmp_path, content):
    generate(tmp_path, "line")
    file = tmp_path / "data/line/raw/.source"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"\.source is damaged: run python -m stages.download line"):
        build(tmp_path, "line")


def test_a_sample_is_never_taken_for_the_official_data(tmp_path):
    generate(tmp_path, "names")
    write_params(tmp_path, {"names": PARAMS["datasets"]["names"]}, source="official")
    assert read_meta(build(tmp_path, "names")).source == "sample"
