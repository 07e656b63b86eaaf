"""Where INT8 is offered follows from what was measured."""

import pytest

from benchmarks import inference, tables
from tests.toy import PARAMS


def measured(p50: float, rows: float) -> dict[str, object]:
    return {"1": {"ONNX Runtime": {"p50_us": 100.0, "rows_per_s": 1000.0}, "INT8": {"p50_us": p50, "rows_per_s": rows}}}


@pytest.mark.parametrize(
    ("p50", "rows", "expected"),
    [(90.0, 1000.0, True), (90.0, 950.0, True), (90.0, 949.0, False), (91.0, 5000.0, False), (50.0, 2000.0, True), (110.0, 900.0, False)],
)
def test_a_smaller_form_pays_where_single_rows_are_a_tenth_faster_and_batches_no_slower(p50, rows, expected):
    assert inference.pays(measured(p50, rows), "INT8") is expected


def test_a_form_that_could_not_be_made_does_not_pay():
    assert not inference.pays({"1": {"ONNX Runtime": {"p50_us": 100.0, "rows_per_s": 1000.0}, "INT8": {"fails": "too few rows"}}}, "INT8")


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        ({"INT8": 50.0}, ["linear"]),
        ({"INT8": 99.0}, []),
        ({"INT8": 50.0, "INT8 linear": 60.0}, ["convolution", "linear"]),
        ({"INT8": 60.0, "INT8 linear": 50.0}, ["linear"]),
        ({"INT8": 99.0, "INT8 linear": 98.0}, []),
    ],
)
def test_of_the_int8_forms_that_pay_the_fastest_is_asked_for(forms, expected):
    speeds = {form: {"p50_us": p50, "rows_per_s": 1000.0} for form, p50 in ({"ONNX Runtime": 100.0} | forms).items()}
    assert inference.asked_for({"1": speeds}) == expected


def test_params_ask_for_the_int8_forms_that_were_measured_to_pay():
    measured = tables.read_results("inference")["models"]
    assert {model: PARAMS["models"][model]["int8"] for model in measured} == {
        model: inference.asked_for(measured[model]) for model in measured
    }
