"""What the signature says to consumers of one input or output of an exported model, and of one number of a row."""

from stages.common.params import Section

BATCH, LENGTH = "batch", "length"  # axes of any size


class Entry(Section):
    """A text in `shape` is an axis of any size. `range` is what its numbers may be, where that is known."""

    name: str
    dtype: str
    shape: list[int | str]
    meaning: str
    range: list[float] | None = None

    def dynamic_axes(self) -> dict[int, str]:
        return {axis: size for axis, size in enumerate(self.shape) if isinstance(size, str)}


class Feature(Section):
    """One number of a row: its unit (empty where none is known), and the smallest, largest and mean value that train has, if any."""

    name: str
    unit: str
    low: float | None
    high: float | None
    mean: float | None
    zero_is_missing: bool
