"""The report's pictures: SVG by matplotlib, without a background, whose ink is the text's own colour, in light, dark and print; and PNG of
pictures of the data. The same bytes for the same numbers.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from PIL import ImageDraw

from stages.common import curve
from stages.common.figures import Axes, Figure, new_figure
from stages.common.shown import as_address, is_tiny, tile

INK = "#010203"  # becomes the text's colour
BLUE, ORANGE, GREEN, GREY = "#3b86c8", "#e0812f", "#3d9e6c", "#8a9099"
WIDTH, HEIGHT, BAR = 4.4, 2.9, 0.21  # inches
NAMED, COUNTED = 25, 12  # classes that have their names, and their counts, in a matrix
MAX_BARS = 20
MAX_POINTS = 300  # of a line; more are drawn as pixels
BINS = 30
FEW = 5  # items of a bin, of which an interval would say nothing
TILE = 112  # pixels
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "reprise",
    "text.parse_math": False,  # names are anybody's
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    **{f"{what}.color": INK for what in ("text", "xtick", "ytick")},
    **{f"axes.{what}": INK for what in ("edgecolor", "labelcolor", "titlecolor")},
    "axes.prop_cycle": f"cycler('color', ['{BLUE}', '{ORANGE}', '{GREEN}', '{GREY}'])",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.facecolor": "none",
    "legend.frameon": False,
}


@contextlib.contextmanager
def drawing(height: float = HEIGHT, width: float = WIDTH) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw on, and a list that has the SVG in the end."""
    import matplotlib

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # texts stay texts, which a browser's fonts show
        figure, result = new_figure(width, height), list[str]()
        axes = figure.add_subplot()
        yield axes, result
        for line in axes.lines:
            if np.size(line.get_xdata()) > MAX_POINTS:
                line.set_rasterized(True)
        result.append(as_svg(figure))


def as_svg(figure: Figure) -> str:
    """To stand in HTML: no header, no names of its parts (which a page has once), no address."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=nothing, dpi=150)
    text = file.getvalue()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' (?:xmlns(?::\w+)?|version|width|height)="[^"]*"', "", text[: (end := text.index(">"))]) + text[end:]
    text = re.sub(r'<g id="\w+?_\d+">', "<g>", text)
    return text.replace(INK, "currentColor").replace("<svg", '<svg role="img"', 1)


def learning_curves(rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    """(what, SVG) of plots/learning_curve.csv: loss and metric by split."""
    columns = list(rows[0]) if rows else []
    x, found = curve.axis(columns), list[tuple[str, str]]()
    for column in curve.measures(columns):
        with drawing() as (axes, svg):
            for split in dict.fromkeys(row["split"] for row in rows):
                points = [(float(row[x]), float(row[column])) for row in rows if row["split"] == split and row[column]]
                axes.plot(*zip(*points, strict=True) if points else ((), ()), label=split, marker="." if len(points) < 3 else "")
            axes.set_xscale(curve.scale(columns))
            if curve.scale(columns) == "log":
                axes.xaxis.set_major_formatter("{x:g}")  # powers of ten would be mathematics, which STYLE has switched off
            axes.set_xlabel(x)
            axes.legend()
        found.append((column, svg[0]))
    return found


def predictions(task: ModuleType, rows: list[dict[str, Any]], names: list[str]) -> str:
    """As the task draws them."""
    with drawing(WIDTH, WIDTH) as (axes, svg):
        task.draw(axes, rows, names, draw_matrix)
        axes.set_xlabel("predicted")
        axes.set_ylabel("actual")
    return svg[0]


def draw_matrix(axes: Axes, counts: np.ndarray, names: list[str]) -> None:
    """Counts [num_classes, num_classes], each row in shades that add up to 1."""
    shades = np.empty((*counts.shape, 4))
    shades[..., :3] = [int(BLUE[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    shades[..., 3] = 0.85 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shades)
    if len(names) <= NAMED:
        axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) * len(names) > 30 else 0)
        axes.set_yticks(range(len(names)), names)
    if len(names) <= COUNTED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                axes.text(column, row, f"{count:,}", ha="center", va="center")


def balance(shares: dict[str, dict[str, float]]) -> str:
    """Bars of the share of each class, by class and split."""
    names, splits = list(shares), list(next(iter(shares.values())))
    with drawing(0.9 + 1.4 * BAR * len(names)) as (axes, svg):
        for number, split in enumerate(splits):
            places = np.arange(len(names)) + 0.8 * ((number + 0.5) / len(splits) - 0.5)
            axes.barh(places, [100 * shares[name][split] for name in names], 0.8 / len(splits), label=split)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("% of the split")
        axes.invert_yaxis()
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(splits))
    return svg[0]


def histogram(values: dict[str, np.ndarray], name: str) -> str:
    """Of a number, by split, each as shares of its own."""
    finite = np.concatenate(list(values.values()))
    edges = np.histogram_bin_edges(finite, bins=BINS)
    with drawing() as (axes, svg):
        for split, own in values.items():
            axes.stairs(100 * np.histogram(own, edges)[0] / max(len(own), 1), edges, label=split)
        axes.set_xlabel(name)
        axes.set_ylabel("% of the split")
        axes.legend()
    return svg[0]


def reliability(claimed: np.ndarray, observed: np.ndarray, edges: np.ndarray, labels: list[str]) -> str:
    """The mean of what was observed over the mean of what was claimed, bin by bin, with 95 % intervals; dots grow with the
    count.
    """
    bins = np.clip(np.searchsorted(edges, claimed, side="right") - 1, 0, max(len(edges) - 2, 0))
    count = np.bincount(bins).astype(np.float64)
    used = count > 0
    x, y, squares = (np.bincount(bins, values)[used] / count[used] for values in (claimed, observed, observed**2))
    half = np.where(count[used] >= FEW, 1.96 * np.sqrt(np.maximum(squares - y**2, 0) / count[used]), 0)
    away = np.abs(np.clip([y - half, y + half], observed.min(), observed.max()) - y)
    with drawing(WIDTH, WIDTH) as (axes, svg):
        ends = [min(edges[0], *x, *y), max(edges[-1], *x, *y)]
        axes.plot(ends, ends, "--", color=GREY, linewidth=1)
        axes.errorbar(x, y, away, fmt="none", ecolor=BLUE, linewidth=1)
        axes.scatter(x, y, 12 + 120 * count[used] / count.sum(), color=BLUE, zorder=3)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
    return svg[0]


def importances(found: list[tuple[str, np.ndarray]]) -> str:
    """A bar for each column, with the smallest and the largest of its repeats."""
    names, grown = zip(*found[:MAX_BARS], strict=True)
    means, ends = np.mean(grown, axis=1), np.array([np.min(grown, axis=1), np.max(grown, axis=1)])
    with drawing(0.7 + BAR * len(names)) as (axes, svg):
        axes.barh(range(len(names)), means, 0.7, xerr=np.abs(ends - means), ecolor=INK, error_kw={"linewidth": 0.8})
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("increase")
        axes.invert_yaxis()
    return svg[0]


def picture(pixels: np.ndarray, points: tuple[np.ndarray, np.ndarray] | None = None) -> str:
    """uint8 [height, width, channels] as the address of a small picture, in which `points` (row and column) mark what is true in green, and
    what was predicted in orange.
    """
    image, scale = tile(pixels, TILE), TILE / max(pixels.shape[:2])
    draw = ImageDraw.Draw(image)
    for (row, column), colour in zip(points, (GREEN, ORANGE), strict=True) if points else ():
        across, down = (column + 0.5) * scale, (row + 0.5) * scale
        draw.line([across - 6, down, across + 6, down], fill=colour, width=2)
        draw.line([across, down - 6, across, down + 6], fill=colour, width=2)
    return as_address(image, is_photograph=not is_tiny(pixels))
