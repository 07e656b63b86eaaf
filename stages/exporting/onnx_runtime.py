"""What the export uses of ONNX Runtime, whose reports are switched off: nothing else in stages imports it."""

import os

# Since 1.29 it reports its use to its makers, with a queue of files below HOME, unless this is set when it is imported. Processes that are
# started from here inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
from onnxruntime import InferenceSession, SessionOptions, quantization
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

__all__ = ["InferenceSession", "OnnxModel", "SessionOptions", "convert_float_to_float16", "quantization"]
