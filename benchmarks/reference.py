"""What a well-known network with a plain recipe reaches on the copy of CIFAR-10 on which cifar10_resnet is measured.

Command: DATASETS_MIRROR=FOLDER python -m benchmarks.reference [--work FOLDER] [--seeds N]        (on a GPU: a CPU would take days)
Reads:   the committed state of this repository, which it clones into the work folder, where the data is preprocessed
Writes:  benchmarks/results/reference.json (reference_cuda.json with a GPU)

The network is ResNet-18 (He et al., 2015, https://arxiv.org/abs/1512.03385) as it is used for pictures of 32x32: torchvision's, with a
first convolution of 3x3 and stride 1, and without the pooling behind it. The recipe is plain: SGD with Nesterov momentum, crops and flips,
a rate that rises and falls once; no label smoothing, no averaged weights. The weights of the last epoch are measured.
"""

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.hardware import hardware, today, write_result
from benchmarks.real_data import build_data, change_params, make_clone, require_mirror, run

ROOT = Path(__file__).parents[1]
RECIPE: dict[str, Any] = {
    "loss": {"name": "CrossEntropy"},
    "optimizer": {"name": "SGD", "momentum": 0.9, "nesterov": True, "weight_decay": 0.0005},
    "lr": 0.1,
    "schedule": {"name": "OneCycleLR", "interval": "step"},
    "epochs": 30,
    "batch_size": 128,
    "augment": [{"name": "RandomCrop", "size": 32, "padding": 4}, {"name": "RandomHorizontalFlip", "p": 0.5}],
    "clip_norm": None,
    "ema": None,
    "best_by": "loss",
    "patience": None,
    "late_dropout": None,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "logs" / "accuracy", help="where the clone is made and kept")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    require_mirror(parser)
    clone = make_clone(arguments.work.resolve())
    change_params(clone / "params.yaml", 0, 1)
    build_data(clone, ["cifar10_jpeg"])
    os.chdir(clone)
    measured = [train(seed) for seed in range(arguments.seeds)]
    accuracies = [one["accuracy"] for one in measured]
    result = {
        "network": "ResNet-18",
        "dataset": "cifar10_jpeg",
        "recipe": RECIPE,
        "accuracy": round(statistics.fmean(accuracies), 5),
        "std": round(statistics.stdev(accuracies), 5) if len(accuracies) > 1 else None,
        "measured": measured,
        "command": "DATASETS_MIRROR=FOLDER python -m benchmarks.reference",
        "commit": run(["git", "rev-parse", "--short", "HEAD"], clone).strip(),
    }
    write_result("reference", result | {"hardware": hardware(), "date": today()})


def train(seed: int) -> dict[str, Any]:
    """Accuracy on the test split, and the seconds of the training without the process's start."""
    import torch
    from torch import nn
    from torchvision.models import resnet18

    from stages.common.meta import read_meta
    from stages.common.params import Runtime, read_section
    from stages.common.splits import read_split
    from stages.modelling.devices import prepare_torch
    from stages.modelling.model import Model
    from stages.shell.resume import Keeper
    from stages.training.batches import Batches
    from stages.training.loop import fit, measure
    from stages.training.losses import build_loss
    from stages.training.recipe import Recipe
    from stages.training.run import Run

    processed = Path("data") / "cifar10_jpeg" / "processed"
    runtime, recipe, meta = read_section(Runtime, "runtime"), Recipe.model_validate(RECIPE), read_meta(processed)
    device = prepare_torch(runtime)
    torch.manual_seed(seed)
    network = resnet18(weights=None, num_classes=meta.num_outputs)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    model = Model(network, meta).to(device)
    train, val, test = (Batches(*read_split(processed, split), recipe.batch_size, device) for split in ("train", "val", "test"))
    started, bf16 = time.monotonic(), runtime.mixed_precision and device.type == "cuda"
    run = Run(model, recipe, train, val, seed, "reference", bf16)
    keeper = Keeper(Path("logs") / "reference", {"": f"{seed} {time.time()}"}, runtime.save_minutes)
    with keeper:
        fit(run, keeper, lambda *_: None)
    keeper.forget()
    seconds = round(time.monotonic() - started, 1)
    loss = build_loss("CrossEntropy", {}, meta.task, meta.num_outputs, "loss")
    _, accuracy = measure(model, network, loss, test, lambda: None)
    print(f"seed {seed}: {accuracy:.4f} in {seconds} s", flush=True)
    return {"seed": seed, "accuracy": round(accuracy, 4), "train_s": seconds}


if __name__ == "__main__":
    main()
