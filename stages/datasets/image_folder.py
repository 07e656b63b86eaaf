"""Pictures in folders, a folder a class: photographs of any size and format, or small pictures that are left as they are.

Reads   raw/<train>/<class>/* and raw/<test>/<class>/*, a hundred pictures at a time; val is held out of train.
The sample is drawn pictures of insects' make (a row of segments, legs, stripes), JPEGs of varying size in the same folders.
"""

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps, UnidentifiedImageError
from pydantic import AfterValidator, Field, model_validator

from stages.common.errors import UserError
from stages.common.meta import Input, InputKind, Resize, Task
from stages.common.params import Section
from stages.common.splits import SPLITS, hold_out
from stages.reading.contents import Chunk, Contents
from stages.reading.fetch import RemoteFile
from stages.reading.left_out import LeftOutItems, printable

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


class Sample(Section):
    """`folders` are train and test, `num_per_class` pictures in each; `size` is the usual width and height in pixels."""

    seed: int = Field(ge=0)
    folders: Annotated[list[Folder], Field(min_length=2, max_length=2)]
    classes: Annotated[list[Folder], Field(min_length=2)]
    num_per_class: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]
    size: Annotated[list[Annotated[int, Field(ge=16, le=4096)]], Field(min_length=2, max_length=2)]


class Download(Section):
    """`sample` draws a stand-in; null where there is none."""

    sample: Sample | None
    official: Annotated[list[RemoteFile], Field(min_length=1)]


class Preprocess(Section):
    """Folders of `train` and `test` within raw/, and the size of pictures in pixels.

    `resize` is the length of the shorter side, null where every picture has the size `crop` already; then train's
    pictures are cut to `train_crop`, and val's and test's to `crop`, in the middle. `normalize`: mean and std measured on
    train, or ImageNet's, for networks with weights from there.
    """

    train: Folder
    test: Folder
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
        train, test = PurePosixPath(self.train), PurePosixPath(self.test)
        if train.is_relative_to(test) or test.is_relative_to(train):
            raise ValueError("expected different folders for train and test, and neither within the other")
        return self

    @property
    def task(self) -> Task:
        return "multiclass"  # of two classes too: the usual networks have an output a class

    @property
    def input_kind(self) -> InputKind:
        return "image"


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    left_out = LeftOutItems()
    classes = _class_names(raw, preprocess, left_out)
    files = {split: _list_files(raw / getattr(preprocess, split), classes, left_out) for split in ("train", "test")}
    resize = None if preprocess.resize is None else Resize(shorter_side=preprocess.resize, crop=preprocess.crop)
    imagenet = preprocess.normalize == "imagenet"
    shown = ", ".join(classes)
    return Contents(
        description=f"Pictures in class folders: {shown}.",
        stand_in=f"A stand-in for photographs of {shown}: drawn pictures of varying size, which show something else.",
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
        chunks=_chunks(raw, files, preprocess, seed, left_out),
        left_out=left_out,
        measure=not imagenet,
    )


def _class_names(raw: Path, preprocess: Preprocess, left_out: LeftOutItems) -> list[str]:
    """The sub-folders of train, sorted; test must have the same. Loose files and hidden folders beside them are left out."""
    found: dict[str, list[str]] = {}
    for split in (preprocess.train, preprocess.test):
        if not (raw / split).is_dir():
            raise UserError(f"{raw / split} is not a folder: mend preprocess.train and preprocess.test, or run the stage download again.")
        found[split] = []
        for path in sorted((raw / split).iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                found[split].append(path.name)
            else:
                left_out.add(f"{split}/{path.name}", "not a class folder")
    train, test = found.values()
    for name in sorted(set(train) ^ set(test)):
        raise UserError(f"The class folder {printable(name)!r} is in only one of {' and '.join(found)}: add it to the other.")
    if len(train) < 2:
        raise UserError(f"{raw / preprocess.train} has {len(train)} class folder(s), expected two or more, each holding its pictures.")
    for name in train:
        if printable(name) != name:
            raise UserError(f"The class folder {printable(name)!r} has a name that cannot be shown: rename it.")
    return train


def _list_files(folder: Path, classes: list[str], left_out: LeftOutItems) -> list[tuple[Path, int]]:
    """(picture, class) sorted by class and name; what is no picture by its name is left out."""
    files: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        before = len(files)
        for path in sorted((folder / name).iterdir()):
            if path.name.startswith(".") or path.suffix.lower() not in EXTENSIONS or not path.is_file():
                left_out.add(f"{folder.name}/{name}/{path.name}", f"not a picture file ({', '.join(sorted(EXTENSIONS))})")
            else:
                files.append((path, label))
        if len(files) == before:
            raise UserError(f"The class folder {folder / name} has no pictures: add some, or remove the class from train and test.")
    return files


def _chunks(
    raw: Path, files: dict[str, list[tuple[Path, int]]], preprocess: Preprocess, seed: int, left_out: LeftOutItems
) -> Iterator[Chunk]:
    already_out, num_listed = left_out.count, len(files["train"]) + len(files["test"])
    held_out = hold_out(np.array([label for _, label in files["train"]]), preprocess.val_fraction, seed)
    listed = {
        "train": [file for file, val in zip(files["train"], held_out, strict=True) if not val],
        "val": [file for file, val in zip(files["train"], held_out, strict=True) if val],
        "test": files["test"],
    }
    for split in SPLITS:
        crop = preprocess.train_crop if split == "train" else preprocess.crop
        yield from ((split, *chunk) for chunk in _decoded(raw, listed[split], preprocess.resize, crop, left_out))
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


def generate(raw: Path, download: Download) -> None:
    """Write the drawn JPEGs, <folder>/<class>/0000.jpg and so on."""
    sample = download.sample
    assert sample is not None
    rng = np.random.default_rng(sample.seed)
    for folder, number in zip(sample.folders, sample.num_per_class, strict=True):
        for place, name in enumerate(sample.classes):
            (raw / folder / name).mkdir(parents=True, exist_ok=True)
            for index in range(number):
                width, height = (int(side * rng.uniform(0.8, 1.25)) for side in sample.size)
                content = io.BytesIO()  # Pillow would let a file pass that a full disk cuts short
                _draw(place, width, height, rng).save(content, format="JPEG", quality=88)
                (raw / folder / name / f"{index:04}.jpg").write_bytes(content.getvalue())


def _draw(place: int, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """One picture of class number `place`: an insect-like figure anywhere, any way round, before blurred colours."""
    background = np.clip(rng.uniform(80, 200, size=3) + rng.normal(0, 30, size=(6, 8, 3)), 0, 255)
    image = Image.fromarray(background.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    figure = Figure(
        centre=np.array([width, height]) * rng.uniform(0.35, 0.65, size=2),
        length=min(width, height) * rng.uniform(0.35, 0.6),
        turn=rng.uniform(0, 2 * np.pi),
        num_segments=3 + place % 3,
        width=0.16 if place % 2 == 0 else 0.26,
        colour=tuple(int(part * rng.uniform(0.8, 1.2)) for part in BODY_COLOURS[place % len(BODY_COLOURS)]),
        striped=place % 2 == 1,
    )
    figure.draw(ImageDraw.Draw(image))
    noisy = np.asarray(image.filter(ImageFilter.GaussianBlur(1))) + rng.normal(0, 8, size=(height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


BODY_COLOURS = [(70, 35, 25), (200, 150, 30), (40, 90, 50), (60, 60, 150), (150, 40, 60)]


@dataclass(frozen=True)
class Figure:
    """A row of segments with a pair of legs each; lengths in pixels, `width` as a part of `length`."""

    centre: np.ndarray
    length: float
    turn: float
    num_segments: int
    width: float
    colour: tuple[int, ...]
    striped: bool

    def draw(self, canvas: ImageDraw.ImageDraw) -> None:
        radius = self.length / self.num_segments
        for segment in range(self.num_segments):
            along = (segment - (self.num_segments - 1) / 2) * radius
            for side in (-1, 1):
                knee, foot = (along, side * 0.3 * self.length), (along + radius / 2, side * 0.45 * self.length)
                canvas.line([self._at(along, 0), self._at(*knee), self._at(*foot)], fill=(30, 25, 20), width=max(1, int(self.length / 40)))
            dark = self.striped and segment % 2 == 1
            canvas.polygon(self._ellipse(along, radius * 0.6, self.width * self.length), fill=(25, 20, 15) if dark else self.colour)

    def _at(self, along: float, across: float) -> tuple[float, float]:
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        return float(self.centre[0] + along * cos - across * sin), float(self.centre[1] + along * sin + across * cos)

    def _ellipse(self, along: float, half_length: float, half_width: float) -> list[tuple[float, float]]:
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        return [self._at(along + half_length * np.cos(angle), half_width * np.sin(angle)) for angle in angles]
