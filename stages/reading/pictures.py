"""Pictures as raw files: photographs of any size and format, decoded a hundred at a time, upright, resized and cropped.

They may be a stranger's: what is too large in bytes, pixels or scans is left out before it is decoded.
"""

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field, model_validator

from stages.common.meta import Input, Resize
from stages.common.params import Section
from stages.common.splits import SPLITS, choose_splits
from stages.reading.contents import Chunk, Contents, LeftOutItems

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF"]
MAX_BYTES = 100_000_000
MAX_PIXELS = 50_000_000  # a larger picture is a mistake or an attack: hundreds of MB once unpacked
MAX_SCANS = 100  # of a progressive JPEG, each of which decodes the whole picture again
START_OF_SCAN = b"\xff\xda"
CHUNK_BYTES = 16_000_000
# Mean and std by the value of `normalize`; those of train are measured.
NORMS = {"train": (None, None), "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), "symmetric": ([0.5] * 3, [0.5] * 3)}

Side = Annotated[int, Field(ge=1, le=4096)]
Files = list[tuple[Path, Any]]  # a picture and its target


class Pictures(Section):
    """The size of pictures in pixels, and which are for validation.

    `resize` is the length of the shorter side, null where every picture has the size `crop` already; then train's
    pictures are cut to `train_crop`, and val's and test's to `crop`, in the middle. `normalize`: mean and std measured on
    train, or ImageNet's, for networks with weights from there; symmetric: -1 to 1, for those of efficientnet_lite.
    """

    resize: Side | None
    crop: Side
    train_crop: Side
    normalize: Literal["train", "imagenet", "symmetric"]
    val_fraction: float = Field(ge=0, lt=1)
    max_bad_fraction: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _crops_fit(self) -> "Pictures":
        if self.resize is None and self.train_crop != self.crop:
            raise ValueError(f"with resize null expected train_crop to be crop ({self.crop}), got {self.train_crop}")
        if self.resize is not None and max(self.crop, self.train_crop) > self.resize:
            raise ValueError(f"expected crop ({self.crop}) and train_crop ({self.train_crop}) to be at most resize ({self.resize})")
        if self.train_crop != self.crop and not self.val_fraction:
            raise ValueError(
                "expected val_fraction above 0 where train_crop is not crop: without val, epochs are compared on train's pictures"
            )
        return self


def split_files(files: Files, labels: list[Any], section: Pictures, test_fraction: float, seed: int) -> dict[str, Files]:
    """The files of each split, chosen by the seed, spread over the labels in proportion."""
    places = choose_splits(np.array(labels), seed, section.val_fraction, test_fraction)
    return {split: [file for file, its in zip(files, places, strict=True) if its == place] for place, split in enumerate(SPLITS)}


def open_pictures(
    raw: Path, files: dict[str, Files], section: Pictures, classes: list[str], description: str, target_dtype: type, left_out: LeftOutItems
) -> Contents:
    mean, std = NORMS[section.normalize]
    resize = None if section.resize is None else Resize(shorter_side=section.resize, crop=section.crop)
    return Contents(
        description=description,
        input=Input(kind="image", shape=[section.crop, section.crop, 3], dtype="uint8", mean=mean, std=std, resize=resize),
        classes=classes,
        chunks=_decoded(raw, files, section, target_dtype, left_out),
        left_out=left_out,
        measure=section.normalize == "train",
    )


def _decoded(raw: Path, files: dict[str, Files], section: Pictures, target_dtype: type, left_out: LeftOutItems) -> Iterator[Chunk]:
    """About CHUNK_BYTES at a time; bad pictures are left out."""
    total = left_out.count + sum(map(len, files.values()))
    for split in SPLITS:
        crop = section.train_crop if split == "train" else section.crop
        chunk = min(512, max(1, CHUNK_BYTES // (crop * crop * 3)))
        for start in range(0, len(files[split]), chunk):
            pictures, targets = [], []
            for path, target in files[split][start : start + chunk]:
                try:
                    pictures.append(load_picture(path, section.resize, crop))
                    targets.append(target)
                except MemoryError:
                    raise
                except Exception as error:  # noqa: BLE001  # Pillow raises every kind of error on a damaged file
                    reason = f"not a {', '.join(FORMATS)} file" if isinstance(error, UnidentifiedImageError) else error
                    left_out.add(path.relative_to(raw).as_posix(), f"cannot be read as a picture ({reason})")
            if pictures:
                yield split, np.stack(pictures), np.array(targets, dtype=target_dtype)
    left_out.settle(total, section.max_bad_fraction)


def load_picture(path: Path, resize: int | None, crop: int) -> np.ndarray:
    """The picture's middle, uint8 RGB [crop, crop, 3], upright; any exception means that it is bad.

    Shorter side to `resize`, bilinear with antialiasing, and the crop are rounded as torchvision.transforms does.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{size:,} bytes are more than the {MAX_BYTES:,} that are read")
    content = path.read_bytes()
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if image.format == "JPEG" and content.count(START_OF_SCAN) > MAX_SCANS:
            raise ValueError(f"it has more than the {MAX_SCANS} scans that are read")
        _refuse_huge(image.width, image.height)
        picture = ImageOps.exif_transpose(image)
        if picture.mode.startswith("I;16"):  # Pillow would cut 16-bit greys off at 255
            picture = Image.fromarray((np.asarray(picture) // 256).astype(np.uint8))
        if picture.mode in ("I", "F"):
            raise ValueError("32-bit pixels have no fixed range")
        picture = picture.convert("RGB")
    if resize is not None:
        width, height = (int(resize * side / min(picture.size)) for side in picture.size)
        _refuse_huge(width, height)  # a strip of 1x50,000 would grow into billions
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    elif picture.size != (crop, crop):
        raise ValueError(f"is {picture.width}x{picture.height}, expected {crop}x{crop}: set resize in params.yaml")
    left, top = round((picture.width - crop) / 2), round((picture.height - crop) / 2)
    return np.asarray(picture.crop((left, top, left + crop, top + crop)))


def _refuse_huge(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}x{height} pixels are more than the {MAX_PIXELS:,} that are read")
