"""Pictures in folders, a folder a class: photographs of any size and format, or small pictures that are left as they are.

Reads   raw/<class>/*, or raw/<train>/<class>/* and raw/<test>/<class>/*, a hundred pictures at a time; test (where it has no folder) and
        val are held out of train.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import AfterValidator, Field, model_validator

from stages.common.meta import Input, Resize
from stages.common.params import Section
from stages.common.splits import SPLITS, hold_out
from stages.reading.contents import Chunk, Contents
from stages.reading.left_out import LeftOutItems, printable
from stages.shell.errors import UserError

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF"]
MAX_PIXELS = 50_000_000  # a larger picture is a mistake or an attack: hundreds of MB once unpacked
CHUNK_BYTES = 16_000_000
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def stays_in_raw(folder: str) -> str:
    if ".." in folder.split("/"):
        raise ValueError("expected a folder within raw/")
    return folder


Folder = Annotated[str, Field(pattern=r"^[^/\\.][^\\]*$"), AfterValidator(stays_in_raw)]
Side = Annotated[int, Field(ge=1, le=4096)]


class Preprocess(Section):
    """How pictures are split and what size they have, in pixels.

    `train` is the folder within raw/ that holds the class folders (left out: raw/ itself), `test` another one; without it
    `test_fraction` of the pictures, chosen by the seed, are for the test.

    `resize` is the length of the shorter side, null where every picture has the size `crop` already; then train's
    pictures are cut to `train_crop`, and val's and test's to `crop`, in the middle. `normalize`: mean and std measured on
    train, or ImageNet's, for networks with weights from there.
    """

    train: Folder | None = None
    test: Folder | None = None
    test_fraction: float | None = Field(default=None, gt=0, lt=1)
    resize: Side | None
    crop: Side
    train_crop: Side
    normalize: Literal["train", "imagenet"]
    val_fraction: float = Field(ge=0, lt=1)
    max_bad_fraction: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _crops_fit(self) -> "Preprocess":
        if self.resize is None and self.train_crop != self.crop:
            raise ValueError(f"with resize null expected train_crop to be crop ({self.crop}), got {self.train_crop}")
        if self.resize is not None and max(self.crop, self.train_crop) > self.resize:
            raise ValueError(f"expected crop ({self.crop}) and train_crop ({self.train_crop}) to be at most resize ({self.resize})")
        if self.train_crop != self.crop and not self.val_fraction:
            raise ValueError(
                "expected val_fraction above 0 where train_crop is not crop: without val, epochs are compared on train's pictures"
            )
        if (self.test is None) == (self.test_fraction is None):
            raise ValueError("expected either test, a folder, or test_fraction, a share of the pictures")
        train, test = (PurePosixPath(folder or ".") for folder in (self.train, self.test))
        if self.test is not None and (train.is_relative_to(test) or test.is_relative_to(train)):
            raise ValueError("expected different folders for train and test, and neither within the other")
        return self

    @property
    def task(self) -> str:
        return "multiclass"  # of two classes too: the usual networks have an output a class

    @property
    def input_kind(self) -> str:
        return "image"


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    left_out = LeftOutItems()
    classes = _class_names(raw, preprocess, left_out)
    files = _list_splits(raw, preprocess, classes, seed, left_out)
    resize = None if preprocess.resize is None else Resize(shorter_side=preprocess.resize, crop=preprocess.crop)
    imagenet = preprocess.normalize == "imagenet"
    return Contents(
        description=f"Pictures in class folders: {', '.join(classes)}.",
        task=preprocess.task,
        input=Input(
            kind=preprocess.input_kind,
            shape=[preprocess.crop, preprocess.crop, 3],
            dtype="uint8",
            mean=IMAGENET_MEAN if imagenet else None,
            std=IMAGENET_STD if imagenet else None,
            resize=resize,
        ),
        classes=classes,
        outputs=None,
        item_shape=(preprocess.crop, preprocess.crop, 3),
        train_shape=(preprocess.train_crop, preprocess.train_crop, 3),
        target_shape=(),
        chunks=_chunks(raw, files, preprocess, left_out),
        left_out=left_out,
        measure=not imagenet,
    )


def _class_names(raw: Path, preprocess: Preprocess, left_out: LeftOutItems) -> list[str]:
    """The sub-folders of train, sorted; test must have the same. Loose files and hidden folders beside them are left out."""
    found: dict[str, list[str]] = {}
    for folder in (preprocess.train or "", *filter(None, [preprocess.test])):
        if not (raw / folder).is_dir():
            raise UserError(f"{raw / folder} is not a folder: fix preprocess.train and preprocess.test, or run the stage download again.")
        found[folder] = []
        for path in sorted((raw / folder).iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                found[folder].append(path.name)
            elif path.name not in (".source", ".gitignore"):
                left_out.add(path.relative_to(raw).as_posix(), "not a class folder")
    train, test = [*found.values(), *found.values()][:2]
    for name in sorted(set(train) ^ set(test)):
        raise UserError(f"The class folder {printable(name)!r} is in only one of {' and '.join(found)}: add it to the other.")
    if len(train) < 2:
        where = raw / (preprocess.train or "")
        raise UserError(f"{where} has {len(train)} class folder(s), expected two or more, each holding its pictures.")
    for name in train:
        if printable(name) != name:
            raise UserError(f"The class folder {printable(name)!r} has a name that cannot be shown: rename it.")
    return train


Files = list[tuple[Path, int]]


def _list_splits(raw: Path, preprocess: Preprocess, classes: list[str], seed: int, left_out: LeftOutItems) -> dict[str, Files]:
    """The files of each split: test from its own folder, or held out like val, in every class its share."""
    train = _list_files(raw, preprocess.train or "", classes, left_out)
    if preprocess.test_fraction is None:
        test = _list_files(raw, preprocess.test or "", classes, left_out)
    else:
        train, test = _held_out(train, preprocess.test_fraction, seed)
    train, val = _held_out(train, preprocess.val_fraction, seed)
    return {"train": train, "val": val, "test": test}


def _held_out(files: Files, fraction: float, seed: int) -> tuple[Files, Files]:
    mask = hold_out(np.array([label for _, label in files]), fraction, seed)
    return [file for file, out in zip(files, mask, strict=True) if not out], [file for file, out in zip(files, mask, strict=True) if out]


def _list_files(raw: Path, folder: str, classes: list[str], left_out: LeftOutItems) -> Files:
    """(picture, class) sorted by class and name; what is no picture by its name is left out."""
    files: Files = []
    for label, name in enumerate(classes):
        before = len(files)
        for path in sorted((raw / folder / name).iterdir()):
            if path.name.startswith(".") or path.suffix.lower() not in EXTENSIONS or not path.is_file():
                left_out.add(path.relative_to(raw).as_posix(), f"not a picture file ({', '.join(sorted(EXTENSIONS))})")
            else:
                files.append((path, label))
        if len(files) == before:
            raise UserError(f"The class folder {raw / folder / name} has no pictures: add some, or remove the class from train and test.")
    return files


def _chunks(raw: Path, files: dict[str, Files], preprocess: Preprocess, left_out: LeftOutItems) -> Iterator[Chunk]:
    already_out, num_listed = left_out.count, sum(map(len, files.values()))
    for split in SPLITS:
        crop = preprocess.train_crop if split == "train" else preprocess.crop
        yield from ((split, *chunk) for chunk in _decoded(raw, files[split], preprocess.resize, crop, left_out))
    left_out.settle(already_out + num_listed, preprocess.max_bad_fraction)


def _decoded(
    raw: Path, files: list[tuple[Path, int]], resize: int | None, crop: int, left_out: LeftOutItems
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures uint8 [k, crop, crop, 3] and classes int64 [k], about CHUNK_BYTES at a time."""
    chunk = min(512, max(1, CHUNK_BYTES // (crop * crop * 3)))
    for start in range(0, len(files), chunk):
        pictures, labels = [], []
        for path, label in files[start : start + chunk]:
            try:
                pictures.append(load_picture(path, resize, crop))
                labels.append(label)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001  # Pillow raises every kind of error on a damaged file
                reason = f"not a {', '.join(FORMATS)} file" if isinstance(error, UnidentifiedImageError) else error
                left_out.add(str(path.relative_to(raw)), f"cannot be read as a picture ({reason})")
        if pictures:
            yield np.stack(pictures), np.array(labels, dtype=np.int64)


def load_picture(path: Path, resize: int | None, crop: int) -> np.ndarray:
    """The picture's middle, uint8 RGB [crop, crop, 3], upright; any exception means that it is bad.

    Shorter side to `resize`, bilinear with antialiasing, and the crop are rounded as torchvision.transforms does.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as image:
            _refuse_huge(image.width, image.height)
            upright = _to_rgb(ImageOps.exif_transpose(image))
    if resize is not None:
        upright = upright.resize(_resized(upright.size, resize), Image.Resampling.BILINEAR)
    elif upright.size != (crop, crop):
        raise ValueError(f"is {upright.width}x{upright.height}, expected {crop}x{crop}: set resize in params.yaml")
    left, top = round((upright.width - crop) / 2), round((upright.height - crop) / 2)
    return np.asarray(upright.crop((left, top, left + crop, top + crop)))


def _refuse_huge(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}x{height} pixels are more than the {MAX_PIXELS:,} that are read")


def _resized(size: tuple[int, int], shorter_side: int) -> tuple[int, int]:
    shortest = min(size)
    width, height = (int(shorter_side * side / shortest) for side in size)
    _refuse_huge(width, height)  # a strip of 1x50,000 would grow into billions
    return width, height


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow would cut 16-bit greys off at 255
        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels have no fixed range")
    return image.convert("RGB")
