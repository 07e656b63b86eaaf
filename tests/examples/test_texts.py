"""Texts of any script as people ask a model of them: on the command line, over HTTP, from JavaScript."""

import json
import random
import shutil
import subprocess
import time

import numpy as np
import pytest

from examples import predict
from examples.texts import is_blank, normalised
from stages.exporting.parity import run_torch
from stages.inputs.text import LINES, as_rows
from tests.examples.test_serve import ask, refusal, serving
from tests.exported import exported_toy
from tests.toy import ROOT

# In node, of the texts in a file of JSON: their code points, and what is said of them.
NODE = """
const [work, example] = process.argv.slice(1), { readFileSync, writeFileSync } = await import("node:fs");
const code = readFileSync(example, "utf8").replace('"onnxruntime-web"', '"data:text/javascript,export const env = {};"');
const { asCodePoints, noteOn } = await import(`data:text/javascript;base64,${Buffer.from(code).toString("base64")}`);
const found = JSON.parse(readFileSync(work, "utf8")).map(([text, most, kind]) => {
  const note = noteOn(text, { kind, max_length: most });
  return kind === "text" ? [asCodePoints(text, most).map(Number), note] : note;
});
writeFileSync(work, JSON.stringify(found));
"""
SIGNATURE = {"kind": "text", "max_length": 20}
POOLS = [
    "ab e\u0301\u0308\u0323",
    "\u1100\u1161\u11a8\uac00",
    "\u0928\u093c\u0958",
    "\ud800\udc00x",
    " \t\u3000\0\x85\ufeff",
    "\U0001f98a\u200d",
]


def given(text, most):
    """What predict.py sends of a text, and its note; nothing of a text that it refuses."""
    (item,) = predict.find_text(text, SIGNATURE | {"max_length": most})
    return [] if isinstance(item, predict.Refused) else [item.values.tolist(), item.note]


def test_python_and_javascript_send_the_same_of_any_text(tmp_path):
    if shutil.which("node") is None:
        pytest.skip("there is no node here")
    rng = random.Random(20261201)
    pools = [*POOLS, *("".join(chr(rng.randrange(0x110000)) for _ in range(30)) for _ in range(6))]
    texts = ["".join(rng.choices(rng.choice(pools), k=rng.choice([0, 1, 5, 50, 300, 4500]))) for _ in range(400)] + list(LINES)
    texts = [(text, rng.choice([1, 5, 100, 1000]), "text") for text in json.loads(json.dumps(texts))]
    names = [("Łukasz Zoë", 0, "characters"), ("e\u0301", 0, "characters"), ("Bo", 0, "characters")]
    work = tmp_path / "work.json"
    work.write_text(json.dumps([*texts, *names]))
    command = ["node", "--input-type=module", "--eval", NODE, str(work), str(ROOT / "examples" / "predict.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    heard = json.loads(work.read_text())
    for (text, most, _), (codes, note) in zip(texts, heard, strict=False):
        assert given(text, most) == ([codes, note] if codes else [])
    assert heard[len(texts) :] == [predict.as_codes(text, {"kind": "characters", "alphabet": None}).note for text, *_ in names]
    assert heard[-3:] == ["read as ukasz Zoe, without Ł", "read as e", ""]


def test_no_text_takes_long_and_what_is_cut_is_said():
    start = time.process_time()
    assert len(normalised("a" + "\u0315\u0300" * 400_000, 20_000)) == 20_000
    assert normalised("e\u0301" * 30, 20) == "é" * 20 and normalised("\0\ud800", 20) == " \ufffd"
    assert predict.as_codes("x" * 10**6, SIGNATURE).note == "cut to its first 20 characters"
    assert not any(predict.as_codes(text, SIGNATURE).note for text in ("x" * 20, "e\u0301" * 19))
    assert is_blank("\x85" * 10**6) and not is_blank("\x85" * 10**6 + "x")
    assert time.process_time() - start < 2


def test_the_command_answers_texts_of_any_script_and_the_lines_of_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own, lines = exported_toy("zines"), [line for line in LINES if not is_blank(line)]
    (tmp_path / "own.onnx").write_bytes(own.onnx)
    (tmp_path / "lines.txt").write_text("\ufeffone\r\n\n \ntwo\n", encoding="utf-8")
    (tmp_path / "bad.txt").write_bytes(b"\xff\n")
    runs = [["--json", "--", *lines, "\u3000", "x" * 3000], ["@lines.txt", "zero"], ["@bad.txt", "zero"], ["@no.txt"]]
    (tmp_path / "own.csv").write_text("text\none\n")
    runs += [["@own.csv", "@anna", "a.b"], ["own.csv"], ["./lines.txt"]]
    heard = []
    for arguments in runs:
        monkeypatch.setattr("sys.argv", ["predict.py", "own.onnx", *arguments])
        with pytest.raises(SystemExit) as ended:
            predict.main()
        heard.append(capsys.readouterr())
        assert ended.value.code == bool(heard[-1].err)
    answers = [json.loads(line) for line in heard[0].out.splitlines()]
    sent = [predict.as_codes(text, own.signature.model_dump()).values.tolist() for text in [*lines, "x" * 3000]]
    for answer, codes in zip(answers, sent, strict=True):
        probabilities, _ = run_torch(own.model, np.array([codes]))
        np.testing.assert_allclose(list(answer["probabilities"].values()), probabilities[0], atol=1e-6)
    assert answers[-1]["note"] == "cut to its first 20 characters" and "error: there is no input in '\\u3000'." in heard[0].err
    assert [line.split(": ")[0] for line in heard[1].out.splitlines()] == ["one", "two", "zero"]
    assert heard[2].err == "error: bad.txt is not text in UTF-8 (invalid start byte): save it so.\n" and heard[2].out.startswith("zero: ")
    assert heard[3].err == "error: there is no file no.txt, whose lines @no.txt stands for.\n"
    assert heard[4].err == "error: only @\u2026.txt is read, as a text a line: put the texts of own.csv into a .txt file.\n"
    assert [line.split(": ")[0] for line in heard[4].out.splitlines()] == ["@anna", "a.b"]
    assert heard[5].err == "error: own.csv is a file, and no text: put @ before a .txt to read it.\n"
    assert heard[6].err == "error: ./lines.txt is a file, and no text: put @ before it to read its lines (@./lines.txt).\n"


def test_the_server_answers_texts_by_line_and_as_json(tmp_path):
    own, lines = exported_toy("zines"), [line.strip() for line in LINES if not is_blank(line)]
    (tmp_path / "zines.onnx").write_bytes(own.onnx)
    expected, _ = run_torch(own.model, as_rows([normalised(line, 20) for line in lines]).astype(np.int64))
    with serving({"zines": predict.Model(str(tmp_path / "zines.onnx"), 1)}) as address:
        for body, kind in (("\n".join(lines), None), (json.dumps(lines), "application/json")):
            answers = ask(address, "zines", body.encode(), kind).json()["answers"]
            np.testing.assert_allclose([list(answer["probabilities"].values()) for answer in answers], expected, atol=1e-6)
        assert refusal(ask(address, "zines", json.dumps(["a", "\0 "]), "application/json")) == "there is nothing to be read in '\\x00 '."
