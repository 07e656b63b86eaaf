"""The kind of data `arrays`: pictures and labels in idx files, .npy files and an .npz, with their classes named."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest

from stages.common.splits import SPLITS

CLASSES = ["shirt", "shoe", "bag"]
PAIR = {"pictures": "x.npz/x_train", "labels": "x.npz/y_train"}
SECTION = {"classes": CLASSES, "train": PAIR, "test_fraction": 0.25, "val_fraction": 0.25, "resize": None, "normalize": "train"}
IDX = {"train": {"pictures": "a-idx3.gz", "labels": "a-idx1.gz"}, "test": {"pictures": "b-idx3", "labels": "b-idx1"}}


def pictures(number=24, shape=(6, 5)):
    return np.random.default_rng(0).integers(0, 256, (number, *shape)).astype(np.uint8), (np.arange(number) % 3).astype(np.uint8)


def idx(values):
    return struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def test_idx_files_are_named_by_their_classes_and_never_handwritten_digits(place):
    x, y = pictures()
    for name, content in {
        "a-idx3.gz": gzip.compress(idx(x)),
        "a-idx1.gz": gzip.compress(idx(y)),
        "b-idx3": idx(x[:6]),
        "b-idx1": idx(y[:6]),
    }.items():
        (place.raw / name).write_bytes(content)
    place.describe("arrays", **(SECTION | IDX | {"test_fraction": None}))
    meta = place.run()
    assert (meta.classes, meta.description) == (CLASSES, "Pictures in arrays, 5x6, grey, of these classes: shirt, shoe, bag.")
    assert place.split("test")[0].tobytes() == x[:6].tobytes() and place.split("test")[1].tolist() == y[:6].tolist()
    assert [meta.counts[split].total for split in SPLITS] == [18, 6, 6] and meta.input.shape == [6, 5, 1]
    place.check_measured(meta)


@pytest.mark.parametrize(("shape", "first"), [((6, 5), False), ((6, 5, 3), False), ((3, 6, 5), True), ((1, 6, 5), True)])
@pytest.mark.parametrize("savez", [np.savez, np.savez_compressed])
def test_an_npz_is_read_with_channels_first_or_last_and_labels_in_columns(place, shape, first, savez):
    x, y = pictures(shape=shape)
    savez(place.raw / "x.npz", x_train=x, y_train=y[:, None].astype(np.int64))
    place.describe("arrays", **SECTION)
    meta = place.run()
    expected = x.transpose(0, 2, 3, 1) if first else x.reshape(24, 6, 5, -1)
    assert meta.input.shape == list(expected.shape[1:])
    found = {picture.tobytes() for split in SPLITS for picture in place.split(split)[0]}
    assert found == {picture.tobytes() for picture in np.ascontiguousarray(expected)}


def test_small_pictures_are_resized_for_networks_that_expect_large_ones(place):
    x, y = pictures()
    np.save(place.raw / "x.npy", x)
    np.save(place.raw / "y.npy", y)
    part = {"train": {"pictures": "x.npy", "labels": "y.npy"}, "resize": 12, "normalize": "symmetric"}
    place.describe("arrays", **(SECTION | part))
    meta = place.run()
    assert (meta.input.shape, meta.input.mean, meta.input.resize.model_dump()) == ([12, 12, 3], [0.5] * 3, {"shorter_side": 12, "crop": 12})


def npy(values, **header):
    np.save(file := io.BytesIO(), values)
    content = file.getvalue()
    for old, new in header.items():
        content = content.replace(old.encode(), new.encode())
    return content


def spoil_with(name, content):
    def spoil(raw):
        with zipfile.ZipFile(raw / "x.npz", "w") as archive:
            for array, values in zip(("x_train", "y_train"), pictures(), strict=True):
                archive.writestr(f"{array}.npy", content if array == name else npy(values))

    return spoil


X, Y = pictures()


@pytest.mark.parametrize(
    ("spoil", "changes", "sentence"),
    [
        (spoil_with("x_train", npy(X[:20])), {}, "has 20 pictures and y_train 24 labels"),
        (spoil_with("x_train", npy(X / 255)), {}, "holds float64, expected whole numbers of 8 bits: save it as uint8"),
        (spoil_with("x_train", npy(X.reshape(24, -1))), {}, "has the shape [24, 30], expected [n, height, width]"),
        (spoil_with("x_train", npy(np.asfortranarray(X))), {}, "has its last axis first"),
        (spoil_with("x_train", npy(X, **{"|u1": "|O8"})), {}, "holds object, not numbers"),
        (spoil_with("x_train", npy(X)[:-5]), {}, "does not hold just the 24 items"),
        (spoil_with("x_train", npy(X) + b"x"), {}, "does not hold just the 24 items"),
        (spoil_with("x_train", npy(X, **{"(24,": "(9" * 30 + ","})), {}, "header that is not numpy's"),
        (spoil_with("y_train", npy(Y + 1)), {}, "has the label 3 at item 2, expected 0 to 2: check preprocess.classes"),
        (spoil_with("y_train", npy(Y / 1)), {}, "expected whole numbers [n]: the labels"),
        (spoil_with("z", b""), {"train": PAIR | {"labels": "x.npz/label"}}, "has no array label; it has x_train, y_train"),
        (spoil_with("z", b""), {"train": PAIR | {"labels": "y.npy"}}, "y.npy is missing"),
        (lambda raw: (raw / "x.npz").write_bytes(b"PK"), {}, "x.npz/x_train is damaged or was cut short"),
        (
            lambda raw: (raw / "x.npy").write_bytes(b"GIF8"),
            {"train": {"pictures": "x.npy", "labels": "x.npy"}},
            "is neither an idx file nor",
        ),
        (spoil_with("z", b""), {"test": PAIR}, "expected either test, a pair of arrays, or test_fraction"),
        (spoil_with("z", b""), {"classes": ["a", "a"]}, "expected classes that are all different"),
        (spoil_with("z", b""), {"train": {"pictures": "../x.npy", "labels": "y.npy"}}, "preprocess.train.pictures is '../x.npy'"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_a_sentence(place, spoil, changes, sentence):
    spoil(place.raw)
    place.describe("arrays", **(SECTION | changes))
    assert sentence in place.refusal()
