"""The report's pictures: known figures at their places, ink that follows the page, and any names."""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from stages.common.shelves import take_task
from stages.reporting import drawing
from stages.reporting.drawing import GREEN, ORANGE, TILE

STRANGE = ["$x^{$", "<b>&", "中文", ""]


def texts(svg):
    return [element.text or "" for element in ElementTree.fromstring(svg.replace("xlink:", "")).iter("text")]


def pixels(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def dots_of(monkeypatch, *arguments):
    """What reliability() gives matplotlib: the dots, and the bars about them."""
    found = {}
    monkeypatch.setattr(drawing.Axes, "scatter", lambda self, x, y, size, **_: found.update(x=x, y=y, size=size))
    monkeypatch.setattr(drawing.Axes, "errorbar", lambda self, x, y, away, **_: found.update(away=away))
    drawing.reliability(*arguments, ["claimed", "observed"])
    return found


def test_reliability_compares_means_bin_by_bin(monkeypatch):
    claimed = np.array([0.05] * 10 + [0.95] * 30 + [0.42, 1.0])
    observed = np.array([1.0] * 5 + [0.0] * 5 + [1.0] * 30 + [1.0, 1.0])
    found = dots_of(monkeypatch, claimed, observed, np.linspace(0, 1, 11))
    np.testing.assert_allclose(found["x"], [0.05, 0.42, (30 * 0.95 + 1) / 31])
    np.testing.assert_allclose(found["y"], [0.5, 1, 1])
    np.testing.assert_allclose(found["away"][:, 0], 1.96 * 0.5 / np.sqrt(10))
    assert (found["away"][:, 1:] == 0).all(), "a single item has no interval"
    assert found["size"].argmax() == 2


def test_an_interval_ends_where_no_mean_can_be(monkeypatch):
    found = dots_of(monkeypatch, np.full(6, 0.5), np.array([1.0] + [0.0] * 5), np.linspace(0, 1, 11))
    assert found["away"][0, 0] == pytest.approx(1 / 6)


def test_pictures_have_the_ink_of_the_page_and_nothing_from_elsewhere():
    svg = drawing.importances([("a column", np.array([0.1, 0.2, 0.3]))])
    assert "currentColor" in svg and drawing.INK not in svg
    assert not re.search(r"http|xmlns|<!DOCTYPE|<\?xml|<metadata|<!--| id=\"figure", svg)
    assert "a column" in texts(svg)
    assert svg == drawing.importances([("a column", np.array([0.1, 0.2, 0.3]))])


def test_any_name_can_be_drawn():
    grown = [(name, np.array([0.1])) for name in STRANGE]
    shares = {name: {"train": 0.5, "test": 0.25} for name in STRANGE}
    rows = [{"actual": name, "predicted": name} for name in STRANGE]
    for svg in (drawing.importances(grown), drawing.balance(shares), drawing.predictions(take_task("multiclass"), rows, STRANGE)):
        assert {name for name in STRANGE if name} <= set(texts(svg))


def test_the_matrix_has_its_counts():
    rows = [{"actual": "a", "predicted": "b"}] * 1234 + [{"actual": "b", "predicted": "b"}]
    assert {"1,234", "1", "a", "b"} <= set(texts(drawing.predictions(take_task("multiclass"), rows, ["a", "b"])))


def test_thousands_of_points_and_a_hundred_classes_stay_small():
    rng = np.random.default_rng(0)
    rows = [{"actual": value, "predicted": value} for value in rng.normal(size=20_000)]
    assert len(drawing.predictions(take_task("regression"), rows, ["y"])) < 300_000
    names = [f"class {number}" for number in range(100)]
    rows = [{"actual": names[number % 100], "predicted": names[number % 99]} for number in range(20_000)]
    assert len(drawing.predictions(take_task("multiclass"), rows, names)) < 100_000


def test_curves_are_of_epochs_or_of_the_weights_of_a_grid():
    rows = [{"epoch": "1", "split": "train", "lr": "0.1", "loss": "0.5", "accuracy": ""}]
    assert [(what, "train" in texts(svg), "epoch" in texts(svg)) for what, svg in drawing.learning_curves(rows)] == [
        ("loss", True, True),
        ("accuracy", True, True),
    ]
    assert "weight" in texts(drawing.learning_curves([{"epoch": "1", "split": "train", "weight": "2", "loss": "0.5"}])[0][1])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_s_pixels_are_shown_as_they_are(channels):
    picture = np.zeros((2, 4, channels), dtype=np.uint8)
    picture[0, 2:] = 200
    drawn = pixels(drawing.picture(picture))
    assert drawn.shape == (TILE // 2, TILE, 3), "not stretched"
    assert (drawn[: TILE // 4, TILE // 2 :] == 200).all() and (drawn[TILE // 4 :] == 0).all() and (drawn[:, : TILE // 2] == 0).all()


def test_points_are_marked_in_their_row_and_column():
    drawn = pixels(drawing.picture(np.zeros((8, 8, 1), dtype=np.uint8), (np.array([1.0, 5.0]), np.array([6.0, 2.0]))))
    for (row, column), colour in (((1, 5), GREEN), ((6, 2), ORANGE)):
        found = np.argwhere((drawn == [int(colour[at : at + 2], 16) for at in (1, 3, 5)]).all(axis=2))
        assert found.mean(axis=0) == pytest.approx([(row + 0.5) * TILE / 8, (column + 0.5) * TILE / 8], abs=1)
