"""A small pipeline of shell commands, whose stages end at once."""

import subprocess
import sys

from dvc.repo import Repo

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


def make_small(folder):
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    Repo.init(str(folder)).close()
    (folder / "dvc.yaml").write_text(STAGES)
    (folder / "params.yaml").write_text("sizes: {one: 1, two: {deep: [2, 3]}}\nruntime: {threads: 1}\n")
    (folder / "source.txt").write_text("source\n")
    (folder / ".gitignore").write_text("/out/*.txt\n/both.txt\n/report\n")


def dvc(*arguments, folder="."):
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, check=True, capture_output=True)


def everything(folder):
    """Every file that a rebuild leaves, the cache included."""
    paths = [path for path in folder.rglob("*") if path.is_file() and ".git/" not in str(path) and ".dvc/tmp" not in str(path)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
