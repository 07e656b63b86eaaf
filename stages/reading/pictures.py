"""Pictures as raw files: photographs of any size and format, decoded a hundred at a time, upright, resized and cropped.

They may be a stranger's: what is too large in bytes, pixels or scans is left out before it is decoded.
"""

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field, model_validator

from stages.common.meta import Input, Resize
from stages.common.params import Section
from stages.common.splits import SPLITS, hold_out
from stages.reading.contents import Chunk
from stages.reading.left_out import LeftOutItems

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF"]
MAX_BYTES = 100_000_000
MAX_PIXELS = 50_000_000  # a larger picture is a mistake or an attack: hundreds of MB once unpacked
MAX_SCANS = 100  # of a progressive JPEG, each of which decodes the whole picture again
START_OF_SCAN = b"\xff\xda"
CHUNK_BYTES = 16_000_000
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

Side = Annotated[int, Field(ge=1, le=4096)]
Files = list[tuple[Path, Any]]  # a picture and its target


class Pictures(Section):
    """The size of pictures in pixels, and which are for validation.

    `resize` is the length of the shorter side, null where every picture has the size `crop` already; then train's
    pictures are cut to `train_crop`, and val's and test's to `crop`, in the middle. `normalize`: mean and std measured on
    train, or ImageNet's, for networks with weights from there.
    """

    resize: Side | None
    crop: Side
    train_crop: Side
    normalize: Literal["train", "imagenet"]
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

    def shape(self, split: str = "test") -> tuple[int, int, int]:
        side = self.train_crop if split == "train" else self.crop
        return side, side, 3

    def input(self) -> Input:
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if self.normalize == "imagenet" else (None, None)
        resize = None if self.resize is None else Resize(shorter_side=self.resize, crop=self.crop)
        return Input(kind="image", shape=list(self.shape()), dtype="uint8", mean=mean, std=std, resize=resize)


def held_out(files: Files, labels: list[Any], fraction: float, seed: int) -> tuple[Files, Files]:
    """The files that stay, and `fraction` of them, chosen by the seed and spread over their labels in proportion."""
    mask = hold_out(np.array(labels), fraction, seed)
    return [file for file, out in zip(files, mask, strict=True) if not out], [file for file, out in zip(files, mask, strict=True) if out]


def decoded(raw: Path, files: dict[str, Files], section: Pictures, target_dtype: type, left_out: LeftOutItems) -> Iterator[Chunk]:
    """(split, pictures uint8 [k, crop, crop, 3], targets [k, ...]), about CHUNK_BYTES at a time; bad pictures are left out."""
    already_out, num_listed = left_out.count, sum(map(len, files.values()))
    for split in SPLITS:
        crop = section.shape(split)[0]
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
    left_out.settle(already_out + num_listed, section.max_bad_fraction)


def load_picture(path: Path, resize: int | None, crop: int) -> np.ndarray:
    """The picture's middle, uint8 RGB [crop, crop, 3], upright; any exception means that it is bad.

    Shorter side to `resize`, bilinear with antialiasing, and the crop are rounded as torchvision.transforms does.
    """
    content = path.read_bytes() if path.stat().st_size <= MAX_BYTES else refuse_large(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.format == "JPEG" and content.count(START_OF_SCAN) > MAX_SCANS:
                raise ValueError(f"it has more than the {MAX_SCANS} scans that are read")
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


def refuse_large(path: Path) -> NoReturn:
    raise ValueError(f"{path.stat().st_size:,} bytes are more than the {MAX_BYTES:,} that are read")
