"""The section `report` of params.yaml."""

from pydantic import Field

from stages.common.params import Section


class Report(Section):
    """How many of the worst answers are shown."""

    num_mistakes: int = Field(ge=1, le=100)
