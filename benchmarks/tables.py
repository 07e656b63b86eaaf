"""Writes the README's tables from benchmarks/results, so that no figure in it is typed by hand.

Command: python benchmarks/tables.py
Reads:   benchmarks/results/accuracy.json (written by benchmarks/accuracy.py)
Writes:  README.md, between each pair of `<!-- table: NAME -->` and `<!-- end -->`
"""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def main() -> None:
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(text: str) -> str:
    """The README's text with every table made anew."""
    results = json.loads((Path(__file__).parent / "results" / "accuracy.json").read_text())
    table = accuracy_table(results)
    return re.sub(r"(<!-- table: accuracy -->\n).*?(<!-- end -->)", lambda found: found[1] + table + found[2], text, flags=re.DOTALL)


def accuracy_table(results: dict[str, Any]) -> str:
    lines = ["| model | data | measured on the test split | to reach | reached | minutes |", "|---|---|---|---|---|---|"]
    for model, entry in results.items():
        figures = entry["figures"]
        measured, bounds = "<br>".join(map(shown, figures)), "<br>".join(map(bound, figures))
        reached = "yes" if all(figure["reached"] for figure in figures) else "**no**"
        lines.append(f"| {model} | {entry['dataset']} | {measured} | {bounds} | {reached} | {entry['seconds'] / 60:.1f} |")
    hardware = sorted({entry["hardware"] for entry in results.values()})
    dates = sorted({entry["date"] for entry in results.values()})
    return "\n".join(lines) + f"\n\nMeasured on {'; '.join(hardware)}, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}.\n"


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
