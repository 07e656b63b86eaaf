"""What the stage `export` is made of. ONNX Runtime and matplotlib are imported below this folder only: it says how, before that."""

import os

# Since 1.29 ONNX Runtime reports its use to its makers, with a queue of files below HOME, unless this is set when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# The list of fonts belongs in the checkout, not in HOME; and a user's own settings of matplotlib must not change the pictures.
os.environ.setdefault("MPLCONFIGDIR", "logs/matplotlib")
