"""Which of this repository's files a Python file imports, directly or not: found by reading the code, not by running it."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def imported_files(path: Path) -> set[Path]:
    """The repository's own modules that `path` names in any import statement, at the top or inside a function."""
    found = set[Path]()
    if path.suffix != ".py":
        return found
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "with_name" and isinstance(node.args[0], ast.Constant):
            found |= {beside for beside in [path.with_name(str(node.args[0].value))] if beside.is_file()}  # such as a template
            continue
        else:
            continue
        files = (ROOT / Path(*name.split(".")).with_suffix(".py") for name in names)
        found |= {file for file in files if file.is_file()}
    return found


def closure(*paths: Path) -> set[str]:
    """`paths` and all that they import, as posix paths relative to the repository's root."""
    seen: set[Path] = set()
    waiting = set(paths)
    while waiting:
        path = waiting.pop()
        seen.add(path)
        waiting |= (imported_files(path) | packages_of(path)) - seen
    return {path.relative_to(ROOT).as_posix() for path in seen}


@cache
def packages_of(path: Path) -> set[Path]:
    """What Python runs before the module: the __init__.py of its folders, where there is anything in it."""
    folders = [folder for folder in path.parents if folder != ROOT and folder.is_relative_to(ROOT)]
    found = [folder / "__init__.py" for folder in folders if folder.name != "stages"]  # that one is about signals
    return {file for file in found if file.is_file() and file.stat().st_size}
