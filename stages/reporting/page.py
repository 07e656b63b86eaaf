"""What stands in the report, from figures to the page. Every name, cell and text is somebody's: all of it is cut, cleaned and escaped."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from stages.common.comparison import ENDS, NAMES, baselines, own_metrics
from stages.common.curve import chosen
from stages.common.meta import Meta
from stages.common.shown import as_shown
from stages.reporting import drawing, sheet
from stages.reporting.items import Items, evenly
from stages.reporting.segments import as_text, weak_segments

TEMPLATE = Path(__file__).with_name("page.html")
MAX_TEXT, MAX_NAME, MAX_LINE = 60, 40, 300  # characters of a cell, a name, a text that is itself an item
MAX_ROWS, MAX_SHOWN_COLUMNS, MAX_COLUMNS, MAX_CLASSES, MAX_OUTPUTS, MAX_WEAK, MAX_FINDINGS = 8, 10, 60, 30, 4, 12, 50
COMMON = 3  # of a column's levels

Finding = dict[str, Any]


@dataclass(frozen=True)
class Known:
    """What is shown of a model besides its answers: `description` is the checkpoint's, the rest what the files of the same names say."""

    name: str
    description: dict[str, Any]
    metrics: dict[str, float]
    curve: list[dict[str, str]]
    breakdown: list[dict[str, str]]
    findings: list[Finding]
    importance: dict[str, np.ndarray]
    num_mistakes: int
    verdict: str  # whether the network is better than its baselines


def as_page(known: Known, splits: dict[str, Items], outputs: list[np.ndarray]) -> str:
    """HTML; `outputs` are the model's answers to the items of test."""
    train, test = splits["train"], splits["test"]
    meta, task = test.model.meta, test.model.task
    as_amount = percent if meta.classes is not None else number
    errors = task.errors(test.targets, outputs)
    weak, num_compared = weak_segments(test.columns, errors)
    names = [clean(name, MAX_NAME) for name in meta.names]
    worst = np.argsort(-task.wrongness(test.targets, outputs), kind="stable")[: known.num_mistakes]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"amount": as_amount, "number": number, "percent": percent, "name": lambda text: clean(text, MAX_NAME)}
    environment.filters |= {"text": lambda text: clean(text, MAX_LINE)}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        known=known,
        meta=meta,
        task=task,
        counts={split: counts.total for split, counts in meta.counts.items()},
        num_shown=len(test.places),
        figures=as_figures(known.metrics, task.METRICS),
        baselines={NAMES[which]: measured for which, measured in baselines(known.metrics).items()},
        with_interval=with_interval,
        balance=balance_of(train, test, names),
        columns=columns_of(train, test)[:MAX_COLUMNS],
        num_columns=len(test.columns),
        sample=Rows.of(test, outputs, evenly(len(test.places), MAX_ROWS), known, names),
        classes=[] if known.importance else sheet.classes(train, names),
        findings=[finding | {"groups": sheet.groups(finding, splits)} for finding in known.findings[:MAX_FINDINGS]],
        curves=[(what, Markup(svg)) for what, svg in drawing.learning_curves(known.curve)],
        predictions=Markup(drawing.predictions(task, task.rows(renamed(meta, names), test.targets, outputs), names)),
        reliability=reliability_of(task, test, outputs, names),
        sizes=None if meta.classes is not None else np.quantile(errors, [0.5, 0.9, 1.0]).tolist(),
        breakdown=known.breakdown if len(known.breakdown) <= MAX_CLASSES else sorted(known.breakdown, key=f1_of)[:MAX_CLASSES],
        importance=Markup(drawing.importances([(clean(key, MAX_NAME), grown) for key, grown in known.importance.items()]))
        if known.importance
        else None,
        unimportant=[name for name, grown in known.importance.items() if grown.max() <= 0][:MAX_COLUMNS],
        error=float(errors.mean()) if len(errors) else 0.0,
        weak=weak[:MAX_WEAK],
        num_weak=len(weak),
        num_compared=num_compared,
        worst=Rows.of(test, outputs, worst, known, names),
        training=known.description["training"],
        chosen=chosen(known.description["training"], has_val=meta.counts["val"].total > 0),
        architecture=known.description["architecture"],
    )


def clean(value: Any, most: int = MAX_TEXT) -> str:
    """On one line, with codes for signs that cannot be seen, and not too long."""
    return as_shown(as_text(value), most)


def number(value: float) -> str:
    """Four digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def percent(value: float) -> str:
    return f"{100 * value:.1f}\u00a0%"


def f1_of(row: dict[str, str]) -> float:
    return float(row.get("f1", 0))


def renamed(meta: Meta, names: list[str]) -> Meta:
    return meta.model_copy(update={"classes" if meta.classes is not None else "outputs": names})


def as_figures(metrics: dict[str, float], directions: dict[str, str]) -> list[dict[str, Any]]:
    """The model's own metrics, in their order, with their intervals and which way is better."""
    own = [key for key in own_metrics(metrics) if not key.endswith(ENDS)]
    return [{"name": key, "better": directions.get(key, ""), "text": with_interval(metrics, key), "value": metrics[key]} for key in own]


def with_interval(metrics: dict[str, float], key: str) -> str:
    if key not in metrics:
        return ""
    ends = [metrics[key + end] for end in ENDS if key + end in metrics]
    return number(metrics[key]) + (f" ({' to '.join(map(number, ends))})" if ends else "")


def balance_of(train: Items, test: Items, names: list[str]) -> list[tuple[str, Markup]]:
    """How the classes, or the numbers, are spread over train and test."""
    meta = train.model.meta
    counts = {split: meta.counts[split] for split in ("train", "test") if meta.counts[split].total}
    if all(one.per_class for one in counts.values()):
        order = sorted(range(len(names)), key=lambda place: -next(iter(counts.values())).per_class[meta.names[place]])  # type: ignore[index]
        shares = {
            names[place]: {split: one.per_class[meta.names[place]] / one.total for split, one in counts.items()}  # type: ignore[index]
            for place in order[: drawing.MAX_BARS]
        }
        return [("classes", Markup(drawing.balance(shares)))]
    if meta.classes is not None:
        return []
    of_split = {"train": train.targets, "test": test.targets}
    return [
        (name, Markup(drawing.histogram({split: targets[:, place] for split, targets in of_split.items()}, name)))
        for place, name in enumerate(names[:MAX_OUTPUTS])
    ]


def columns_of(train: Items, test: Items) -> list[dict[str, Any]]:
    """Of each raw column: what it holds in train, and the share of missing values in train and test. None where an input has no columns."""
    if not any(at for at, _ in test.columns.values()):
        return []
    return [
        {"name": name, "kind": KINDS[values.dtype.kind], "missing": [share_missing(values), share_missing(test.columns[name][1])]}
        | {"values": values_of(values)}
        for name, (_, values) in train.columns.items()
    ]


KINDS = {"f": "number", "M": "date", "O": "words"}


def share_missing(values: np.ndarray) -> float:
    missing = values == "" if values.dtype == object else np.isnat(values) if values.dtype.kind == "M" else np.isnan(values)
    return float(np.mean(missing)) if len(values) else 0.0


def values_of(values: np.ndarray) -> str:
    """The smallest, the median and the largest, or how many words there are and the most frequent."""
    if values.dtype == object:
        words, counts = np.unique([word for word in values if word], return_counts=True)
        order = np.argsort(-counts, kind="stable")[:COMMON]
        return f"{len(words)}: {', '.join(clean(str(words[place]), MAX_NAME) for place in order)}{', …' if len(words) > COMMON else ''}"
    present = np.sort(values[values == values])  # neither NaN nor NaT
    return " / ".join(as_text(present[place]) for place in (0, len(present) // 2, -1)) if len(present) else ""


def reliability_of(task: Any, test: Items, outputs: list[np.ndarray], names: list[str]) -> Markup | None:
    found = task.reliability(test.targets, outputs)
    if found is None or not len(found[0]) or len(found[2]) < 2:
        return None
    claimed, observed, edges = found
    return Markup(drawing.reliability(claimed, observed, edges, [label.format(names[-1]) for label in task.CLAIM]))


@dataclass(frozen=True)
class Rows:
    """Items with what they are and what was predicted: as pictures, texts, or rows of cells."""

    columns: list[str]
    cells: list[list[str]]
    pictures: list[str]
    texts: list[str]
    captions: list[tuple[str, str, bool]]
    where: list[str] | None
    are_lines: bool

    @classmethod
    def of(cls, items: Items, outputs: list[np.ndarray], at: np.ndarray, known: Known, names: list[str]) -> "Rows":
        model, targets, answers = items.model, items.targets[at], [output[at] for output in outputs]
        captions = [
            model.task.caption(target, list(answer), names) for target, answer in zip(targets, zip(*answers, strict=True), strict=True)
        ]
        captions = [(clean(true.removeprefix("is ")), clean(given.removeprefix("predicted ")), right) for true, given, right in captions]
        where, columns = items.where(at), list(known.importance)[:MAX_SHOWN_COLUMNS]
        known_by = (where and [clean(name) for name in where], items.names is None)
        if columns:
            cells = [[clean(value) for value in row] for row in zip(*(items.columns[name][1][at] for name in columns), strict=True)]
            return cls(columns, cells, [], [], captions, *known_by)
        shown = model.input.part.shown(items.file.take("inputs", items.places[at]), items.described)
        if isinstance(shown, list):
            return cls([], [], [], [clean(text, MAX_LINE) for text in shown], captions, *known_by)
        marks = model.task.marks(targets, answers) or [None] * len(at)
        return cls([], [], [drawing.picture(*pair) for pair in zip(shown, marks, strict=True)], [], captions, *known_by)
