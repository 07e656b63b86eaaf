"""Serving prefect.yaml: a real server, real schedules, and runs that are cancelled or die."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from pipelines.deployments import DeploymentError, read_deployments
from pipelines.running.server import free_port
from tests.pipelines.running.test_supervisor import is_alive, wait_until

ROOT = Path(__file__).parents[2]
SECONDS = 120  # for what takes a few on a quiet machine

EVERY_SO_OFTEN = """
deployments:
  - name: often
    entrypoint: pipelines.rebuild.rebuild
    schedules: [{interval: 3}]
    concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW}
    work_pool: {name: any}
  - name: by hand
    entrypoint: pipelines.rebuild.rebuild
    parameters: {jobs: 1}
"""


class Served:
    """`make serve` in the current folder, on a port of its own."""

    def __init__(self, port):
        self.url, settings = f"http://127.0.0.1:{port}/api", {"PREFECT_SERVER_API_PORT": str(port), "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        with Path("serve.log").open("ab") as log:
            command = [sys.executable, "-m", "pipelines.deployments"]
            self.process = subprocess.Popen(command, env=inherited | settings | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log)
        wait_until(lambda: self.process.poll() is not None or Path("logs/prefect/served").exists(), SECONDS)
        wait_until(lambda: len(self.ask("deployments/filter")) == 2, SECONDS)

    def ask(self, path, **body):
        response = httpx.post(f"{self.url}/{path}", json=body, timeout=30)
        return response.json() if response.is_success else []

    def runs(self, *states):
        """The runs that are in one of the states, the oldest first."""
        return self.ask("flow_runs/filter", sort="START_TIME_ASC", flow_runs={"state": {"name": {"any_": states}}})

    def tasks(self, run):
        return {one["name"]: one["state_name"] for one in self.ask("task_runs/filter", flow_runs={"id": {"any_": [run["id"]]}})}

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(60)


@pytest.fixture
def serve(small):
    """serve() serves; what it has started is stopped at the end."""
    Path("prefect.yaml").write_text(EVERY_SO_OFTEN)
    started, port = [], free_port()

    def start():
        Path("logs/prefect/served").unlink(missing_ok=True)
        started.append(Served(port))
        return started[-1]

    yield start
    print(Path("serve.log").read_text())
    for served in started:
        if served.process.poll() is None:
            served.stop()


def train_slowly():
    """From now on the first stage takes its time, and says so; asked to end, it saves first."""
    slowly = "trap 'echo saved > saved; exit 143' TERM; echo $$ > number; mv number trains; while :; do sleep 0.05; done # "
    Path("dvc.yaml").write_text(Path("dvc.yaml").read_text().replace("cmd: cat out", f"cmd: {json.dumps(slowly)[1:-1]}cat out"))


@pytest.mark.slow
def test_runs_on_schedule_cancelled_and_dead(serve):
    served = serve()

    # On schedule: the second finds nothing to do.
    wait_until(lambda: len(served.runs("Completed")) >= 2, SECONDS)
    first, second = served.runs("Completed")[:2]
    wait_until(lambda: set(served.tasks(first).values()) == {"Completed"}, SECONDS)
    wait_until(lambda: set(served.tasks(second).values()) == {"Cached"}, SECONDS)

    # Cancelled while it trains: its processes save and are gone.
    train_slowly()
    wait_until(Path("trains").exists, SECONDS)
    pid = int(Path("trains").read_text())
    wait_until(lambda: len(served.runs("Running")) == 1, SECONDS)
    (third,) = served.runs("Running")
    wait_until(
        lambda: any("concurrency" in run["state"]["message"] for run in served.runs("Cancelled")), SECONDS
    )  # those that came meanwhile
    served.ask(f"flow_runs/{third['id']}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})
    wait_until(lambda: not is_alive(pid), 10)
    assert Path("saved").read_text() == "saved\n"
    wait_until(lambda: third["id"] in [run["id"] for run in served.runs("Cancelled")], SECONDS)

    # Killed together with what serves it: found, and marked as crashed; its place is free.
    Path("trains").unlink()
    wait_until(Path("trains").exists, SECONDS)
    wait_until(lambda: len(served.runs("Running")) == 1, SECONDS)
    (fourth,) = served.runs("Running")
    pid = int(Path("trains").read_text())
    served.stop(signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), 10)
    served = serve()
    wait_until(lambda: fourth["id"] in [run["id"] for run in served.runs("Crashed")], SECONDS)
    wait_until(lambda: served.runs("Running"), SECONDS)


def test_the_committed_deployments_can_be_served(monkeypatch):
    monkeypatch.chdir(ROOT)
    served = {one.name: one.as_served() for one in read_deployments()}
    assert set(served) == {"nightly", "manual", "release", "sweep"}
    assert served["nightly"].schedules[0].schedule.cron == "0 3 * * *"
    rebuilds = [served[name] for name in ("nightly", "manual", "release")]
    assert {one.concurrency_limit for one in rebuilds} == {1}
    assert {one.concurrency_options.collision_strategy for one in rebuilds} == {"CANCEL_NEW"}


ONE = "deployments: [{name: a, entrypoint: pipelines.rebuild.rebuild"
MISTAKES = {
    "no file": (None, r"prefect\.yaml: .*No such file"),
    "no yaml": ("deployments: [", r"prefect\.yaml: .*line 2, column 1"),
    "no deployments": ("name: x", r"prefect\.yaml: deployments: Field required\."),
    "a key of another world": (
        "deployments: [{name: a, entrypoint: b, triggers: []}]",
        r"prefect\.yaml: deployments\.0\.triggers: Extra inputs",
    ),
    "no cron": (
        "deployments: [{name: a, entrypoint: b, schedules: [{cron: noon}]}]",
        r"prefect\.yaml: deployments\.0\.schedules\.0: .*cron",
    ),
    "no such time zone": (f"{ONE}, schedules: [{{cron: 0 3 * * *, timezone: Mars/X}}]}}]", "a: .*timezone"),
    "no such name": (f"{ONE.replace('a,', 'a/b,')}}}]", "the deployment a/b: .*invalid character"),
    "no limit": (f"{ONE}, concurrency_limit: {{limit: 0}}}}]", "concurrency_limit: .*the limit is 0; expected at least 1"),
    "no such module": ("deployments: [{name: a, entrypoint: pipelines.no.x}]", r"pipelines\.no\.x of a is no flow of this project"),
    "a file": ("deployments: [{name: a, entrypoint: 'pipelines/rebuild.py:rebuild'}]", r"of a is no flow of this project"),
    "no such flow": ("deployments: [{name: a, entrypoint: pipelines.rebuild.x}]", r"rebuild\.x of a is no flow of this project"),
    "no flow": ("deployments: [{name: a, entrypoint: pipelines.rebuild.main}]", r"rebuild\.main of a is no Prefect flow"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_prefect_yaml_is_refused_in_a_sentence(tmp_path, monkeypatch, mistake):
    monkeypatch.chdir(tmp_path)
    content, sentence = MISTAKES[mistake]
    if content is not None:
        Path("prefect.yaml").write_text(content)
    with pytest.raises(DeploymentError, match=sentence):
        [one.as_served() for one in read_deployments()]


def test_a_port_that_is_taken_is_refused_in_a_sentence(small):
    Path("prefect.yaml").write_text(EVERY_SO_OFTEN)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        environment |= {"PREFECT_SERVER_API_PORT": str(port), "PYTHONPATH": str(ROOT)}
        result = subprocess.run(
            [sys.executable, "-m", "pipelines.deployments"], env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
        )
    assert result.returncode == 1
    assert f"error: port {port} is taken: name a free one in PREFECT_SERVER_API_PORT" in result.stderr
