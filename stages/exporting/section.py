"""The section `export` of params.yaml."""

from typing import Annotated

from pydantic import Field, model_validator

from stages.common.params import Section

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Names(Section):
    """`export.names`: what the inputs and outputs of every exported model are called; no two are called the same."""

    image: Name
    features: Name
    characters: Name
    probabilities: Name
    label: Name
    prediction: Name

    @model_validator(mode="after")
    def _names_differ(self) -> "Names":
        names = list(self.model_dump().values())
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"expected different names, got {name!r} twice")
        return self


class Export(Section):
    """The ONNX opset, the largest difference from PyTorch that is let through, and the names that consumers see."""

    opset: int = Field(ge=13, le=20)
    tolerance: float = Field(gt=0)
    names: Names
