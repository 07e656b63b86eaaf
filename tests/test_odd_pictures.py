"""Drawings that trip tools, of the mirror (pictures/odd.tar.gz): what each row of its README asks for.

What the audit says of them (blank, dark, copies) is in tests/stages/auditing. Where the files are is told in tests/test_real_data.py.
"""

import contextlib
import json
import shutil
import tarfile
import unicodedata

import numpy as np
import pytest
from PIL import Image

from examples.pictures import BadPicture, decode
from examples.predict import Refused, as_picture
from stages.common.meta import read_meta
from stages.common.splits import SPLITS, SplitFile
from stages.preprocess import preprocess
from stages.reading.pictures import cuts_of
from stages.shell.errors import UserError
from tests.test_real_data import from_mirror
from tests.toy import RUNTIME

SIZES = {"task": "multiclass", "resize": 32, "crop": 32, "train_crop": 32, "normalize": "train", "max_bad_fraction": 0.2}
RANDOM = {"test_fraction": 0.25, "val_fraction": 0.25}


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    with tarfile.open(from_mirror("pictures/odd.tar.gz")) as archive:
        archive.extractall(folder, filter="fully_trusted")  # it holds a link that leaves it
    return folder / "odd"


@pytest.fixture
def build(odd, tmp_path, capsys):
    """Preprocesses a folder, or an archive, with these keys: meta, the names of each split, and what was said."""

    def run(what, **section):
        raw = tmp_path / "data/odd/raw"
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        if (odd / what).is_dir():
            shutil.copytree(odd / what, raw, symlinks=True)
        else:
            raw.mkdir(parents=True)
            shutil.copy(odd / what, raw)
        entry = {"kind": "pictures", "raw": "data/odd/raw", "preprocess": SIZES | section}
        (tmp_path / "params.yaml").write_text(json.dumps({"runtime": RUNTIME, "datasets": {"odd": entry}}))
        with contextlib.chdir(tmp_path):
            preprocess("odd")
        processed = tmp_path / "data/odd/processed"
        items, files = json.loads((processed / "items.json").read_text()), {split: SplitFile(processed, split) for split in SPLITS}
        names = {split: [items[line] for line in file.read("lines", 0, file.count)] for split, file in files.items()}
        return read_meta(processed), names, capsys.readouterr().err

    return run


def pixels(path):
    return np.asarray(decode(path.read_bytes())[0], dtype=float)


def mean(path):
    return pixels(path).mean(axis=(0, 1))


# formats


def test_exif_is_read_upright(odd):
    turned, right = (pixels(odd / f"formats/{name}") for name in ("exif_rotated.jpg", "exif_rotated_as_it_should_look.png"))
    for half in (slice(48), slice(48, 96)):
        assert np.abs(turned[half].mean(axis=(0, 1)) - right[half].mean(axis=(0, 1))).max() < 3


@pytest.mark.parametrize(
    "name",
    ["cmyk.jpg", "progressive.jpg", "photo.bmp", "photo.mpo.jpg", "two_pages.tif", "photo.jfif", "no_extension", "photo.avif", "photo.jp2"],
)
def test_formats_are_told_by_content_and_have_the_colours_of_the_plain_one(odd, name):
    assert np.abs(mean(odd / "formats" / name) - mean(odd / "formats/UPPER.JPG")).max() < 4
    notes = [note.what for note in decode((odd / "formats" / name).read_bytes()).notes]
    assert notes == (["several pages: the first is read"] if name == "two_pages.tif" else [])


@pytest.mark.parametrize("name", ["one_bit.png", "grey_16bit.png", "rgb_16bit.png"])
def test_other_depths_are_scaled(odd, name):
    assert abs(mean(odd / "formats" / name).mean() - mean(odd / "formats/UPPER.JPG").mean()) < 4
    assert decode((odd / "formats" / name).read_bytes()).notes == ()


@pytest.fixture(scope="module")
def formats(odd, tmp_path_factory):
    """What preprocess says of the folder formats, of which the classes are of no interest."""
    raw = tmp_path_factory.mktemp("formats") / "data/odd/raw"
    for split in ("train", "test"):
        for name in ("one", "two"):
            shutil.copytree(odd / "formats", raw / split / name)
    section = SIZES | {"train": "train", "test": "test", "val_fraction": 0.0, "max_bad_fraction": 1.0}
    root = raw.parents[2]
    (root / "params.yaml").write_text(
        json.dumps({"runtime": RUNTIME, "datasets": {"odd": {"kind": "pictures", "raw": "data/odd/raw", "preprocess": section}}})
    )
    with contextlib.chdir(root):
        preprocess("odd")
    return read_meta(root / "data/odd/processed")


def test_12_bits_animations_and_pages_are_counted_and_named(odd, formats):
    assert mean(odd / "formats/grey_12bit_in_16.png").max() < 16
    notes = {note.what.split(":")[0]: note for note in formats.notes}
    assert notes["animated"].count == 8 and notes["several pages"].count == 4
    bits = notes["16 bits of which few are used"]
    assert bits.examples[0] == "train/one/grey_12bit_in_16.png (values up to 3,856 of 65,535, as of 12 bits)"


def test_float_heic_and_svg_are_left_out_for_their_own_reasons(formats):
    assert formats.left_out.count == 12
    told = dict(example.split(": ", 1) for example in formats.left_out.examples)
    assert "pixels of 32 bits, which have no fixed range" in told["train/one/float32.tif"]
    assert "HEIC, as iPhones write it: convert it to JPEG, or install pillow-heif" in told["train/one/photo.heic"]
    assert "SVG, a drawing without pixels" in told["train/one/svg_named.png"]


TRANSPARENT = ["palette_transparent.png", "grey_alpha.png", "rgba_black_under_transparent.png"]


@pytest.mark.parametrize(
    "name", [*TRANSPARENT, "animated.gif", "animated.webp", "cmyk.jpg", "grey_16bit.png", "exif_rotated.jpg", "photo.avif"]
)
def test_training_and_prediction_see_the_same(odd, name):
    signature = {"input": {"shape": ["batch", 32, 32, 3]}, "resize": {"shorter_side": 40, "crop": 32}, "ink": None}
    item, (cuts, notes) = as_picture(odd / "formats" / name, name, signature), cuts_of((odd / "formats" / name).read_bytes(), 40, [32])
    assert item.values.tobytes() == cuts[0].tobytes() and item.note == "; ".join(map(str, notes))
    if name in TRANSPARENT:
        with Image.open(odd / "formats" / name) as opened:
            alpha = np.asarray(opened.convert("RGBA"))[..., 3]
        assert (pixels(odd / "formats" / name)[alpha == 0] == 255).all() and (alpha == 0).any()


# broken and bombs


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken/text_named.jpg", "HTML"),
        ("broken/git_lfs_pointer.jpg", "a Git LFS pointer: run git lfs pull"),
        ("broken/zero_bytes.jpg", "an empty file"),
        ("broken/truncated.jpg", "cut short"),
        ("broken/truncated_last_bytes.jpg", "cut short"),
        ("bombs/bomb_20000x20000.png", "20000x20000, more than the 50,000,000 pixels"),
        ("bombs/only_header_says_60000x60000.png", "60000x60000, more than the 50,000,000 pixels"),
    ],
)
def test_what_is_broken_or_a_bomb_has_its_own_reason_without_being_decoded(odd, monkeypatch, name, reason):
    if name.startswith("bombs"):
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda picture: pytest.fail("it is decoded"))
    with pytest.raises(BadPicture) as refused:
        decode((odd / name).read_bytes())
    assert str(refused.value).startswith(reason)


@pytest.mark.parametrize("name", ["png_named.jpg", "jpeg_named.png", "flipped_bytes.jpg"])
def test_what_can_be_read_by_content_is(odd, name):
    assert pixels(odd / "broken" / name).shape == (72, 96, 3)


@pytest.mark.parametrize(
    ("name", "said"), [("panorama_10000x10.png", "long and narrow"), ("strip_1x3000.png", "tiny"), ("one_pixel.png", "tiny")]
)
def test_where_a_middle_cut_shows_nothing_is_warned_of(odd, name, said):
    content = (odd / "bombs" / name).read_bytes()
    assert said in " ".join(note.what for note in cuts_of(content, 32, [32])[1])
    if name != "one_pixel.png":  # at the usual size they would be resized into hundreds of megabytes
        with pytest.raises(Refused, match="too long and narrow to be resized: cut it"):
            as_picture(
                odd / "bombs" / name,
                name,
                {"input": {"shape": [1, 224, 224, 3]}, "resize": {"shorter_side": 256, "crop": 224}, "ink": None},
            )


# names


def test_names_of_any_script_are_read_and_what_is_no_picture_is_passed_over(build):
    meta, names, _ = build("names", train="train", test="test", val_fraction=0.0)
    assert meta.classes == ["Größe", "two words"] and list(meta.counts["test"].per_class.values()) == [3, 3]
    assert meta.counts["train"].per_class == {"Größe": 10, "two words": 7}, "the seventh is a link to one of the others"
    assert meta.left_out.examples == [
        "train/two words/link_broken.jpg: a broken link",
        "train/two words/link_to_etc_hostname.jpg: a link out of the folder, to /etc/hostname, which is not followed: put the file "
        "itself there",
    ]
    twice, other = meta.notes
    assert twice.what.startswith("a link to another file") and twice.examples[0].startswith("train/two words/link_inside.jpg to train/")
    assert (other.what, other.count) == ("not pictures, passed over", 8)
    stems = {name.rpartition("/")[2] for name in names["train"]}
    assert {"-rf.jpg", "=1+1.jpg", "new\nline.jpg", "кошка.jpg", "日本語.jpg"} <= stems
    assert len({unicodedata.is_normalized("NFC", stem) for stem in stems}) == 2


# classes


def test_classes_that_differ_by_case_or_blanks_are_a_question(build):
    with pytest.raises(UserError) as refused:
        build("classes/case", train="train", **RANDOM)
    assert "The classes 'Cat' (4) and 'cat' (4); 'dog' (4) and 'dog ' (4) differ by case or blanks alone: are they one?" in str(
        refused.value
    )
    assert build("classes/case", train="train", **RANDOM, ignore_case=True)[0].classes == ["Cat", "dog"]


def test_of_nested_folders_the_deepest_is_the_class_and_the_key_is_named(build):
    meta, _, said = build("classes/nested", train="train", **RANDOM)
    assert meta.classes == ["cat", "dog", "oak"] and "preprocess.level: deepest says so; level: 1 takes animals" in said
    assert build("classes/nested", train="train", **RANDOM, level="whole")[0].classes == ["animals/cat", "animals/dog", "plants/oak"]


def test_of_loose_files_the_key_for_labels_in_names_is_named(build):
    with pytest.raises(UserError, match="label_pattern"):
        build("classes/loose_files", **RANDOM)
    assert build("classes/loose_files", **RANDOM, label_pattern=r"^([^\W\d_]+)")[0].classes == ["cat", "dog"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("one_class", "has one class alone, cat"), ("single_picture", "one cannot be both in train and in test; 'cat' has 1, 'dog' has 2")],
)
def test_too_few_classes_or_pictures_are_refused_by_name(build, name, sentence):
    with pytest.raises(UserError) as refused:
        build(f"classes/{name}", train="train", **RANDOM)
    assert sentence in str(refused.value)


def test_an_empty_class_is_warned_of_by_name(build):
    meta, _, said = build("classes/empty_class", train="train", **RANDOM)
    assert meta.classes == ["cat", "dog"] and "a folder without pictures, which is not a class: 1 (train/fish)" in said


def test_valid_is_a_split(build):
    meta, names, _ = build("classes/three_splits", train="train", val="valid", test="test")
    assert [meta.counts[split].total for split in SPLITS] == [8, 8, 8] and all(name.startswith("valid/") for name in names["val"])


# csv


def test_a_table_of_labels_is_read_row_by_row(build, odd, tmp_path):
    table = {"table": "labels.csv", "file": "Bild", "label": ["Klasse"], "format": {"separator": ";"}, "max_bad_fraction": 1.0}
    with pytest.raises(UserError, match=r"'Dreieck' \(1\) and 'dreieck' \(1\) differ by case"):
        build("csv", **table, **RANDOM, group="Patient")
    rows = (odd / "csv/labels.csv").read_bytes() + "".join(f"p{number};Kreis;{number}\r\n" for number in range(6, 12)).encode()
    shutil.copytree(odd / "csv", odd / "csv_of_more", dirs_exist_ok=True)
    (odd / "csv_of_more/labels.csv").write_bytes(rows)
    for number in range(6, 12):
        shutil.copy(odd / "csv/images/p1.jpg", odd / f"csv_of_more/images/p{number}.jpg")
    meta, names, _ = build("csv_of_more", **table, ignore_case=True, test_fraction=0.3, val_fraction=0.0, group="Patient")
    assert meta.classes == ["Dreieck", "Kreis"] and sum(counts.total for counts in meta.counts.values()) == 10
    assert meta.left_out.examples == [
        "labels.csv line 7: has no label",
        "labels.csv line 8: 'missing.jpg' is not a picture of the raw folder",
        "images/p0.jpg: labels.csv has two labels for it: 'Dreieck' on line 2 and 'Kreis' on line 9",
        "labels.csv line 10: '../../base/train/circle/circle_00.jpg' leaves the folder",
    ]
    of = {name: split for split, found in names.items() for name in found}
    assert of["images/p2.jpg"] == of["images/p3.jpg"], "patient B"


# leaks and archives


def test_copies_are_kept_in_one_split_by_one_key(build):
    meta, names, said = build("leaks", train="train", test="test", val_fraction=0.0, keep_copies_together=True)
    assert "have copies in a later split (train, val, test) than their own, and were moved there" in said
    left = {name for name in names["train"] if name.rpartition("/")[2] in ("0.jpg", "1.jpg")}
    assert left == set() and {"train/circle/0.jpg", "train/triangle/1.jpg"} <= set(names["test"])
    assert meta.counts["train"].total + meta.counts["test"].total == 28


@pytest.mark.parametrize("name", ["mac", "windows_backslash"])
def test_archives_are_read_as_they_are(build, odd, name):
    meta, names, _ = build(f"archives/{name}.zip", train="train", test="test", val_fraction=0.0)
    assert meta.classes == ["circle", "triangle"] and meta.left_out.count == 0 and names["train"] and names["test"]


def test_an_archive_that_leaves_the_folder_is_refused(build):
    with pytest.raises(UserError, match=r"its entry '\.\./\.\./evil\.txt' leaves the folder"):
        build("archives/outside.zip", **RANDOM)
