"""web/models.js refuses the same signatures as examples/predict.py. In node, without a browser and without the runtime."""

import json
import shutil
import subprocess

import pytest

from tests.exported import exported_toy
from tests.signatures import BROKEN
from tests.toy import ROOT

# Prints why each signature of those on standard input is refused; null where it is not.
ASK = """
import { readFileSync } from "node:fs";
import { signatureOf } from "./models.js";
const said = [];
for (const [name, text] of JSON.parse(readFileSync(0))) {
  globalThis.fetch = async () => new Response(text);
  said.push(await signatureOf(name).then(() => null, (error) => error.message));
}
console.log(JSON.stringify(said));
"""


def test_the_page_refuses_what_the_reader_in_python_refuses(tmp_path):
    if shutil.which("node") is None:
        pytest.skip("there is no node here")
    shutil.copy(ROOT / "web/models.js", tmp_path)
    for name in ("rows.mjs", "cells.mjs"):
        shutil.copy(ROOT / "examples" / name, tmp_path)
    example = (ROOT / "examples/predict.mjs").read_text(encoding="utf-8")
    (tmp_path / "predict.mjs").write_text(example.replace('"onnxruntime-web"', '"./runtime.mjs"'), encoding="utf-8")
    (tmp_path / "runtime.mjs").write_text("export const env = {}, InferenceSession = {}; export class Tensor {}")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "ask.mjs").write_text(ASK)
    toys = {name: json.loads(exported_toy(name).signature.model_dump_json()) for name, _ in BROKEN}
    asked = [(name, json.dumps(toy)) for name, toy in toys.items()]
    asked += [(str(changes.get("model", name)), json.dumps(toys[name] | changes)) for name, changes in BROKEN]
    asked += [("patients", "[" * 200_000), ("patients", "null"), ("patients", '{"model": "patients"}')]
    done = subprocess.run(["node", "ask.mjs"], cwd=tmp_path, input=json.dumps(asked), capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said[: len(toys)] == [None] * len(toys)
    accepted = [case for case, why in zip([*BROKEN, "deep", "null", "bare"], said[len(toys) :], strict=True) if why is None]
    assert accepted == []
    assert all(why.startswith("models/") for why in said[len(toys) :])
