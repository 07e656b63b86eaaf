"""How fast exported models answer: PyTorch eager, TorchScript, torch.compile and ONNX Runtime, with its INT8, side by side.

Command: python -m benchmarks.inference [--built FOLDER] [--seconds S] [MODEL ...]
Reads:   the data, checkpoints and exports that `dvc repro` has built in FOLDER (default: here)
Writes:  benchmarks/results/inference.json: of models that are not named what was measured earlier stays

For each model and number of threads (one, and all cores) a fresh process measures all in turns: the latency of single rows, p50 and
p95, and rows a second in batches of 256. Rows are of the test split; single texts come without padding. Before anything is timed, every
form but INT8 must give PyTorch's answer. What torch.compile takes to compile is not in its times but beside them.

INT8 (of all layers, and of the linear ones alone where there are others) is made here of every model, to see where it pays: there
`models.<name>.int8` in params.yaml asks for it, and the export offers it if it loses few enough points.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from benchmarks.hardware import hardware, read_result, today, write_result

ROOT = Path(__file__).parents[1]
BATCH_SIZE, TURN_S, TOLERANCE = 256, 0.1, 1e-4
SMALLER = ("INT8", "INT8 linear")
FORMS = ("eager", "TorchScript", "compile", "ONNX Runtime", *SMALLER)
FASTER, NO_SLOWER = 1.1, 0.95  # times as fast as model.onnx, with single rows and in batches: what is nearer to 1 is within the noise

Run = Callable[[np.ndarray], list[np.ndarray]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: all that are built")
    parser.add_argument("--built", type=Path, default=ROOT)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement; default: 1")
    parser.add_argument("--one", type=int, metavar="THREADS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.models[0], arguments.one, arguments.seconds)))
        return
    built = arguments.built.resolve()
    models = arguments.models or sorted(path.parents[1].name for path in built.glob("models/*/exported/model.onnx"))
    if not models:
        sys.exit(f"error: nothing is built in {built}: run dvc repro there first.")
    earlier: dict[str, Any] = read_result("inference")
    measured, weights = earlier.get("models", {}), earlier.get("weights", {})
    for model in models:
        measured[model] = {str(threads): in_a_process(model, threads, arguments.seconds, built) for threads in (1, os.cpu_count() or 1)}
        weights[model] = count_weights(built / "models" / model)
        print(model, json.dumps(measured[model]), flush=True)
        about = {"seconds": arguments.seconds, "batch_size": BATCH_SIZE, "command": "python -m benchmarks.inference"}
        results = {"models": dict(sorted(measured.items())), "weights": dict(sorted(weights.items()))}
        write_result("inference", results | about | {"hardware": hardware(), "date": today()})


def count_weights(folder: Path) -> int:
    """All numbers that training has left in a model's checkpoint."""
    with safe_open(folder / "checkpoint.safetensors", "numpy") as checkpoint:
        return sum(math.prod(checkpoint.get_slice(name).get_shape()) for name in checkpoint.keys())  # it is no dict


def in_a_process(model: str, threads: int, seconds: float, built: Path) -> dict[str, Any]:
    """Whose threads nothing has set before, and which finds nothing compiled."""
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    command = [sys.executable, "-m", "benchmarks.inference", model, "--one", str(threads), "--seconds", str(seconds)]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, **counts, "PYTHONPATH": str(ROOT), "TORCHINDUCTOR_CACHE_DIR": cache}
        finished = subprocess.run(command, cwd=built, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(f"{model} failed in {built}:\n{finished.stdout}{finished.stderr}")
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def measure(model_name: str, threads: int, seconds: float) -> dict[str, Any]:
    """By form: p50_us and p95_us of a row, rows_per_s in batches; compile_s where it is compiled; or why it fails."""
    from stages.common.splits import SplitFile
    from stages.exporting.parity import alone_of, spread
    from stages.exporting.signature import Signature
    from stages.modelling.model import load_checkpoint
    from stages.shell.errors import first_line

    folder = Path("models") / model_name
    signature = Signature.model_validate_json((folder / "exported" / "signature.json").read_text())
    test = SplitFile(Path("data") / signature.dataset / "processed", "test")
    model, _ = load_checkpoint(folder / "checkpoint.safetensors")
    rows = model.input.part.as_batch(test.take("inputs", spread(test.count, BATCH_SIZE)))
    one = alone_of(model.input.part, rows[:1])
    result: dict[str, Any] = {}
    runs: dict[str, Run] = {}
    for name, make in forms(model, folder, signature, threads).items():
        started = time.perf_counter()
        try:
            run = make()
            for batch in (one, rows):
                check(name, run(batch), runs.get("eager", run)(batch))
        except Exception as error:  # noqa: BLE001  # compilers and converters fail in every way
            result[name] = {"fails": first_line(error)}
            continue
        runs[name], result[name] = run, {"compile_s": round(time.perf_counter() - started, 1)} if name == "compile" else {}
    for name, times in in_turns(runs, one, seconds).items():
        low, high = statistics.median(times), statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
        result[name] |= {"p50_us": round(low * 1e6, 1), "p95_us": round(high * 1e6, 1)}
    for name, times in in_turns(runs, rows, seconds).items():
        result[name]["rows_per_s"] = round(len(rows) / statistics.median(times), 1)
    return result


def forms(model: Any, folder: Path, signature: Any, threads: int) -> dict[str, Callable[[], Run]]:
    """How each form is made: of the model or of what was exported."""
    import onnx
    import torch

    from stages.common.params import read_params
    from stages.common.splits import SplitFile
    from stages.exporting.forms import NODES, calibration_rows, onnx_runner, to_int8, torchscript_runner
    from stages.exporting.section import MIN_CALIBRATION_ROWS
    from stages.exporting.signature import feeder

    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")
    content, fed = (folder / "exported" / "model.onnx").read_bytes(), feeder(model, signature.entries)

    def by(module: Any) -> Run:
        @torch.inference_mode()
        def run(batch: np.ndarray) -> list[np.ndarray]:
            return [output.numpy() for output in module(torch.from_numpy(batch))]

        return run

    def int8(kinds: list[str]) -> Run:
        train = SplitFile(Path("data") / signature.dataset / "processed", "train")
        if train.count < MIN_CALIBRATION_ROWS:
            raise ValueError(f"train has {train.count} rows to calibrate by, and {MIN_CALIBRATION_ROWS} are needed")
        count = read_params()["export"]["int8"]["calibration_rows"]
        rows = calibration_rows(model, train, count)
        return onnx_runner(to_int8(content, fed, rows, kinds), signature, threads, fed)

    has_convolutions = any(node.op_type in NODES["convolution"] for node in onnx.load_model_from_string(content).graph.node)
    return {
        "eager": lambda: by(model),
        "TorchScript": lambda: torchscript_runner((folder / "exported" / "model.torchscript.pt").read_bytes()),
        "compile": lambda: by(torch.compile(model)),
        "ONNX Runtime": lambda: onnx_runner(content, signature, threads, fed),
        "INT8": lambda: int8(list(NODES)),
        **({"INT8 linear": lambda: int8(["linear"])} if has_convolutions else {}),
    }


def check(name: str, outputs: list[np.ndarray], expected: list[np.ndarray]) -> None:
    worst = float(np.abs(outputs[0] - expected[0]).max())
    if not (worst <= TOLERANCE or name in SMALLER):
        raise ValueError(f"{name} differs from PyTorch by {worst:g}")


def pays(measured: dict[str, Any], form: str) -> bool:
    """Whether a smaller form answers single rows faster than model.onnx, and batches no slower, beyond noise, on one thread."""
    whole, own = measured["1"]["ONNX Runtime"], measured["1"].get(form, {})
    return "p50_us" in own and whole["p50_us"] >= FASTER * own["p50_us"] and own["rows_per_s"] >= NO_SLOWER * whole["rows_per_s"]


def asked_for(measured: dict[str, Any]) -> list[str]:
    """What `models.<name>.int8` in params.yaml should be: the layers of the INT8 form that pays and answers single rows fastest."""
    kinds = {"INT8": ["convolution", "linear"] if "INT8 linear" in measured["1"] else ["linear"], "INT8 linear": ["linear"]}
    paying = sorted((measured["1"][form]["p50_us"], form) for form in kinds if pays(measured, form))
    return kinds[paying[0][1]] if paying else []


def in_turns(runs: dict[str, Run], batch: np.ndarray, seconds: float) -> dict[str, list[float]]:
    """The seconds of every call: each form for a tenth of a second at a time, until each has had `seconds` and three calls."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    while any(sum(own) < seconds or len(own) < 3 for own in times.values()):
        for name, run in runs.items():
            until = time.perf_counter() + TURN_S
            while True:
                started = time.perf_counter()
                run(batch)
                ended = time.perf_counter()
                times[name].append(ended - started)
                if ended > until:
                    break
    return times


if __name__ == "__main__":
    main()
