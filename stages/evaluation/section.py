"""The section `evaluate` of params.yaml, apart from what it needs to be computed: check reads it, and need not wait for scikit-learn."""

from pydantic import Field

from stages.common.params import Section


class Evaluate(Section):
    """Resamples of each bootstrap interval, and how many of the worst mistakes are drawn."""

    num_resamples: int = Field(ge=100, le=100_000)
    num_mistakes: int = Field(ge=1, le=1000)
