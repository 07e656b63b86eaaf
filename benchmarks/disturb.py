"""Disturbs rebuilds, by kills at random moments and by other DVC commands beside, and counts how many end as if nothing had been.

Command: python -m benchmarks.disturb [--kills N] [--collisions N] [--work FOLDER] [--seed S]
Reads:   the committed state of this repository, which it clones into the work folder
Writes:  benchmarks/results/disturb.json

Kills: `python -m pipelines.rebuild` of some small models gets SIGKILL, again and again, each at a moment drawn from the time that it takes
undisturbed. After each kill nothing of it may be alive within 10 s, and dvc.lock and .gitignore must be whole. Once a rebuild comes to
its end, dvc.lock and all that it built are compared with what it leaves undisturbed, which is what `dvc repro` leaves; then all is
forgotten, and it starts from scratch.

Collisions: a rebuild of many stages, each of which saves many files, while another program takes the repository's lock again and
again, half of the times for longer than DVC itself would wait (3 s) before it gives up and forgets what has run, and `dvc status` and
`dvc commit` run in a loop. A collision is counted where DVC would have given up, or where another command was at work on a stage's
files. No stage that has run may be missing in dvc.lock, and the next `dvc repro` must find nothing to do.
"""

import argparse
import fcntl
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.hardware import hardware, read_result, today, write_result
from benchmarks.real_data import environment, run

ROOT = Path(__file__).parents[1]
TARGETS = [f"{stage}@{model}" for model in ("line_sgd", "hours_logistic", "hello_rnn", "diabetes_mlp") for stage in ("evaluate", "export")]
REBUILD = [sys.executable, "-m", "pipelines.rebuild"]
DVC = [sys.executable, "-m", "dvc"]
GONE_S = 10  # after a kill nothing may be alive for longer
NUM_STAGES, NUM_FILES, NUM_JOBS = 12, 300, 6
LONG = 0.5  # of the times that somebody else takes the lock it is for longer than DVC itself would wait


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="default: 50; 0: leave them out, as with the other")
    parser.add_argument("--collisions", type=int, default=50, metavar="N")
    parser.add_argument("--work", type=Path, default=ROOT / "logs" / "disturb")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(2**31), help="default: drawn, and written with the result"
    )
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    phases: list[tuple[str, int, Callable[[Path, int, random.Random], dict[str, Any]]]] = [
        ("kills", arguments.kills, kill_again_and_again),
        ("collisions", arguments.collisions, collide),
    ]
    commit, is_well = run(["git", "rev-parse", "--short", "HEAD"], ROOT).strip(), True
    for name, wanted, disturb in phases:
        if wanted:
            counts = disturb(work / name, wanted, random.Random(f"{arguments.seed} {name}"))
            note(name, counts | {"seed": arguments.seed, "commit": commit})
            is_well &= counts["ended_well"] == counts["rebuilds"] and not any(counts.get(what) for what in ("torn", "left_alive", "lost"))
    sys.exit(not is_well)


def note(name: str, counts: dict[str, Any]) -> None:
    """In the results, where what was measured of the other kind another time stays."""
    about = {"command": "python -m benchmarks.disturb", "hardware": hardware(), "date": today()}
    write_result("disturb", read_result("disturb") | {name: counts} | about)
    print(name, counts)


# Kills


def kill_again_and_again(root: Path, wanted: int, rng: random.Random) -> dict[str, Any]:
    run(["git", "clone", "--quiet", str(ROOT), str(root)], root.parent)
    forget(root)
    run([*DVC, "repro", "--quiet", *TARGETS], root)
    by_dvc, entries = contents(root), read_lock(root)
    forget(root)
    started = time.monotonic()
    run([*REBUILD, *TARGETS], root)
    undisturbed, expected = time.monotonic() - started, contents(root)
    # The order of entries is the graph's here, and that of the targets there.
    if by_dvc | {"dvc.lock": ""} != expected | {"dvc.lock": ""} or entries != read_lock(root):
        sys.exit("the flow, undisturbed, does not leave what `dvc repro` leaves")
    counts = {"times": 0, "rebuilds": 0, "ended_well": 0, "torn": 0, "left_alive": 0}
    while counts["times"] < wanted:
        forget(root)
        while not killed(root, rng.uniform(0, undisturbed)):
            counts["times"] += 1
            counts["left_alive"] += not is_so(lambda: not alive(root), GONE_S)
            counts["torn"] += is_torn(root)
        counts["rebuilds"] += 1
        counts["ended_well"] += contents(root) == expected
        print(f"kills: {counts}", flush=True)
    return counts | {"undisturbed_s": round(undisturbed, 1)}


def forget(root: Path) -> None:
    """As if nothing had ever been built here."""
    for path in ("data", "models", "logs", ".dvc/cache", ".dvc/tmp"):
        shutil.rmtree(root / path, ignore_errors=True)
    run(["git", "checkout", "--quiet", "--", "."], root)
    (root / "dvc.lock").unlink(missing_ok=True)


def killed(root: Path, after: float) -> bool:
    """Runs a rebuild and kills it after so many seconds; whether it had come to its end before."""
    with (root / "rebuild.log").open("ab") as log:
        process = subprocess.Popen([*REBUILD, *TARGETS], cwd=root, env=environment(), stdout=log, stderr=log)
        try:
            if process.wait(timeout=after):
                sys.exit(f"the rebuild failed: see {root / 'rebuild.log'}")
            return True
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return False


def alive(root: Path) -> list[str]:
    """The processes that work in the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cwd").resolve() == root:
                found.append((path / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has ended meanwhile
            continue
    return found


def is_so(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it is, within so many seconds."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def is_torn(root: Path) -> bool:
    """Whether DVC can no longer read what a kill has left, or a file that git keeps has changed."""
    paths = [".gitignore", "data", "models", "dvc.yaml", "params.yaml"]
    lines = run(["git", "status", "--porcelain", "--untracked-files=no", "--", *paths], root).splitlines()
    changed = [line for line in lines if not line.endswith(".json")]
    status = subprocess.run([*DVC, "status", "--quiet"], cwd=root, env=environment(), capture_output=True, check=False)
    return bool(changed) or status.returncode > 1


def read_lock(root: Path) -> Any:
    return YAML(typ="safe").load(root / "dvc.lock")


def contents(root: Path) -> dict[str, str]:
    """The hashes of dvc.lock and of all that was built."""
    paths = [root / "dvc.lock", *(path for folder in ("data", "models") for path in (root / folder).rglob("*") if path.is_file())]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


# Collisions


def collide(root: Path, wanted: int, rng: random.Random) -> dict[str, Any]:
    """Runs the flow in this process, where the times can be counted that it has to wait."""
    from pipelines.dvc import pipeline, waiting
    from pipelines.rebuild import rebuild
    from pipelines.serving.server import use_prefect_server

    collisions = set[int]()

    class Counted(waiting.Patience):
        def wait(self) -> None:
            collisions.add(id(self))
            kept.append(self)  # so that no other gets its id
            super().wait()

    kept = list[waiting.Patience]()
    # Where it waits for the lock, and where for a stage's files.
    waiting.Patience = pipeline.Patience = Counted  # type: ignore[misc]
    make_pipeline(root)
    os.chdir(root)
    use_prefect_server()
    counts = {"times": 0, "rebuilds": 0, "ended_well": 0, "lost": 0, "stages": 0, "other_commands": 0}
    spawned = multiprocessing.get_context("spawn")  # the flow's threads hold locks that a fork would copy
    while len(collisions) < wanted:
        over, others = spawned.Event(), list[int]()
        holder = spawned.Process(target=hold_the_lock, args=(root, over, rng.random()))
        other = threading.Thread(target=run_others, args=(root, over, others))
        holder.start()
        other.start()
        state: Any = rebuild(jobs=NUM_JOBS, force=True, return_state=True)
        over.set()
        holder.join()
        other.join()
        counts["ended_well"] += state.is_completed()
        counts["rebuilds"] += 1
        counts["stages"] += 2 * NUM_STAGES
        counts["other_commands"] += len(others)
        counts["lost"] += run([*DVC, "repro"], root).count("Running stage")
        counts["times"] = len(collisions)
        print(f"collisions: {counts}", flush=True)
    return counts


def make_pipeline(root: Path) -> None:
    """Stages that take no time, but to be saved."""
    root.mkdir()
    run(["git", "init", "--quiet"], root)
    run([*DVC, "init", "--quiet"], root)
    many = f"mkdir -p out/${{key}} && for i in $(seq {NUM_FILES}); do echo $i ${{key}} > out/${{key}}/$i; done"
    each = ", ".join(f"s{number}: {number}" for number in range(NUM_STAGES))
    (root / "dvc.yaml").write_text(
        f"stages:\n  make:\n    foreach: {{{each}}}\n    do:\n      cmd: {many}\n      outs: [{{'out/${{key}}': {{persist: true}}}}]\n"
        f"  count:\n    foreach: {{{each}}}\n    do:\n      cmd: ls out/${{key}} | wc -l > ${{key}}.txt\n"
        "      deps: ['out/${key}']\n      outs: [{'${key}.txt': {persist: true}}]\n"
    )
    (root / "params.yaml").write_text("runtime: {threads: 1}\n")
    (root / ".gitignore").write_text("/out\n/s*.txt\n/logs\n")


def hold_the_lock(root: Path, over: Event, seed: float) -> None:
    """Takes the repository's lock again and again, for as long as a quick DVC command or as a slow one.

    It looks for the lock more often than DVC does, which only gets one that is free at the moment of its look twice a second.
    """
    rng, rest = random.Random(seed), 0.0
    while not over.wait(rest):
        with (root / ".dvc" / "tmp" / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as DVC does
            except BlockingIOError:  # the rebuild has it
                rest = 0.002
                continue
            over.wait(rng.uniform(3.2, 4) if rng.random() < LONG else rng.uniform(0.05, 0.4))
        rest = rng.uniform(0.1, 0.8)


def run_others(root: Path, over: Event, others: list[int]) -> None:
    while not over.is_set():
        for command in (["status", "--quiet"], ["commit", "--quiet", "--force", "count@s0"]):
            run_one = subprocess.run([*DVC, *command], cwd=root, env=environment(), capture_output=True, check=False)
            others += [run_one.returncode]


if __name__ == "__main__":
    main()
