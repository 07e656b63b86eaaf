"""The shell cannot change a result: with every sentence in it reworded, and with what is only for people cut off, the bytes are the same.

Saving and taking up is the one part whose values do reach a run: tests/stages/shell/test_resume.py compares those to the byte.
"""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toy import ROOT, Project

SHELL = ROOT / "stages/shell"


class Reworded(ast.NodeTransformer):
    """Every text that is raised, printed or told is another; texts that choose something (names of keys, of files) stay."""

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return Sentences().visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        is_told = isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name) and node.value.func.id in ("tell", "print")
        return Sentences().visit(node) if is_told else self.generic_visit(node)


class Sentences(ast.NodeTransformer):
    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.JoinedStr([ast.Constant("other words: "), *node.values])


def reworded(text: str) -> str:
    return ast.unparse(ast.fix_missing_locations(Reworded().visit(ast.parse(text))))


def test_what_a_function_of_the_shell_returns_reaches_no_output() -> None:
    """Nothing, a text for people, a guard, or signals for handlers; but for states, which test_resume compares to the byte."""
    functions = [
        node
        for path in SHELL.glob("*.py")
        # notices has names that check prints; the last two are programs that start stages.
        if path.stem not in ("resume", "tensorboard", "notices", "forks", "supervisor")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]
    returned = {ast.unparse(function.returns) for function in functions if function.returns is not None}
    assert {"None", "str"} <= returned <= {"None", "NoReturn", "str", "Iterator[None]", "list[signal.Signals]"}


@pytest.fixture
def changed_code(tmp_path: Path) -> Path:
    """A copy of the stages in which all of the shell says other things."""
    code = tmp_path / "code"
    shutil.copytree(ROOT / "stages", code / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    changed = 0
    for path in (code / "stages/shell").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(other := reworded(text), encoding="utf-8")
        changed += other.count("other words: ")
    assert changed > 15, "sentences were found"
    return code


def built(code: Path, folder: Path) -> dict[str, bytes]:
    """What train, evaluate and export make of a toy with the code in a folder, but for logs."""
    folder.mkdir()
    own = Project(folder, "patients")
    for stage in ("train", "evaluate", "export"):
        environment = os.environ | {"PYTHONPATH": str(code)}
        done = subprocess.run([sys.executable, "-m", f"stages.{stage}", "own"], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return own.contents()


@pytest.mark.slow
def test_other_sentences_and_progress_give_the_same_bytes(changed_code: Path, tmp_path: Path) -> None:
    first, second = built(ROOT, tmp_path / "first"), built(changed_code, tmp_path / "second")
    assert first.keys() == second.keys() and len(first) > 8
    assert [name for name in first if first[name] != second[name]] == []
    # The copy is really what ran.
    environment = os.environ | {"PYTHONPATH": str(changed_code)}
    probe = "from stages.shell.arguments import refuse_infinite; refuse_infinite(float('inf'), 'key')"
    done = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "other words: params.yaml: key is inf" in done.stderr
