"""Exports from copies of the repository at other places: the same bytes, and no path of the machine in them."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.exported import LARGE, exported
from tests.toy import MODELS, ROOT, architecture_of

# One model of each architecture.
SMALL = list({architecture_of(name)["name"]: name for name in MODELS if name not in LARGE}.values())
PT2 = ["mnist_cnn", "hello_embedding"]  # torch.export takes seconds for a model
# The machine's own paths, as they would stand in a traceback or a debug record.
PATHS = [path.encode() for path in (str(ROOT), sys.prefix, f"{sys.base_prefix}/", "site-packages", f"{Path.home()}/")]

COMMAND = """
import hashlib, json, sys
from tests.exported import exported
from stages.exporting.variants import to_int8
result = {}
for name in json.loads(sys.argv[1]):
    own = exported(name)
    forms = [own.onnx, own.script]
    if own.signature.kind == "image":
        forms.append(to_int8(own.onnx, own.signature.input.name, own.batch(40)))
    if name in json.loads(sys.argv[2]):
        forms.append(own.pt2)
    result[name] = [hashlib.sha256(content).hexdigest() for content in forms]
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """SHA-256 of every form of a small model of each architecture, exported by two copies of the code in folders of their own."""
    processes = []
    for folder in ("a", "another place/with a longer name"):
        root = tmp_path_factory.mktemp("copies") / folder
        (root / "tests").mkdir(parents=True)
        (root / "cwd").mkdir()
        shutil.copytree(ROOT / "stages", root / "stages", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("params.yaml", "tests/toy.py", "tests/exported.py"):
            shutil.copy(ROOT / name, root / name)
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, json.dumps(SMALL), json.dumps(PT2)],
            cwd=root / "cwd",
            env=os.environ | {"PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
    printed = [process.communicate() for process in processes]
    assert all(process.returncode == 0 for process in processes), printed
    return [json.loads(output) for output, _ in printed]


@pytest.mark.parametrize("name", SMALL)
def test_the_bytes_do_not_depend_on_where_the_code_lies(name, elsewhere):
    first, second = (copy[name] for copy in elsewhere)
    assert first == second
    assert first[0] == hashlib.sha256(exported(name).onnx).hexdigest()


@pytest.mark.parametrize("name", MODELS)
def test_no_path_of_the_machine_is_in_the_onnx_file(name):
    assert not [path for path in PATHS if path in exported(name).onnx]


@pytest.mark.parametrize("name", MODELS)
def test_no_path_of_the_machine_is_in_the_torchscript_archive(name):
    with zipfile.ZipFile(io.BytesIO(exported(name).script)) as archive:
        for entry in archive.infolist():
            content = entry.filename.encode() + archive.read(entry)
            assert not [path for path in PATHS if path in content], entry.filename


@pytest.mark.parametrize("name", PT2)
def test_no_path_of_the_machine_is_in_the_torch_export_archive(name):
    with zipfile.ZipFile(io.BytesIO(exported(name).pt2)) as archive:
        for entry in archive.infolist():
            assert not [path for path in PATHS if path in archive.read(entry)], entry.filename


@pytest.mark.parametrize(("name", "form"), [*((name, "script") for name in SMALL), *((name, "pt2") for name in PT2)])
def test_no_time_is_in_an_archive(name, form):
    with zipfile.ZipFile(io.BytesIO(getattr(exported(name), form))) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}, "zip's first year: none was set"
