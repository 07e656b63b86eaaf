"""Measures one model on the test split.

Command: python -m stages.evaluate MODEL
Reads:   models/<MODEL>/checkpoint.safetensors; data/<dataset>/processed: test.safetensors, meta.json, and train.safetensors, from which
         baselines learn; params.yaml: runtime, evaluate
Writes:  models/<MODEL>/metrics.json (flat; those of baselines are called baseline_<name>_<metric>), and under models/<MODEL>/plots/:
         predictions.csv (actual and predicted of every test item) and its picture predictions.png, breakdown.csv (a row a class or a
         regressed number)
"""

from itertools import chain
from pathlib import Path

from threadpoolctl import threadpool_limits

from stages.common.comparison import ENDS, PREFIX, own_metrics, verdict
from stages.common.files import as_csv, as_json, write_files
from stages.common.params import Runtime, look_up, read_params, read_section
from stages.common.shelves import take_part
from stages.common.splits import SplitFile
from stages.evaluation.baselines import baselines
from stages.evaluation.bootstrap import Bootstrap, Evaluate
from stages.evaluation.nearest_mean import watching
from stages.evaluation.pictures import predictions
from stages.modelling.devices import prepare_torch
from stages.modelling.model import load_checkpoint
from stages.modelling.predict import predict
from stages.shell.errors import run_stage


def evaluate(name: str) -> None:
    runtime, section = read_section(Runtime, "runtime"), read_section(Evaluate, "evaluate")
    processed = Path("data") / look_up(read_params(), "models", name, "dataset") / "processed"
    folder = Path("models") / name
    model, description = load_checkpoint(folder / "checkpoint.safetensors")
    task, meta, train, test = model.task, model.meta, SplitFile(processed, "train"), SplitFile(processed, "test")
    targets = test.read("targets", 0, test.count)

    device, family = prepare_torch(runtime), take_part("architectures", description["architecture"]["name"], "architecture.name")
    with watching(model, family, train, device, runtime.seed) as of_features:
        outputs = predict(model, test.pieces("inputs", test.at_once), device)
    bootstrap, fitting = Bootstrap(section.num_resamples, runtime.seed), list[str]()
    with threadpool_limits(limits=1):  # numpy and scikit-learn would take as many threads as the machine has, and sum in another order
        scores = task.measure(targets, outputs, bootstrap)
        for baseline, seconds, answers in chain(baselines(task, model.input.part, meta, train, test, runtime.seed), of_features):
            prefix = f"{PREFIX}{baseline}_"
            measured = task.measure(targets, answers, bootstrap.under(prefix, task.COMPARED))
            scores |= {f"{prefix}{metric}": measured[metric] for metric in task.COMPARED if metric in measured}
            fitting.append(f"{baseline} {seconds:.1f} s")
        scores = bootstrap.complete(scores)
    rows = task.rows(meta, targets, outputs)
    write_files(
        {
            folder / "metrics.json": as_json({key: round(value, 6) for key, value in scores.items()}),
            folder / "plots" / "predictions.csv": as_csv(rows),
            folder / "plots" / "predictions.png": predictions(task, rows, meta.names),
            folder / "plots" / "breakdown.csv": as_csv(task.breakdown(meta, targets, outputs)),
        }
    )
    print(f"{name}: {', '.join(f'{key} {value:.4f}' for key, value in own_metrics(scores).items() if not key.endswith(ENDS))}")
    print(f"{name}: baselines: {', '.join(fitting)}. {verdict(scores, task)}")


if __name__ == "__main__":
    run_stage(evaluate, usage="python -m stages.evaluate MODEL")
