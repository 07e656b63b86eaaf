"""Bad rows and unreadable files: left out, counted and named when they are few, an error when they are many."""

import sys

from stages.common.meta import LeftOut
from stages.shell.errors import UserError

NUM_EXAMPLES = 5


class LeftOutItems:
    """Collects what a part leaves out of a dataset; memory does not grow with their number."""

    def __init__(self) -> None:
        self.count = 0
        self.examples: list[str] = []

    def add(self, name: str, reason: str) -> None:
        """Leave out one item; `name` says where it stands (a file, or a file with line and column)."""
        self.count += 1
        if len(self.examples) < NUM_EXAMPLES:
            self.examples.append(printable(f"{name}: {reason}"))

    def settle(self, total: int, max_fraction: float) -> None:
        """Call it once, after the last of `total` items (good and bad): warns on stderr, or raises UserError if too many are bad."""
        if self.count == 0:
            return
        if self.count > max_fraction * total:
            advice = "fix the data or raise max_bad_fraction in params.yaml"
            if self.count > 0.9 * total:
                advice = "with so many, check first that the dataset's keys in params.yaml name the right files and columns"
            found = f"{self.count} of {total} items are bad, more than max_bad_fraction ({max_fraction}) allows"
            raise UserError(f"{found}: {self._named()}; {advice}.")
        print(f"warning: {self.count} of {total} items are left out: {self._named()}.", file=sys.stderr)

    def summary(self) -> LeftOut:
        return LeftOut(count=self.count, examples=list(self.examples))

    def _named(self) -> str:
        more = self.count - len(self.examples)
        return "; ".join(self.examples) + (f"; and {more} more" if more else "")


def printable(text: str) -> str:
    """`text` with control characters and undecodable bytes escaped, and cut at 300: names in hostile data may hold anything."""
    shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text[:301])
    return shown if len(text) <= 300 else shown[:300] + "..."
