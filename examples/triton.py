"""Lays exported models out as a model repository of NVIDIA's Triton Inference Server, with numpy, onnxruntime and Pillow alone.

    python triton.py FOLDER MODEL.onnx [...]                              (a folder stands for every *.onnx below it)

Writes FOLDER/<model>/config.pbtxt and labels.txt, made from the signature inside the file, and FOLDER/<model>/1/model.onnx; then
`tritonserver --model-repository FOLDER` serves them. Variants stand beside their models, as <model>.int8 and the like. An entry of the same
name is replaced, others stay; a folder that is no entry is not touched.
"""

import argparse
import json
import os
import shutil
import sys
import unicodedata
from pathlib import Path
from typing import Any

try:
    import predict  # beside this file
except ImportError:  # imported from the repository's root
    from examples import predict

MAX_BATCH, WINDOW_US = 256, 1000
UNSEEN, JOINERS = ("Cc", "Cf", "Cs", "Zl", "Zp"), "\u200c\u200d"  # kinds of characters; those that words and emoji are spelled with
TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32", "int64": "TYPE_INT64", "string": "TYPE_STRING"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("paths", nargs="+", type=Path, metavar="MODEL.onnx")
    arguments = parser.parse_args()
    try:
        models = predict.models_below(arguments.paths)
    except predict.Refused as error:
        sys.exit(predict.clean(f"error: {error}."))
    if arguments.folder.exists() and not arguments.folder.is_dir():
        sys.exit(f"error: {arguments.folder} is not a folder: name another.")
    for name in models:
        entry = arguments.folder / name
        if os.path.lexists(entry) and not (entry / "config.pbtxt").is_file():
            sys.exit(f"error: {entry} is there and is not an entry of a model repository: name another FOLDER, or remove it.")
    try:
        for model in models.values():
            lay_out(arguments.folder / model.name, model)
    except OSError as error:
        sys.exit(f"error: {arguments.folder} cannot be written ({error.strerror}): name another folder.")
    others = sorted(entry.parent.name for entry in arguments.folder.glob("*/config.pbtxt") if entry.parent.name not in models)
    written = f"{len(models)} model{'s' if len(models) > 1 else ''}"
    predict.say(f"{arguments.folder}: {written}" + (f", and as it was before {', '.join(others)}" if others else ""))


def lay_out(entry: Path, model: predict.Model) -> None:
    """Written beside and renamed: a server that polls the folder sees a whole entry or none."""
    beside, classes = entry.with_name(f".{model.name}.part"), model.signature["classes"] or []
    shutil.rmtree(beside, ignore_errors=True)
    try:
        (beside / "1").mkdir(parents=True)
        shutil.copyfile(model.path, beside / "1" / "model.onnx")
        (beside / "config.pbtxt").write_text(config(model.name, model.signature), encoding="utf-8")
        if classes:
            (beside / "labels.txt").write_text("".join(f"{one_line(label)}\n" for label in classes), encoding="utf-8")
        shutil.rmtree(entry, ignore_errors=True)
        beside.rename(entry)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def one_line(label: str) -> str:
    """A label is a line: one with a line end would shift those after it. Control characters and others that move text are codes too."""
    return "".join(ascii(sign)[1:-1] if unicodedata.category(sign) in UNSEEN and sign not in JOINERS else sign for sign in label)


def config(name: str, signature: dict[str, Any]) -> str:
    """ModelConfig as protobuf text. Requests of one shape are gathered into batches; a GPU is used where the server has one."""
    first, *others = signature["outputs"]
    is_classification = signature["classes"] and len(first["shape"]) == 2
    outputs = [tensor(first, ['label_filename: "labels.txt"'] if is_classification else []), *(tensor(output, []) for output in others)]
    inputs = ",\n".join(tensor(entry, []) for entry in signature.get("inputs") or [signature["input"]])
    joined = ",\n".join(outputs)
    return f"""# {" ".join(signature["description"].split())}
name: {json.dumps(name)}
backend: "onnxruntime"
max_batch_size: {MAX_BATCH}
input [
{inputs}
]
output [
{joined}
]
dynamic_batching {{ max_queue_delay_microseconds: {WINDOW_US} }}
"""


def tensor(entry: dict[str, Any], more: list[str]) -> str:
    """One input or output without its batch axis; Triton has no empty shape, so a number a row is one of length 1 that is reshaped."""
    sizes = [size if isinstance(size, int) else -1 for size in entry["shape"][1:]]
    lines = [f"name: {json.dumps(entry['name'])}", f"data_type: {TYPES[entry['dtype']]}", f"dims: {sizes or [1]}", *more]
    if not sizes:
        lines.append("reshape { shape: [ ] }")
    return "  {\n" + "".join(f"    {line}\n" for line in lines) + "  }"


if __name__ == "__main__":
    main()
