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


def test_planes_become_the_last_axis_and_val_is_held_out_alike_for_every_class(place, batches):
    meta = place.run()
    inputs, targets = place.split("test")
    records = np.frombuffer((batches / "test_batch.bin").read_bytes(), np.uint8).reshape(20, 3073)
    assert targets.tolist() == records[:, 0].tolist()
    assert inputs.dtype == np.uint8 and inputs.shape == (20, 32, 32, 3)
    assert inputs[7, 3, 5].tolist() == [records[7, 1 + plane * 1024 + 3 * 32 + 5] for plane in range(3)]
    assert meta.classes == NAMES
    assert set(meta.counts["val"].per_class.values()) == {2} and set(meta.counts["train"].per_class.values()) == {8}
    place.check_measured(meta)


@pytest.mark.parametrize("name", ["data_batch_3.bin", "test_batch.bin"])
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda content: content[:-1], "has 61,459 bytes, not a whole number of records of 3,073"),
        (lambda content: b"", "has 0 bytes"),
        (lambda content: content[:3073] + b"\x0a" + content[3074:], "has the label 10 at record 1, expected 0 to 9"),
    ],
)
def test_a_damaged_batch_is_named(place, batches, name, damage, sentence):
    (batches / name).write_bytes(damage((batches / name).read_bytes()))
    assert f"{name} {sentence}" in place.refusal()


@pytest.mark.parametrize("text", ["", "a\n" * 10, "\n".join(NAMES) + "\neleventh\n"])
def test_class_names_that_are_not_ten_are_refused(place, batches, text):
    (batches / "batches.meta.txt").write_text(text)
    assert "batches.meta.txt has" in place.refusal()
