"""Facts about the repository as a whole that a change of any one file could break unseen."""

import ast
import getpass
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DIRECT = [Requirement(line) for line in (*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"])]
OWN = {"stages", "pipelines", "entries", "tests", "web", "benchmarks", "examples", "docs"}
NEVER_A_NAME = {"utils", "util", "helpers", "helper", "core", "manager", "managers"}
MAX_BYTES = 1_000_000


@pytest.fixture(scope="module")
def files():
    """What git tracks, or would at the next `git add`; without git nothing can be told, and the tests that need it skip."""
    # The checkout may belong to another user, which git refuses unless told here that it may.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this folder is not a git checkout: {done.stderr.strip()}")
    return [path for path in map(Path, filter(None, done.stdout.split("\0"))) if (ROOT / path).is_file()]


def text(path):
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


def lines_with(pattern, files):
    """path:line of every match."""
    return [
        f"{path}:{number}: {line.strip()[:120]}"
        for path in files
        for number, line in enumerate(text(path).splitlines(), start=1)
        if re.search(pattern, line)
    ]


def python_files(files, *folders):
    return [path for path in files if path.suffix == ".py" and path.parts[0] in folders]


def imports(path):
    """The modules that a file names in its import statements, at the top or inside functions."""
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def importers(files, *modules):
    """The files that import one of the top-level `modules`."""
    return [f"{path} imports {name}" for path in files for name in imports(path) if name.split(".")[0] in modules]


def run_python(code):
    """Run `code` in an interpreter of its own; its last line of output is JSON."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_no_file_names_a_package_registry(files):
    assert lines_with(r"https?://\S*(pypi|pythonhosted|anaconda|/simple/|\.org/whl)|--(extra-)?index-url|--find-link[s]", files) == []


def test_no_file_names_a_folder_of_one_machine(files):
    assert lines_with(rf"(?<![\w.$}}/-])/(home|root|work|Users)/\w|{re.escape(str(ROOT))}\b", files) == []


def test_every_file_is_smaller_than_a_megabyte(files):
    assert [str(path) for path in files if (ROOT / path).stat().st_size >= MAX_BYTES] == []


def test_no_folder_or_module_has_a_name_that_says_nothing(files):
    assert [str(path) for path in files if NEVER_A_NAME & {*path.parts, path.stem}] == []


def locked() -> dict[Requirement, list[str]]:
    """What requirements.txt pins, with the hashes of each."""
    found = {}
    for lines in text("requirements.txt").replace("\\\n", " ").splitlines():
        if not lines.startswith("#"):
            pin, *hashes = lines.split("--hash=")
            found[Requirement(pin)] = hashes
    return found


def test_every_package_in_the_lock_has_hashes_and_make_installs_by_them_alone():
    assert [
        str(pin) for pin, hashes in locked().items() if not hashes or not all(re.fullmatch(r"sha256:[0-9a-f]{64} *", one) for one in hashes)
    ] == []
    installing = [line for line in text("Makefile").splitlines() if re.search(r"pip install|\$\(PIP\)", line)]
    assert len(installing) >= 4
    assert [line for line in installing if "--require-hashes" not in line and "$(PIP)" not in line] == []
    assert re.findall(r"uses: +(?!\S+@[0-9a-f]{40} +# v\d)(\S+)", text(".github/workflows/ci.yml")) == []


def test_the_pages_runtime_is_pinned_by_hashes_without_addresses():
    packages = json.loads(text("web/package-lock.json"))["packages"]
    wanted = json.loads(text("web/package.json"))["dependencies"]
    assert packages[""]["dependencies"] == wanted and all(
        packages[f"node_modules/{name}"]["version"] == version for name, version in wanted.items()
    )
    assert [name for name, one in packages.items() if name and not one["integrity"].startswith("sha512-")] == []
    assert [name for name, one in packages.items() if "resolved" in one] == []


def test_the_examples_promise_no_other_versions_than_are_tried():
    """At the least those of tests/examples/test_consumers.py; at the most the major version in the lock."""
    versions = {pin.name: next(iter(pin.specifier)).version for pin in locked()}
    promised = list(map(Requirement, text("examples/requirements.txt").splitlines()))
    assert {one.name for one in promised} == {"numpy", "onnxruntime", "pillow"}
    for one in promised:
        assert one.specifier.contains(versions[one.name]) and not one.specifier.contains(f"{Version(versions[one.name]).major + 1}.0")
        least = {bound.operator: bound.version for bound in one.specifier}[">="]
        assert f'"{one.name}": "{least}.0"' in text("tests/examples/test_consumers.py")


def test_the_lock_pins_every_version_of_what_pyproject_asks_for():
    lock = [*locked()]
    assert [str(entry) for entry in lock if not re.fullmatch(r"==[^*,]+", str(entry.specifier)) or entry.url] == []
    for direct in DIRECT:
        pins = [entry for entry in lock if canonicalize_name(entry.name) == canonicalize_name(direct.name)]
        assert pins, f"{direct.name} is not in requirements.txt: run make lock"
        for pin in pins:
            assert direct.specifier.contains(next(iter(pin.specifier)).version), f"{pin} does not satisfy {direct}: run make lock"


def test_what_the_code_imports_is_a_direct_dependency(files):
    """Not something that another package happens to bring."""
    owners = packages_distributions()
    direct = {canonicalize_name(requirement.name) for requirement in DIRECT}
    ours = python_files(files, *OWN)
    scripts = {path.stem for path in ours if path.parts[0] in ("benchmarks", "examples")}  # a script imports the one beside it by its name
    raced = {Requirement(line).name for line in PROJECT["dependency-groups"]["benchmark"]}  # installed by who wants the race
    # packaging comes with pytest, and pillow_heif is for those who have pictures in HEIC.
    known = {*sys.stdlib_module_names, *OWN, *scripts, *raced, "packaging", "pillow_heif"}
    modules = {name.split(".")[0] for path in ours for name in imports(path)} - known
    owned = {module: {canonicalize_name(name) for name in owners.get(module, [])} for module in modules}
    # A namespace such as `ruamel` has several owners: one of them must be named.
    assert {module: names for module, names in owned.items() if not names & direct} == {}


def test_make_help_lists_every_target_and_all_that_the_documents_mention(files):
    makefile = text("Makefile")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    listed = set(re.findall(r"^([a-z][a-z-]*):.*## \S", makefile, flags=re.MULTILINE))
    code = "\n".join(
        piece for path in files if path.suffix == ".md" for piece in re.findall(r"```.*?```|`[^`\n]+`", text(path), flags=re.DOTALL)
    )
    mentioned = set(re.findall(r"(?:^|[`$;&(] ?)make (?:[A-Z]+=\S+ )*([a-z][a-z-]*)", code, flags=re.MULTILINE))
    assert {"repro", "test", "test-all", "check"} <= targets == listed
    assert mentioned and mentioned <= listed


def test_continuous_integration_runs_the_lint_and_the_readmes_command():
    commands = [line for line in text(".ci/run").splitlines() if line and not line.startswith(("#", " "))]
    assert commands[-3:-1] == ["make check", "make test"] and os.access(ROOT / ".ci/run", os.X_OK)
    assert "bash .ci/run" in text(".github/workflows/ci.yml")


def test_entries_are_changed_without_torch_and_prefect():
    """Both take seconds to import."""
    code = "import json, sys, entries.remove, entries.rename; print(json.dumps(sorted({'torch', 'prefect'} & set(sys.modules))))"
    assert run_python(code) == []


def test_examples_need_nothing_of_ours(files):
    assert importers(python_files(files, "examples"), "torch", "torchvision", *(OWN - {"examples"})) == []


def test_every_stage_imports_without_dvc_and_prefect():
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.glob("stages/**/*.py") if path.stem != "__init__"]
    hide = "import importlib, json, sys; sys.modules['dvc'] = sys.modules['prefect'] = None; "
    code = f"{hide}names = {names!r}; [importlib.import_module(name) for name in names]; print(json.dumps(len(names)))"
    assert run_python(code) == len(names) > 20


def test_nothing_loads_a_pickle(files):
    """Tests may make one, to see it refused."""
    ours = python_files(files, *(OWN - {"tests"}))
    assert importers(ours, "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve") == []
    unsafe = [f"{path}:{node.lineno}" for path in ours for node in nodes(path) if uses_pickle(node)]
    unsafe += [f"{path}:{node.lineno}" for path in python_files(files, *OWN) for node in nodes(path) if loads_a_pickle(node)]
    assert unsafe == []


def nodes(path):
    return ast.walk(ast.parse(text(path)))


def uses_pickle(node):
    """For anything but to catch its error."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "pickle" and {alias.name for alias in node.names} != {"UnpicklingError"}
    return isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle" and node.attr != "UnpicklingError"


def loads_a_pickle(node):
    if not isinstance(node, ast.Call):
        return False
    arguments = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
    unsafe_torch = ast.unparse(node.func) == "torch.load" and arguments.get("weights_only") is not True
    return unsafe_torch or arguments.get("allow_pickle", False) is not False


def test_make_names_a_user_who_has_no_user_variable_as_the_system_does():
    """ssh logs in by that name, to a DVC remote too."""
    environment = {name: value for name, value in os.environ.items() if name not in ("USER", "LOGNAME")}
    command = ["make", "--no-print-directory", "--eval", "print:; @echo $$USER", "print"]
    shown = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=True)
    assert shown.stdout.strip() == getpass.getuser()
