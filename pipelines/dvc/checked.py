"""What the stage check has found out about a dataset: how its task is scored, and which way each metric is better."""

import json
from pathlib import Path
from typing import Any, NamedTuple

CHECKED = Path("data") / "checked" / "datasets"


class Facts(NamedTuple):
    """`score` is measured while training, and of each row of predictions.csv; `metrics` has "higher" or "lower" by name."""

    score: str
    metrics: dict[str, str]

    def is_error(self, metric: str) -> bool:
        """Whether smaller is better."""
        return self.metrics[metric] == "lower"


def facts_of(root: Path, dataset: Any) -> Facts:
    """Raises OSError where check has not run, ValueError or LookupError where the file is damaged."""
    content = json.loads((root / CHECKED / f"{dataset}.json").read_text(encoding="utf-8"))
    return Facts(content["score"], content["metrics"])
