"""The commands in docs/tables.md, as they stand there: from a CSV to a service, and back."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from entries.lines import parse
from stages.reading.schema import check_schema

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
LINES = re.DOTALL | re.MULTILINE
CONSOLE, *_ = re.findall(r"^```console\n(.*?)^```", PAGE, LINES)
COMMANDS = re.findall(r"^\$ (.*?)(?=^\$ |\Z)", CONSOLE, LINES)


def test_it_takes_ten_commands_at_most_from_a_clone_to_the_end():
    assert COMMANDS[0].startswith("git clone ") and COMMANDS[-1].startswith("make remove ")
    assert len(COMMANDS) <= 10


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder of the clone, and the output of each command."""
    home = tmp_path_factory.mktemp("home")
    clone = home / "reprise"
    for name in git("ls-files", "--cached", "--others", "--exclude-standard", folder=ROOT).splitlines():
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    (clone / ".venv").symlink_to(sys.prefix)
    os.utime(clone / "requirements.txt", (0, 0))  # else make would install it anew
    git("init", "--quiet", folder=clone)
    git("add", "--all", folder=clone)
    git("-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--message", "a clone", folder=clone)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    lines = [f"echo; echo '--- {place}'\n{command}" for place, command in enumerate(COMMANDS) if place]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH", "VIRTUAL_ENV")}
    script = "\n".join(["set -e", *lines]).replace("8001", str(port))
    done = subprocess.run(
        ["bash", "-c", script], cwd=clone, env=environment | {"HOME": str(home)}, stdout=-1, stderr=-2, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout
    return clone, re.split(r"\n--- \d+\n", done.stdout)


def git(*arguments, folder):
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_the_commands_build_a_model_ask_it_and_leave_everything_as_it_was(ran):
    clone, said = ran
    heads = [re.match(r"(make new|python examples/\w+|\w+)", command)[1] for command in COMMANDS]
    output = dict(zip(heads, said, strict=True))
    shown = re.search(r"shows what it found.*?```\n(.*?)^```", PAGE, LINES)[1]
    assert output["make new"].strip() == shown.strip()
    ran_stages = re.findall(r"Running stage '([\w@]+)'", output["dvc"])
    assert ran_stages and all(stage == "check" or stage.endswith("@orders") for stage in ran_stages)
    assert len(re.findall(r"orders\.csv line \d+: price \d", output["python examples/predict"])) == 3
    assert 60 < json.loads(output["curl"])["answers"][0]["prediction"]["price"] < 180  # 100 without noise
    assert git("status", "--porcelain", "--", "params.yaml", "dvc.yaml", "data", "models", folder=clone) == ""


def test_the_schema_that_the_page_shows_is_one():

    shown = [parse(text) for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, LINES)]
    assert [check_schema(values, "docs/tables.md").targets for values in shown] == [["price"]]
