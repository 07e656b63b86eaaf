"""Serving prefect.yaml: a real server, real schedules, and runs that are cancelled or die."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import prefect
import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from pipelines import deployments
from pipelines.deployments import DeploymentError, read_deployments
from pipelines.rebuild import rebuild
from pipelines.release import main, release
from pipelines.running.slots import LIMIT
from pipelines.serving.presence import SERVED_IN, this_place
from pipelines.serving.server import free_port
from tests.pipelines.running.test_supervisor import is_alive, wait_until
from tests.pipelines.small import ROOT, ask, environment, make_small

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # of pygtrie, by DVC
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
    """`make serve` in the current folder, on a port of its own, behind a proxy that is away."""

    def __init__(self, port):
        self.url, settings = f"http://127.0.0.1:{port}/api", {"PREFECT_SERVER_API_PORT": str(port), "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
        settings |= dict.fromkeys(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"], "http://127.0.0.1:9")
        with Path("serve.log").open("ab") as log:
            command = [sys.executable, "-m", "pipelines.deployments"]
            self.process = subprocess.Popen(command, env=environment(**settings), stdout=log, stderr=log)
        wait_until(lambda: self.process.poll() is not None or Path("logs/prefect/served").exists(), SECONDS)
        wait_until(lambda: len(self.ask("deployments/filter")) == 2, SECONDS)

    def ask(self, path, method="POST", **body):
        auth = tuple(Path("logs/prefect/password").read_text().strip().split(":"))
        response = httpx.request(method, f"{self.url}/{path}", json=body, auth=auth, timeout=30, trust_env=False)
        return response.json() if response.is_success and response.content else []

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
    assert served.tasks(second) == {}, "a stage is shown where one runs"

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


@pytest.mark.slow
def test_what_the_operator_switched_off_stays_so_and_flows_find_the_server(serve):
    served = serve()
    often, by_hand = sorted(served.ask("deployments/filter"), key=lambda one: one["name"], reverse=True)
    (schedule,) = often["schedules"]
    served.ask(f"deployments/{often['id']}/schedules/{schedule['id']}", "PATCH", active=False)
    served.ask(f"deployments/{by_hand['id']}/pause_deployment")
    served.stop()

    served = serve()
    wait_until(lambda: "switched off" in Path("serve.log").read_text(), SECONDS)
    said = Path("serve.log").read_text().splitlines()
    assert "rebuild/by hand is paused: it runs again when it is resumed in Prefect's UI." in said
    assert "rebuild/often has its schedule switched off: it is switched on in Prefect's UI." in said
    wait_until(lambda: served.ask(f"deployments/{by_hand['id']}", "GET")["status"] == "READY", SECONDS)  # the runner has begun
    often, by_hand = (served.ask(f"deployments/{one['id']}", "GET") for one in (often, by_hand))
    assert [one["active"] for one in often["schedules"]] == [False]
    assert by_hand["paused"]

    # A flow beside it finds the server, and knows its password, also where it is told the address.
    wait_until(lambda: not served.runs("Late", "Pending", "Running"), SECONDS)  # of the schedule, until it was switched off
    before = len(served.runs("Completed"))
    for more in ({}, {"PREFECT_API_URL": served.url}):
        result = subprocess.run([sys.executable, "-m", "pipelines.rebuild"], env=environment(**more), capture_output=True, check=False)
        assert result.returncode == 0, result.stderr
    wait_until(lambda: len(served.runs("Completed")) == before + 2, SECONDS)

    # What is switched on again stays so as well.
    served.ask(f"deployments/{often['id']}/schedules/{often['schedules'][0]['id']}", "PATCH", active=True)
    served.ask(f"deployments/{by_hand['id']}/resume_deployment")
    served.stop()
    served = serve()
    before = len(served.runs("Completed"))
    wait_until(lambda: len(served.runs("Completed")) > before, SECONDS)
    assert not served.ask(f"deployments/{by_hand['id']}", "GET")["paused"]


# One server, several checkouts

BY_HAND = "deployments: [{name: by hand, entrypoint: pipelines.rebuild.rebuild}]"


@pytest.fixture
def checkouts(tmp_path):
    """Two repositories with the small pipeline, first and second, and a function that serves one of them on a configured server."""
    started = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        make_small(tmp_path / name)
        (tmp_path / name / "prefect.yaml").write_text(BY_HAND)

    def start(name, server, **more):
        env = environment(PREFECT_API_URL=server, PREFECT_API_AUTH_STRING=os.environ["PREFECT_API_AUTH_STRING"], **more)
        with (tmp_path / name / "serve.log").open("ab") as log:
            command = [sys.executable, "-m", "pipelines.deployments"]
            started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=tmp_path / name))
        return started[-1]

    yield tmp_path, start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
    for name in ("first", "second"):
        print(f"{name}:\n{(tmp_path / name / 'serve.log').read_text()}")


def is_served(server, name):
    """Whether somebody asks for the runs of the deployment."""
    found = [one for one in ask(f"{server}/deployments/filter", json={}) if one["name"] == name]
    return bool(found) and found[0]["status"] == "READY"


@pytest.mark.slow
def test_a_second_checkout_is_refused_while_the_first_serves_the_names(checkouts, server):
    folder, start = checkouts
    first = start("first", server)
    wait_until(lambda: is_served(server, "by hand"), SECONDS)
    assert start("second", server).wait(SECONDS) == 1
    said = (folder / "second" / "serve.log").read_text().splitlines()[-1]
    place = f"{socket.gethostname()}:{folder / 'first'}"
    assert said.startswith(f"error: rebuild/by hand is served already, in {place}: stop `make serve` there, or give those ")
    assert said.endswith(" names of their own: REPRISE_SUFFIX=-staging make serve.")

    # With names of its own it is served beside the first.
    second = start("second", server, REPRISE_SUFFIX="-staging")
    wait_until(lambda: is_served(server, "by hand-staging"), SECONDS)
    assert (first.poll(), second.poll()) == (None, None)

    # A run is made in the folder that it is meant for.
    made = [one for one in ask(f"{server}/deployments/filter", json={}) if one["name"] == "by hand-staging"]
    ask(f"{server}/deployments/{made[0]['id']}/create_flow_run", json={"parameters": {"targets": ["each@one"]}})
    wait_until((folder / "second" / "out" / "one.txt").exists, SECONDS)
    assert not (folder / "first" / "out").exists()

    # Whoever is dead serves nothing.
    first.kill()
    first.wait()
    third = start("second", server)
    wait_until(lambda: "Served from prefect.yaml: rebuild/by hand." in (folder / "second" / "serve.log").read_text(), SECONDS)
    assert third.poll() is None


@pytest.mark.slow
def test_of_two_that_start_at_once_with_the_same_names_one_serves(checkouts, server):
    folder, start = checkouts
    with get_client(sync_client=True) as client, contextlib.suppress(ObjectNotFound):
        client.delete_global_concurrency_limit_by_name(LIMIT)  # both make it
    both = [start("first", server), start("second", server)]
    wait_until(lambda: any(one.poll() is not None for one in both), SECONDS)
    (lost,) = (name for name, one in zip(("first", "second"), both, strict=True) if one.poll() is not None)
    said = (folder / lost / "serve.log").read_text()
    assert "error: rebuild/by hand is " in said and "stop `make serve` there, or give " in said and "Traceback" not in said
    with pytest.raises(AssertionError):
        wait_until(lambda: all(one.poll() is not None for one in both), 2 * deployments.LOOK_S)


def test_a_run_that_is_meant_for_another_folder_is_refused_in_a_sentence(small, server):
    with prefect.tags(f"{SERVED_IN}elsewhere:/first"):
        state = rebuild(return_state=True)
    here = this_place().removeprefix(SERVED_IN)
    assert state.is_failed()
    assert state.message == f"this run is meant for elsewhere:/first, and was started in {here}: nothing was done."
    assert not Path("dvc.lock").exists()
    with prefect.tags(this_place()):
        assert rebuild(targets=["each@one"], return_state=True).is_completed()


@pytest.mark.slow
def test_a_worker_runs_what_prefect_deploy_has_made_and_serving_the_same_names_is_refused(small, server):
    shutil.copy(ROOT / "prefect.yaml", small)
    known = {"PREFECT_API_URL": server, "PREFECT_API_AUTH_STRING": os.environ["PREFECT_API_AUTH_STRING"]}
    env = environment(**known, PREFECT_WORKER_QUERY_SECONDS="1", PWD=str(small))
    for command in ("work-pool create reprise --type process", "--no-prompt deploy --all"):
        subprocess.run([sys.executable, "-m", "prefect", *command.split()], env=env, check=True, capture_output=True, timeout=SECONDS)
    one = ask(f"{server}/deployments/name/rebuild/manual", "GET")
    run = ask(f"{server}/deployments/{one['id']}/create_flow_run", json={"parameters": {"targets": ["each@one"]}})
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "reprise"]
    with Path("worker.log").open("wb") as log:
        worker = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=os.sep)
    try:
        wait_until(lambda: ask(f"{server}/flow_runs/{run['id']}", "GET")["state_name"] == "Completed", SECONDS)
    finally:
        worker.terminate()
        worker.wait(60)
    assert Path("out/one.txt").exists()
    result = subprocess.run([sys.executable, "-m", "pipelines.deployments"], env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith(
        "error: rebuild/nightly belongs to the work pool reprise, by `prefect deploy`: delete that deployment, or "
    )


# Secrets


def test_an_address_with_a_password_to_push_to_never_reaches_prefect(small, server, monkeypatch):
    secret = "https://user:URLSECRET55@host.invalid/x.git"
    monkeypatch.setattr(sys, "argv", ["release", "--push-to", secret])
    with temporary_settings({PREFECT_API_URL: None}), pytest.raises(SystemExit) as left:
        main()
    said = str(left.value.code)
    assert said.startswith("error: --push-to is an address with a user name or password, which Prefect would keep and show: ")
    assert "git remote add" in said and "credential helper" in said and "URLSECRET55" not in said
    assert not Path("logs/prefect/server.log").exists()  # no server was started

    # Nor as a parameter of a deployment's run: the server itself refuses it.
    made = release.to_deployment("release").apply()
    url = f"{server}/deployments/{made}/create_flow_run"
    assert "does not match" in str(ask(url, json={"parameters": {"push_to": secret}}))
    assert ask(f"{server}/flow_runs/filter", json={"deployments": {"id": {"any_": [str(made)]}}}) == []
    for allowed in ("origin", "git@host.invalid:x.git", "https://host.invalid/x.git", None):
        assert "id" in ask(url, json={"parameters": {"push_to": allowed}, "state": {"type": "CANCELLED"}})


def test_the_committed_deployments_can_be_served(monkeypatch):
    monkeypatch.chdir(ROOT)
    served = {one.name: one for one in read_deployments()}
    assert set(served) == {"nightly", "manual", "release", "sweep"}
    assert served["nightly"].schedules[0].schedule.cron == "0 3 * * *"
    rebuilds = [served[name] for name in ("nightly", "manual", "release")]
    assert {one.concurrency_limit for one in rebuilds} == {1}
    assert {one.concurrency_options.collision_strategy for one in rebuilds} == {"CANCEL_NEW"}


ONE = "deployments: [{name: a, entrypoint: pipelines.rebuild.rebuild"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"prefect\.yaml: .*No such file"),
        ("deployments: [", r"prefect\.yaml: .*line 2, column 1"),
        ("name: x", r"prefect\.yaml: deployments: Input should be a valid list\."),
        (f"{ONE}, triggers: []}}]", r"prefect\.yaml: deployments\.0\.triggers: Extra inputs"),
        (f"{ONE}, schedules: [{{cron: noon}}]}}]", r"prefect\.yaml: deployments\.0\.schedules\.0: .*cron"),
        (f"{ONE}, schedules: [{{cron: 0 3 * * *, timezone: Mars/X}}]}}]", r"prefect\.yaml: .*timezone"),
        (f"{ONE.replace('a,', 'a/b,')}}}]", "the deployment a/b: .*invalid character"),
        ("deployments: [{name: a, entrypoint: pipelines.no.x}]", r"0\.entrypoint: .*No module named 'pipelines\.no'"),
        ("deployments: [{name: a, entrypoint: pipelines.rebuild.main}]", r"0\.entrypoint: .*instance of Flow"),
    ],
)
def test_a_mistake_in_prefect_yaml_is_refused_in_a_sentence(tmp_path, monkeypatch, content, sentence):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("prefect.yaml").write_text(content)
    with pytest.raises(DeploymentError, match=sentence):
        read_deployments()
