"""What a fitted head should see of EfficientNet-Lite0: the size of the pictures, and what is made of its pooled features.

Command: DATASETS_MIRROR=FOLDER python -m benchmarks.heads
Reads:   of the mirror hymenoptera's train, pictures/fruit/train and pictures/sign_digits: never a test split
Writes:  benchmarks/results/heads.json: by set, size and kind of features the mean log-loss and accuracy by C, on quarters that were held
         out again and again (the same ones for all), and the milliseconds of the processor that the features of a picture took
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from benchmarks.hardware import hardware, today, write_result
from stages.architectures.efficientnet_lite import LIFT, EfficientNetLite, Params, load_pretrained
from stages.common.meta import Input, Meta
from stages.reading.pictures import cuts_of
from stages.training.head import Head, fit_head

MIRROR = Path(os.environ.get("DATASETS_MIRROR", ""))
SIZES = ((256, 224), (288, 256))  # the shorter side, and the cut in the middle
C = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
C_STANDARDISED = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
FEATURES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], bool]] = {  # what is made of them, and whether they are standardised
    "pooled": (lambda pooled: pooled, False),
    "pooled, standardised": (lambda pooled: pooled, True),
    "of equal length": (lambda pooled: pooled / np.sqrt((pooled**2).mean(axis=1, keepdims=True)) / 2, False),
    "square roots": (lambda pooled: np.sqrt(pooled + LIFT), False),
}
BATCH = 32


def files() -> dict[str, tuple[list[Path], list[str]]]:
    """The pictures of each set, and what they show."""
    ants = sorted((MIRROR / "hymenoptera/hymenoptera_data/train").glob("*/*.jpg"))
    fruit = sorted((MIRROR / "pictures/fruit/train").glob("*.jpg"))
    signs = sorted((MIRROR / "pictures/sign_digits/Dataset").glob("*/*.JPG"))
    by_folder = {name: (paths, [path.parent.name for path in paths]) for name, paths in (("hymenoptera", ants), ("sign_digits", signs))}
    return by_folder | {"fruit": (fruit, [path.name.partition("_")[0] for path in fruit])}


def pooled(paths: list[Path], resize: int, crop: int) -> tuple[np.ndarray, float]:
    """[n, 1280], and the milliseconds a picture."""
    described = Input(kind="image", shape=[crop, crop, 3], dtype="uint8", mean=[0.5] * 3, std=[0.5] * 3)
    meta, params = Meta.model_construct(input=described, num_outputs=2, dataset="any"), Params(name="efficientnet_lite", model="lite0")
    network = EfficientNetLite(params, meta)
    load_pretrained(network, params, meta)
    network.eval().to(memory_format=torch.channels_last)
    found, seconds = [], 0.0
    for start in range(0, len(paths), BATCH):
        rows = np.stack([cuts_of(path.read_bytes(), resize, [crop])[0][0] for path in paths[start : start + BATCH]])
        started = time.process_time()
        with torch.no_grad():
            batch = torch.from_numpy(rows).permute(0, 3, 1, 2).float() / 127.5 - 1
            found.append(network.pooled(batch.contiguous(memory_format=torch.channels_last)).double().numpy())
        seconds += time.process_time() - started
    return np.concatenate(found), 1000 * seconds / len(paths)


def measure(features: np.ndarray, targets: np.ndarray, standardise: bool, repeats: int) -> dict[str, list[float]]:
    """By C the mean log-loss and accuracy on a quarter that was held out."""
    result = {}
    for c in C_STANDARDISED if standardise else C:
        of_one = []
        for seed in range(repeats):
            fitted, held_out = train_test_split(np.arange(len(targets)), test_size=0.25, random_state=seed, stratify=targets)
            head = fit_head(features[fitted].copy(), targets[fitted], int(targets.max()) + 1, c, standardise)
            of_one.append(scores(head, features[held_out], targets[held_out]))
        result[f"{c:g}"] = np.mean(of_one, axis=0).round(5).tolist()
    return result


def scores(head: Head, features: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    shares = torch.from_numpy(head.logits(features)).log_softmax(dim=1).numpy()
    return -shares[np.arange(len(targets)), targets].mean(), (shares.argmax(axis=1) == targets).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repeats", type=int, default=40, help="how often a quarter is held out; a tenth of that where there are 800 pictures"
    )
    arguments = parser.parse_args()
    if not MIRROR.name:
        parser.error("set DATASETS_MIRROR to a folder with the pictures")
    torch.set_num_threads(1)
    about = {"date": today(), "hardware": hardware(), "command": "DATASETS_MIRROR=FOLDER python -m benchmarks.heads"}
    sets: dict[str, Any] = {}
    for name, (paths, labels) in files().items():
        targets = np.unique(labels, return_inverse=True)[1]
        repeats = arguments.repeats if len(paths) < 500 else max(1, arguments.repeats // 10)
        own = sets[name] = {"pictures": len(paths), "repeats": repeats, "sizes": {}}
        for resize, crop in SIZES:
            of_size, milliseconds = pooled(paths, resize, crop)
            kinds = {kind: measure(make(of_size), targets, standardise, repeats) for kind, (make, standardise) in FEATURES.items()}
            own["sizes"][f"{resize}, {crop}"] = {"milliseconds": round(milliseconds, 1), "features": kinds}
            for kind, by_c in kinds.items():
                best = min(by_c, key=lambda c: by_c[c][0])
                print(f"{name}, {crop} pixels, {kind}: log-loss {by_c[best][0]:.4f}, accuracy {by_c[best][1]:.4f} (C {best})", flush=True)
        write_result("heads", about | {"sets": sets})


if __name__ == "__main__":
    main()
