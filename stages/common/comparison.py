"""A model's metrics beside those of its baselines, which metrics.json has under `baseline_<name>_<metric>`."""

from types import ModuleType

PREFIX = "baseline_"
NAMES = {  # of the baselines that evaluate may measure, in words
    "majority": "the largest class",
    "mean": "the mean",
    "linear": "the linear model",
    "boosting": "gradient boosting",
    "words": "the linear model of words",
    "nearest_mean": "the nearest class mean of the network's features",
}
WORDS = {"log_loss": "log-loss", "rmse": "RMSE"}
ENDS = ("_low", "_high")
NEARLY_PERFECT = {"auc": 0.99, "r2": 0.999}  # of a baseline,
NEARLY_RIGHT, ORDINARY = 0.995, 0.95  # and of several classes the accuracy, where the largest class alone gives less than this
TOO_GOOD = "Nearly perfect: look for a column that tells the answer (docs/audit.md)."
DIGITS = (3, 4, 5, 6)  # as many as tell two figures apart

Metrics = dict[str, float]


def own_metrics(metrics: Metrics) -> Metrics:
    """Those of the model itself, with the ends of their intervals."""
    return {name: value for name, value in metrics.items() if not name.startswith(PREFIX)}


def baselines(metrics: Metrics) -> dict[str, Metrics]:
    """Those of each baseline that was measured, by its name: `majority` or `mean`, and perhaps others."""
    found = {}
    for baseline in NAMES:
        prefix = f"{PREFIX}{baseline}_"
        if measured := {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}:
            found[baseline] = measured
    return found


def verdict(metrics: Metrics, task: ModuleType) -> str:
    """Whether the network is better than the best of its baselines in the task's main figure, COMPARED[0], in a sentence or two.

    Such as "Gradient boosting is better: log-loss 0.231 against 0.239." Empty where no baseline was measured. Where one that looks at the
    inputs is nearly perfect, a last sentence says so.
    """
    said = compared(metrics, task)
    return f"{said} {TOO_GOOD}" if said and is_too_good(metrics) else said


def is_too_good(metrics: Metrics) -> bool:
    """Whether a baseline is so good that a column is likely to tell the answer; by accuracy only where the largest class is not."""
    measured = baselines(metrics)
    usual = measured.get("majority", {}).get("accuracy", 0.0)
    learned = [own for name, own in measured.items() if name in ("linear", "boosting")]
    by_accuracy = [own.get("accuracy", 0.0) for own in learned if "auc" not in own and usual < ORDINARY]
    by_others = [own.get(name, 0.0) >= least for own in learned for name, least in NEARLY_PERFECT.items()]
    return any(by_others) or any(value >= NEARLY_RIGHT for value in by_accuracy)


def compared(metrics: Metrics, task: ModuleType) -> str:
    main = task.COMPARED[0]
    lower = task.METRICS[main] == "lower"
    measured = {name: own for name, own in baselines(metrics).items() if main in own}
    if main not in metrics or not measured:
        return ""
    best = min(measured, key=lambda name: measured[name][main] if lower else -measured[name][main])
    network, other = metrics[main], measured[best][main]
    pairs = ((as_text(network, digits), as_text(other, digits)) for digits in DIGITS)
    texts = next((pair for pair in pairs if pair[0] != pair[1]), None)
    if texts is None:
        return f"{NAMES[best].capitalize()} is as good as the network: {WORDS.get(main, main)} {as_text(network, DIGITS[0])} in both."
    ends = [[one.get(f"{main}{end}") for end in ENDS] for one in (metrics, measured[best])]
    (low, high), (other_low, other_high) = ends
    overlap = None not in (low, high, other_low, other_high) and low <= other_high and other_low <= high  # type: ignore[operator]
    tail = " The 95 % intervals overlap." if overlap else ""
    if (network < other) == lower:
        which = "the only baseline" if len(measured) == 1 else "the best baseline"
        return f"The network is better than {NAMES[best]}, {which}: {WORDS.get(main, main)} {texts[0]} against {texts[1]}.{tail}"
    return f"{NAMES[best].capitalize()} is better: {WORDS.get(main, main)} {texts[1]} against {texts[0]}.{tail}"


def as_text(value: float, digits: int) -> str:
    """With so many digits, but with none left out before the point: 0.231, 47,413."""
    return f"{value:,.0f}" if abs(value) >= 10**digits - 0.5 else f"{value:.{digits}g}"
