"""The picture of the worst mistakes can be drawn of anything, and the matrix of classes has the right counts."""

import io

import numpy as np
import pytest
from PIL import Image

from stages.common.meta import Input
from stages.common.shelves import take_input, take_task
from stages.evaluation.pictures import CAPTION, MARGIN, RIGHT, TILE, WRONG, mistakes

BLACK = np.zeros((1, 8, 8, 1), dtype=np.uint8)


def sheet_of(shown, captions, points=None):
    return Image.open(io.BytesIO(mistakes(shown, captions, points)))


def tile(sheet):
    return np.asarray(sheet)[MARGIN : MARGIN + TILE, MARGIN : MARGIN + TILE]


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (5, 3, 2)])
def test_pictures_stand_in_a_square(count, columns, rows):
    sheet = sheet_of(BLACK.repeat(count, axis=0), [("is a", "predicted b", False)] * count)
    assert sheet.size == (columns * (TILE + MARGIN) + MARGIN, rows * (TILE + CAPTION + MARGIN) + MARGIN)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_s_pixels_are_shown_as_they_are(channels):
    picture = np.zeros((1, 2, 2, channels), dtype=np.uint8)
    picture[0, 0, 1] = 200
    drawn = tile(sheet_of(picture, [("", "", False)]))
    assert (drawn[: TILE // 2, TILE // 2 :] == 200).all() and (drawn[TILE // 2 :] == 0).all() and (drawn[:, : TILE // 2] == 0).all()


def test_points_are_marked_in_their_row_and_column():
    drawn = tile(sheet_of(BLACK, [("", "", False)], [(np.array([1.0, 5.0]), np.array([6.0, 2.0]))]))
    for (row, column), colour in (((1, 5), RIGHT), ((6, 2), WRONG)):
        found = np.argwhere((drawn == colour).all(axis=2))
        assert found.mean(axis=0) == pytest.approx([(row + 0.5) * TILE / 8, (column + 0.5) * TILE / 8], abs=1)


def test_a_long_caption_widens_every_tile():
    narrow, wide = (
        sheet_of(BLACK.repeat(4, axis=0), [("", text, False), *[("", "", False)] * 3]).width
        for text in ("short", "predicted automobile 0.99, and more")
    )
    assert wide > narrow + 2 * 40


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize("shown", [BLACK, [""]], ids=["picture", "text"])
def test_what_was_predicted_is_green_where_it_is_right_and_red_where_not(shown, is_right):
    drawn = {colour for _, colour in sheet_of(shown, [("", "predicted b", is_right)]).getcolors(100_000)}
    assert (RIGHT in drawn, WRONG in drawn) == (is_right, not is_right)


@pytest.mark.parametrize("text", ["two\nlines", "\t\r\x00\x07", "", "ümläut 中"])
def test_any_text_can_be_drawn_in_a_line(text):
    assert sheet_of([text], [("is " + text, "predicted", False)]).height == 20 + 2 * MARGIN


def test_a_table_of_thousands_of_features_makes_no_giant_picture():
    description = Input(kind="features", shape=[20_000], dtype="float32", names=[f"feature {n}" for n in range(20_000)])
    lines = take_input("features").shown(np.ones((3, 20_000), dtype=np.float32), description)
    assert sheet_of(lines, [("is " + "x" * 10_000, "predicted " + "y" * 10_000, False)] * 3).width < 10_000


def test_texts_and_features_are_shown_without_padding_and_by_name():
    rows = np.array([[75, 105, 109, 0, 0], [76, 101, 101, 0, 0]], dtype=np.int16)
    assert take_input("characters").shown(rows, Input(kind="characters", shape=[None], dtype="int16")) == ["Kim", "Lee"]
    described = Input(kind="features", shape=[2], dtype="float32", names=["age", "bmi"])
    assert take_input("features").shown(np.array([[1.5, np.nan]], dtype=np.float32), described) == ["age=1.5, bmi=nan"]


@pytest.mark.parametrize(
    ("task", "rows", "counts"),
    [
        ("multiclass", [("a", "a"), ("a", "b"), ("b", "b")], [[1, 0, 0], [1, 1, 0], [0, 0, 0]]),
        ("multilabel", [("a; b", "a"), ("none", "b"), ("b", "b")], [[1, 1, 0], [0, 1, 0], [0, 0, 0]]),
    ],
)
def test_rows_are_true_classes_and_columns_predicted_ones_in_label_order(task, rows, counts):
    drawn = []
    rows = [{"actual": actual, "predicted": predicted} for actual, predicted in rows]
    take_task(task).draw(None, rows, ["b", "a", "c"], lambda axes, counts, names: drawn.append(counts.tolist()))
    assert drawn == [counts]
