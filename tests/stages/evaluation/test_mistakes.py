"""The picture of the worst mistakes: which items, in which order, and that it can be drawn of anything."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from stages import evaluate
from stages.common.meta import Input
from stages.common.shelves import take_input, take_task
from stages.evaluation import mistakes
from stages.evaluation.mistakes import MARGIN, RIGHT, TILE, WRONG, Caption
from stages.modelling.model import Model
from tests.toy import PICTURE, describe, toy


def opened(png):
    image = Image.open(io.BytesIO(png))
    image.load()
    return image


def tile(sheet, column, row=0):
    x, y = MARGIN + column * (TILE + MARGIN), MARGIN + row * (TILE + mistakes.CAPTION + MARGIN)
    return np.asarray(sheet)[y : y + TILE, x : x + TILE]


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (5, 3, 2), (16, 4, 4)])
def test_pictures_stand_in_a_square(count, columns, rows):
    pictures = np.zeros((count, 8, 8, 1), dtype=np.uint8)
    sheet = mistakes.picture_sheet(pictures, [Caption("is a", "predicted b", False)] * count, None)
    assert sheet.size == (columns * (TILE + MARGIN) + MARGIN, rows * (TILE + mistakes.CAPTION + MARGIN) + MARGIN)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_s_pixels_are_shown_as_they_are(channels):
    picture = np.zeros((1, 2, 2, channels), dtype=np.uint8)
    picture[0, 0, 1] = 200
    drawn = tile(mistakes.picture_sheet(picture, [Caption("", "", False)], None), 0)
    assert (drawn[: TILE // 2, TILE // 2 :] == 200).all() and (drawn[TILE // 2 :] == 0).all() and (drawn[:, : TILE // 2] == 0).all()


def test_points_are_marked_in_their_row_and_column():
    picture = np.zeros((1, 8, 8, 1), dtype=np.uint8)
    drawn = tile(mistakes.picture_sheet(picture, [Caption("", "", False)], [(np.array([1.0, 5.0]), np.array([6.0, 2.0]))]), 0)
    for (row, column), colour in (((1, 5), RIGHT), ((6, 2), WRONG)):
        found = np.argwhere((drawn == colour).all(axis=2))
        assert found.mean(axis=0) == pytest.approx([(row + 0.5) * TILE / 8, (column + 0.5) * TILE / 8], abs=1)


def test_a_long_caption_widens_every_tile():
    pictures = np.zeros((4, 8, 8, 1), dtype=np.uint8)
    narrow, wide = (
        mistakes.picture_sheet(pictures, [Caption("", text, False), *[Caption("", "", False)] * 3], None).width
        for text in ("short", "predicted automobile 0.99, and more")
    )
    assert wide > narrow + 2 * 40


@pytest.mark.parametrize("is_right", [True, False])
def test_what_was_predicted_is_green_where_it_is_right_and_red_where_not(is_right):
    captions = [Caption("", "predicted b", is_right)]
    for sheet in (mistakes.picture_sheet(np.zeros((1, 8, 8, 1), dtype=np.uint8), captions, None), mistakes.text_sheet([""], captions)):
        drawn = {colour for _, colour in sheet.getcolors(100_000)}
        assert (RIGHT in drawn, WRONG in drawn) == (is_right, not is_right)


def test_a_sheet_of_texts_has_a_line_an_item():
    sheet = mistakes.text_sheet(["Kim", "a much longer line of text"], [Caption("is Korean", "predicted Dutch", False)] * 2)
    assert sheet.height == 2 * 20 + 2 * MARGIN and sheet.width > 250
    colours = {colour for _, colour in sheet.getcolors(100_000)}
    assert {RIGHT, WRONG} <= colours


@pytest.mark.parametrize("text", ["two\nlines", "\t\r\x00\x07", "", "ümläut 中"])
def test_any_text_can_be_drawn(text):
    assert mistakes.text_sheet([text], [Caption("is " + text, "predicted", False)]).height == 20 + 2 * MARGIN


def test_characters_are_shown_without_their_padding():
    rows = np.array([[75, 105, 109, 0, 0], [76, 101, 101, 0, 0]], dtype=np.int16)
    assert take_input("characters").shown(rows, Input(kind="characters", shape=[None], dtype="int16")) == ["Kim", "Lee"]


def test_features_are_shown_by_name():
    rows = np.array([[1.5, np.nan]], dtype=np.float32)
    assert take_input("features").shown(rows, Input(kind="features", shape=[2], dtype="float32", names=["age", "bmi"])) == [
        "age=1.5, bmi=nan"
    ]


# Which items are drawn


def meta(task, classes=None, outputs=None, kind=PICTURE):
    return describe("own", kind, task, classes, outputs, {})


def test_what_is_furthest_from_the_truth_comes_first():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    wrongness = take_task("multiclass").wrongness(np.array([0, 0, 1]), [probabilities, probabilities.argmax(axis=1)])
    assert wrongness == pytest.approx([0.1, 0.8, 0.4])


def test_a_sequence_is_as_wrong_as_its_worst_real_character():
    probabilities = np.array([[[0.9, 0.1], [0.3, 0.7], [0.0, 1.0]], [[0.8, 0.2], [0.9, 0.1], [0.5, 0.5]]])
    targets = np.array([[0, 0, -1], [0, 0, -1]])
    assert take_task("sequence").wrongness(targets, [probabilities, probabilities.argmax(-1)]) == pytest.approx([0.7, 0.2])


def test_a_regression_is_as_wrong_as_its_mean_error():
    wrongness = take_task("regression").wrongness(np.array([[1.0, 1.0]]), [np.array([[2.0, 4.0]])])
    assert wrongness == pytest.approx([2.0])


CAPTIONS = [
    ("regression", np.array([3.0, 4.25]), [np.array([2.5, 4.0])], ("is 3.00, 4.25", "predicted 2.50, 4.00", False)),
    ("multiclass", np.int64(1), [np.array([0.75, 0.25]), np.int64(0)], ("is b", "predicted a 0.75", False)),
    ("multiclass", np.int64(0), [np.array([0.75, 0.25]), np.int64(0)], ("is a", "predicted a 0.75", True)),
    ("multilabel", np.array([0, 1]), [np.zeros(2), np.array([1, 1])], ("is b", "predicted a; b", False)),
    ("sequence", np.array([0, 1, -1]), [np.zeros((3, 2)), np.array([1, 1, -1])], ("is ab", "predicted bb", False)),
    ("sequence", np.array([0, 1, -1]), [np.zeros((3, 2)), np.array([0, 1, -1])], ("is ab", "predicted ab", True)),
]


@pytest.mark.parametrize(("task", "target", "outputs", "expected"), CAPTIONS)
def test_captions_say_what_it_is_and_what_was_predicted(task, target, outputs, expected):
    assert take_task(task).caption(target, outputs, ["a", "b"]) == expected


def drawn(description, inputs, targets, outputs, most):
    model = Model(torch.nn.Identity(), description)
    worst = np.argsort(-model.task.wrongness(targets, outputs), kind="stable")[:most]
    return evaluate.draw_mistakes(model, inputs[worst], targets[worst], [output[worst] for output in outputs])


def test_the_worst_pictures_are_drawn_worst_first():
    inputs = np.stack([np.full((8, 8, 1), value, dtype=np.uint8) for value in (10, 20, 30)])
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.4, 0.6]])
    outputs = [probabilities, probabilities.argmax(axis=1)]
    sheet = opened(drawn(meta("multiclass", ["a", "b"]), inputs, np.array([0, 0, 0]), outputs, 2))
    assert [int(tile(sheet, column)[0, 0, 0]) for column in (0, 1)] == [20, 30]


def test_as_many_as_asked_for_are_drawn_and_no_more_than_there_are():
    data = toy("spots")
    inputs, targets = data.splits["test"]
    sizes = [opened(drawn(data.meta, inputs, targets, [targets + 1], most)).size for most in (1, 4, 100)]
    rows = [(height - MARGIN) // (TILE + mistakes.CAPTION + MARGIN) for _, height in sizes]
    assert rows == [1, 2, math.ceil(len(inputs) / math.ceil(math.sqrt(len(inputs))))]


def test_a_table_of_thousands_of_features_makes_no_giant_picture():
    description = Input(kind="features", shape=[20_000], dtype="float32", names=[f"feature {n}" for n in range(20_000)])
    lines = take_input("features").shown(np.ones((3, 20_000), dtype=np.float32), description)
    sheet = mistakes.text_sheet(lines, [mistakes.Caption("is " + "x" * 10_000, "predicted " + "y" * 10_000, is_right=False)] * 3)
    assert sheet.width < 10_000
