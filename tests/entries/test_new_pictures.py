"""`make new` of pictures: what says what they show, which splits and which network are proposed, and that many files become one."""

import zipfile
from pathlib import Path

import pytest

import entries.networks
import entries.pictures.proposal
from entries.lines import parse
from stages.datasets.pictures import Preprocess
from tests.drawings import drawn
from tests.entries.small import everything, new, refusal

pytestmark = pytest.mark.usefixtures("small", "quick")

FRACTIONS = {"test_fraction": 0.2, "val_fraction": 0.0, "keep_copies_together": True}
SIZES = {"resize": 288, "crop": 256, "train_crop": 256, "normalize": "symmetric", "max_bad_fraction": 0.05}
FITTED = {"architecture": {"name": "efficientnet_lite", "model": "lite0"}, "train": {"recipe": "head"}, "int8": []}
SETS = ["train", "train", "Test"]


def birds(names, **texts):
    """The folder, with a picture under each name, and texts."""
    folder = Path("../birds").resolve()
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        drawn(seed, 40).save(folder / name)
    for name, text in texts.items():
        (folder / name.replace("_dot_", ".")).write_text(text, encoding="utf-8")
    return str(folder)


def made(name="birds"):
    params = parse(Path("params.yaml").read_text())
    dataset, model = params["datasets"][name], params["models"][name]
    assert (dataset["kind"], dataset["raw"], model.pop("dataset")) == ("pictures", f"data/{name}/raw", name)
    Preprocess.model_validate(dataset["preprocess"])
    return dataset["preprocess"], model


def in_classes(*folders, number=4, suffix=".png"):
    return [f"{folder}/{place}{suffix}" for folder in folders for place in range(number)]


@pytest.mark.parametrize(
    ("names", "texts", "told", "expected"),
    [
        (in_classes("robin", "wren"), {}, [], FRACTIONS),
        (in_classes("small/robin", "large/owl"), {}, [], {"level": "deepest"} | FRACTIONS),
        (in_classes("small/robin", "large/owl"), {}, ["--set", "level=1"], FRACTIONS | {"level": 1}),
        (
            in_classes("train/robin", "train/wren", "test/robin", "test/wren"),
            {},
            [],
            {"train": "train", "test": "test", "val_fraction": 0.0},
        ),
        (
            in_classes("Train/robin", "Train/wren", "valid/robin", "valid/wren"),
            {},
            [],
            {"train": "Train", "test": "valid", "val_fraction": 0.0},
        ),
        (
            in_classes("a/train/robin", "a/train/wren", "a/val/robin", "a/val/wren", "a/test/robin", "a/test/wren"),
            {},
            [],
            {"train": "train", "val": "val", "test": "test"},
        ),
        (
            [f"{kind}_{place}.jpg" for kind in ("robin", "wren") for place in range(5)],
            {},
            [],
            {"label_pattern": r"^([^\W\d_]+)"} | FRACTIONS,
        ),
        (
            [f"images/{place}.png" for place in range(6)],
            {"labels_dot_csv": "picture;kind;who\n" + "".join(f"{place};k{place % 2};p{place % 3}\n" for place in range(6))},
            ["--target", "kind", "--group", "who"],
            {"table": "labels.csv", "file": "picture", "label": ["kind"], "group": "who", "format": {"separator": ";"}} | FRACTIONS,
        ),
        (
            [f"{place}.png" for place in range(6)],
            {"labels_dot_csv": "picture,red,round\n" + "".join(f"{place}.png,{place % 2},{place % 3 // 2}\n" for place in range(6))},
            ["--target", "red", "--target", "round"],
            {"task": "multilabel", "table": "labels.csv", "file": "picture", "label": ["red", "round"]} | FRACTIONS,
        ),
        (
            [f"{place}-{kind}.jpg" for place, kind in enumerate(["robin", "wren"] * 5)],
            {},
            [],
            {"label_pattern": r"([^\W\d_]+)[\W\d_]*\.\w+$"} | FRACTIONS,
        ),
        (
            [f"train/{place}.png" for place in range(8)] + [f"test/{place}.png" for place in range(8, 12)],
            {
                "train_dot_csv": "picture,kind\n" + "".join(f"train/{place}.png,k{place % 2}\n" for place in range(8)),
                "test_dot_csv": "picture,kind\n" + "".join(f"test/{place}.png,k{place % 2}\n" for place in range(8, 12)),
                "extra_dot_csv": "picture,size\n1,2\n",
            },
            ["--target", "kind"],
            {"table": {"train": "train.csv", "test": "test.csv"}, "file": "picture", "label": ["kind"], "val_fraction": 0.0},
        ),
        (  # a column of splits is not what they show
            [f"{place}.png" for place in range(12)],
            {"labels_dot_csv": "picture,kind,set\n" + "".join(f"{place},k{place % 2},{SETS[place % 3]}\n" for place in range(12))},
            ["--split", "set"],
            {"table": "labels.csv", "file": "picture", "label": ["kind"], "split": "set"},
        ),
        (
            [f"{place}.png" for place in range(24)],
            {"labels_dot_csv": "picture,age,weight\n" + "".join(f"{place},{place / 7},{place % 5}\n" for place in range(24))},
            ["--target", "age", "--target", "weight"],
            {"task": "regression", "table": "labels.csv", "file": "picture", "label": ["age", "weight"]} | FRACTIONS,
        ),
        (
            [f"{place}.png" for place in range(12)],
            {
                "train_dot_csv": "name,kind\n" + "".join(f"{place},k{place % 2}\n" for place in range(8)),
                "test_dot_csv": "name,kind\n" + "".join(f"{place},k{place % 2}\n" for place in range(8, 12)),
            },
            ["--set", "table={train: train.csv, test: test.csv}", "--set", "file=name", "--set", "label=[kind]"],
            {"table": {"train": "train.csv", "test": "test.csv"}, "file": "name", "label": ["kind"], "val_fraction": 0.0},
        ),
        (  # a test that nobody has labelled
            [*in_classes("train/robin", "train/wren", "val/robin", "val/wren"), "test/1.png", "test/2.png"],
            {},
            [],
            {"train": "train", "test": "val", "val_fraction": 0.0},
        ),
        (
            [f"{place}.png" for place in range(6)],
            {f"{place}_dot_txt": f"kind {place % 2}" for place in range(6)},
            [],
            {"label_files": True} | FRACTIONS,
        ),
    ],
)
def test_what_says_the_classes_and_the_splits_is_found(names, texts, told, expected):
    assert new(birds(names, **texts), *told) == 0
    preprocess, model = made()
    assert preprocess == {"task": "multiclass"} | SIZES | expected
    assert model == FITTED


def test_it_says_what_it_found_and_a_dry_run_writes_nothing(capsys):
    folder, before = birds(in_classes("robin", "wren"), notes_dot_txt="", LICENSE=""), everything()
    assert new(folder, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "birds: 8 pictures; of 8 the shorter side has" in said and "2 classes: robin 4, wren 4" in said
    assert "passed over: LICENSE 1, .txt 1" in said and "recipe: head" in said
    assert everything() == before


@pytest.mark.parametrize(
    ("names", "told", "said"),
    [
        (in_classes("robin", "wren"), ["--time", "x"], "error: --time means nothing for pictures: leave it out."),
        (in_classes("robin", "wren"), ["--split", "x", "--no-header"], "so --header and --split mean nothing: leave them out."),
        (in_classes("robin", "wren"), ["--set", "level=1", "--target", "x"], "--target: not read beside --set level=...: leave it out."),
        (
            in_classes("train/robin", "train/wren", "test/robin", "test/wren"),
            ["--test-fraction", "0.3"],
            "--test-fraction means nothing where folders",
        ),
        (
            ["pics/1.png", "boxes.json"],
            [],
            "all lie in folders called pics, and boxes.json is not read as labels: write a table (CSV or TSV)",
        ),
        (["a/train2017/1.png", "a/val2017/2.png", "a/x.xml"], [], "called train2017, val2017, and a/x.xml is not read as labels"),
        (
            in_classes("train2017", "val2017"),
            [],
            "the folders train2017, val2017 have names of splits, which are not classes: put a folder",
        ),
        (["1.png", "labels.csv"], [], "labels.csv has no column of which most cells name pictures: write the pictures' names"),
        (
            [f"{split}_{kind}{place}.png" for split in ("train", "test") for kind in ("robin", "wren") for place in range(6)],
            [],
            r"with splits (test, train), which are not classes: put them into folders such as test/CLASS; or split anew, and say which "
            r"part of the names is the class: --set 'label_pattern=^(?:test|train)[\W\d_]*([^\W\d_]+)'",
        ),
        (in_classes("robin", "wren"), ["--set", "split=x"], "The new entry: expected table, of which split names columns. Keys of"),
        (in_classes("robin", "wren"), ["--set", "table={train:a.csv}"], "is not a value of YAML: write a blank after each colon"),
        (in_classes("robin/train", "robin/test", "wren/train", "wren/test"), [], "put splits outside and classes inside (test/robin)"),
        (in_classes("robin"), [], "birds has one class alone, robin"),
        (["1.png", "2.png"], [], "nothing says what the 2 pictures show; the first is 1.png"),
        (in_classes("Robin", "robin"), [], "'Robin' (4) and 'robin' (4) differ by case or blanks alone: are they one? If so, set"),
        (in_classes("robin", "wren"), ["--target", "kind"], "has no table (CSV, TSV) that names its pictures, so --target means nothing"),
        (in_classes("robin", "wren"), ["--set", "sort=1"], "--set 'sort=1': expected KEY=VALUE, with a key of "),
        (in_classes("robin", "wren"), ["--set", "crop=300"], "expected crop (300)"),
        (in_classes("robin", "wren"), ["--set", "task=["], "'[' is not a value of YAML"),
    ],
)
def test_what_must_be_told_is_asked_for_in_one_sentence(capsys, names, told, said):
    pictures = [name for name in names if name.endswith(".png")]
    beside = {name.replace(".", "_dot_"): "x,y\nz,q\n" for name in names if name not in pictures}
    refused = refusal(capsys, birds(pictures, **beside), *told)
    assert said in refused and "Traceback" not in refused
    assert ("--set KEY=VALUE" in refused) == ("preprocess." in refused or "The new entry" in refused)


def test_the_level_of_class_folders_and_a_column_of_splits_are_named_and_pictures_need_no_suffix(capsys):
    for place, name in enumerate(["small/robin/0", "small/robin/1", "large/wren/0", "large/wren/1", "large/wren/2", "large/robin/2"]):
        Path("../birds", name).parent.mkdir(parents=True, exist_ok=True)
        drawn(place, 40).save(Path("../birds", name), format="PNG")
    folder = str(Path("../birds").resolve())
    assert new(folder, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "the deepest says the class" in said and "--set level=1 takes the first, large" in said
    rows = (
        "picture,kind,set\n"
        + "".join(f"large/wren/{place},k{place},{SETS[place]}\n" for place in range(3))
        + "small/robin/0,k1,train\nsmall/robin/1,k1,train\n"
    )
    Path(folder, "labels.csv").write_text(rows)
    assert new(folder, "--dry-run", "--target", "kind", "--name", "other") == 0
    assert "set reads like splits: --split 'set' uses it" in capsys.readouterr().out


def test_tables_of_no_splits_are_not_chosen_from(capsys):
    rows = "picture,kind\n" + "".join(f"{place},k{place % 2}\n" for place in range(6))
    folder = birds([f"{place}.png" for place in range(6)], first_dot_csv=rows, second_dot_csv=rows)
    assert "birds has several tables that name its pictures: first.csv, second.csv. Put their rows into one" in refusal(capsys, folder)


def test_many_files_become_one_zip_whose_bytes_depend_on_nothing_else(monkeypatch):
    monkeypatch.setattr(entries.pictures.proposal, "PACKED", 5)
    folder = birds(in_classes("robin", "wren"), Thumbs_dot_db="")
    assert (new(folder, "--name", "one"), new(folder, "--name", "two")) == (0, 0)
    first, second = (Path("data", name, "raw", "birds.zip") for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    assert zipfile.ZipFile(first).namelist() == sorted(in_classes("robin", "wren"))
    assert made("one")[0] == {"task": "multiclass"} | SIZES | FRACTIONS


def test_an_archive_is_read_as_its_folder_is(tmp_path):
    archive = tmp_path / "birds.zip"
    folder = Path(birds(in_classes("robin", "wren")))
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(folder.rglob("*.png")):
            packed.write(path, f"my birds/{path.relative_to(folder)}")
    assert new(str(archive)) == 0
    assert made()[0] == {"task": "multiclass"} | SIZES | FRACTIONS
    assert Path("data/birds/raw/birds.zip").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("way", ["many", "told"])
def test_many_small_pictures_get_a_network_of_their_own_and_others_where_it_is_told(monkeypatch, way):
    if way == "many":
        monkeypatch.setattr(entries.networks, "MANY", 8)
    assert new(birds(in_classes("robin", "wren")), *(["--scratch"] if way == "told" else [])) == 0
    preprocess, model = made()
    assert preprocess["crop"] == 40 and preprocess["normalize"] == "train" and preprocess["val_fraction"] == 0.1
    assert (model["architecture"]["name"], model["train"]["recipe"]) == ("fast_resnet", "image_fast")
