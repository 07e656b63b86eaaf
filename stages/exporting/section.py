"""The section `export` of params.yaml, and what `datasets.<name>.about` says to the people who receive a model."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stages.common.meta import Origin
from stages.common.params import EACH, ONE, ONE_OR_EACH, Section
from stages.common.shelves import part_names, take_input, take_task

MIN_CALIBRATION_ROWS = 300  # fewer say too little of the range of a layer's outputs

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Text = Annotated[str, Field(pattern=r"^\S(.*\S)?$")]  # a line

# `models.<name>.int8`: the kinds of layers on 8-bit numbers, where that was measured to be faster than model.onnx.
Int8Layers = list[Literal["convolution", "linear"]]


def no_name_twice(names: dict[str, str]) -> dict[str, str]:
    inputs = [name for kind in part_names("inputs") for name in take_input(kind).NAMES]
    known = dict.fromkeys([*inputs, "class", *(name for task in part_names("tasks") for name in take_task(task).OUTPUTS)])
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{unknown[0]} is neither a kind of input nor an output; expected some of {', '.join(known)}")
    called = [names.get(name, name) for name in known if name in names or name != "class"]  # which is made only where it has a name
    if twice := [name for name in called if called.count(name) > 1]:
        raise ValueError(f"expected different names, got {twice[0]!r} twice")
    return names


class Int8(Section):
    """`export.int8`: what an INT8 form may cost at most, in points of a score (hundredths of an accuracy), and by how many rows of train it
    is calibrated.
    """

    max_points_lost: float = Field(ge=0)
    calibration_rows: int = Field(ge=MIN_CALIBRATION_ROWS)


class Export(Section):
    """The ONNX opset, the largest difference from PyTorch that is let through, the models' licence, what inputs (by their kind) and outputs
    are called where it is not by their own names, and what smaller forms must keep. A name for `class` asks for an output of the ONNX file
    that gives the most probable class in words.
    """

    opset: int = Field(ge=13, le=20)
    tolerance: float = Field(gt=0)
    licence: Text
    names: Annotated[dict[str, Name], AfterValidator(no_name_twice)]
    int8: Int8


class Ink(Section):
    """Each picture of a dataset shows one drawing, light on dark, its longer side so many pixels, its centre of mass in the middle."""

    longer_side: int = Field(ge=1)


class About(Section):
    """`datasets.<name>.about`: what models of this dataset are for, what to beware of, the data's licence (by its origin, where a stand-in
    has another), units of features, and whether pictures are drawings. It is handed on with the models and changes none of their numbers.
    """

    use: Text
    limits: Text
    licence: Annotated[Annotated[Text, ONE] | Annotated[dict[Origin, Text], EACH], ONE_OR_EACH]
    units: dict[str, Text] = Field(default_factory=dict)
    ink: Ink | None = None
