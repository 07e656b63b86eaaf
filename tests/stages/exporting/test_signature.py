"""What signature.json says of every model of params.yaml, and that it is enough to use the model without this repository."""

import json

import pytest

from stages.common.meta import Resize
from stages.exporting.section import Names
from stages.exporting.signature import Signature, describe
from tests.exported import NAMES, OPSET
from tests.toy import MODELS, PARAMS, TOYS, data_of, toy


@pytest.mark.parametrize("name", MODELS)
def test_it_describes_the_dataset_s_inputs_and_classes(name):
    meta = data_of(name).meta
    signature = describe(name, meta, NAMES, OPSET)
    assert (signature.model, signature.dataset, signature.task, signature.opset) == (name, PARAMS["models"][name]["dataset"], meta.task, 17)
    assert signature.kind == meta.input.kind == signature.input.name
    assert signature.classes == meta.classes and signature.features == meta.input.names and signature.alphabet == meta.input.alphabet
    assert signature.source in ("sample", "generated") and signature.description == meta.description


@pytest.mark.parametrize("name", MODELS)
def test_it_survives_json(name):
    signature = describe(name, data_of(name).meta, NAMES, OPSET)
    assert Signature.model_validate_json(signature.as_properties()["signature"]) == signature
    assert json.loads(signature.as_properties()["signature"]) == signature.model_dump()


@pytest.mark.parametrize("name", TOYS)
def test_every_input_and_output_says_what_it_means(name):
    signature = describe("own", toy(name).meta, NAMES, OPSET)
    assert all(entry.meaning for entry in (signature.input, *signature.outputs))


def test_the_names_are_those_of_params():
    names = {kind: f"my_{kind}" for kind in PARAMS["export"]["names"]}
    signature = describe("own", toy("codes").meta, Names.model_validate(names), OPSET)
    assert [entry.name for entry in (signature.input, *signature.outputs)] == ["my_characters", "my_probabilities", "my_label"]
    assert describe("own", toy("spots").meta, Names.model_validate(names), OPSET).outputs[0].name == "my_prediction"


AXES = {
    "numbers": ({0: "batch"}, [{0: "batch"}]),
    "patients": ({0: "batch"}, [{0: "batch"}] * 2),
    "shapes": ({0: "batch"}, [{0: "batch"}] * 2),
    "spots": ({0: "batch"}, [{0: "batch"}]),
    "words": ({0: "batch", 1: "length"}, [{0: "batch"}] * 2),
    "codes": ({0: "batch", 1: "length"}, [{0: "batch", 1: "length"}] * 2),
}


@pytest.mark.parametrize("name", TOYS)
def test_axes_of_any_size_are_named(name):
    signature = describe("own", toy(name).meta, NAMES, OPSET)
    assert (signature.input.dynamic_axes(), [entry.dynamic_axes() for entry in signature.outputs]) == AXES[name]


def test_missing_values_are_explained():
    meaning = describe("own", toy("patients").meta, NAMES, OPSET).input.meaning
    assert meaning == "a, b, c: raw, not scaled. NaN is missing; so is 0 in b."


def test_the_numbers_of_a_regression_are_named_with_their_units():
    assert describe("own", toy("spots").meta, NAMES, OPSET).outputs[0].meaning == "row (pixels), column (pixels)"


def test_how_photographs_are_resized_is_kept():
    meta = toy("shapes").meta
    resized = meta.model_copy(update={"input": meta.input.model_copy(update={"resize": Resize(shorter_side=256, crop=224)})})
    assert describe("own", resized, NAMES, OPSET).resize == Resize(shorter_side=256, crop=224)
