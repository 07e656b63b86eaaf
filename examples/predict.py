"""Predicts one or more inputs with an exported model, with numpy, onnxruntime and Pillow alone.

    python predict.py model.onnx INPUT [INPUT ...]

An INPUT is what the model takes: the path of a picture, a row of numbers separated by commas (an empty cell is missing), or a
text. What that is, and what the answers mean, is read from the ONNX file itself.
"""

import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps, UnidentifiedImageError


def main(arguments: list[str]) -> None:
    if len(arguments) < 2:
        sys.exit("usage: python predict.py model.onnx INPUT [INPUT ...]")
    try:
        session, signature = load(arguments[0])
        for text in arguments[1:]:
            print(f"{text}: {answer(session, signature, text)}")
    except ValueError as error:
        sys.exit(f"error: {error}")


def load(path: str) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """The model, and the signature that stands in its metadata."""
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}")
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no base class
        raise ValueError(f"{path} is not an ONNX model that onnxruntime can load ({type(error).__name__})") from error
    properties = session.get_modelmeta().custom_metadata_map
    if "signature" not in properties:
        raise ValueError(f"{path} has no signature in its metadata: was it exported by this project?")
    return session, json.loads(properties["signature"])


def answer(session: onnxruntime.InferenceSession, signature: dict[str, Any], text: str) -> str:
    read = {"image": read_picture, "features": read_row, "characters": read_characters}[signature["kind"]]
    outputs = session.run(None, {signature["input"]["name"]: read(text, signature)})
    if signature["task"] == "regression":
        return f"{', '.join(f'{value:.4g}' for value in outputs[0][0])} ({signature['outputs'][0]['meaning']})"
    classes = signature["classes"]
    if signature["task"] == "sequence":
        return "".join(classes[label] for label in outputs[1][0] if label >= 0)
    return f"{classes[outputs[1][0]]} ({outputs[0][0].max():.1%})"


def read_picture(path: str, signature: dict[str, Any]) -> np.ndarray:
    """uint8 [1, height, width, channels]: the picture resized and cut in the middle as the model's own pictures were."""
    height, width, channels = signature["input"]["shape"][1:]
    try:
        with Image.open(path) as file:
            upright = ImageOps.exif_transpose(file)
            if upright.mode.startswith("I;16"):  # Pillow would cut 16-bit greys off at 255
                upright = Image.fromarray((np.asarray(upright) // 256).astype(np.uint8))
            picture = upright.convert("L" if channels == 1 else "RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not a picture that Pillow can read ({error})") from error
    resize = signature["resize"]
    if resize is None:
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    else:
        new_width, new_height = (int(resize["shorter_side"] * side / min(picture.size)) for side in picture.size)
        picture = picture.resize((new_width, new_height), Image.Resampling.BILINEAR)
        left, top = (round((side - resize["crop"]) / 2) for side in picture.size)
        picture = picture.crop((left, top, left + resize["crop"], top + resize["crop"]))
    return np.asarray(picture, dtype=np.uint8).reshape(1, height, width, channels)


def read_row(text: str, signature: dict[str, Any]) -> np.ndarray:
    """float32 [1, num_features]; an empty cell is NaN, which is missing."""
    names, cells = [feature["name"] for feature in signature["features"]], text.split(",")
    if len(cells) != len(names):
        raise ValueError(f"{text!r} has {len(cells)} numbers; the model takes {len(names)}: {', '.join(names)}")
    try:
        return np.array([[float(cell) if cell.strip() else np.nan for cell in cells]], dtype=np.float32)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a row of numbers separated by commas ({error})") from error


def read_characters(text: str, signature: dict[str, Any]) -> np.ndarray:
    """int64 [1, length]: code points, other alphabets' letters folded to ASCII where they can be."""
    folded = unicodedata.normalize("NFKD", text).encode("ascii", "ignore")
    if not folded:
        raise ValueError(f"{text!r} has no character that can be written in ASCII")
    if unknown := set(folded.decode()) - set(signature["alphabet"] or folded.decode()):
        raise ValueError(f"{text!r} has {''.join(sorted(unknown))}; the model knows only {signature['alphabet']}")
    return np.array([list(folded)], dtype=np.int64)


if __name__ == "__main__":
    main(sys.argv[1:])
