"""A small pipeline of shell commands, whose stages end at once."""

import contextlib
import os
import re
import site
import subprocess
import sys
import venv
from pathlib import Path

import httpx
import pytest
from dvc.repo import Repo

ROOT = Path(__file__).parents[2]
STAGES = """
stages:
  each:
    foreach: {one: 1, two: 2}
    do:
      cmd: mkdir -p out && cat source.txt > out/${key}.txt && echo ${item} >> out/${key}.txt
      deps: [source.txt]
      params:
        - sizes.${key}
      outs:
        - out/${key}.txt: {persist: true}
  both:
    cmd: cat out/one.txt out/two.txt > both.txt
    deps: [out/one.txt, out/two.txt]
    outs: [both.txt]
  measured:
    cmd: mkdir -p report && wc -c < both.txt > report/size && echo '{"size":' $(cat report/size) '}' > size.json
    deps: [both.txt]
    outs: [report]
    metrics: [{size.json: {cache: false}}]
"""
# As dvc.yaml has it: what `each` makes of the same inputs is known.
KNOWN = re.sub(r"cmd: (mkdir -p out .*)", r"cmd: python -m pipelines.dvc.known sh -c '\1'", STAGES)


def make_small(folder):
    params = "sizes: {one: 1, two: {deep: [2, 3]}}\nruntime: {threads: 1}\n"
    ignored = "/out/*.txt\n/both.txt\n/report\n"
    make_repository(folder, {"dvc.yaml": STAGES, "params.yaml": params, "source.txt": "source\n", ".gitignore": ignored})


def make_repository(folder, files):
    """A repository of git's and DVC's with these files; `dvc init`, which makes the same, takes a while."""
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main"], cwd=folder, check=True)
    (folder / ".dvc" / "tmp").mkdir(parents=True)
    files = {".dvc/config": "", ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n", ".dvcignore": "", **files}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def commit(folder="."):
    for command in ("add --all", "commit --quiet --message all"):
        subprocess.run(["git", *command.split()], cwd=folder, check=True)


UNLIKELY = 'it\'s a "$HOME" ü, is it?'
PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def dvc(*arguments, folder="."):
    """What the command prints."""
    command, environment = [sys.executable, "-m", "dvc", *arguments], os.environ | ENVIRONMENT
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


def repro(*targets, folder=".", **options):
    """`dvc repro` in this process, which is quicker to start; the stages that were not up to date."""
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch, Repo() as repo:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        return [stage.addressing for stage in repo.reproduce(list(targets) or None, **options)]


def rebuild(pipeline, force=False):
    """Runs what is out of date as the flow does, one after another; the names of what ran and of what was restored."""
    ran, restored = [], []
    for stage in pipeline.plan():
        if not force and pipeline.is_up_to_date(stage.name):
            continue
        if not pipeline.begin(stage.name, force=force):
            restored.append(stage.name)
            continue
        subprocess.run(stage.command, shell=True, check=True, cwd=pipeline.root)  # noqa: S602
        pipeline.finish(stage.name)
        ran.append(stage.name)
    return ran, restored


def everything(folder):
    """Every file that a rebuild leaves, the cache included."""
    paths = [path for path in folder.rglob("*") if path.is_file() and ".git/" not in str(path) and ".dvc/tmp" not in str(path)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def ask(url, method="POST", **options):
    """What the server answers to somebody who knows its password, PREFECT_API_AUTH_STRING."""
    auth = tuple(os.environ["PREFECT_API_AUTH_STRING"].split(":"))
    return httpx.request(method, url, auth=auth, timeout=30, trust_env=False, **options).json()


def command_line(module, *arguments, server):
    """A flow's command line, started in the current folder."""
    environment = os.environ | {"PREFECT_API_URL": server, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def environment(**more):
    """This process's, without what it says of Prefect and of proxies."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_") and key not in PROXIES}
    return kept | {"PYTHONPATH": str(ROOT)} | more


def python_in(folder):
    """A Python in a new environment there, which has the packages of this one by its PYTHONPATH, the second value."""
    venv.create(folder / ".venv", symlinks=True)
    return str(folder / ".venv" / "bin" / "python"), os.pathsep.join([str(ROOT), *site.getsitepackages()])
