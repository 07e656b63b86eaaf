"""What the export uses of ONNX Runtime, whose reports are switched off: nothing else in stages imports it."""

import os

# Since 1.29 it reports its use to its makers, with a queue of files below HOME, unless this is set when it is imported. Processes that are
# started from here inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
from onnxruntime import InferenceSession, SessionOptions, quantization

__all__ = ["InferenceSession", "SessionOptions", "quantization"]
