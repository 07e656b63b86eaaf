"""The networks that `make new` proposes for pictures: ImageNet's with a fitted head, or a small one for many pictures of an icon's size."""

from typing import Any

SMALL, MANY = 64, 5000  # pixels of the shorter side, pictures: where a network of their own is worth its training
EPOCHS = (4, 32, 60)  # at least; at most with many pictures, and with few, of which a batch is smaller
BUDGET = 800_000  # pictures of 32x32 that are trained on in all: about half an hour of one core
CROP = 256  # a little more than EfficientNet-Lite0 was trained at: benchmarks/heads.py
LOSSES = {"multilabel": "BCE", "regression": "MSE"}  # instead of the recipe's


def learns_from_scratch(count: int, side: float) -> bool:
    """Whether a network of their own is proposed for so many pictures of so many pixels."""
    return count >= MANY and side <= SMALL


def fitted(dataset: str) -> dict[str, Any]:
    """The model's entry: a head on ImageNet's features."""
    return {"dataset": dataset, "architecture": {"name": "efficientnet_lite", "model": "lite0"}, "train": {"recipe": "head"}, "int8": []}


def small(dataset: str, task: str, side: int, count: int) -> dict[str, Any]:
    """The model's entry: a small network, with as many epochs as the work in all allows."""
    is_many = count >= MANY
    network = {"first": {"channels": 24, "kernel": 3, "stride": 1}, "channels": [64, 128, 256], "logit_scale": 0.125}
    return {
        "dataset": dataset,
        "architecture": {"name": "fast_resnet", **network},
        "train": {
            "recipe": "image_fast",
            **({"loss": {"name": LOSSES[task]}} if task in LOSSES else {}),
            "lr": 0.4 if is_many else 0.1,
            "epochs": min(max(BUDGET * 32 * 32 // (count * side * side), EPOCHS[0]), EPOCHS[1 if is_many else 2]),
            "batch_size": 256 if is_many else 64,
            "best_by": "metric",
        },
        "int8": [],
    }
