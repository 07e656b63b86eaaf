"""Every way in, in surroundings that an office or a container has: odd paths, a proxy, a user without a name or a home, other locales.

Slow: each of them starts a model's training, a Prefect server and a few processes more, in a clone of its own.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipelines.serving.server import free_port
from tests.test_end_to_end import ROOT, TREE, copy_tree, reduce_params

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
MODEL = "line_gd"
MORE = ("web", "Makefile", "prefect.yaml", "requirements.txt", "pyproject.toml")
ODD_NAME = """it's a "$HOME" ü & (1) `x` %s"""
SECONDS = 240
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
UID = 54321  # of nobody on this machine


@dataclass
class Surroundings:
    """A clone in a folder of this name, and what the environment has besides; `user` is the uid that all of it runs as."""

    name: str
    folder: str = "clone"
    environment: dict[str, str] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    has_proxy: bool = False
    user: int | None = None


# Each is several at once: what fails says in its own words which of them it is.
ALL = [
    Surroundings(
        "an odd path, a narrow terminal, in Turkish",
        folder=ODD_NAME,
        environment={"TERM": "xterm", "COLUMNS": "40", "LINES": "10", "LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "LANGUAGE": "tr"},
    ),
    Surroundings(
        "a proxy, no terminal, a home that cannot be written",
        has_proxy=True,
        environment={"HOME": "/proc/nowhere", "NO_PROXY": "intranet.example", "LC_ALL": "C", "PIP_USER": "1", "SHELL": "/usr/sbin/nologin"},
        unset=("no_proxy", "TERM", "LANG", "COLUMNS"),
    ),
    Surroundings("a user without a name or a home", user=UID, unset=("USER", "LOGNAME", "USERNAME", "HOME", "NO_PROXY", "no_proxy")),
]


@dataclass
class Place:
    """A clone within its surroundings, committed, with a DVC remote beside it."""

    root: Path
    environment: dict[str, str]
    user: int | None

    def start(self, *command: str) -> "subprocess.Popen[str]":
        given: dict[str, Any] = {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}
        return subprocess.Popen(
            command, cwd=self.root, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **given
        )

    def run(self, *command: str) -> str:
        process = self.start(*command)
        said, _ = process.communicate(timeout=SECONDS * 2)
        assert process.returncode == 0, said + self.log_of_server()
        assert "Traceback" not in said, said
        return said

    def log_of_server(self) -> str:
        log = self.root / "logs" / "prefect" / "server.log"
        return f"\n{log}:\n{log.read_text()[-3000:]}" if log.exists() else ""

    def python(self, *arguments: str) -> str:
        return self.run(str(self.root / ".venv" / "bin" / "python"), *arguments)

    @contextlib.contextmanager
    def serving(self, url: str, *command: str) -> Iterator[None]:
        """Within it the command serves `url`; SIGTERM ends it."""
        process = self.start(*command)
        try:
            wait_for(url, process)
            yield
        finally:
            process.terminate()
            said, _ = process.communicate(timeout=60)
            assert "Traceback" not in said, said


def wait_for(url: str, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        with contextlib.suppress(OSError), opener.open(url, timeout=2):
            return
        if process.poll() is not None or time.monotonic() > until:
            pytest.fail(f"{url} does not answer: {process.stdout.read() if process.stdout and process.poll() is not None else 'it runs'}")
        time.sleep(0.1)


class Proxy(BaseHTTPRequestHandler):
    """Answers as a company's does, and remembers what it was asked for."""

    asked: ClassVar[list[str]] = []

    def refuse(self) -> None:
        self.asked.append(self.path)
        self.send_error(403, "Blocked by the proxy")

    do_GET = do_POST = do_CONNECT = do_HEAD = refuse  # noqa: N815

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def proxy() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
    assert Proxy.asked == [], "what is on loopback is never asked through a proxy, and nothing else is asked at all"


@pytest.fixture(params=ALL, ids=lambda one: one.name)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    around: Surroundings = request.param
    if around.user is not None and os.geteuid() != 0:
        pytest.skip("only root can start a process as another user")
    base = Path(tempfile.mkdtemp(prefix="surroundings-"))  # another user may not enter pytest's own
    base.chmod(0o755)
    root = base / around.folder
    home, tmp = base / f"home {around.folder}", base / f"tmp {around.folder}"
    home.mkdir()
    tmp.mkdir()
    names = {f"GIT_{role}_{what}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    safe = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("DVC", "GIT_", "PREFECT_", "REPRISE", "DATASETS_", "PYTHON"))
    }
    own = {"HOME": str(home), "TMPDIR": str(tmp), "PATH": f"{root / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    environment = kept | names | safe | own | around.environment
    if around.has_proxy:
        address = request.getfixturevalue("proxy")
        environment |= dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"), address)
    for name in around.unset:
        environment.pop(name, None)
    copy_tree(root, (*TREE, *MORE))
    reduce_params(root, {MODEL: 500})  # of the epochs that it needs to pass its gate
    with (root / ".dvc" / "config").open("a") as file:
        file.write("    remote = store\n['remote \"store\"']\n    url = ../../store\n")
    interpreter = interpreter_for(around.user, base)
    make_environment(root / ".venv", interpreter)
    if interpreter.is_relative_to(base):
        environment["LD_LIBRARY_PATH"] = str(interpreter.parents[1] / "lib")
    if around.user is not None:
        subprocess.run(["chown", "-R", "-h", f"{around.user}:{around.user}", str(base)], check=True)
    made = Place(root, environment, around.user)
    made.run("git", "init", "--quiet", "--initial-branch=main", ".")
    made.run("git", "add", "--all")
    made.run("git", "commit", "--quiet", "--message", "the tree")
    yield made
    shutil.rmtree(base, ignore_errors=True)


def interpreter_for(user: int | None, base: Path) -> Path:
    """This Python; for another user a copy of it below `base`, since this one may lie in somebody's home."""
    here, prefix = Path(sys.executable).resolve(), Path(sys.base_prefix)
    if user is None:
        return here
    (base / "python" / "bin").mkdir(parents=True)
    shutil.copy(here, base / "python" / "bin")
    library, unused = Path("lib") / f"python{VERSION}", shutil.ignore_patterns("site-packages", "test", "__pycache__")
    shutil.copytree(prefix / library, base / "python" / library, ignore=unused)
    for shared in (prefix / "lib").glob("libpython*.so*"):
        shutil.copy(shared, base / "python" / "lib")
    return base / "python" / "bin" / here.name


def make_environment(folder: Path, interpreter: Path) -> None:
    """A virtual environment with that interpreter and the packages of this one."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(interpreter)
    (folder / "pyvenv.cfg").write_text(f"home = {interpreter.parent}\ninclude-system-site-packages = false\n")
    (folder / "lib").mkdir()
    (folder / "lib" / f"python{VERSION}").symlink_to(Path(sysconfig.get_path("purelib")).parent)


def test_every_way_in(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    make, port, api_port = ("make", "--old-file=.venv/.installed"), free_port(), free_port()
    assert "To keep this build as a version: git add params.yaml dvc.yaml dvc.lock data models" in place.run(*make, "repro")
    assert "up to date" in place.run(*make, "repro")
    place.run("git", "add", "dvc.lock", "models")
    place.run("git", "commit", "--quiet", "--message", "what was built")
    place.python("-m", "pipelines.rebuild", "--force", f"train@{MODEL}")
    assert place.run("git", "status", "--porcelain") == ""
    place.python("-m", "pipelines.release", MODEL)
    assert f"{MODEL}@v1.0.0" in place.run("git", "tag")
    place.python("-m", "pipelines.sweep", MODEL, "--choice", "epochs=2", "--trials", "1", "--name", "one")
    assert f"/{MODEL}-one-001\n" in place.run("git", "for-each-ref", "--format=%(refname)", "refs/exps")
    assert json.loads(place.python("examples/predict.py", f"models/{MODEL}/exported/model.onnx", "2", "--json"))["input"] == "2"
    if (ROOT / "web" / "node_modules").is_dir():  # the page's runtime, which make demo installs
        with place.serving(f"http://127.0.0.1:{port}/models.json", *make, "demo", f"PORT={port}"):
            pass
    monkeypatch.setitem(place.environment, "PREFECT_SERVER_API_PORT", str(api_port))
    with place.serving(f"http://127.0.0.1:{api_port}/api/health", *make, "serve"):
        place.python("-m", "pipelines.rebuild", "check")
