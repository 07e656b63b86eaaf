"""pipelines/serving/server.py with real servers: whom they obey, how they are reached, and where they run."""

import contextlib
import functools
import http.server
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from pipelines.rebuild import rebuild
from pipelines.serving import server
from pipelines.serving.server import ServerError, announced, bypass_proxies, free_port, is_healthy, no_answer, served, server_at
from tests.pipelines.small import PROXIES, UNLIKELY, environment, make_small, python_in


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every request with `status` and `content`, and notes in `asked` what was asked for."""

    def __init__(self, status, content, asked, *arguments):
        self.status, self.content, self.asked = status, content, asked
        super().__init__(*arguments)

    def answer(self):
        self.asked.append(f"{self.command} {self.path}")
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content.encode())

    do_GET = do_POST = do_CONNECT = answer  # noqa: N815

    def log_message(self, format, *arguments):
        pass


@contextlib.contextmanager
def answering(status, content=""):
    """A server on loopback that is not Prefect's: its port, and a list of what it was asked."""
    asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, status, content, asked)) as other:
        threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield other.server_port, asked
        other.shutdown()


def run(*arguments, env, python=sys.executable, **options):
    return subprocess.run([python, *arguments], env=env, capture_output=True, text=True, check=False, timeout=200, **options)


# Whom it obeys


@pytest.fixture
def known(home, monkeypatch):
    """The server's address, and a client that has its password; and a deployment there, `of a test`, which is deleted at the end."""
    folder, url = home
    monkeypatch.chdir(folder)
    with get_client(sync_client=True) as client:
        made = client.create_deployment(client.create_flow_from_name("rebuild"), "of a test", entrypoint="pipelines.rebuild.rebuild")
        yield url, client
        client.delete_deployment(made)


def test_without_the_password_and_from_a_foreign_page_the_server_answers_nothing_but_that_it_is_there(known):
    url, client = known
    assert is_healthy(url)
    for wrong in (None, ("reprise", "guess")):
        for path in ("deployments/filter", "flow_runs/filter", "admin/database/clear"):
            assert httpx.post(f"{url}/{path}", json={}, auth=wrong).status_code == 401
        assert httpx.get(f"{url}/admin/settings", auth=wrong).status_code == 401
    form = httpx.post(f"{url}/deployments/bulk_delete", content='{"x":"="}', headers={"Content-Type": "text/plain"})
    assert form.status_code == 401 and client.read_deployment_by_name("rebuild/of a test")
    own = url.removesuffix("/api").replace("127.0.0.1", "localhost")
    for origin, status in {"http://evil.example": 400, "null": 400, "http://127.0.0.1:9100": 400, own: 200}.items():
        asked = {"Origin": origin, "Access-Control-Request-Method": "PATCH"}
        assert httpx.options(f"{url}/deployments/x", headers=asked).status_code == status


COMMAND = """<script>
const headers = {"Content-Type": "application/json"};
const call = (method, path, body) => fetch("URL" + path, {method, headers, body: JSON.stringify(body)});
(async () => {
  try {
    const one = (await (await call("POST", "/deployments/filter", {})).json())[0];
    const pull_steps = [{"prefect.deployments.steps.run_shell_script": {script: "id"}}];
    await call("PATCH", `/deployments/${one.id}`, {entrypoint: "pipelines/rebuild.py:rebuild", pull_steps});
    await call("POST", `/deployments/${one.id}/create_flow_run`, {state: {type: "SCHEDULED"}});
    document.title = "done";
  } catch { document.title = "refused"; }
})();
</script>"""


def test_a_foreign_page_in_the_operators_browser_commands_nothing(browser, known):
    url, client = known
    with answering(200, COMMAND.replace("URL", url)) as (port, _):
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}")
        page.wait_for_function("document.title")
        assert page.title() == "refused"
    one = client.read_deployment_by_name("rebuild/of a test")
    assert (one.entrypoint, one.pull_steps) == ("pipelines.rebuild.rebuild", [])
    assert client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[one.id]))) == []


def test_the_ui_asks_for_the_password_and_talks_to_nobody_else(browser, known):
    url, _ = known
    page, asked = browser.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{url.removesuffix('/api')}/deployments")
    page.get_by_role("textbox").fill(server.password())
    page.keyboard.press("Enter")
    page.get_by_text("of a test").first.wait_for()
    assert {one for one in asked if not one.startswith((url.removesuffix("/api"), "data:", "blob:"))} == set()


def test_what_the_server_keeps_is_for_its_user_alone_and_the_password_on_no_command_line(known):
    folder = Path("logs") / "prefect"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".toml"]
    assert {"password", "server.log", "prefect.db"} <= {path.name for path in files}
    assert [path.name for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    secret, lines = server.password().partition(":")[2], []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes().decode(errors="replace"))
    assert any("prefect\0server\0start" in line for line in lines) and not any(secret in line for line in lines)


def test_the_password_lasts_and_an_empty_file_is_filled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server.HOME.mkdir(parents=True)
    first = server.password()
    assert server.password() == first and len(first) > 40
    server.PASSWORD.chmod(0o644)
    server.PASSWORD.write_text("")
    assert server.password() not in (first, "")
    assert stat.S_IMODE(server.PASSWORD.stat().st_mode) == 0o600


def test_a_server_that_was_killed_is_not_looked_for_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server.HOME.mkdir(parents=True)
    with answering(200, "true") as (port, asked):
        url = f"http://127.0.0.1:{port}/api"
        with announced(url):
            assert served() == url
            with pytest.raises(ServerError, match=f"`make serve` runs in this folder already, at {url}"), announced("http://other/api"):
                pass
        assert served() is None
        server.SERVED.write_text(url)  # as kill -9 leaves it
        asked.clear()
        assert served() is None and asked == []


def test_a_server_that_cannot_be_started_is_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("logs").write_text("a file")
    with answering(200) as (port, _):
        for place, sentence in (
            (free_port(), r"logs.*: the Prefect server keeps its files in logs/prefect, which must be this user's and writable"),
            (port, f"^port {port} is taken: name a free one in PREFECT_SERVER_API_PORT, or the server there in PREFECT_API_URL"),
        ):
            with pytest.raises(ServerError, match=sentence), server_at(place):
                pass


# How it is reached


@pytest.fixture
def no_proxies(monkeypatch):
    """The environment says nothing of proxies, and does so again in the end."""
    for name in PROXIES:
        monkeypatch.setenv(name, "")  # else what is set by the test would stay
        monkeypatch.delenv(name)


@pytest.mark.parametrize("spelling", ["NO_PROXY", "no_proxy"])
def test_hosts_that_need_no_proxy_stay_and_loopback_is_added(no_proxies, monkeypatch, spelling):
    kept = {"": "127.0.0.1,localhost", "corp.example, localhost": "corp.example,localhost,127.0.0.1", "*": "*"}
    for before, after in kept.items():
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(spelling, before)
        bypass_proxies()
        assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == after


def test_a_proxy_that_prefect_cannot_use_is_said_in_a_sentence(no_proxies, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks4://127.0.0.1:9")
    with pytest.raises(ServerError, match=r"Prefect cannot use the proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY \(.*\): unset it"):
        bypass_proxies()


def test_whatever_answers_instead_of_a_server_is_said(small):
    refuses = "refuses us ({}): set PREFECT_API_AUTH_STRING to what it wants, and start again"
    answers = {401: refuses.format(401), 403: refuses.format(403), 404: "answers 404 Not Found: see its log, or whether it is a Prefect"}
    for status, sentence in answers.items():
        with pytest.raises(httpx.HTTPStatusError) as caught:
            httpx.Response(status, request=httpx.Request("GET", "http://127.0.0.1:1/api/health")).raise_for_status()
        with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
            assert no_answer(caught.value).startswith(f"the Prefect server at http://127.0.0.1:1/api {sentence}")
    with answering(200, "<p>hello") as (port, _):
        url = f"http://127.0.0.1:{port}/api"
        with temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}):
            with pytest.raises((httpx.HTTPError, RuntimeError)) as failed:
                rebuild(return_state=True)
            assert no_answer(failed.value).startswith(f"the Prefect server at {url} does not answer (")


def test_a_server_that_refuses_a_flow_is_told_apart_from_one_that_is_away(small, known):
    url, _ = known
    result = run("-m", "pipelines.rebuild", env=environment(PREFECT_API_URL=url), cwd=small)
    assert result.returncode == 1
    expected = f"error: the Prefect server at {url} refuses us (401): set PREFECT_API_AUTH_STRING to what it wants, and start again; "
    assert result.stderr.splitlines()[-1] == f"{expected}what was done until now is kept."


# Where it runs


@pytest.mark.slow
def test_a_flow_starts_in_a_folder_of_any_name(tmp_path):
    checkout = tmp_path / UNLIKELY / "small & smaller"
    checkout.mkdir(parents=True)
    make_small(checkout)
    python, path = python_in(tmp_path / UNLIKELY)
    result = run("-m", "pipelines.rebuild", env=environment(PYTHONPATH=path), python=python, cwd=checkout)
    assert result.returncode == 0, result.stderr
    assert (checkout / "size.json").exists()


@pytest.mark.slow
def test_a_flow_runs_as_a_user_without_a_name_and_a_home(small):
    nameless = ["unshare", "--user", "--map-user=12345"]
    if shutil.which("unshare") is None or subprocess.run([*nameless, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system gives no user namespaces, in which there are users without names")
    env = {key: value for key, value in environment(HOME="/proc").items() if key not in ("LOGNAME", "USER", "LNAME", "USERNAME")}
    command = [*nameless, sys.executable, "-m", "pipelines.rebuild"]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=200)
    assert result.returncode == 0, result.stderr
    assert Path("size.json").exists()
