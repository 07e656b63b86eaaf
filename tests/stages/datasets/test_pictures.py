"""The kind of data `pictures`: labels from folders, names, tables and texts; splits; what is left out and what is only said."""

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

from stages.common.splits import SPLITS
from stages.reading import picture_labels
from stages.reading.pictures import cuts_of
from stages.sources.drawn_insects import Sample

ROOT = Path(__file__).parents[3]
SIZES = {"task": "multiclass", "resize": None, "crop": 8, "train_crop": 8, "normalize": "train", "max_bad_fraction": 0.1}
RANDOM = {"test_fraction": 0.25, "val_fraction": 0.25}
PICTURES = SIZES | {"val_fraction": 0.25, "train": "train", "test": "test"}
BIG = {"resize": 20, "crop": 16, "train_crop": 20}


def draw(raw, names, size=(8, 8)):
    """A noisy PNG under each name, no two alike."""
    for number, name in enumerate(names):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, size=(size[1], size[0], 3)).astype(np.uint8)
        encode(raw / name, Image.fromarray(pixels))


def encode(path, image):
    path.write_bytes(encoded(image, format="PNG"))


def encoded(image, **options):
    image.save(file := io.BytesIO(), **options)
    return file.getvalue()


def write(place, size=(8, 8), number=8, folders=("train/ant", "train/bee", "test/ant", "test/bee"), **changes):
    """train/ and test/ with `number` noisy PNGs in each of the classes ant and bee."""
    place.describe("pictures", **(PICTURES | changes))
    draw(place.raw, [f"{folder}/{index}.png" for folder in folders for index in range(number)], size)


def named(place):
    """The names of each split's pictures."""
    items = place.items()
    return {split: [items[line] for line in place.lines(split)] for split in SPLITS}


# Pixels


def test_pictures_of_the_right_size_are_left_as_they_are(place):
    write(place)
    meta = place.run()
    inputs, targets = place.split("test")
    assert inputs.dtype == np.uint8 and targets.tolist() == [0] * 8 + [1] * 8
    assert inputs[9].tobytes() == Image.open(place.raw / "test/bee/1.png").tobytes()
    assert (meta.classes, meta.task, meta.num_outputs, meta.input.resize) == (["ant", "bee"], "multiclass", 2, None)
    assert meta.counts["val"].per_class == {"ant": 2, "bee": 2}
    assert named(place)["test"] == [f"test/{name}/{number}.png" for name in ("ant", "bee") for number in range(8)]
    place.check_measured(meta)


def test_train_may_keep_a_larger_crop_than_val_and_test(place):
    write(place, size=(30, 24), **BIG, normalize="imagenet")
    meta = place.run()
    assert place.split("train")[0].shape[1:] == (20, 20, 3)
    assert place.split("val")[0].shape[1:] == place.split("test")[0].shape[1:] == (16, 16, 3)
    assert meta.input.shape == [16, 16, 3] and meta.input.resize.model_dump() == {"shorter_side": 20, "crop": 16}
    assert (meta.input.mean, meta.input.std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.parametrize("size", [(64, 48), (47, 61), (33, 33), (20, 90), (15, 11), (21, 20)])
def test_resize_and_crop_are_torchvisions(size):
    transforms = pytest.importorskip("torchvision.transforms")
    pixels = np.random.default_rng(size).integers(0, 256, size=(size[1], size[0], 3)).astype(np.uint8)
    expected = transforms.CenterCrop(15)(transforms.Resize(20)(Image.fromarray(pixels)))
    (cut,), _ = cuts_of(encoded(Image.fromarray(pixels), format="PNG"), 20, [15])
    assert cut.tobytes() == expected.tobytes()


def test_large_files_are_decoded_beside_each_other_into_the_same_bytes(place, monkeypatch):
    write(place, size=(30, 24), **BIG)
    place.run()
    before = {path.name: path.read_bytes() for path in place.processed.iterdir()}
    monkeypatch.setattr("stages.reading.pictures.SMALL", 0)
    place.run()
    assert {path.name: path.read_bytes() for path in place.processed.iterdir()} == before


# Labels


def test_without_folders_of_splits_test_is_held_out_of_the_class_folders_of_raw(place):
    write(place, folders=("ant", "bee", ".hidden"), number=16)
    place.describe("pictures", **SIZES, **RANDOM)
    assert [counts.per_class for counts in place.run().counts.values()] == [{"ant": n, "bee": n} for n in (9, 3, 4)]


NESTED = [f"pets/{kind}/{name}/{number}.png" for kind, name in (("land", "cat"), ("land", "dog"), ("sea", "cod")) for number in range(4)]


@pytest.mark.parametrize(
    ("level", "classes"),
    [(None, ["cat", "cod", "dog"]), (1, ["land", "sea"]), (2, ["cat", "cod", "dog"]), ("whole", ["land/cat", "land/dog", "sea/cod"])],
)
def test_level_says_which_of_nested_folders_is_the_class_and_one_around_all_counts_for_nothing(place, capsys, level, classes):
    draw(place.raw, NESTED)
    place.describe("pictures", **SIZES, **RANDOM, level=level)
    assert place.run().classes == classes
    assert ("the deepest, cat, is the class" in capsys.readouterr().err) == (level is None)


def test_a_pattern_finds_labels_and_another_one_groups_in_names(place):
    names = [f"{name}_{person}_{number}.png" for name in ("cat", "dog") for person in "abcdef" for number in range(2)]
    draw(place.raw, [f"photos/{name}" for name in names])
    patterns = {"label_pattern": "^([a-z]+)_", "group_pattern": "photos/[a-z]+_(.)"}
    place.describe("pictures", **SIZES, **RANDOM, **patterns)
    assert place.run().classes == ["cat", "dog"]
    people = [{name.split("_")[1] for name in of_split} for of_split in named(place).values()]
    assert len(set.union(*people)) == sum(map(len, people)) == 6


def test_a_pattern_that_takes_for_ever_is_ended(place, monkeypatch):
    draw(place.raw, [f"{'a' * 60}{number}.png" for number in range(3)])
    place.describe("pictures", **SIZES, **RANDOM, label_pattern="^(a+)+_")
    monkeypatch.setattr(picture_labels, "PATTERN_SECONDS", 0.2)
    assert "preprocess.label_pattern takes more than 0.2 s" in place.refusal()


def test_a_table_says_which_of_several_things_a_picture_shows(place, capsys):
    table = {"task": "multilabel", "table": "tags.csv", "file": "picture", "label": ["cat", "dog"], "max_bad_fraction": 0.3}
    place.describe("pictures", **(SIZES | RANDOM | table))
    for number in range(16):
        encode(place.raw / f"{number}.png", Image.new("RGB", (8, 8), (number, 0, 0)))
    rows = [f"{number}.png,{number % 2},1" for number in range(16)]
    bad = ["../0.png,0,1", "/0.png,0,1", "none.png,0,1", "0.png,0", "1.png,0,2"]
    (place.raw / "tags.csv").write_text("\n".join(["picture,cat,dog", *rows, *bad]))
    meta = place.run()
    assert (meta.task, meta.classes, meta.num_outputs, meta.left_out.count, meta.notes) == ("multilabel", ["cat", "dog"], 2, 5, None)
    assert [counts.per_class for counts in meta.counts.values()] == [{"cat": 5, "dog": 9}, {"cat": 1, "dog": 3}, {"cat": 2, "dog": 4}]
    inputs, targets = place.split("test")
    assert targets.dtype == np.uint8 and targets[:, 0].tolist() == (inputs[:, 0, 0, 0] % 2).tolist()
    said = capsys.readouterr().err
    assert "tags.csv line 22: column dog has '2', expected 0 or 1" in said and "'../0.png' leaves the folder" in said


def test_a_cell_or_a_text_may_hold_several_labels(place):
    names = [f"{number}.png" for number in range(12)]
    draw(place.raw, names)
    labels = ["cat", "cat|dog", "", "dog"] * 3
    (place.raw / "tags.tsv").write_text("\n".join(["file\ttags", *(f"{name}\t{label}" for name, label in zip(names, labels, strict=True))]))
    several = {"task": "multilabel", "label_separator": "|"}
    by_table = {"table": "tags.tsv", "file": "file", "label": ["tags"], "format": {"separator": "\t"}}
    place.describe("pictures", **(SIZES | RANDOM | several | by_table))
    meta = place.run()
    assert meta.classes == ["cat", "dog"] and [note.count for note in meta.notes] == [3]
    first = {split: place.split(split)[1].tolist() for split in SPLITS}
    for name, label in zip(names, labels, strict=True):
        (place.raw / name).with_suffix(".txt").write_text(label.replace("|", "\n"))
    (place.raw / "tags.tsv").unlink()
    place.describe("pictures", **(SIZES | RANDOM | several | {"label_files": True}))
    assert place.run().classes == ["cat", "dog"]
    assert {split: sorted(place.split(split)[1].tolist()) for split in SPLITS} == {split: sorted(values) for split, values in first.items()}


def test_numbers_of_a_table_are_predicted_and_its_column_splits(place):
    names = [f"{split}{number}.png" for split in ("train", "val", "test") for number in range(4)]
    draw(place.raw, names)
    rows = [f"{name},{number}.5,{name[:-5].upper()}" for number, name in enumerate(names)]
    (place.raw / "ages.csv").write_text("\n".join(["name,age,part", *rows]))
    table = {"task": "regression", "table": "ages.csv", "file": "name", "label": ["age"], "split": "part"}
    place.describe("pictures", **(SIZES | table))
    meta = place.run()
    assert (meta.classes, meta.outputs, meta.target.mean) == (None, ["age"], [2.0])
    assert place.split("val")[1].tolist() == [[4.5], [5.5], [6.5], [7.5]]
    assert named(place)["test"] == names[8:]


def test_a_table_for_each_split_says_which_it_is(place):
    draw(place.raw, [f"all/{number}.png" for number in range(20)])
    for split, numbers in (("train", range(12)), ("test", range(12, 18))):
        (place.raw / f"{split}.csv").write_text("\n".join(["file,kind", *(f"{number},{'ab'[number % 2]}" for number in numbers)]))
    tables = {
        "task": "multiclass",
        "table": {"train": "train.csv", "test": "test.csv"},
        "file": "file",
        "label": ["kind"],
        "val_fraction": 0.3,
    }
    place.describe("pictures", **(SIZES | tables))
    good = (place.raw / "test.csv").read_text()
    (place.raw / "test.csv").write_text(good.replace("13,", "3,"))
    assert "test.csv names all/3.png, which the table of another split names too" in place.refusal()
    (place.raw / "test.csv").write_text(good)
    assert place.run().classes == ["a", "b"]
    found = named(place)
    assert found["test"] == [f"all/{number}.png" for number in range(12, 18)] and len(found["val"]) == 4
    assert sorted(found["train"] + found["val"]) == sorted(f"all/{number}.png" for number in range(12))


def test_classes_may_be_given_in_an_order_and_pictures_of_others_are_bad(place):
    write(place, classes=["bee", "ant"], max_bad_fraction=0.5)
    draw(place.raw, ["train/wasp/0.png"])
    meta = place.run()
    assert meta.classes == ["bee", "ant"] and place.split("test")[1].tolist() == [0] * 8 + [1] * 8
    assert meta.left_out.examples == ["train/wasp/0.png: its label, 'wasp', is not in preprocess.classes"]


@pytest.mark.parametrize(
    ("cell", "found"), [("a/1", "a/1.png"), ("B\\2.PNG", "b/2.png"), ("home/x/b/2.png", "b/2.png"), ("./3", "c/3.png")]
)
def test_a_cell_finds_its_picture(cell, found):
    names = ["a/1.png", "b/1.png", "b/2.png", "c/3.png"]
    assert picture_labels.Finder(names, ".").find(cell) == found


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("1.png", "may be a/1.png or b/1.png"),
        ("b/3", "is not a picture"),
        ("/a/1.png", "leaves"),
        ("C:\\a\\1.png", "leaves"),
        ("", "names no"),
    ],
)
def test_a_cell_that_names_none_or_two_pictures_is_told(cell, problem):
    with pytest.raises(ValueError, match=problem):
        picture_labels.Finder(["a/1.png", "b/1.png", "c/3.png"], ".").find(cell)


# Splits


def test_rows_of_a_group_stay_together_and_copies_too(place):
    names = [f"{kind}{number}.png" for kind in "ab" for number in range(12)]
    draw(place.raw, names, size=(64, 64))
    for kind in "ab":  # of each class two pictures are the same but for their size
        encode(place.raw / f"{kind}1.png", Image.open(place.raw / f"{kind}0.png").resize((96, 96), Image.Resampling.BICUBIC))
    rows = [f"{name},{name[0]},{int(name[1:-4]) // 2 if name != 'a11.png' else ''}" for name in names]
    (place.raw / "t.csv").write_text("\n".join(["file,kind,person", *rows]))
    big = {"resize": 64, "crop": 64, "train_crop": 64}
    table = {"table": "t.csv", "file": "file", "label": ["kind"]}
    place.describe("pictures", **(SIZES | RANDOM | big | table | {"group": "person"}))
    meta = place.run()
    of = {name: split for split, names in named(place).items() for name in names}
    assert all(of[f"{kind}{number}.png"] == of[f"{kind}{number + 1}.png"] for kind in "ab" for number in range(0, 10, 2))
    assert [note.examples for note in meta.notes] == [["a11.png"]]
    place.describe("pictures", **(SIZES | RANDOM | big | {"label_pattern": "^(.)", "keep_copies_together": True}))
    for seed in range(4):
        place.seed = seed
        place.run()
        of = {name: split for split, names in named(place).items() for name in names}
        assert of["a0.png"] == of["a1.png"] and of["b0.png"] == of["b1.png"]


def test_copies_of_a_test_folder_leave_train_and_the_pixels_stay_the_same(place):
    write(place, size=(31, 24), number=6, **BIG)
    (place.raw / "test/ant/0.png").write_bytes((place.raw / "train/ant/3.png").read_bytes())
    place.run()
    pixels = dict(zip(named(place)["test"], place.split("test")[0], strict=True))
    place.describe("pictures", **(PICTURES | BIG | {"keep_copies_together": True}))
    meta = place.run()
    assert "train/ant/3.png" in named(place)["test"] and meta.notes[0].what.startswith("1 pictures have copies in a later split")
    assert place.split("train")[0].shape[1:] == (20, 20, 3)
    for name, picture in zip(named(place)["test"], place.split("test")[0], strict=True):
        assert name == "train/ant/3.png" or picture.tobytes() == pixels[name].tobytes()


# What is left out


def test_other_files_are_passed_over_and_counted_apart(place, capsys):
    write(place)
    for name in ("train/ant/0.xml", "test/bee/.DS_Store", "test/bee/Thumbs.db", "test/readme.txt", "LICENSE", "__MACOSX/train/ant/1.png"):
        (place.raw / name).parent.mkdir(parents=True, exist_ok=True)
        (place.raw / name).write_bytes(b"\0")
    (place.raw / "train/ant/picture").write_bytes((place.raw / "train/ant/1.png").read_bytes())  # by its content
    (place.raw / "train/loose.png").write_bytes(b"\x1b")
    meta = place.run()
    assert meta.left_out.examples == ["train/loose.png: lies in no class folder"]
    assert [(note.what, note.count) for note in meta.notes] == [("not pictures, passed over", 6)]
    assert meta.counts["train"].total + meta.counts["val"].total == 17
    said = capsys.readouterr().err
    assert "warning: 1 of 34 items are left out: " in said and "notice: not pictures, passed over: 6 (LICENSE; __MACOSX; " in said


def bomb():
    """A PNG of a few bytes that promises 60,000 x 60,000 pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


BAD = [
    (encoded(Image.effect_noise((24, 24), 50), format="PNG")[:150], "cut short"),
    (bomb(), "60000x60000, more than the 50,000,000 pixels"),
    (encoded(Image.new("RGB", (200_000, 1)), format="PNG"), "too long and narrow to be resized"),
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
    encode(place.raw / "train/ant/3.png", Image.new("RGB", (9, 8)))
    assert "is 9x8, expected 8x8: set resize" in place.run().left_out.examples[0]
    (place.processed / "meta.json").write_text("the earlier result")
    for path in [*place.processed.glob("*.safetensors"), place.processed / "items.json"]:
        path.unlink()
    for index in range(4):
        (place.raw / f"train/ant/{index}.png").write_bytes(b"")
    assert "4 of 32 items are bad, more than max_bad_fraction (0.1) allows: train/ant/0.png" in place.refusal()


TABLE = {"table": "t.csv", "file": "a", "label": ["b"]}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (BIG | {"val_fraction": 0.0}, "expected val_fraction above 0 where train_crop is not crop"),
        ({"train_crop": 9}, "with resize null expected train_crop to be crop (8), got 9"),
        ({"test": "train/"}, "expected different folders for train, val and test"),
        ({"train": "test/", "test": "test/bee"}, "and none within another"),
        ({"train": "a/../../.."}, "datasets.own.preprocess.train is 'a/../../..'"),
        ({"train": "training"}, "has no folder training with pictures"),
        ({"test": None}, "expected either test, a folder, or test_fraction"),
        ({"level": 1, "label_pattern": "a"}, "expected one way to know labels, got level and label_pattern"),
        ({"label_pattern": "("}, "expected a regular expression, got '('"),
        ({"group": "a"}, "expected table, of which group names columns"),
        ({"task": "multilabel"}, "expected table or label_files where a picture has several labels"),
        ({"task": "regression"}, "expected table, which has the numbers"),
        (TABLE | {"label": None}, "expected file and label, columns of table"),
        (TABLE, "preprocess.table is 't.csv', which is not in data/own/raw"),
        (TABLE | {"split": "c"}, "expected neither folders nor fractions where split names a column"),
        (
            {"table": {"train": "t.csv", "test": "u.csv"}, "file": "a", "label": ["b"]},
            "expected neither train, val, test and test_fraction",
        ),
        ({"classes": ["a", "a "]}, "expected names of classes that are all different"),
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
        (lambda raw: [path.unlink() for path in (raw / "test/bee").iterdir()], "The class 'bee' has no picture in test"),
        (lambda raw: empty(raw / "train/bee"), "The class 'bee' has no item in train"),
        (lambda raw: draw(raw, ["test/wasp/0.png"]), "The class 'wasp' has no picture in train"),
        (lambda raw: draw(raw, [f"{split}/bee\n/0.png" for split in ("train", "test")]), r"The classes 'bee' (16) and 'bee\n' (2) differ"),
        (lambda raw: draw(raw, [f"{split}/a\x1b/0.png" for split in ("train", "test")]), r"'a\x1b' has a name that cannot be shown"),
    ],
)
def test_a_class_that_cannot_be_is_named(place, spoil, sentence):
    write(place, max_bad_fraction=1.0)
    spoil(place.raw)
    assert sentence in place.refusal()


def test_labels_that_are_nearly_all_different_are_a_mistake(place):
    draw(place.raw, [f"{number}.png" for number in range(20)])
    place.describe("pictures", **SIZES, **RANDOM, label_pattern="^(.+)[.]")
    assert "20 pictures have 20 classes, such as 0, 1, 10, 11, 12: check where labels are read from" in place.refusal()


SAMPLE = {"seed": 0, "folders": ["train", "test"], "classes": ["x", "y", "z"], "num_per_class": [4, 2], "size": [40, 30]}


def test_the_sample_has_the_folders_and_numbers_asked_for(place):
    place.describe("pictures", **(PICTURES | BIG))
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
