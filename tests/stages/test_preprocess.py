"""The stage over every dataset of params.yaml: same bytes twice, what meta.json says, and nothing of test in train."""

import contextlib
import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from ruamel.yaml import YAML

from stages.common.meta import Input, read_meta
from stages.common.shelves import take_part
from stages.common.splits import ITEMS, SPLITS, SplitFile, read_split
from stages.download import download
from stages.inputs import features, image
from stages.preprocess import preprocess
from stages.reading import pictures
from stages.shell.errors import UserError
from stages.sources.digits import write_idx
from tests.toy import RUNTIME, source_of, write_checked

REPOSITORY = Path(__file__).parents[2]
PARAMS = YAML(typ="safe", pure=True).load(REPOSITORY / "params.yaml")
DATASETS = PARAMS["datasets"]


def write_params(root, datasets, source="sample"):
    params = {"source": source, "runtime": RUNTIME, "sources": PARAMS["sources"], "datasets": datasets}
    (root / "params.yaml").write_text(json.dumps(params))


def generate(root, name):
    root.mkdir(exist_ok=True)
    write_params(root, {name: DATASETS[name]})
    with contextlib.chdir(root):
        download(source_of(name))
        write_checked(name)
    return root / DATASETS[name]["raw"]


def build(root, name):
    with contextlib.chdir(root):
        preprocess(name)
    return root / "data" / name / "processed"


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_of_params_is_what_its_page_says_and_the_same_bytes_twice(name, tmp_path):
    for run in ("first", "second"):
        generate(tmp_path / run, name)
        build(tmp_path / run, name)
    assert contents(tmp_path / "first/data") == contents(tmp_path / "second/data")
    processed = tmp_path / "first/data" / name / "processed"
    assert set(contents(processed)) - {ITEMS} == {"train.safetensors", "val.safetensors", "test.safetensors", "meta.json"}
    meta, has_official = read_meta(processed), "official" in PARAMS["sources"][source_of(name)]
    assert (meta.dataset, meta.left_out.count, meta.source) == (name, 0, "sample" if has_official else "generated")
    assert meta.description.startswith("A stand-in for ") == has_official and meta.description.endswith(".")
    for split in SPLITS:
        inputs, targets = read_split(processed, split)
        assert len(inputs) == len(targets) == meta.counts[split].total and inputs.dtype == meta.input.dtype
        assert targets.dtype == {"regression": np.float32, "multilabel": np.uint8}.get(meta.task, np.int64)
        if meta.input.kind == "image" and split != "train":
            assert list(inputs.shape[1:]) == meta.input.shape
        if meta.task in ("binary", "multiclass"):
            assert np.bincount(targets, minlength=len(meta.classes)).tolist() == list(meta.counts[split].per_class.values())


def change_points(raw, processed):
    (raw / "test.csv").write_text("x,y\n-50,0\n")


def change_csv(raw, processed):
    """Doubles and shifts every feature of the rows that are in test; a row's label decides its split, so that stays."""
    test = {tuple(row) for row in read_split(processed, "test")[0].tolist()}
    header, *lines = (raw / "diabetes.csv").read_text().splitlines()
    rows = [np.array(line.split(","), dtype=np.float32).tolist() for line in lines]
    changed = [[*(2 * value + 1000 for value in row[:-1]), row[-1]] if tuple(row[:-1]) in test else row for row in rows]
    (raw / "diabetes.csv").write_text("\n".join([header, *(",".join(map(str, row)) for row in changed)]))


def change_table(raw, processed):
    """Doubles and shifts the numbers of the lines that are in test."""
    file = SplitFile(processed, "test")
    lines = (raw / "diabetes.csv").read_text().splitlines()
    for line in file.read("lines", 0, file.count):
        *numbers, label = lines[line - 1].split(",")
        lines[line - 1] = ",".join([*(f"{2 * float(number) + 1000:g}" for number in numbers), label])
    (raw / "diabetes.csv").write_text("\n".join(lines))


def change_mnist(raw, processed):
    number = len(read_split(processed, "test")[0])
    write_idx(raw / "t10k-images-idx3-ubyte.gz", np.random.default_rng(9).integers(0, 256, (number, 28, 28)))
    write_idx(raw / "t10k-labels-idx1-ubyte.gz", np.full(number, 3))


def change_cifar10(raw, processed):
    path = raw / "cifar-10-batches-bin/test_batch.bin"
    records = 255 - np.frombuffer(path.read_bytes(), dtype=np.uint8).reshape(-1, 3073)
    records[:, 0] = 7
    path.write_bytes(records.tobytes())


def change_pictures(raw, processed):
    """Inverts the pictures that are in test; a picture's labels decide its split, so they stay."""
    file, items = SplitFile(processed, "test"), json.loads((processed / "items.json").read_text())
    for place in file.read("lines", 0, file.count):
        ImageOps.invert(Image.open(raw / items[place]).convert("RGB")).save(raw / items[place])


def change_names(raw, processed):
    (raw / "names_test.csv.gz").write_bytes(gzip.compress(b'"Ooo","Polish"\n"Iii","Irish"\n'))


change_text = change_names


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "hello"])  # its one example trains and tests
def test_no_item_is_in_two_splits_and_changing_test_changes_nothing_that_trains(name, tmp_path):
    raw, processed = generate(tmp_path, name), build(tmp_path, name)
    before, meta_before = contents(processed), read_meta(processed)
    items = {}
    for split in SPLITS:
        inputs = read_split(processed, split)[0]
        items[split] = {item.tobytes() for item in inputs}
        assert len(items[split]) == len(inputs)
    assert len(set.union(*items.values())) == sum(map(len, items.values()))
    globals()[f"change_{DATASETS[name]['kind']}"](raw, processed)  # a new kind of data needs its own here
    build(tmp_path, name)
    after, meta_after = contents(processed), read_meta(processed)
    assert [before[f"{split}.safetensors"] == after[f"{split}.safetensors"] for split in SPLITS] == [True, True, False]
    assert meta_before.input == meta_after.input and meta_before.classes == meta_after.classes


def many_digits(raw, number):
    for prefix in ("train", "t10k"):
        write_idx(raw / f"{prefix}-images-idx3-ubyte.gz", np.random.default_rng(0).integers(0, 256, (number, 28, 28)))
        write_idx(raw / f"{prefix}-labels-idx1-ubyte.gz", np.arange(number) % 10)


def many_pictures(raw, number):
    for folder in ("train/a", "train/b", "test/a", "test/b"):
        (raw / folder).mkdir(parents=True)
        for index in range(number // 4):
            Image.new("RGB", (64, 64), (index % 256, 0, 0)).save(raw / folder / f"{index}.bmp")


def many_names(raw, number):
    text = "".join(f"Name{'x' * (index % 50)},{'AB'[index % 2]}\n" for index in range(number))
    for split in ("train", "test"):
        (raw / f"names_{split}.csv.gz").write_bytes(gzip.compress(text.encode()))


def many_texts(raw, number):
    texts = (f"text {index} {'x' * (700 + index % 50)},{'AB'[index % 2]}\n" for index in range(number))
    (raw / "a.csv").write_text("note,kind\n" + "".join(texts))


SIZES = {"resize": None, "crop": 64, "train_crop": 64, "normalize": "train", "max_bad_fraction": 0}
TEXTS = {"max_length": 750, "test_fraction": 0.1, "val_fraction": 0.1, "max_bad_fraction": 0}
MANY = {
    "mnist": (many_digits, 2000, {"target": "digit", "canvas": 28, "val_fraction": 0.1}),
    "pictures": (many_pictures, 200, SIZES | {"task": "multiclass", "train": "train", "test": "test", "val_fraction": 0.1}),
    "names": (many_names, 1000, {"max_length": 1000, "val_fraction": 0.1, "max_bad_fraction": 0}),
    "text": (many_texts, 1000, TEXTS | {"file": "a.csv", "text": ["note"], "label": "kind", "task": "binary"}),
}


@pytest.mark.parametrize("kind", MANY)
def test_memory_does_not_grow_with_the_dataset(kind, tmp_path, monkeypatch):
    """But for the labels, some bytes an item, which the stratified split needs: hence the tenth, and items that are not tiny."""
    write, number, section = MANY[kind]
    monkeypatch.setattr(pictures, "CHUNK_BYTES", 200_000)
    monkeypatch.setattr(take_part("datasets", kind, "kind"), "CHUNK", 32, raising=False)
    monkeypatch.setattr(take_part("datasets", kind, "kind"), "CHUNK_CODES", 32 * 750, raising=False)
    peaks, sizes = [], []
    for count in (number // 20, number, 3 * number):  # the first for imports and caches
        root = tmp_path / str(count)
        (root / "data/many/raw").mkdir(parents=True)
        write(root / "data/many/raw", count)
        write_params(root, {"many": {"kind": kind, "raw": "data/many/raw", "preprocess": section}})
        tracemalloc.start()
        processed = build(root, "many")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sizes.append(sum(path.stat().st_size for path in processed.iterdir()))
    assert sizes[2] > 2.9 * sizes[1]
    assert peaks[2] - peaks[1] < 0.1 * (sizes[2] - sizes[1])


def test_features_are_measured_the_same_in_any_chunks():
    rng = np.random.default_rng(0)
    values = 1e9 + rng.normal(size=(1000, 4))  # a sum of squares would lose every digit of this std
    values[rng.random((1000, 4)) < 0.3] = 0
    values[rng.random(1000) < 0.1, 1] = np.nan
    values[:, 3] = 7
    described = Input(kind="features", shape=[4], dtype="float32", names=["a", "b", "c", "constant"], zero_is_missing=["a", "b"])
    measured = features.Measurement(described)
    for chunk in np.split(values, [0, 1, 400, 999]):
        measured.add(chunk)
    present = [column[(column != 0) & ~np.isnan(column)] for column in values.T[:2]] + [values[:, 2]]
    mean, std = measured.measured().values()
    np.testing.assert_allclose(mean, [*(column.mean() for column in present), 7], rtol=1e-12)
    np.testing.assert_allclose(std, [*(column.std() for column in present), 1], rtol=1e-6)


def test_pixels_are_measured_exactly():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 7, 5, 3)).astype(np.uint8)
    pixels[..., 2] = 255  # a constant channel has std 1
    measured = image.Measurement(Input(kind="image", shape=[7, 5, 3], dtype="uint8"))
    measured.add(pixels[:20])
    measured.add(pixels[20:])
    std = (pixels / 255).std(axis=(0, 1, 2))
    np.testing.assert_allclose(measured.measured()["mean"], (pixels / 255).mean(axis=(0, 1, 2)), rtol=1e-14)
    np.testing.assert_allclose(measured.measured()["std"], [std[0], std[1], 1], rtol=1e-14)


def test_the_command_writes_the_dataset_and_says_nothing(tmp_path):
    generate(tmp_path, "line")
    command, environment = [sys.executable, "-m", "stages.preprocess", "line"], os.environ | {"PYTHONPATH": str(REPOSITORY)}
    finished = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
    assert read_meta(tmp_path / "data/line/processed").counts["train"].total == 3


@pytest.mark.parametrize(
    ("name", "datasets", "sentence"),
    [
        ("lin", {"line": DATASETS["line"]}, "params.yaml has no datasets.lin; known there: line."),
        ("line", {"line": {"kind": "point"}}, "params.yaml: datasets.line.kind is 'point'; expected one of arrays, cifar10, csv,"),
        ("line", {"line": DATASETS["line"]}, "data/line/raw is missing: run python -m stages.download line"),
    ],
)
def test_a_mistake_is_named_in_one_sentence(tmp_path, name, datasets, sentence):
    write_params(tmp_path, datasets)
    with pytest.raises(UserError) as refused:
        build(tmp_path, name)
    assert str(refused.value).startswith(sentence)


def test_data_of_unknown_origin_is_refused_and_a_sample_never_taken_for_the_official_data(tmp_path):
    raw = generate(tmp_path, "names")
    write_params(tmp_path, {"names": DATASETS["names"]}, source="official")
    assert read_meta(build(tmp_path, "names")).source == "sample"
    for content in (b"", b"real\n", b"\xff"):
        (raw / ".source").write_bytes(content)
        with pytest.raises(UserError, match=r"\.source is damaged: run python -m stages.download names"):
            build(tmp_path, "names")
