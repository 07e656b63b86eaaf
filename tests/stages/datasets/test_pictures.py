"""The kinds of data that are files of pictures: a folder a class, or a table of what each shows."""

import io
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

ROOT = Path(__file__).parents[3]
SIZES = {"resize": None, "crop": 8, "train_crop": 8, "normalize": "train", "val_fraction": 0.25, "max_bad_fraction": 0.1}
PICTURES = SIZES | {"train": "train", "test": "test"}
BIG = {"resize": 20, "crop": 16, "train_crop": 20}


def write(place, size=(8, 8), number=8, folders=("train/ant", "train/bee", "test/ant", "test/bee"), **changes):
    """train/ and test/ with `number` noisy PNGs in each of the classes ant and bee."""
    place.describe("image_folder", **(PICTURES | changes))
    rng = np.random.default_rng(0)
    for folder in folders:
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
    place.check_measured(meta)


def test_train_may_keep_a_larger_crop_than_val_and_test(place):
    write(place, size=(30, 24), **BIG, normalize="imagenet")
    meta = place.run()
    assert place.split("train")[0].shape[1:] == (20, 20, 3)
    assert place.split("val")[0].shape[1:] == place.split("test")[0].shape[1:] == (16, 16, 3)
    assert meta.input.shape == [16, 16, 3] and meta.input.resize.model_dump() == {"shorter_side": 20, "crop": 16}
    assert (meta.input.mean, meta.input.std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def test_without_a_test_folder_test_is_held_out_of_the_class_folders_of_raw(place):
    write(place, folders=("ant", "bee", ".hidden"), number=16)
    place.describe("image_folder", **(SIZES | {"test_fraction": 0.25}))
    assert [counts.per_class for counts in place.run().counts.values()] == [{"ant": n, "bee": n} for n in (9, 3, 4)]


def test_a_table_says_which_of_several_things_a_picture_shows(place, capsys):
    place.describe("tagged_images", **(SIZES | {"table": "tags.csv", "test_fraction": 0.25, "max_bad_fraction": 0.3}))
    for number in range(16):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(place.raw / f"{number}.png")
    rows = [f"{number}.png,{number % 2},1" for number in range(16)]
    bad = ["../0.png,0,1", "/0.png,0,1", "none.png,0,1", "0.png,0", "1.png,0,2"]
    (place.raw / "tags.csv").write_text("\n".join(["picture,cat,dog", *rows, *bad]))
    meta = place.run()
    assert (meta.task, meta.classes, meta.num_outputs, meta.left_out.count) == ("multilabel", ["cat", "dog"], 2, 5)
    assert [counts.per_class for counts in meta.counts.values()] == [{"cat": 5, "dog": 9}, {"cat": 1, "dog": 3}, {"cat": 2, "dog": 4}]
    inputs, targets = place.split("test")
    assert targets.dtype == np.uint8 and targets[:, 0].tolist() == (inputs[:, 0, 0, 0] % 2).tolist()
    assert "tags.csv line 22: column dog has '2', expected 0 or 1" in capsys.readouterr().err


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


def test_every_format_and_mode_becomes_rgb(place):
    write(place)
    grey = Image.new("RGB", (8, 8), (128, 128, 128))
    for number, extension in enumerate(("jpg", "JPEG", "png", "webp", "bmp", "tif", "tiff")):
        grey.save(place.raw / f"test/bee/grey{number}.{extension}")
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK"):
        grey.convert(mode).save(place.raw / f"test/bee/mode{mode}.{'tif' if mode == 'CMYK' else 'png'}")
    Image.fromarray(np.full((8, 8), 0x8000, dtype=np.uint16)).save(place.raw / "test/bee/mode16.png")
    meta = place.run()
    assert meta.counts["test"].per_class == {"ant": 8, "bee": 22} and meta.left_out.count == 0
    assert all(abs(picture.mean() - 128) < 40 for picture in place.split("test")[0][16:])


def test_other_files_are_left_out_and_named_but_for_what_desktops_leave(place, capsys):
    write(place)
    Image.new("RGB", (8, 8)).save(place.raw / "train/ant/moving\x1b[2J\n.gif")
    (place.raw / "test/bee/.DS_Store").write_bytes(b"\0")
    (place.raw / "test/bee/Thumbs.db").write_bytes(b"\0")
    (place.raw / "test/readme.txt").write_text("hello")
    examples = [example.split(": ")[0] for example in place.run().left_out.examples]
    assert examples == ["test/readme.txt", "train/ant/moving\\x1b[2J\\n.gif"]
    assert capsys.readouterr().err.startswith("warning: 2 of 34 items are left out: test/readme.txt: not a class folder; ")


def bomb():
    """A PNG of a few bytes that promises 60,000 x 60,000 pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def encoded(image, **options):
    image.save(file := io.BytesIO(), **options)
    return file.getvalue()


def of_many_scans():
    """A JPEG that repeats its last scan, each of which goes over all pixels."""
    data = encoded(Image.new("L", (64, 64), 128), format="JPEG", progressive=True)
    last, table = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xc4")
    return data[:-2] + data[table:last] + data[last:-2] * 100 + b"\xff\xd9"


BAD = [
    (encoded(Image.effect_noise((24, 24), 50), format="PNG")[:150], "truncated"),
    (b"<html>not found</html>", "not a JPEG, PNG, WEBP, BMP, TIFF file"),
    (encoded(Image.new("RGB", (8, 8)), format="GIF"), "not a JPEG, PNG, WEBP, BMP, TIFF file"),
    (encoded(Image.fromarray(np.ones((8, 8), np.float32)), format="TIFF"), "32-bit pixels have no fixed range"),
    (bomb(), "decompression bomb"),
    (encoded(Image.new("L", (10_000, 6000)), format="PNG"), "10000x6000 pixels are more than the 50,000,000"),
    (encoded(Image.new("RGB", (200_000, 1)), format="PNG"), "pixels are more than"),  # once it is resized
    (of_many_scans(), "more than the 100 scans"),
]


@pytest.mark.parametrize(("content", "reason"), BAD, ids=range(len(BAD)))
def test_a_picture_that_cannot_be_read_is_left_out_and_named(place, content, reason):
    write(place, size=(24, 24), **BIG)
    place.run()
    before = {picture.tobytes() for picture in place.split("val")[0]}
    (place.raw / "train/bee/3.png").write_bytes(content)
    meta = place.run()
    assert meta.left_out.count == 1
    assert meta.left_out.examples[0].startswith("train/bee/3.png: cannot be read as a picture (") and reason in meta.left_out.examples[0]
    assert meta.counts["train"].total + meta.counts["val"].total == 15
    assert {picture.tobytes() for picture in place.split("val")[0]} <= before, "no other picture moves to another split"


def test_without_resize_a_picture_of_another_size_is_bad_and_many_bad_ones_are_refused(place):
    write(place)
    Image.new("RGB", (9, 8)).save(place.raw / "train/ant/3.png")
    assert "is 9x8, expected 8x8: set resize" in place.run().left_out.examples[0]
    (place.processed / "meta.json").write_text("the earlier result")
    for path in place.processed.glob("*.safetensors"):
        path.unlink()
    for index in range(4):
        (place.raw / f"train/ant/{index}.png").write_bytes(b"")
    assert "4 of 32 items are bad, more than max_bad_fraction (0.1) allows: train/ant/0.png" in place.refusal()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (BIG | {"val_fraction": 0.0}, "expected val_fraction above 0 where train_crop is not crop"),
        ({"train_crop": 9}, "with resize null expected train_crop to be crop (8), got 9"),
        ({"test": "train/"}, "expected different folders for train and test"),
        ({"train": "test/", "test": "test/bee"}, "and neither within the other"),
        ({"train": "a/../../.."}, "datasets.own.preprocess.train is 'a/../../..'"),
        ({"train": "training"}, "training is not a folder"),
        ({"test": None}, "expected either test, a folder, or test_fraction"),
    ],
)
def test_params_that_do_not_fit_are_refused(place, changes, sentence):
    write(place, number=1, **changes)
    assert sentence in place.refusal()


def empty(folder):
    for path in folder.iterdir():
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda raw: [path.unlink() for path in (raw / "test/bee").iterdir()], "test/bee has no pictures"),
        (lambda raw: empty(raw / "train/bee"), "The class 'bee' has no item in train"),
        (lambda raw: (raw / "test/wasp").mkdir(), "The class folder 'wasp' is in only one of train and test"),
        (lambda raw: (raw / "train/\x1b").mkdir(), r"'\\x1b' is in only one"),
        (lambda raw: [(raw / split / "bee\n").mkdir() for split in ("train", "test")], r"'bee\\n' has a name that cannot be shown"),
    ],
)
def test_a_class_that_cannot_be_is_named(place, spoil, sentence):
    write(place, max_bad_fraction=1.0)
    spoil(place.raw)
    assert sentence in place.refusal()


def test_one_class_is_too_few(place):
    place.describe("image_folder", **PICTURES)
    for split in ("train", "test"):
        (place.raw / split / "ant").mkdir(parents=True)
    assert "has 1 class folder(s), expected two or more" in place.refusal()


SAMPLE = {"seed": 0, "folders": ["train", "test"], "classes": ["x", "y", "z"], "num_per_class": [4, 2], "size": [40, 30]}


def test_the_sample_has_the_folders_and_numbers_asked_for(place):
    place.describe("image_folder", **(PICTURES | BIG))
    place.make("drawn_insects", sample=SAMPLE)
    assert place.run().counts["test"].per_class == {"x": 2, "y": 2, "z": 2}


@pytest.mark.parametrize("folder", ["x/../../outside", "/etc", "a\\b"])
def test_a_sample_cannot_be_drawn_outside_raw(folder):
    for key in ("folders", "classes"):
        with pytest.raises(ValidationError):
            Sample.model_validate(SAMPLE | {key: [folder, "other"]})


def test_a_full_disk_cuts_no_picture_of_the_sample_short(tmp_path):
    program = f"""
import resource, sys
from pathlib import Path
from stages.sources.drawn_insects import Source, generate
official = [{{"path": "a/a.zip", "sha256": "0" * 64}}]
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
generate(Path(sys.argv[1]), Source.model_validate({{"sample": {SAMPLE | {"size": [300, 300]}}, "official": official}}))
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "File too large" in done.stderr
