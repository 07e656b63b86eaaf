"""How sure copies of pictures are told from other pictures: stages/reading/copies.py on real photographs, changed as people change them.

Command: DATASETS_MIRROR=FOLDER python -m benchmarks.copies
Reads:   hymenoptera, pictures/fruit, pictures/sign_digits, cifar10_jpeg, texts/sms_spam and texts/language17 of the mirror
Writes:  benchmarks/results/copies.json

Every change is made of 100 pictures of each set, at their own size, and saved as JPEG of quality 75; then picture and copy are prepared as
preprocess does, to a shorter side of 256 and the middle of 224. "Strangers" are all pairs of different files, mirrored ones too.
"""

import csv
import io
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from benchmarks.hardware import hardware, today, write_result
from examples.pictures import centre, resized
from stages.reading.copies import BITS, are_near, grey_of, mirrored, near_groups, picture_hashes, text_groups

MIRROR = Path(os.environ.get("DATASETS_MIRROR", ""))
SETS = {"hymenoptera": "hymenoptera/hymenoptera_data", "fruit": "pictures/fruit", "sign_digits": "pictures/sign_digits"}
SUFFIXES = (".jpg", ".jpeg", ".png")
NUM_CHANGED, RESIZE, CROP = 100, 256, 224


def cut(share: float) -> Callable[[Image.Image], Image.Image]:
    """Takes this share of the width off each side, and of the height above and below."""

    def change(image: Image.Image) -> Image.Image:
        across, down = round(share * image.width), round(share * image.height)
        return image.crop((across, down, image.width - across, image.height - down))

    return change


def scaled(share: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.resize((max(1, round(share * image.width)), max(1, round(share * image.height))))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved again": lambda image: image,
    "half the size": scaled(0.5),
    "a quarter of the size": scaled(0.25),
    "a fifth brighter": lambda image: image.point([min(255, round(1.2 * value)) for value in range(256)] * 3),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "1 % cut off each side": cut(0.01),
    "2.5 % cut off each side": cut(0.025),
    "5 % cut off each side": cut(0.05),
    "mirrored": ImageOps.mirror,
}


def main() -> None:
    result: dict[str, Any] = {"date": today(), "hardware": hardware(), "command": "DATASETS_MIRROR=FOLDER python -m benchmarks.copies"}
    result["pictures"] = {name: measure(list(pictures(MIRROR / folder))) for name, folder in SETS.items()}
    result["cifar10_jpeg"] = measure_cifar()
    result["texts"] = {name: measure_texts(texts) for name, texts in (("sms_spam", sms()), ("language17", languages()))}
    write_result("copies", result)


def pictures(folder: Path) -> Iterator[Image.Image]:
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        with Image.open(path) as image:
            yield ImageOps.exif_transpose(image).convert("RGB")


def prepared(image: Image.Image) -> np.ndarray:
    return np.asarray(centre(resized(image, RESIZE), CROP, CROP))


def saved_again(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=75)
    return Image.open(file).convert("RGB")


def measure(images: list[Image.Image]) -> dict[str, Any]:
    hashes = picture_hashes(np.stack([prepared(image) for image in images]))
    some = np.linspace(0, len(images) - 1, NUM_CHANGED).round().astype(int)
    changes = {}
    for name, change in CHANGES.items():
        copies = picture_hashes(np.stack([prepared(saved_again(change(images[place]))) for place in some]))
        own = hashes[some] if name != "mirrored" else mirrored(hashes[some])
        bits, correlations = distances(own, copies)
        changes[name] = {
            "found": int(are_near(own, copies).sum()),
            "of": len(some),
            "bits": [int(value) for value in np.quantile(bits, [0.5, 0.9, 1.0])],
            "correlation": [round(float(value), 3) for value in np.quantile(correlations, [0.0, 0.1, 0.5])],
        }
    left, right = np.triu_indices(len(images), 1)
    strangers = [distances(hashes[left], of[right]) for of in (hashes, mirrored(hashes))]
    return {
        "pictures": len(images),
        "changes": changes,
        "strangers": {
            "nearest_bits": int(min(bits.min() for bits, _ in strangers)),
            "highest_correlation_within_48_bits": highest(strangers),
            "called_copies": int((near_groups(hashes, mirrored(hashes)) != np.arange(len(images))).sum()),
        },
    }


def distances(some: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of pairs of hashes: bits that differ, and the correlation of the small grey pictures."""
    bits = np.bitwise_count(some[:, BITS] ^ others[:, BITS]).sum(axis=1).astype(int)
    correlations = np.empty(len(some))
    for start in range(0, len(some), 10_000):
        piece = slice(start, start + 10_000)
        left, right = (grey_of(of[piece]).reshape(len(of[piece]), -1).astype(np.float32) for of in (some, others))
        left, right = (of - of.mean(axis=1, keepdims=True) for of in (left, right))
        lengths = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
        correlations[piece] = (left * right).sum(axis=1) / np.maximum(lengths, 1e-6)
    return bits, correlations


def highest(strangers: list[tuple[np.ndarray, np.ndarray]]) -> float | None:
    near = [correlations[bits <= 48] for bits, correlations in strangers]
    return round(float(max(found.max() for found in near if len(found))), 3) if any(map(len, near)) else None


def measure_cifar() -> dict[str, Any]:
    """Copies within 60,000 small photographs, and what finding them takes."""
    hashes, seconds_to_hash = [], 0.0
    for part in ("train", "test"):
        with zipfile.ZipFile(MIRROR / "cifar10_jpeg" / f"{part}.zip") as archive:
            names = sorted(name for name in archive.namelist() if name.lower().endswith(SUFFIXES))
            small = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names])
        start = time.process_time()
        hashes.append(picture_hashes(small))
        seconds_to_hash += time.process_time() - start
    hashed = np.concatenate(hashes)
    start = time.process_time()
    groups = near_groups(hashed, mirrored(hashed))
    seconds = time.process_time() - start
    return {
        "pictures": len(hashed),
        "of_test_copies_of_train": int((groups[len(hashes[0]) :] < len(hashes[0])).sum()),
        "copies": int((groups != np.arange(len(groups))).sum()),
        "cpu_seconds_to_hash": round(seconds_to_hash, 1),
        "cpu_seconds_to_compare": round(seconds, 1),
    }


def sms() -> list[str]:
    lines = (MIRROR / "texts/sms_spam/sms.tsv").read_text(encoding="utf-8").split("\n")
    return [line.partition("\t")[2] for line in lines if line]


def languages() -> list[str]:
    with (MIRROR / "texts/language17/Language Detection.csv").open(encoding="utf-8", newline="") as file:
        return [row[0] for row in csv.reader(file)]


def measure_texts(texts: list[str]) -> dict[str, Any]:
    start = time.process_time()
    groups = text_groups(texts)
    return {
        "texts": len(texts),
        "copies": int((groups != np.arange(len(groups))).sum()),
        "largest_group": int(np.bincount(groups).max()),
        "cpu_seconds": round(time.process_time() - start, 1),
    }


if __name__ == "__main__":
    main()
