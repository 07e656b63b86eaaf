import gzip

import numpy as np
import pytest

from stages.datasets.mnist import place_on_canvas
from stages.reading.idx import write_idx

DIGIT = {"target": "digit", "canvas": 28, "val_fraction": 0.25}
CENTER = {"target": "center", "canvas": 32, "val_fraction": 0.25}


def write(place, num_train=40, num_test=20, seed=0):
    rng = np.random.default_rng(seed)
    for prefix, number in (("train", num_train), ("t10k", num_test)):
        write_idx(place.raw / f"{prefix}-images-idx3-ubyte.gz", rng.integers(0, 256, size=(number, 28, 28)))
        write_idx(place.raw / f"{prefix}-labels-idx1-ubyte.gz", np.arange(number) % 10)


def rewrite(path, change):
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))


def test_pictures_keep_their_pixels_and_digits(place):
    place.describe("mnist", **DIGIT)
    write(place)
    meta = place.run()
    assert {split: counts.total for split, counts in meta.counts.items()} == {"train": 30, "val": 10, "test": 20}
    inputs, targets = place.split("test")
    assert inputs.dtype == np.uint8 and inputs.shape == (20, 28, 28, 1) and targets.tolist() == [*range(10)] * 2
    content = gzip.decompress((place.raw / "t10k-images-idx3-ubyte.gz").read_bytes())
    assert inputs.tobytes() == content[16:]


def test_mean_and_std_are_of_train_alone(place):
    place.describe("mnist", **DIGIT)
    write(place)
    meta = place.run()
    pixels = place.split("train")[0] / 255
    np.testing.assert_allclose([meta.input.mean, meta.input.std], [[pixels.mean()], [pixels.std()]], rtol=1e-12)


def test_the_centre_is_that_of_the_placed_picture(place):
    place.describe("mnist", **CENTER)
    write(place)
    meta = place.run()
    inputs, targets = place.split("val")
    assert inputs.shape[1:] == (32, 32, 1) and targets.dtype == np.float32 and len(meta.outputs) == 2
    for picture, (row, column) in zip(inputs[..., 0].astype(float), targets, strict=True):
        rows, columns = np.mgrid[:32, :32]
        assert row == pytest.approx((rows * picture).sum() / picture.sum(), abs=1e-4)
        assert column == pytest.approx((columns * picture).sum() / picture.sum(), abs=1e-4)


def test_digits_are_placed_all_over_the_canvas():
    corner = np.zeros((500, 28, 28), dtype=np.uint8)
    corner[:, 0, 0] = 200
    placed, centres = place_on_canvas(corner, 32, np.random.default_rng(0))
    assert {tuple(centre) for centre in centres.tolist()} == {(row, column) for row in range(5) for column in range(5)}
    assert all(placed[index, int(row), int(column), 0] == 200 for index, (row, column) in enumerate(centres))


def test_a_black_picture_has_its_centre_in_its_middle():
    _, centres = place_on_canvas(np.zeros((1, 28, 28), dtype=np.uint8), 28, np.random.default_rng(0))
    assert centres.tolist() == [[13.5, 13.5]]


@pytest.mark.parametrize("part", ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"])
@pytest.mark.parametrize("damage", ["truncated", "missing", "not gzip", "flipped"])
def test_a_damaged_file_is_named(place, part, damage):
    place.describe("mnist", **DIGIT)
    write(place)
    path = place.raw / f"{part}-ubyte.gz"
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        content[len(content) - 6] ^= 1  # of the checksum in the last eight bytes
        path.write_bytes({"truncated": content[:-20], "not gzip": b"<html>", "flipped": content}[damage])
    assert path.name in place.refusal()


@pytest.mark.parametrize(
    ("part", "change", "sentence"),
    [
        (
            "images-idx3",
            lambda content: b"\0\0\x08\x01" + content[4:],
            "is not an idx file of bytes in 3 dimension(s): it begins with 00000801",
        ),
        ("images-idx3", lambda content: b"", "it begins with nothing"),
        ("images-idx3", lambda content: content[:-1], "ends early: its header promises 40 items"),
        ("images-idx3", lambda content: content + b"\0", "holds more than the 40 items that its header promises"),
        ("images-idx3", lambda content: content[:8] + b"\0\0\0\x20" + content[12:], "has pictures of 32x28, expected 28x28"),
        (
            "images-idx3",
            lambda content: content[:4] + b"\0\0\0\x27" + content[8:-784],
            "promises 39 pictures and its labels file 40 labels",
        ),
        ("labels-idx1", lambda content: content[:8] + b"\x0a" + content[9:], "has the label 10 at item 0, expected 0 to 9"),
        ("labels-idx1", lambda content: content[:4] + b"\xff\xff\xff\xff" + content[8:], "promises 4,294,967,295 labels"),
        ("labels-idx1", lambda content: content + b"\0", "holds more than the 40 items"),
    ],
)
def test_content_that_belies_its_header_is_refused(place, part, change, sentence):
    place.describe("mnist", **DIGIT)
    write(place)
    path = place.raw / f"train-{part}-ubyte.gz"
    rewrite(path, change)
    refusal = place.refusal()
    assert sentence in refusal and path.name in refusal


def test_a_digit_on_a_larger_canvas_is_refused(place):
    place.describe("mnist", **(DIGIT | {"canvas": 32}))
    assert "expected canvas 28 for the target digit, got 32" in place.refusal()


def test_a_digit_that_never_trains_is_named(place):
    place.describe("mnist", **DIGIT)
    write(place, num_train=48)
    rewrite(place.raw / "train-labels-idx1-ubyte.gz", lambda content: content[:8] + content[8:].replace(b"\x08", b"\x07"))
    assert "The class '8' has no item in train" in place.refusal()


def test_the_sample_is_scikit_learns_digits_with_a_margin(place):
    place.describe("mnist", **DIGIT)
    place.make("digits", sample={"seed": 0, "num_train": 1400, "num_test": 397})
    meta = place.run()
    assert meta.counts["test"].total == 397
    assert sum(counts.total for counts in meta.counts.values()) == 1797, "no digit is in both"
    pictures = place.split("train")[0]
    assert pictures.max() == 255 and not pictures[:, :4].any() and not pictures[:, :, 24:].any()


def test_a_smaller_train_leaves_the_samples_test_as_it_is(place):
    place.describe("mnist", **DIGIT)
    tests = []
    for num_train in (300, 600):
        place.make("digits", sample={"seed": 0, "num_train": num_train, "num_test": 100})
        place.run()
        tests.append(place.split("test")[0].tobytes())
    assert tests[0] == tests[1]
