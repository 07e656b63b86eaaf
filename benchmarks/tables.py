"""Writes the README's tables from benchmarks/results, so that no figure in it is typed by hand.

Command: python -m benchmarks.tables
Reads:   benchmarks/results/accuracy.json (written by benchmarks/accuracy.py) and fresh_clone.json (by fresh_clone.py)
Writes:  README.md, between each pair of `<!-- table: NAME -->` and `<!-- end -->`
"""

import json
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.accuracy import recipe

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(text: str) -> str:
    """The README's text with every table made anew from the results file of its name."""
    models = YAML(typ="safe").load(ROOT / "params.yaml")["models"]
    tables = {"accuracy": accuracy_table(read_results("accuracy"), models), "fresh_clone": fresh_clone_table(read_results("fresh_clone"))}
    for name, table in tables.items():
        place = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", flags=re.DOTALL)
        text, found = place.subn(rf"\g<1>{table}\g<2>", text)
        assert found == 1, f"README.md has no place for the table {name}"
    return text


def read_results(name: str) -> dict[str, Any]:
    """What a benchmark wrote; nothing where it has not been run yet."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def accuracy_table(results: dict[str, Any], models: dict[str, Any]) -> str:
    """A row for each of `models`, in their order, measured or not; a figure of another recipe than theirs is marked."""
    lines = ["| model | data | measured on the test split | to reach | reached |", "|---|---|---|---|---|"]
    for model, committed in models.items():
        if model not in results:
            lines.append(f"| {model} | | not measured yet | | |")
            continue
        entry = results[model]
        figures = entry["figures"]
        measured, bounds = "<br>".join(map(shown, figures)), "<br>".join(map(bound, figures))
        reached = "yes" if all(figure["reached"] for figure in figures) else "**no**"
        if entry["recipe"] != recipe(committed):
            reached += " (with an earlier recipe)"
        lines.append(f"| {model} | {entry['dataset']} | {measured} | {bounds} | {reached} |")
    hardware = sorted({entry["hardware"] for entry in results.values()})
    dates = sorted({entry["date"] for entry in results.values()})
    return "\n".join(lines) + f"\n\nMeasured on {'; '.join(hardware)}, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}.\n"


def fresh_clone_table(result: dict[str, Any]) -> str:
    """Time and disk of each step."""
    if not result:
        return "Time and disk: not measured yet.\n"
    rows = [
        ("installing the locked requirements, once", f"{result['install_s'] / 60:.1f} min", f"{result['venv_gb']:.1f} GB"),
        ("`make repro`: every dataset, model, evaluation and export", f"{result['repro_s'] / 60:.1f} min", f"{result['rest_gb']:.1f} GB"),
        ("`make repro` again", f"{result['second_repro_s']:.1f} s", ""),
        ("`make test`", f"{result['test_s'] / 60:.1f} min", ""),
    ]
    lines = ["| step | time | disk |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + f"\n\nMeasured once, on {result['hardware']}, {result['date']}, by `python -m benchmarks.fresh_clone`.\n"


def shown(figure: dict[str, Any]) -> str:
    spread = f" ± {figure['std']:.3f} ({figure['seeds']} seeds)" if "seeds" in figure else ""
    return f"{figure['name']} {figure['value']:.4f}{spread}"


def bound(figure: dict[str, Any]) -> str:
    least, most = figure["least"], figure["most"]
    if least is not None and most is not None:
        return f"{least:g} to {most:g}"
    return f"≥ {least:g}" if least is not None else f"≤ {most:g}" if most is not None else "-"


if __name__ == "__main__":
    main()
