"""Wrong arguments of something of torch's end in a sentence that names the key; no text is taken for a number or a yes."""

from collections.abc import Iterable
from typing import Any, Literal

import pytest
import torch

from stages.common.errors import UserError
from stages.training.arguments import fitting, refuse_text


def part(
    momentum: float = 0.0,
    nesterov: bool = False,
    milestones: Iterable[int] = (),
    betas: "tuple[float, float] | None" = None,
    mode: Literal["min", "max"] = "min",
    search: str | None = None,
    anything: Any = None,
    untyped=None,
) -> None:
    """Stands for a part of torch's, with every kind of annotation that they have."""


@pytest.mark.parametrize("name", ["momentum", "nesterov", "milestones", "betas"])
def test_a_text_in_place_of_a_number_is_refused(name):
    with pytest.raises(UserError, match=rf"^params\.yaml: models\.own\.part\.{name} is 'no'; expected .*, not a text\.$"):
        refuse_text(part, {name: "no"}, "models.own.part")


@pytest.mark.parametrize("name", ["mode", "search", "anything", "untyped", "unknown"])
def test_a_text_is_let_through_where_it_may_be_right(name):
    refuse_text(part, {name: "no"}, "models.own.part")


@pytest.mark.parametrize("value", [0.5, True, [1, 2], None])
def test_what_is_no_text_is_let_through(value):
    refuse_text(part, {"momentum": value}, "models.own.part")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TypeError("an odd argument."), "an odd argument"),
        (ValueError("too large"), "too large"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
        (KeyError("mode"), "KeyError: 'mode'"),
    ],
)
def test_an_error_becomes_a_sentence_and_stays_its_cause(error, said):
    with pytest.raises(UserError) as raised, fitting("models.own.part", "SGD"):
        raise error
    assert str(raised.value) == f"params.yaml: the arguments of models.own.part (SGD) do not fit: {said}."
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", [UserError("already a sentence"), torch.OutOfMemoryError("full"), MemoryError(), KeyboardInterrupt()])
def test_what_is_not_the_arguments_fault_goes_on_as_it_is(error):
    with pytest.raises(type(error)) as raised, fitting("models.own.part", "SGD"):
        raise error
    assert raised.value is error
