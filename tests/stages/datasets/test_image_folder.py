import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from stages.reading.pictures import load_picture
from stages.sources.drawn_insects import Sample

PICTURES = {
    "train": "train",
    "test": "test",
    "resize": None,
    "crop": 8,
    "train_crop": 8,
    "normalize": "train",
    "val_fraction": 0.25,
    "max_bad_fraction": 0.1,
}
ROOT = Path(__file__).parents[3]
BIG = {"resize": 20, "crop": 16, "train_crop": 20}


def write(place, size=(8, 8), number=8, **changes):
    """train/ and test/ with `number` noisy PNGs in each of the classes ant and bee."""
    place.describe("image_folder", **(PICTURES | changes))
    rng = np.random.default_rng(0)
    for folder in ("train/ant", "train/bee", "test/ant", "test/bee"):
        (place.raw / folder).mkdir(parents=True)
        for index in range(number):
            pixels = rng.integers(0, 256, size=(size[1], size[0], 3)).astype(np.uint8)
            Image.fromarray(pixels).save(place.raw / folder / f"{index}.png")


def test_pictures_of_the_right_size_are_left_as_they_are(place):
    write(place)
    meta = place.run()
    inputs, targets = place.split("test")
    assert inputs.dtype == np.uint8 and targets.tolist() == [0] * 8 + [1] * 8
    assert inputs[9].tobytes() == Image.open(place.raw / "test/bee/1.png").tobytes()
    assert (meta.classes, meta.task, meta.num_outputs, meta.input.resize) == (["ant", "bee"], "multiclass", 2, None)
    assert meta.counts["val"].per_class == {"ant": 2, "bee": 2}


def test_mean_and_std_are_of_train_alone_or_imagenets(place):
    write(place)
    meta = place.run()
    pixels = place.split("train")[0] / 255
    np.testing.assert_allclose(meta.input.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(meta.input.std, pixels.std(axis=(0, 1, 2)), rtol=1e-12)
    place.describe("image_folder", **(PICTURES | {"normalize": "imagenet"}))
    meta = place.run()
    assert (meta.input.mean, meta.input.std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def test_train_may_keep_a_larger_crop_than_val_and_test(place):
    write(place, size=(30, 24), **BIG)
    meta = place.run()
    assert place.split("train")[0].shape[1:] == (20, 20, 3)
    assert place.split("val")[0].shape[1:] == place.split("test")[0].shape[1:] == (16, 16, 3)
    assert meta.input.shape == [16, 16, 3] and meta.input.resize.model_dump() == {"shorter_side": 20, "crop": 16}


@pytest.mark.parametrize("size", [(64, 48), (47, 61), (33, 33), (20, 90), (15, 11), (21, 20)])
def test_resize_and_crop_are_torchvisions(tmp_path, size):
    transforms = pytest.importorskip("torchvision.transforms")
    pixels = np.random.default_rng(size).integers(0, 256, size=(size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = transforms.CenterCrop(15)(transforms.Resize(20)(Image.fromarray(pixels)))
    assert load_picture(tmp_path / "a.png", 20, 15).tobytes() == expected.tobytes()


def test_a_picture_is_turned_upright_by_its_exif(tmp_path):
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the first row is the right edge
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    turned = load_picture(tmp_path / "a.png", None, 8)
    assert turned[:, 7].min() == 255 and turned[:, :7].max() == 0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    if mode == "I;16":
        image = Image.fromarray(np.full((8, 8), 0x8000, dtype=np.uint16))
    else:
        image = Image.new("RGB", (8, 8), (128, 128, 128)).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    picture = load_picture(path, None, 8)
    assert picture.shape == (8, 8, 3)
    assert abs(picture.mean() - 128) < 40


@pytest.mark.parametrize("extension", ["jpg", "JPEG", "png", "webp", "bmp", "tif", "tiff"])
def test_the_usual_formats_are_read_whatever_the_case(place, extension):
    write(place)
    Image.new("RGB", (8, 8), (200, 10, 10)).save(place.raw / f"test/bee/last.{extension}")
    assert place.run().counts["test"].per_class == {"ant": 8, "bee": 9}


def test_other_files_are_left_out_and_named(place, capsys):
    write(place)
    Image.new("RGB", (8, 8)).save(place.raw / "train/ant/moving.gif")
    (place.raw / "test/bee/.DS_Store").write_bytes(b"\0")
    (place.raw / "test/bee/Thumbs.db").write_bytes(b"\0")
    (place.raw / "test/readme.txt").write_text("hello")
    meta = place.run()
    assert meta.left_out.count == 2, "what a desktop leaves is not worth a word"
    assert [example.split(":")[0] for example in meta.left_out.examples] == [
        "test/readme.txt",
        "train/ant/moving.gif",
    ]
    assert capsys.readouterr().err.startswith("warning: 2 of 34 items are left out: test/readme.txt: not a class folder; ")


def bomb():
    """A PNG of a few bytes that promises 60,000 x 60,000 pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def strip(path):
    Image.new("RGB", (200_000, 1)).save(path)


def truncated(path):
    path.write_bytes(path.read_bytes()[:150])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncated, "truncated"),
        (lambda path: path.write_bytes(b""), "not a JPEG, PNG, WEBP, BMP, TIFF file"),
        (lambda path: path.write_bytes(b"<html>not found</html>"), "not a JPEG, PNG, WEBP, BMP, TIFF file"),
        (lambda path: path.write_bytes(bomb()), "decompression bomb"),
        (strip, "pixels are more than"),
        (lambda path: Image.new("RGB", (8, 8)).save(path, format="GIF"), "not a JPEG, PNG, WEBP, BMP, TIFF file"),
        (lambda path: Image.fromarray(np.ones((8, 8), np.float32)).save(path, format="TIFF"), "32-bit pixels have no fixed range"),
    ],
)
def test_a_picture_that_cannot_be_read_is_left_out_and_named(place, damage, reason):
    write(place, size=(24, 24), **BIG)
    damage(place.raw / "train/bee/3.png")
    meta = place.run()
    assert meta.left_out.count == 1
    assert meta.left_out.examples[0].startswith("train/bee/3.png: cannot be read as a picture (")
    assert reason in meta.left_out.examples[0]
    assert meta.counts["train"].total + meta.counts["val"].total == 15


def test_a_damaged_picture_moves_no_other_to_another_split(place):
    write(place)
    place.run()
    before = place.split("val")[0]
    truncated(place.raw / "train/bee/3.png")
    place.run()
    after = {picture.tobytes() for picture in place.split("val")[0]}
    assert after <= {picture.tobytes() for picture in before}


def test_without_resize_a_picture_of_another_size_is_bad(place):
    write(place)
    Image.new("RGB", (9, 8)).save(place.raw / "train/ant/3.png")
    assert "is 9x8, expected 8x8: set resize" in place.run().left_out.examples[0]


def test_many_bad_pictures_are_refused(place):
    write(place)
    for index in range(4):
        truncated(place.raw / f"train/ant/{index}.png")
    assert "4 of 32 items are bad, more than max_bad_fraction (0.1) allows: train/ant/0.png" in place.refusal()


def test_a_file_name_cannot_write_to_the_terminal(place, capsys):
    write(place)
    (place.raw / "train/ant/\x1b[2J\n.gif").write_bytes(b"")
    place.run()
    assert "train/ant/\\x1b[2J\\n.gif" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (BIG | {"val_fraction": 0.0}, "expected val_fraction above 0 where train_crop is not crop"),
        ({"train_crop": 9}, "with resize null expected train_crop to be crop (8), got 9"),
        (BIG | {"crop": 21}, "expected crop (21) and train_crop (20) to be at most resize (20)"),
        ({"test": "train"}, "expected different folders for train and test"),
        ({"test": "train/"}, "expected different folders for train and test"),
        ({"train": "test/./", "test": "test/bee"}, "and neither within the other"),
        ({"train": "a/../../.."}, "expected a folder within raw/"),
        ({"train": "/etc"}, "datasets.own.preprocess.train is '/etc'"),
        ({"train": "training"}, "training is not a folder"),
        ({"normalize": "mean"}, "datasets.own.preprocess.normalize is 'mean'"),
    ],
)
def test_params_that_do_not_fit_are_refused(place, changes, sentence):
    write(place, **changes)
    assert sentence in place.refusal()


def test_an_empty_class_folder_is_named(place):
    write(place)
    for path in (place.raw / "test/bee").iterdir():
        path.unlink()
    assert "test/bee has no pictures" in place.refusal()


def test_a_class_of_train_without_a_readable_picture_is_named(place):
    write(place, max_bad_fraction=1.0)
    for path in (place.raw / "train/bee").iterdir():
        truncated(path)
    assert "The class 'bee' has no item in train" in place.refusal()


def test_a_class_in_only_one_of_train_and_test_is_named(place):
    write(place)
    (place.raw / "test/wasp").mkdir()
    assert "The class folder 'wasp' is in only one of train and test" in place.refusal()


def test_one_class_is_too_few(place):
    place.describe("image_folder", **PICTURES)
    for split in ("train", "test"):
        (place.raw / split / "ant").mkdir(parents=True)
    assert "has 1 class folder(s), expected two or more" in place.refusal()


def test_the_sample_has_the_folders_and_numbers_asked_for(place):
    place.describe("image_folder", **(PICTURES | BIG | {"train": "a/train", "test": "a/val"}))
    sample = {"seed": 0, "folders": ["a/train", "a/val"], "classes": ["x", "y", "z"], "num_per_class": [4, 2], "size": [40, 30]}
    place.make("drawn_insects", sample=sample)
    sizes = set()
    for path in place.raw.rglob("*.jpg"):
        with Image.open(path) as picture:
            sizes.add(picture.size)
    assert len(sizes) > 5
    meta = place.run()
    assert meta.classes == ["x", "y", "z"] and meta.counts["test"].per_class == {"x": 2, "y": 2, "z": 2}


@pytest.mark.parametrize("folder", ["x/../../outside", "..", "/etc", "a\\b"])
@pytest.mark.parametrize("key", ["folders", "classes"])
def test_a_sample_cannot_be_drawn_outside_raw(key, folder):
    sample = {"seed": 0, "folders": ["train", "val"], "classes": ["ants", "bees"], "num_per_class": [1, 1], "size": [16, 16]}
    with pytest.raises(ValidationError):
        Sample.model_validate(sample | {key: [folder, "other"]})
    assert Sample.model_validate(sample)


def test_a_full_disk_cuts_no_picture_of_the_sample_short(tmp_path):
    program = """
import resource, sys
from pathlib import Path
from stages.sources.drawn_insects import Source, generate
sample = {"seed": 0, "folders": ["train", "val"], "classes": ["a", "b"], "num_per_class": [1, 1], "size": [300, 300]}
official = [{"path": "a/a.zip", "sha256": "0" * 64, "urls": [], "unpack": {"max_megabytes": 1}}]
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
generate(Path(sys.argv[1]), Source.model_validate({"sample": sample, "official": official}))
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "File too large" in done.stderr
