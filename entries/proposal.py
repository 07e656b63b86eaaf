"""What `make new` makes of data, by its kind: entries/<kind>/proposal.py looks at it and gives a Proposal."""

from pathlib import Path
from typing import Any, Protocol


class Proposal(Protocol):
    """A dataset and a model of the data at `path`, which was looked at."""

    path: Path

    def print(self) -> None:
        """Says what was found."""

    def dataset(self, name: str) -> dict[str, Any]:
        """The entry under `datasets` in params.yaml."""

    def model(self, name: str) -> dict[str, Any]:
        """The entry under `models`."""

    def schema(self, address: str) -> str:
        """The content of data/schemas/<name>.yaml, empty where the kind of data has none; `address` is where the data was fetched."""

    def place(self, raw: Path) -> None:
        """Puts the data into the folder `raw`, which is empty."""


def is_usable(name: str) -> bool:
    """Whether it is written in one way everywhere; names with a dot first are the project's own."""
    return bool(name) and name.isprintable() and not name.startswith(".")
