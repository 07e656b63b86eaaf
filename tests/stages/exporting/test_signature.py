"""What signature.json says of every model of params.yaml, and that it is enough to use the model without this repository."""

import json

import pytest

from stages.common.meta import Resize
from stages.exporting.section import Export
from stages.exporting.signature import Signature
from stages.exporting.signature import describe as describe_by
from tests.exported import SECTION, facts_of
from tests.toy import MODELS, PARAMS, TOYS, Data, data_of, fresh_model, toy, toy_model


def describe(name: str, model, data: Data, section: Export = SECTION) -> Signature:
    return describe_by(name, model.meta, section.names, section.opset, facts_of(model, data, section))


def of_toy(name: str, section: Export = SECTION) -> Signature:
    return describe("own", toy_model(name), toy(name), section)


@pytest.mark.parametrize("name", MODELS)
def test_it_describes_the_dataset_s_inputs_and_classes(name):
    meta = data_of(name).meta
    signature = describe(name, fresh_model(name), data_of(name))
    assert (signature.model, signature.dataset, signature.task, signature.opset) == (name, PARAMS["models"][name]["dataset"], meta.task, 17)
    assert signature.kind == meta.input.kind == signature.input.name
    assert (signature.classes, signature.alphabet) == (meta.classes, meta.input.alphabet)
    assert [feature.name for feature in signature.features or []] == (meta.input.names or [])
    assert signature.source in ("sample", "generated") and signature.description == meta.description


@pytest.mark.parametrize("name", MODELS)
def test_it_survives_json(name):
    signature = describe(name, fresh_model(name), data_of(name))
    assert Signature.model_validate_json(signature.as_properties()["signature"]) == signature
    assert json.loads(signature.as_properties()["signature"]) == signature.model_dump()


@pytest.mark.parametrize("name", TOYS)
def test_every_input_and_output_says_what_it_means(name):
    signature = of_toy(name)
    assert all(entry.meaning for entry in (signature.input, *signature.outputs))


def test_the_names_are_those_of_params():
    names = {name: f"my_{name}" for name in ("image", "features", "characters", "probabilities", "label", "prediction")}
    section = Export.model_validate(PARAMS["export"] | {"names": names})
    signature = of_toy("codes", section)
    assert [entry.name for entry in (signature.input, *signature.outputs)] == ["my_characters", "my_probabilities", "my_label"]
    assert list(signature.golden.outputs) == ["my_probabilities", "my_label"]
    assert of_toy("spots", section).outputs[0].name == "my_prediction"


AXES = {
    "numbers": ({0: "batch"}, [{0: "batch"}]),
    "patients": ({0: "batch"}, [{0: "batch"}] * 2),
    "shapes": ({0: "batch"}, [{0: "batch"}] * 2),
    "spots": ({0: "batch"}, [{0: "batch"}]),
    "words": ({0: "batch", 1: "length"}, [{0: "batch"}] * 2),
    "tags": ({0: "batch"}, [{0: "batch"}] * 2),
    "codes": ({0: "batch", 1: "length"}, [{0: "batch", 1: "length"}] * 2),
}


@pytest.mark.parametrize("name", TOYS)
def test_axes_of_any_size_are_named(name):
    signature = of_toy(name)
    assert (signature.input.dynamic_axes(), [entry.dynamic_axes() for entry in signature.outputs]) == AXES[name]


def test_missing_values_are_explained():
    meaning = of_toy("patients").input.meaning
    assert meaning == "a, b, c: raw, not scaled. NaN is missing; so is 0 in b."


def test_the_numbers_of_a_regression_are_named_with_their_units():
    assert of_toy("spots").outputs[0].meaning == "row (pixels), column (pixels)"


def test_how_photographs_are_resized_is_kept():
    model, data = toy_model("shapes"), toy("shapes")
    model.meta = model.meta.model_copy(update={"input": model.meta.input.model_copy(update={"resize": Resize(shorter_side=256, crop=224)})})
    assert describe("own", model, data).resize == Resize(shorter_side=256, crop=224)
