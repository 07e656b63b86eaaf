"""Rows of a table: what is measured on train, and what a network gets of them, against plain Python and numpy."""

import datetime
import math

import numpy as np
import pytest
import torch

from stages.common.meta import Column
from stages.inputs import table
from stages.modelling.model import Preparation
from tests.toy import DATE, NUMBER, measured, table_of, toy

RNG = np.random.default_rng(0)


def prepared(rows, described):
    return Preparation(described)(torch.from_numpy(rows)).numpy()


def reference(rows, described):
    """What stages/inputs/table.py says that the network gets, a row at a time, in Python's own numbers."""
    own, answer = described.table, []
    for row in rows.astype(np.float64):
        numbers, codes = row[: len(own.numbers)], row[len(own.numbers) :].astype(int)
        values, filled, seasons = [], {}, {}
        for name, value, edges in zip(own.numbers, numbers, own.edges, strict=True):
            first, median, third = edges[6], edges[12], edges[18]
            spread = third - first or (edges[-1] - edges[0]) / 2
            filled[name] = median if math.isnan(value) else value
            within = min(max(filled[name], edges[0]), edges[-1])
            seasons[name] = within if edges[-1] - edges[0] < 365.2425 else filled[name]
            z = ((within if name in own.dates else filled[name]) - median) / spread if spread else 0.0
            values.append(math.copysign(3.0, z) if abs(z) > 1e9 else z / math.sqrt(1 + (z / 3) ** 2))
        for names, of, turn in (
            (own.dates, filled, lambda day: (day - 4) / 7),
            (own.dates, seasons, lambda day: day / 365.2425),
            (own.times, filled, lambda s: s / 86400),
        ):
            angles = [2 * math.pi * (turn(of[name]) % 1) for name in names]
            values += [*map(math.sin, angles), *map(math.cos, angles)]
        values += [float(math.isnan(numbers[own.numbers.index(name)])) for name in own.gaps]
        for one, code in zip(own.categories, codes, strict=True):
            values.append(float(0 if code >= 2 and one.levels[code - 2] in one.rare else code))
        answer.append(values)
    return np.array(answer)


@pytest.mark.parametrize("name", ["yachts", "yields"])
def test_a_network_gets_what_plain_python_computes(name):
    data = toy(name)
    rows = np.concatenate(list(table.cases([rows for rows, _ in data.splits.values()], data.meta.input)))
    assert np.isnan(rows).any() and (np.abs(rows) > 1e38).any()
    given = prepared(rows, data.meta.input)
    assert given.shape[1] == sum(table.layout(data.meta.input).values()) and np.isfinite(given).all()
    np.testing.assert_allclose(given, reference(rows, data.meta.input), atol=1e-2)  # of weeks after 100,000 days, in float32
    np.testing.assert_allclose(given[:, 0], reference(rows, data.meta.input)[:, 0], atol=1e-5)


def test_the_place_in_the_week_is_monday_s_on_mondays():
    described = measured(table_of({"day": Column(type="date", formats=["%Y-%m-%d"])}), np.zeros((3, 1), np.float32))
    days = [(datetime.date(2026, 11, number) - datetime.date(1970, 1, 1)).days for number in range(1, 15)]
    sine, cosine = prepared(np.array(days, np.float32)[:, None], described)[:, [1, 2]].T
    mondays = [datetime.date(2026, 11, number).weekday() == 0 for number in range(1, 15)]
    assert (np.isclose(cosine, 1, atol=1e-3) & np.isclose(sine, 0, atol=5e-3)).tolist() == mondays


def test_days_after_train_are_as_its_last_and_keep_their_season_where_train_has_a_year():
    for length, is_as_last in ((300, True), (800, False)):
        train = np.arange(20000, 20000 + length, dtype=np.float32)[:, None]
        described = measured(table_of({"day": Column(type="date", formats=["%Y-%m-%d"])}), train)
        last, later = prepared(np.array([[train[-1, 0]], [train[-1, 0] + 7 * 13]], np.float32), described)
        assert last[0] == later[0] and (last[[3, 4]] == later[[3, 4]]).all() == is_as_last
        np.testing.assert_allclose(last[[1, 2]], later[[1, 2]], atol=1e-3)  # of the week


def test_baselines_get_the_day_of_the_week_and_of_the_year_last():
    words = Column(type="category", levels=["x", "y"])
    described = table_of({"day": Column(type="date", formats=["%Y-%m-%d"]), "word": words})
    tuesday = (datetime.date(2026, 12, 1) - datetime.date(1970, 1, 1)).days
    rows = np.array([[tuesday, 2], [tuesday + 7, 3], [np.nan, 2]], np.float32)
    matrix, is_code = table.as_matrix(rows, measured(described, np.concatenate([rows, rows])))
    assert is_code.tolist() == [False, True, False, False]
    assert matrix[:2, 2].tolist() == [1, 1] and matrix[1, 3] - matrix[0, 3] == pytest.approx(7)
    assert matrix[0, 3] == pytest.approx(334, abs=1) and np.isnan(matrix[2, [0, 2, 3]]).all()


def test_only_numbers_and_only_categories_are_tables_too():
    words = Column(type="category", levels=["x", "y"])
    for columns, rows in (({"a": NUMBER}, [[1.5], [np.nan]]), ({"b": words, "c": words}, [[0, 1], [2, 3]])):
        rows = np.array(rows, np.float32)
        described = measured(table_of(columns), np.concatenate([rows, rows]))
        np.testing.assert_allclose(prepared(rows, described), reference(rows, described), atol=1e-6)


# Measured on train


def measure(rows, described, sizes):
    measurement, start = table.Measurement(described), 0
    while start < len(rows):
        size = next(sizes)
        measurement.add(rows[start : start + size])
        start += size
    return measurement.measured()


ONE_NUMBER = table_of({"a": NUMBER, "b": Column(type="category", levels=["x", "y", "z"])})


def test_quantiles_gaps_and_rare_levels_are_those_of_all_rows_in_whatever_pieces():
    rows = np.stack([RNG.normal(size=999), RNG.integers(0, 4, 999)], axis=1).astype(np.float32)
    rows[7, 1] = 4  # the one z
    for sizes in (iter([999]), iter([1, 500, 498]), iter([333] * 3)):
        found = measure(rows, ONE_NUMBER, sizes)
        np.testing.assert_allclose(found["table"].edges, [np.quantile(rows[:, 0].astype(np.float64), np.linspace(0, 1, 25))])
        assert found["table"].gaps == [] and found["table"].categories[0].rare == ["z"]
    rows[3, 0] = np.nan
    found = measure(rows, ONE_NUMBER, iter([999]))["table"]
    assert found.gaps == ["a"] and np.isfinite(found.edges).all()


def test_quantiles_of_more_rows_than_are_kept_are_near_those_of_all_and_do_not_depend_on_the_pieces(monkeypatch):
    monkeypatch.setattr(table, "MAX_SAMPLE", 1000)
    rows = np.stack([RNG.permutation(20_000), np.ones(20_000)], axis=1).astype(np.float32)
    edges = [measure(rows, ONE_NUMBER, iter([size] * 20_000))["table"].edges[0] for size in (700, 64, 3000)]
    for found in edges:
        np.testing.assert_allclose(found, np.linspace(0, 20_000, 25), atol=20_000 * 0.05)
    assert edges[0] == edges[1], "every second, fourth, ... row, wherever pieces end"


def test_a_column_without_a_value_in_train_says_nothing_later():
    described = measured(table_of({"a": NUMBER, "b": NUMBER}), np.array([[np.nan, 1], [np.nan, 2]], np.float32))
    assert prepared(np.array([[np.nan, 1], [5.0, 1]], np.float32), described)[:, 0].tolist() == [0, 0]
    assert described.table.gaps == ["a"]


def test_a_time_has_a_day_of_its_own():
    described = measured(table_of({"at": DATE}, ["at (second of the day)"]), np.array([[0, 0], [10, 43200]], np.float32))
    last = prepared(np.array([[0, 0], [0, 21600], [0, 43200]], np.float32), described)[:, -2:]
    np.testing.assert_allclose(last, [[0, 1], [1, 0], [0, -1]], atol=1e-6)
