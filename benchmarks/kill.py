"""Kills trainings at random moments and counts how many end in the very bytes of a training that never was disturbed.

Command: python -m benchmarks.kill [N] [--work FOLDER] [--seed S]        (N: how many kills; default 100)
Reads:   the committed state of this repository, which it clones into the work folder, once a model
Writes:  benchmarks/results/resume.json

Each kill is a SIGKILL to `dvc repro --single-item train@MODEL` and all that it started, at a moment drawn uniformly from the time
that it takes undisturbed. The next `dvc repro` must end well, with the same checkpoint, learning curve and dvc.lock. Now and then the
second is killed too. DVC writes dvc.lock in place: where a kill has damaged it, it is restored from git, as docs/reliability.md says, and
counted. Besides, a few trainings of each model get SIGTERM, and their leaving is timed.
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.hardware import hardware, today, write_result
from benchmarks.real_data import environment, run

ROOT = Path(__file__).parents[1]
MODELS = ["mnist_cnn", "cifar10_resnet", "names_gru", "diabetes_mlp", "hello_embedding", "hymenoptera_transfer"]
NUM_TERMS = 3
KILLED_AGAIN = 0.3  # of the trials


@dataclass
class Place:
    """A clone of the repository in which one model is trained."""

    root: Path
    model: str
    seconds: float = 0.0
    expected: dict[str, bytes] = field(default_factory=dict)

    def build(self) -> None:
        """Everything before the model, and the model undisturbed, twice: the second time is timed."""
        run(["git", "clone", "--quiet", str(ROOT), str(self.root)], self.root.parent)
        run([*DVC, "repro", "--quiet", f"train@{self.model}"], self.root)
        run(
            [
                "git",
                "-c",
                "user.name=kill",
                "-c",
                "user.email=kill@localhost",
                "commit",
                "--quiet",
                "--all",
                "--allow-empty",
                "-m",
                "Built",
            ],
            self.root,
        )
        self.forget()
        started = time.monotonic()
        run(self.repro, self.root)
        self.seconds, self.expected = time.monotonic() - started, self.contents()

    @property
    def repro(self) -> list[str]:
        return [*DVC, "repro", "--single-item", f"train@{self.model}"]

    def forget(self) -> None:
        """As if this model had never been trained here."""
        for path in (self.root / "models" / self.model / "checkpoint.safetensors", self.root / "models" / self.model / "plots"):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for folder in ("logs/resume", ".dvc/cache"):  # out of DVC's cache it would not be trained, but restored
            shutil.rmtree(self.root / folder, ignore_errors=True)

    def contents(self) -> dict[str, bytes]:
        folder = self.root / "models" / self.model
        return {name: (folder / name).read_bytes() for name in ("checkpoint.safetensors", "plots/learning_curve.csv")} | {
            "dvc.lock": (self.root / "dvc.lock").read_bytes()
        }

    def trial(self, rng: random.Random) -> dict[str, Any]:
        """One training that is killed, once or again and again, and resumed until it ends."""
        self.forget()
        kills, torn = 0, 0
        while kills == 0 or rng.random() < KILLED_AGAIN:
            ended = killed(self.repro, self.root, rng.uniform(0, self.seconds))
            kills += 0 if ended else 1
            if ended:
                break
            if self.is_torn():
                torn += 1
                run(["git", "checkout", "--quiet", "dvc.lock"], self.root)
        finished = subprocess.run(self.repro, cwd=self.root, env=environment(), capture_output=True, text=True, check=False)
        output = finished.stdout + finished.stderr
        words = re.findall(rf"{self.model}: resuming (at|after)", output)
        took_up = {"at": "in an epoch", "after": "after its end"}[words[0]] if words else "at the start"
        same = finished.returncode == 0 and self.contents() == self.expected
        if not same:
            print(f"{self.model}: not the same after {kills} kills:\n{output}", file=sys.stderr)
        return {
            "model": self.model,
            "kills": kills,
            "took_up": took_up,
            "same": same,
            "torn": torn,
            "warnings": output.count("warning: logs/resume"),
        }

    def is_torn(self) -> bool:
        """Whether DVC can no longer read its lock file: it is always written in the same bytes here."""
        return (self.root / "dvc.lock").read_bytes() != self.expected["dvc.lock"]

    def term(self, rng: random.Random) -> float:
        """Seconds from SIGTERM to the end of a training that has saved its first state."""
        self.forget()
        process = subprocess.Popen(
            [sys.executable, "-m", "stages.train", self.model], cwd=self.root, env=environment(), stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not (self.root / "logs" / "resume" / self.model / "last").exists():
            time.sleep(0.01)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=rng.uniform(0, 0.5))
        asked = time.monotonic()
        process.terminate()
        if (code := process.wait()) not in (0, 143, -signal.SIGTERM):  # the last: while it was writing its result
            sys.exit(f"{self.model} left with {code} when it was asked to stop")
        return time.monotonic() - asked


DVC = [sys.executable, "-m", "dvc"]


def killed(command: list[str], folder: Path, after: float) -> bool:
    """Runs the command and kills it and all its children after so many seconds; whether it had come to its end before."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(timeout=after)
        return True
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int, nargs="?", default=100, metavar="N")
    parser.add_argument("--work", type=Path, default=ROOT / "logs" / "kill")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(2**31), help="default: drawn, and written with the result"
    )
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        by_model = list(pool.map(lambda number: of_model(number, work, arguments), range(len(MODELS))))
    trials = [trial for part in by_model for trial in part["trials"]]
    result = {
        "kills": sum(trial["kills"] for trial in trials),
        "trainings": len(trials),
        "identical": sum(trial["same"] for trial in trials),
        "taken_up": dict(Counter(trial["took_up"] for trial in trials)),
        "dvc_lock_torn": sum(trial["torn"] for trial in trials),
        "states_set_aside": sum(trial["warnings"] for trial in trials),
        "models": {
            part["model"]: {
                "kills": sum(trial["kills"] for trial in part["trials"]),
                "identical": sum(trial["same"] for trial in part["trials"]),
                "trainings": len(part["trials"]),
                "undisturbed_s": round(part["seconds"], 1),
                "sigterm_to_end_s": [round(seconds, 2) for seconds in part["terms"]],
            }
            for part in by_model
        },
        "seed": arguments.seed,
        "commit": run(["git", "rev-parse", "--short", "HEAD"], ROOT).strip(),
        "command": "python -m benchmarks.kill",
        "hardware": hardware(),
        "date": today(),
    }
    write_result("resume", result)
    slowest = max(seconds for part in by_model for seconds in part["terms"])
    print(f"{result['kills']} kills: {result['identical']} of {result['trainings']} trainings ended identical")
    print(f"SIGTERM to the end: {slowest:.1f} s at most")
    median = statistics.median(part["seconds"] for part in by_model)
    print(f"resumed {result['taken_up']}; a training takes {median:.0f} s undisturbed (median of the models)")
    sys.exit(result["identical"] != result["trainings"])


def of_model(number: int, work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The share of the kills that falls to one model, in its own clone and with its own draws."""
    model, rng = MODELS[number], random.Random(f"{arguments.seed} {MODELS[number]}")
    place = Place(work / model, model)
    place.build()
    share = arguments.kills // len(MODELS) + (number < arguments.kills % len(MODELS))
    trials: list[dict[str, Any]] = []
    while sum(trial["kills"] for trial in trials) < share:
        trials.append(place.trial(rng))
        print(f"{model}: {trials[-1]}", flush=True)
    return {"model": model, "seconds": place.seconds, "trials": trials, "terms": [place.term(rng) for _ in range(NUM_TERMS)]}


if __name__ == "__main__":
    main()
