"""Wrong arguments of something of torch's end in a sentence that names the key; no text is taken for a number or a yes."""

from collections.abc import Iterable
from typing import Any, Literal

import pytest
import torch

from stages.shell.arguments import fitting, refuse_types
from stages.shell.errors import UserError


def part(
    momentum: float = 0.0,
    steps: int = 1,
    nesterov: bool = False,
    milestones: Iterable[int] = (),
    betas: "tuple[float, float] | None" = None,
    etas: tuple[float | torch.Tensor, float] = (0.5, 1.2),
    sizes: tuple[int, ...] = (),
    mode: Literal["min", "max"] = "min",
    search: str | None = None,
    anything: Any = None,
    untyped=None,
) -> None:
    """Stands for a part of torch's, with every kind of annotation that they have."""


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("momentum", "no", "momentum is 'no'; expected float, not a text."),
        ("betas", "no", "betas is 'no'; expected tuple[float, float] | None, not a text."),
        ("milestones", "no", "milestones is 'no'; expected collections.abc.Iterable[int], not a text."),
        ("momentum", True, "momentum is true; expected float, not true or false."),
        ("momentum", None, "momentum is null; expected float, not null."),
        ("steps", True, "steps is true; expected int, not true or false."),
        ("steps", 2.5, "steps is 2.5; expected int, not a fraction."),
        ("nesterov", 0.5, "nesterov is 0.5; expected bool, not a fraction."),
        ("nesterov", None, "nesterov is null; expected bool, not null."),
        ("etas", [0.5, 1.2, 3.0], "etas is [0.5, 1.2, 3.0]; expected a list of 2 numbers."),
        ("etas", 0.5, "etas is 0.5; expected a list of 2 numbers."),
        ("sizes", [1, float("inf")], "sizes.1 is inf; expected a finite number."),
    ],
)
def test_a_value_of_another_type_than_the_signature_s_is_refused(name, value, said):
    with pytest.raises(UserError) as refused:
        refuse_types(part, {name: value}, "models.own.part")
    assert str(refused.value) == f"params.yaml: models.own.part.{said}"


def test_what_may_be_right_is_let_through():
    numbers = {"momentum": 1, "steps": 3, "nesterov": True, "milestones": [1, 2], "betas": None, "etas": [0.5, 1], "sizes": [1, 2, 3]}
    texts = {"mode": "no", "search": "no", "anything": "no", "untyped": "no", "unknown": "no"}
    others = {"momentum": [1, 2], "search": None, "anything": 0.5, "untyped": None, "unknown": True}
    others["betas"] = [1]  # it may be something else than a tuple
    for arguments in (numbers, texts, others):
        refuse_types(part, arguments, "models.own.part")


@pytest.mark.parametrize(("error", "said"), [(TypeError("an odd argument."), "an odd argument"), (KeyError("mode"), "KeyError: 'mode'")])
def test_an_error_becomes_a_sentence_and_stays_its_cause(error, said):
    with pytest.raises(UserError) as raised, fitting("models.own.part", "SGD"):
        raise error
    assert str(raised.value) == f"params.yaml: the arguments of models.own.part (SGD) do not fit: {said}."
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", [UserError("already a sentence"), torch.OutOfMemoryError("full"), MemoryError()])
def test_what_is_not_the_arguments_fault_goes_on_as_it_is(error):
    with pytest.raises(type(error)) as raised, fitting("models.own.part", "SGD"):
        raise error
    assert raised.value is error
