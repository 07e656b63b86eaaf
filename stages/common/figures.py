"""matplotlib's figures as PNG, the same bytes for the same numbers."""

import io
import os

# The list of fonts belongs in the checkout, not in HOME; and a user's own settings of matplotlib must not change the pictures.
os.environ.setdefault("MPLCONFIGDIR", "logs/matplotlib")
import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["Axes", "Figure", "as_png", "new_figure"]

DPI = 80
matplotlib.rcParams["text.parse_math"] = False  # names of classes are anybody's: a $ in one is no formula


def new_figure(width: float, height: float) -> Figure:
    """Sizes in inches."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def as_png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
