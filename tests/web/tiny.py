"""Models small enough to be seen through, with the signatures of one's own: what the page shows of them is known to the digit."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


def as_array(values: np.ndarray) -> dict[str, Any]:
    return {"dtype": values.dtype.name, "shape": list(values.shape), "base64": base64.b64encode(values.tobytes()).decode()}


def write(folder: Path, name: str, entry: dict[str, Any], golden: np.ndarray, graph: tuple[list[Any], dict[str, Any]], **said: Any) -> Path:
    """An exported model of one input, `entry`; `graph` is its nodes and constants, `said` what is particular in its signature. Its file."""
    nodes, constants = graph
    task, meanings = said["task"], said.get("numbers") or said["classes"]
    outputs = [{"name": "prediction" if task == "regression" else "probabilities", "dtype": "float32", "shape": ["batch", len(meanings)]}]
    if task != "regression":
        outputs.append({"name": "label", "dtype": "int64", "shape": ["batch", *([len(meanings)] if task == "multilabel" else [])]})
    values = [helper.make_tensor_value_info(one["name"], TYPES[one["dtype"]], one["shape"]) for one in (entry, *outputs)]
    held = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, name, values[:1], values[1:], held), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.checker.check_model(model)
    answers = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {entry["name"]: golden})
    golden_outputs = {one["name"]: as_array(answer) for one, answer in zip(outputs, answers, strict=True)}
    nothing = dict.fromkeys(("classes", "numbers", "features", "alphabet", "resize", "ink"))
    about = {"use": f"To try {name}.", "limits": "It knows nothing.", "licence": "none", "metrics": {"accuracy": 0.5}}
    known = {"model": name, "dataset": name, "source": "own", "input": entry, "outputs": outputs}
    signature = nothing | about | known | {"golden": {"input": as_array(golden), "outputs": golden_outputs}} | said
    helper.set_model_props(model, {"signature": json.dumps(signature)})
    exported = folder / name / "exported"
    exported.mkdir(parents=True)
    onnx.save(model, exported / "model.onnx")
    (exported / "signature.json").write_text(json.dumps(signature))
    (exported / "README.md").write_text(f"# {name}")
    return exported / "model.onnx"


def picture_entry(side: int, channels: int) -> tuple[dict[str, Any], np.ndarray]:
    golden = (np.arange(side * side * channels) % 256).astype(np.uint8).reshape(1, side, side, channels)
    return {"name": "image", "dtype": "uint8", "shape": ["batch", side, side, channels]}, golden


def write_seen(folder: Path, name: str, side: int = 8, channels: int = 3, places: int = 6, **said: Any) -> Path:
    """Says the brightness of some pixels: what it is sent is seen on the page."""
    chosen = np.linspace(0, side * side * channels - 1, places).astype(np.int64)
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["flat"]),
        helper.make_node("Gather", ["flat", "chosen"], ["prediction"], axis=1),
    ]
    numbers = [f"pixel {place}" for place in chosen]
    return write(
        folder, name, *picture_entry(side, channels), (nodes, {"chosen": chosen}), kind="image", task="regression", numbers=numbers, **said
    )


def write_colours(folder: Path, name: str, **said: Any) -> Path:
    """Several classes at once: each colour whose mean is above half."""
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Div", ["means", "most"], ["probabilities"]),
        helper.make_node("Greater", ["probabilities", "half"], ["is_there"]),
        helper.make_node("Cast", ["is_there"], ["label"], to=TensorProto.INT64),
    ]
    constants = {"most": np.float32(255), "half": np.float32(0.5)}
    classes = ["red", "green", "blue"]
    return write(folder, name, *picture_entry(8, 3), (nodes, constants), kind="image", task="multilabel", classes=classes, **said)


def write_letters(folder: Path, name: str, classes: list[str], **said: Any) -> Path:
    """Texts by their code points modulo the number of classes: a class's probability is its share of the characters."""
    nodes = [
        helper.make_node("Mod", ["characters", "count"], ["rest"]),
        helper.make_node("OneHot", ["rest", "count", "values"], ["ones"]),
        helper.make_node("ReduceMean", ["ones"], ["probabilities"], axes=[1], keepdims=0),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    constants = {"count": np.int64(len(classes)), "values": np.array([0, 1], np.float32)}
    entry = {"name": "characters", "dtype": "int64", "shape": ["batch", "length"]}
    golden = np.array([[ord(sign) for sign in "Reprise"]])
    return write(folder, name, entry, golden, (nodes, constants), kind="text", task="multiclass", classes=classes, max_length=1000, **said)
