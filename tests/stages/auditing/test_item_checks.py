"""Every check of pictures and of texts finds the fault that it is for and names the file, and clean ones have no findings."""

import contextlib
import json
import re
import tarfile

import numpy as np
import pytest
from PIL import Image, ImageFilter

from stages.audit import audit
from stages.auditing.items import script_of
from stages.common.files import as_json
from stages.common.meta import Counts, Input, LeftOut, Meta, Noted, Text
from stages.common.splits import SplitWriter
from stages.preprocess import preprocess
from stages.reading.copies import equal_texts
from tests.drawings import SIZE, drawn, saved_again
from tests.stages.auditing.presses import written
from tests.test_real_data import from_mirror
from tests.toy import RUNTIME

NUM = 30  # of train


class Own:
    """A dataset of pictures or texts, `items` by split, in turn of the classes a and b; audit() gives its findings by name."""

    def __init__(self, root, described, items, names=None, section=None, keeps=True, notes=None):
        self.root, processed = root, root / "data/own/processed"
        processed.mkdir(parents=True)
        counts, first, lines = {}, 0, names is not None
        for split, rows in items.items():
            targets = np.arange(len(rows)) % 2
            with SplitWriter(processed / f"{split}.safetensors", rows.shape[1:], rows.dtype.name, (), "int64", lines) as writer:
                writer.add(rows, targets, *([np.arange(first, first + len(rows))] if lines else []))
            first += len(rows)
            counts[split] = Counts(total=len(rows), per_class={name: int((targets == place).sum()) for place, name in enumerate("ab")})
        if isinstance(names, list):
            (processed / "items.json").write_bytes(as_json(names))
        meta = Meta(
            dataset="own",
            description="Made up.",
            source="own",
            task="multiclass",
            num_outputs=2,
            input=described,
            classes=["a", "b"],
            outputs=None,
            counts=counts,
            left_out=LeftOut(count=0, examples=[]),
            notes=notes,
        )
        (processed / "meta.json").write_bytes(as_json(meta.model_dump(mode="json")))
        for what, content in (("datasets", {"keeps_copies": True} if keeps else {}), ("accepted", {"accept": []})):
            (root / "data/checked" / what).mkdir(parents=True)
            (root / "data/checked" / what / "own.json").write_bytes(as_json(content))
        (root / "params.yaml").write_text(json.dumps({"datasets": {"own": {"preprocess": section or {}}}}))

    def audit(self):
        with contextlib.chdir(self.root):
            audit("own")
        return {finding["name"]: finding for finding in written(self.root, "own")["findings"]}

    @property
    def page(self):
        return (self.root / "data/own/audit/report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def clean():
    """Pictures of their own, by split."""
    pictures = [drawn(seed) for seed in range(NUM + 16)]
    return {"train": pictures[:NUM], "val": pictures[NUM : NUM + 6], "test": pictures[NUM + 6 :]}


def own_pictures(root, splits, size=SIZE, **more):
    described = Input(kind="image", shape=[size, size, 3], dtype="uint8")
    rows = {
        split: np.stack([np.asarray(image.convert("RGB").resize((size, size))) for image in images]) for split, images in splits.items()
    }
    names = [f"{split}/{place}.jpg" for split, images in splits.items() for place in range(len(images))]
    return Own(root, described, rows, **({"names": names} | more))


def changed(splits, **images):
    """The splits with other pictures at the end of one."""
    return {split: [*own[: len(own) - len(images.get(split, ()))], *images.get(split, ())] for split, own in splits.items()}


def mirrored(image):
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def test_copies_in_another_split_stop_the_training_and_are_named_and_shown_side_by_side(tmp_path, clean):
    leaks = [clean["train"][1], saved_again(clean["train"][2]), mirrored(clean["val"][3])]
    own = own_pictures(tmp_path, changed(clean, test=leaks), section={"keep_copies_together": False})
    found = own.audit()
    assert {name: one["severity"] for name, one in found.items()} == {"copies_across_splits": "stop"}
    one = found["copies_across_splits"]
    assert one["sentence"] == (
        "Of test, 3 of 10 (30 %) pictures are copies of some in train or val (1 in every pixel, 1 nearly, 1 mirrored), "
        "such as test/7.jpg of train/1.jpg: figures on test look better than they are."
    )
    assert "datasets.own.preprocess.keep_copies_together to true" in one["advice"]
    assert one["examples"][2] == [
        {"split": "val", "place": 3, "name": "val/3.jpg", "label": "b"},
        {"split": "test", "place": 9, "name": "test/9.jpg", "label": "b"},
    ]
    assert written(tmp_path, "own", "verdict") == {"stopped_by": ["copies_across_splits"]}
    assert len(re.findall(r'<img src="data:image/(?:jpeg|png);base64,', own.page)) == 6 and "accept: [copies_across_splits]" in own.page
    assert "val, b: val/3.jpg" in own.page and len(own.page.encode()) < 100_000
    before = own.page
    own.audit()
    assert own.page == before


def test_where_copies_cannot_be_kept_together_near_ones_are_a_note_and_exact_ones_are_told_as_ever(tmp_path, clean):
    own = own_pictures(tmp_path, changed(clean, test=[clean["train"][0], saved_again(clean["train"][3])]), keeps=False)
    found = own.audit()
    assert {name: (one["severity"], one["count"]) for name, one in found.items()} == {
        "test_rows_in_train": ("warn", 1),
        "duplicate_rows": ("warn", 2),
        "copies_across_splits": ("note", 1),
    }
    assert "such as test/8.jpg" in found["test_rows_in_train"]["sentence"]


def test_copies_in_one_split_and_with_two_labels_are_told_apart_from_those_across(tmp_path, clean):
    again = [saved_again(clean["train"][4]), saved_again(clean["train"][6])]  # the second at a place of the other class
    found = own_pictures(tmp_path, changed(clean, train=again)).audit()
    assert {name: (one["severity"], one["count"]) for name, one in found.items()} == {
        "copies": ("warn", 2),
        "copies_with_two_labels": ("warn", 2),
    }
    assert "train/6.jpg (a) and train/29.jpg (b)" in found["copies_with_two_labels"]["sentence"]


def test_pictures_that_show_little_are_named(tmp_path, clean):
    dark = Image.fromarray((np.asarray(drawn(90)) // 8).astype(np.uint8))
    odd = [Image.new("RGB", (SIZE, SIZE)), Image.new("RGB", (SIZE, SIZE), "white"), dark, drawn(91).filter(ImageFilter.GaussianBlur(5))]
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    odd.append(Image.fromarray(noise))  # shows something, though it is even when made small
    notes = [Noted(what="tiny: there is little to be seen", count=2, examples=["a.png (1x1 pixels)"])]
    found = own_pictures(tmp_path, changed(clean, train=odd), notes=notes).audit()
    assert {name: one["severity"] for name, one in found.items()} == {
        "blank_pictures": "warn",
        "dark_pictures": "note",
        "blurred_pictures": "note",
        "odd_files": "note",
    }
    named = {"blank_pictures": "train/25.jpg, train/26.jpg.", "dark_pictures": "train/27.jpg.", "blurred_pictures": "train/28.jpg."}
    assert all(found[name]["sentence"].endswith(f": {files}") for name, files in named.items())
    assert "tiny: there is little to be seen: 2 (a.png (1x1 pixels))." in found["odd_files"]["sentence"]


def test_names_of_files_are_shown_as_text_whatever_they_are(tmp_path, clean):
    splits = changed(clean, test=[clean["train"][0]])
    names = ["<img src=x onerror=alert(1)>\n\x1b[31m\u202e.jpg" for images in splits.values() for _ in images]
    own = own_pictures(tmp_path, splits, names=names)
    own.audit()
    assert "<img src=x" not in own.page and "&lt;img src=x onerror=alert(1)&gt;" in own.page
    assert "\\x1b" in own.page and "\\u202e" in own.page and "\x1b" not in own.page and "\u202e" not in own.page


def test_the_leaks_of_the_mirror_are_found_and_the_new_pictures_are_not(tmp_path):
    raw = tmp_path / "data/leaks/raw"
    with tarfile.open(from_mirror("pictures/odd.tar.gz")) as archive:
        archive.extractall(tmp_path, [member for member in archive if "/leaks/" in member.name], filter="data")
    raw.parent.mkdir(parents=True)
    (tmp_path / "odd/leaks/train").parent.rename(raw)
    section = {"task": "multiclass", "train": "train", "test": "test", "val_fraction": 0.0, "resize": 224, "crop": 224, "train_crop": 224}
    section |= {"normalize": "train", "max_bad_fraction": 0.0}
    entry = {"kind": "pictures", "raw": "data/leaks/raw", "preprocess": section}
    (tmp_path / "params.yaml").write_text(json.dumps({"runtime": RUNTIME, "datasets": {"leaks": entry}}))
    for what, content in (("datasets", {"keeps_copies": True}), ("accepted", {})):
        (tmp_path / "data/checked" / what).mkdir(parents=True)
        (tmp_path / "data/checked" / what / "leaks.json").write_bytes(as_json(content))
    with contextlib.chdir(tmp_path):
        preprocess("leaks")
        audit("leaks")
    found = {finding["name"]: finding for finding in written(tmp_path, "leaks")["findings"]}
    across = found["copies_across_splits"]
    assert across["count"] == 10 and "(4 in every pixel, 4 nearly, 2 mirrored)" in across["sentence"]  # a tenth cut off all around: unknown
    assert {pair[1]["name"].split("/")[-1][:3] for pair in across["examples"]} <= {"exa", "ree", "png", "hal", "mir"}
    assert (
        "3.jpg (circle) and train/triangle/is_circle_3_with_the_other_label.jpg (triangle)" in found["copies_with_two_labels"]["sentence"]
    )
    assert "train/circle/exif_only_differs_4.jpg of train/circle/4.jpg" in found["copies"]["sentence"]


# Texts

WORDS = ["ash", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine", "rowan", "spruce", "willow", "yew"]


def sentence(seed):
    draw = np.random.default_rng(seed)
    return " ".join(draw.choice(WORDS, 9)) + f" {seed}"


def own_texts(root, splits, max_length=400, **more):
    width = max(len(text) for texts in splits.values() for text in texts)
    described = Input(kind="text", shape=[None], dtype="int32", text=Text(max_length=max_length, case="fold"))
    rows = {
        split: np.array([[ord(sign) for sign in text.ljust(width, "\0")] for text in texts], np.int32).reshape(len(texts), width)
        for split, texts in splits.items()
    }
    return Own(root, described, rows, **({"names": True} | more))


def sentences(**others):
    splits = {"train": range(NUM), "val": range(NUM, NUM + 6), "test": range(NUM + 6, NUM + 16)}
    return {split: [*others.get(split, ()), *map(sentence, places)] for split, places in splits.items()}


def test_copies_of_texts_are_found_across_splits_with_their_lines_and_shown_as_text(tmp_path):
    offer = "Call <b>now</b>\u202e and win a prize of 1000 pounds, before noon on Friday, at the number that you know."
    own = own_texts(tmp_path, sentences(train=[offer, sentence(99)], val=[sentence(2).upper()], test=[offer.replace("1000", "2000")]))
    found = own.audit()
    assert {name: (one["severity"], one["count"]) for name, one in found.items()} == {"copies_across_splits": ("stop", 2)}
    one = found["copies_across_splits"]
    assert "such as line 32 of line 4" in one["sentence"] and "(1 but for case and blanks, 1 nearly)" in one["sentence"]
    assert "Of test, 1 of 11 (9.1 %) texts are copies of some in train; of val, 1 of 7 (14 %)" in one["sentence"]
    assert one["lines"] == [32, 39]
    assert "Call &lt;b&gt;now&lt;/b&gt;\\u202e and win" in own.page and "\u202e" not in own.page


def test_texts_that_say_nothing_are_cut_or_of_another_script_are_named(tmp_path):
    own = own_texts(tmp_path, sentences(train=["\u200b \u00a0", "x" * 400, "Это по-русски."]), names=[str(place) for place in range(60)])
    found = own.audit()
    assert {name: one["severity"] for name, one in found.items()} == {"empty_texts": "warn", "cut_texts": "note", "other_script": "note"}
    assert found["empty_texts"]["sentence"].endswith(": 0.") and found["cut_texts"]["sentence"].endswith(": 1.")
    assert "(Latin): Cyrillic 1: 2." in found["other_script"]["sentence"]


def test_a_text_far_longer_than_the_others_is_named_and_several_scripts_are_no_finding(tmp_path):
    russian = [
        "Дождь идёт весь день.",
        *[f"{sentence(place)} {'Завтра обещали снег. ' * 6}" for place in range(70, 74)],
    ]
    own = own_texts(tmp_path, sentences(test=russian, train=[" ".join(map(sentence, range(100, 125)))]), max_length=5000)
    found = own.audit()
    assert {name: one["severity"] for name, one in found.items()} == {"long_texts": "note"}


@pytest.mark.parametrize(
    ("text", "script"),
    [("abc", "LATIN"), ("\uff21\uff22", "LATIN"), ("我们 und", "LATIN"), ("漢字かなカナ", "EAST ASIAN"), ("1 2 ?", ""), ("สวัสดี", "THAI")],
)
def test_a_text_is_of_the_script_of_most_of_its_letters(text, script):
    assert script_of(text, {}) == script


def test_what_is_equal_to_readers_is_equal():
    assert equal_texts(["Straße", "STRASSE", "strasse "]).tolist() == [0, 0, 0]
