"""What one sees of a rebuild in Prefect's UI, beside its tasks: artifacts."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact

from pipelines.rebuilding.build import Outcome, Result
from pipelines.serving.markdown import as_markdown

MODELS = Path("models")
Metrics = dict[str, float]
Released = Callable[[str], tuple[str, Metrics] | None]  # the last version of a model, and its metrics


def report(results: dict[str, Result], released: Callable[[], Released]) -> None:
    """A table of the stages and, where something was made, one of all models' metrics, and a page for each model whose files or
    report are new.
    """
    keep(as_table(results), "rebuild", "What became of every stage")
    made = {name for name, result in results.items() if result.outcome in (Outcome.RAN, Outcome.RESTORED)}
    names = [name.removeprefix("evaluate@") for name in results if name.startswith("evaluate@")]
    models = [name for name in names if (MODELS / name / "metrics.json").exists()]
    if not (made and models):
        return
    last = released()
    keep(as_comparison(models, last), "metrics", "Metrics beside those of the last release")
    for name in models:
        if made & {f"export@{name}", f"report@{name}"}:
            keep(page_of(name, last), f"model-{name.replace('_', '-').lower()}", f"{name} as it is now")


def keep(markdown: str, key: str, description: str) -> None:
    """As an artifact of Prefect's."""
    create_markdown_artifact(markdown, key=key, description=description)


def as_table(results: dict[str, Result]) -> str:
    """Markdown: a line for each stage, but for those that were up to date, which are counted."""
    idle = [name for name, result in results.items() if result.outcome is Outcome.UP_TO_DATE]
    rows = [
        f"| {name} | {result.outcome} | {result.seconds:.1f} | {as_markdown(result.why)} |"
        for name, result in results.items()
        if result.outcome is not Outcome.UP_TO_DATE
    ]
    table = ["| stage | outcome | seconds | why |", "|---|---|---|---|", *rows, ""] if rows else []
    return "\n".join([*table, f"{len(idle)} of {len(results)} stages were up to date."])


def as_comparison(models: list[str], released: Released) -> str:
    """Markdown: a line for each model and metric."""
    rows = []
    for name in models:
        version, before = released(name) or ("", {})
        now = read_metrics(name)
        for metric in [metric for metric in now if not metric.endswith(("_low", "_high")) and not metric.startswith("baseline_")]:
            change = f"{now[metric] - before[metric]:+.4f}" if metric in before else ""
            rows.append(f"| {name} | {metric} | {with_interval(now, metric)} | {with_interval(before, metric)} | {change} | {version} |")
    return "\n".join(["| model | metric | now | released | change | version |", "|---|---|---|---|---|---|", *rows])


def with_interval(metrics: Metrics, metric: str) -> str:
    """Such as 0.9917 (0.9806 to 1.0000)."""
    if metric not in metrics:
        return ""
    ends = [metrics.get(f"{metric}_{end}") for end in ("low", "high")]
    return f"{metrics[metric]:.4f}" + (f" ({ends[0]:.4f} to {ends[1]:.4f})" if None not in ends else "")


def page_of(name: str, released: Released) -> str:
    """Markdown: a model's metrics beside those of the last release, the pictures of its card (curves, predictions), and where its report
    and its exported files lie. The report itself knows of no release: a stage reads no git.
    """
    lines = [f"# {name}", "", as_comparison([name], released), ""]
    files = [*(MODELS / name).glob("report.html"), *sorted((MODELS / name / "exported").glob("*"))]
    for path in files:
        if path.suffix == ".png":
            lines += [f"![{path.stem}](data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()})", ""]
    return "\n".join([*lines, *[f"- [{path.name}]({path.resolve().as_uri()})" for path in files]])


def read_metrics(name: str) -> Metrics:
    content: dict[str, Any] = json.loads((MODELS / name / "metrics.json").read_text(encoding="utf-8"))
    return {key: float(value) for key, value in content.items()}
