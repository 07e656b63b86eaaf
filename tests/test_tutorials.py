"""The commands at the top of docs/tables.md, from_pictures.md and from_texts.md, as they stand there: from data to answers, and back."""

import csv
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import expect

from entries.lines import parse
from stages.reading.schema import check_schema
from tests.web.served import loaded, panel_of, runtime, settled

ROOT = Path(__file__).parents[1]
LINES = re.DOTALL | re.MULTILINE
END = "--- ended with"


def page(name):
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def commands_of(name):
    console, *_ = re.findall(r"^```console\n(.*?)^```", page(name), LINES)
    return re.findall(r"^\$ (.*?)(?=^\$ |\Z)", console, LINES)


@pytest.mark.parametrize("name", ["tables", "from_pictures", "from_texts"])
def test_it_takes_ten_commands_at_most_from_a_clone_to_the_end(name):
    commands = commands_of(name)
    assert commands[0].startswith("git clone ") and commands[-1].startswith("make remove ")
    assert len(commands) <= 10


def git(*arguments, folder):
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def home(tmp_path):
    """With a clone of this checkout in it."""
    clone = tmp_path / "reprise"
    for name in git("ls-files", "--cached", "--others", "--exclude-standard", folder=ROOT).splitlines():
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    (clone / ".venv").symlink_to(sys.prefix)
    os.utime(clone / "requirements.txt", (0, 0))  # else make would install it anew
    git("init", "--quiet", folder=clone)
    git("add", "--all", folder=clone)
    git("-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--message", "a clone", folder=clone)
    return tmp_path


class Terminal:
    """A shell that runs one command after another."""

    def __init__(self, shell, port):
        self.shell, self.port = shell, port

    def run(self, command):
        """Its output; it must succeed."""
        self.shell.stdin.write(f"{{ {command.replace('8001', str(self.port))}\n}} < /dev/null\necho; echo '{END}' $?\n")
        self.shell.stdin.flush()
        output, ended = self.until(END)
        assert ended.split() == [*END.split(), "0"], output
        return output

    def until(self, start):
        """What is written before a line that starts so, and this line."""
        output = []
        for line in self.shell.stdout:
            if line.startswith(start):
                return "".join(output), line
            output.append(line)
        raise AssertionError("".join(output))


@contextmanager
def terminal(home):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH", "VIRTUAL_ENV")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(
        ["bash"], cwd=home / "reprise", env=environment | {"HOME": str(home)}, text=True, start_new_session=True, **pipes
    ) as shell:
        try:
            yield Terminal(shell, port)
        finally:
            os.killpg(shell.pid, signal.SIGKILL)  # with the servers that it may have started


def follow(name, dataset, home, meanwhile=None):
    """The output of each command by how it begins; `meanwhile` is called with a terminal and an output after `make demo`."""
    shown = re.search(r"shows what it found.*?```\n(.*?)^```", page(name), LINES)[1]
    said = dict[str, str]()
    with terminal(home) as shell:
        for command in commands_of(name)[1:]:
            head = re.match(r"(make \w+|python examples/\w+|\w+)", command)[1]
            said[head] = shell.run(command)
            if head == "make new":
                assert said[head].strip() == shown.strip()
            if head == "make demo":
                meanwhile(shell, said[head])
    stages = re.findall(r"Running stage '([\w@]+)'", said["dvc"])
    assert stages and all(stage == "check" or stage.endswith(f"@{dataset}") for stage in stages)
    assert git("status", "--porcelain", "--", "params.yaml", "dvc.yaml", "data", "models", folder=home / "reprise") == ""
    return said


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_from_a_table_to_a_service(home):
    said = follow("tables", "orders", home)
    assert len(re.findall(r"orders\.csv line \d+: price \d", said["python examples/predict"])) == 3
    assert 60 < json.loads(said["curl"])["answers"][0]["prediction"]["price"] < 180  # 100 without noise


COLOURS = {"robin": (190, 70, 30), "sparrow": (140, 140, 140), "wren": (90, 60, 20)}
SIZES = [(320, 240), (240, 320), (300, 300)]


def draw_birds(folder):
    """20 pictures of each class: a bird of its colour, somewhere before a ground of any colours."""
    pick = random.Random(0)
    for kind, colour in COLOURS.items():
        (folder / kind).mkdir(parents=True)
        for number in range(20):
            size = SIZES[number % len(SIZES)]
            image = Image.new("RGB", size, tuple(pick.randint(150, 255) for _ in range(3)))
            draw = ImageDraw.Draw(image)
            for _ in range(6):
                x, y, side = pick.randint(0, size[0]), pick.randint(0, size[1]), pick.randint(5, 30)
                draw.rectangle((x, y, x + side, y + side), fill=tuple(pick.randint(100, 255) for _ in range(3)))
            x, y, side = pick.randint(60, size[0] - 150), pick.randint(60, size[1] - 120), pick.randint(40, 60)
            draw.ellipse((x, y, x + 2 * side, y + side), fill=colour)
            draw.ellipse((x + 2 * side - 20, y - 15, x + 2 * side + 15, y + 20), fill=colour)
            draw.polygon([(x + 5, y + side // 2), (x - 30, y + side // 2 - 12), (x - 30, y + side // 2 + 12)], fill=colour)
            image.save(folder / kind / f"{number:02}.jpg", quality=90)
    (folder / "notes.txt").write_text("Taken in the garden.")


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_from_a_folder_of_pictures_to_a_prediction_in_the_browser(home, browser):
    draw_birds(home / "birds")
    (home / "reprise" / "web" / "node_modules").symlink_to(runtime().parent)

    def ask_in_the_browser(shell, output):
        address = (re.search(r"^http:\S+", output, re.MULTILINE) or re.match(r"\S+", shell.until("http:")[1]))[0]
        with loaded(browser, address) as page:
            panel = panel_of(page, "birds")
            panel.locator("input[type=file]").first.set_input_files(home / "birds" / "sparrow" / "07.jpg")
            expect(settled(panel).locator(".verdict strong")).to_have_text("sparrow")

    said = follow("from_pictures", "birds", home, ask_in_the_browser)
    assert len(re.findall(r"/birds/wren/\d+\.jpg: wren \d", said["python examples/predict"])) == 3


PHRASES = {
    "good": ["lovely and bright", "works at once", "just as described", "很好用", "质量不错", "очень доволен", "всё отлично"],
    "bad": ["broke after a week", "never arrived", "far too loud", "坏了", "太贵了", "не работает", "очень плохо"],
    "question": ["where can I buy another?", "does it fit outside?", "how long is the cable?", "可以洗吗", "сколько стоит?"],
}


def write_reviews(path):
    pick, texts = random.Random(0), dict[str, str]()
    while len(texts) < 240:
        kind = pick.choice(list(PHRASES))
        thing, (first, second) = pick.choice(["lamp", "chair", "desk", "kettle", "灯", "лампа"]), pick.sample(PHRASES[kind], 2)
        texts[pick.choice([f"The {thing}: {first}, {second}", f"{first}; {second} ({thing})", f"{thing}, {first}. {second}"])] = kind
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("review", "kind"), *texts.items()])


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_from_a_csv_of_sentences_to_a_service(home):
    write_reviews(home / "reviews.csv")
    said = follow("from_texts", "reviews", home)
    assert [line.split()[-6] for line in said["python examples/predict"].split("\n") if "%" in line] == ["good", "bad"]
    assert [answer["label"] for answer in json.loads(said["curl"])["answers"]] == ["bad", "question"]


def test_the_schema_that_the_page_shows_is_one():
    shown = [parse(text) for text in re.findall(r"^```yaml\n(.*?)^```", page("tables"), LINES)]
    assert [check_schema(values, "docs/tables.md").targets for values in shown] == [["price"]]
