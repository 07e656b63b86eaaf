import numpy as np
import pytest

FOLDER = "cifar-10-batches-bin"
NAMES = [f"class {number}" for number in range(10)]


@pytest.fixture
def batches(place):
    """Six batch files of 20 random records each; returns their folder."""
    place.describe("cifar10", val_fraction=0.2)
    folder = place.raw / FOLDER
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        records = rng.integers(0, 256, size=(20, 3073)).astype(np.uint8)
        records[:, 0] = np.arange(20) % 10
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return folder


def test_planes_become_the_last_axis(place, batches):
    meta = place.run()
    inputs, targets = place.split("test")
    records = np.frombuffer((batches / "test_batch.bin").read_bytes(), np.uint8).reshape(20, 3073)
    assert targets.tolist() == records[:, 0].tolist()
    assert inputs.dtype == np.uint8 and inputs.shape == (20, 32, 32, 3)
    assert inputs[7, 3, 5].tolist() == [records[7, 1 + plane * 1024 + 3 * 32 + 5] for plane in range(3)]
    assert meta.classes == NAMES


def test_val_is_held_out_of_train_alike_for_every_class(place, batches):
    meta = place.run()
    assert set(meta.counts["val"].per_class.values()) == {2}
    assert set(meta.counts["train"].per_class.values()) == {8}


def test_mean_and_std_of_each_channel_are_of_train_alone(place, batches):
    meta = place.run()
    pixels = place.split("train")[0] / 255
    np.testing.assert_allclose(meta.input.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(meta.input.std, pixels.std(axis=(0, 1, 2)), rtol=1e-12)


@pytest.mark.parametrize("name", ["data_batch_3.bin", "test_batch.bin"])
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda content: content[:-1], "has 61,459 bytes, not a whole number of records of 3,073"),
        (lambda content: b"", "has 0 bytes"),
        (lambda content: content[:3073] + b"\x0a" + content[3074:], "has the label 10 at record 1, expected 0 to 9"),
        (None, "is missing"),
    ],
)
def test_a_damaged_batch_is_named(place, batches, name, damage, sentence):
    path = batches / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    refusal = place.refusal()
    assert f"{name} {sentence}" in refusal


@pytest.mark.parametrize("text", ["", "a\nb\n", "a\n" * 10, "\n".join(NAMES) + "\neleventh\n"])
def test_class_names_that_are_not_ten_are_refused(place, batches, text):
    (batches / "batches.meta.txt").write_text(text)
    assert "batches.meta.txt has" in place.refusal()


def test_the_sample_is_in_the_official_layout_with_even_classes(place):
    place.describe("cifar10", val_fraction=0.1)
    place.make("drawn_shapes", sample={"seed": 0, "num_train": 100, "num_test": 20})
    assert len(list((place.raw / FOLDER).iterdir())) == 7
    assert (place.raw / FOLDER / "data_batch_5.bin").stat().st_size == 20 * 3073
    assert set(place.run().counts["test"].per_class.values()) == {2}
