import gzip

import numpy as np
import pytest

from stages.datasets.mnist import place_on_canvas
from stages.sources.digits import write_idx

DIGIT = {"target": "digit", "canvas": 28, "val_fraction": 0.25}
CENTER = {"target": "center", "canvas": 32, "val_fraction": 0.25}


@pytest.fixture
def written(place):
    place.describe("mnist", **DIGIT)
    rng = np.random.default_rng(0)
    for prefix, number in (("train", 40), ("t10k", 20)):
        write_idx(place.raw / f"{prefix}-images-idx3-ubyte.gz", rng.integers(0, 256, size=(number, 28, 28)))
        write_idx(place.raw / f"{prefix}-labels-idx1-ubyte.gz", np.arange(number) % 10)
    return place


def test_pictures_keep_their_pixels_and_digits(written):
    meta = written.run()
    assert {split: counts.total for split, counts in meta.counts.items()} == {"train": 30, "val": 10, "test": 20}
    inputs, targets = written.split("test")
    assert inputs.dtype == np.uint8 and inputs.shape == (20, 28, 28, 1) and targets.tolist() == [*range(10)] * 2
    assert inputs.tobytes() == gzip.decompress((written.raw / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    written.check_measured(meta)


def test_the_centre_is_that_of_the_placed_picture(written):
    written.describe("mnist", **CENTER)
    meta = written.run()
    inputs, targets = written.split("val")
    assert inputs.shape[1:] == (32, 32, 1) and targets.dtype == np.float32 and len(meta.outputs) == 2
    for picture, (row, column) in zip(inputs[..., 0].astype(float), targets, strict=True):
        rows, columns = np.mgrid[:32, :32]
        assert row == pytest.approx((rows * picture).sum() / picture.sum(), abs=1e-4)
        assert column == pytest.approx((columns * picture).sum() / picture.sum(), abs=1e-4)


def test_digits_are_placed_all_over_the_canvas_and_a_black_one_has_its_centre_in_its_middle():
    corner = np.zeros((500, 28, 28), dtype=np.uint8)
    corner[:, 0, 0] = 200
    placed, centres = place_on_canvas(corner, 32, np.random.default_rng(0))
    assert {tuple(centre) for centre in centres.tolist()} == {(row, column) for row in range(5) for column in range(5)}
    assert all(placed[index, int(row), int(column), 0] == 200 for index, (row, column) in enumerate(centres))
    _, centres = place_on_canvas(np.zeros((1, 28, 28), dtype=np.uint8), 28, np.random.default_rng(0))
    assert centres.tolist() == [[13.5, 13.5]]


@pytest.mark.parametrize("part", ["train-images-idx3", "t10k-labels-idx1"])
@pytest.mark.parametrize("damage", ["truncated", "missing", "not gzip", "flipped"])
def test_a_damaged_file_is_named(written, part, damage):
    path = written.raw / f"{part}-ubyte.gz"
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        content[len(content) - 6] ^= 1  # of the checksum in the last eight bytes
        path.write_bytes({"truncated": content[:-20], "not gzip": b"<html>", "flipped": content}[damage])
    assert path.name in written.refusal()


WRONG_PICTURES, WRONG_LABELS = (
    "is not an idx file of 40 pictures of 28x28: it begins with",
    "is not an idx file of at most 10,000,000 labels",
)


@pytest.mark.parametrize(
    ("part", "change", "sentence"),
    [
        ("images-idx3", lambda content: b"\0\0\x08\x01" + content[4:], f"{WRONG_PICTURES} 00000801"),
        ("images-idx3", lambda content: b"", f"{WRONG_PICTURES} nothing"),
        ("images-idx3", lambda content: content[:8] + b"\0\0\0\x20" + content[12:], WRONG_PICTURES),
        ("images-idx3", lambda content: content[:4] + b"\0\0\0\x27" + content[8:-784], WRONG_PICTURES),
        ("images-idx3", lambda content: content[:-1], "does not hold just the 40 items that its header promises"),
        ("images-idx3", lambda content: content + b"\0", "does not hold just the 40 items that its header promises"),
        ("labels-idx1", lambda content: content[:8] + b"\x0a" + content[9:], "has the label 10 at item 0, expected 0 to 9"),
        ("labels-idx1", lambda content: content[:4] + b"\xff\xff\xff\xff" + content[8:], WRONG_LABELS),
        ("labels-idx1", lambda content: content[:8] + content[8:].replace(b"\x08", b"\x07"), "The class '8' has no item in train"),
    ],
)
def test_content_that_belies_its_header_is_refused(written, part, change, sentence):
    path = written.raw / f"train-{part}-ubyte.gz"
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))
    assert sentence in written.refusal()


def test_the_sample_is_scikit_learns_digits_with_a_margin_and_a_smaller_train_leaves_its_test(place):
    place.describe("mnist", **DIGIT)
    tests = []
    for num_train in (300, 1400):
        place.make("digits", sample={"seed": 0, "num_train": num_train, "num_test": 397})
        meta = place.run()
        tests.append(place.split("test")[0].tobytes())
    assert tests[0] == tests[1]
    assert sum(counts.total for counts in meta.counts.values()) == 1797, "no digit is in both"
    pictures = place.split("train")[0]
    assert pictures.max() == 255 and not pictures[:, :4].any() and not pictures[:, :, 24:].any()
