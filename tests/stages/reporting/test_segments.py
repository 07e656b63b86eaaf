"""Weak segments: those that are planted are found, chance is not, and numbers, dates and words are grouped as they are said to be."""

import numpy as np
import pytest

from stages.reporting.segments import MISSING, UNKNOWN, as_text, compared, grouped, weak_segments

RNG = np.random.default_rng(0)
COUNT = 2000


def words(*levels):
    return np.array(levels, dtype=object)[np.arange(COUNT) % len(levels)]


def errors_where(mask, inside, outside):
    return (RNG.random(COUNT) < np.where(mask, inside, outside)).astype(float)


def test_a_weak_level_a_weak_band_and_weak_gaps_are_found_and_nothing_else():
    city, number, other = words("Bonn", "Köln", "Ulm", "Jena"), RNG.normal(size=COUNT), RNG.normal(size=COUNT)
    other[RNG.random(COUNT) < 0.1] = np.nan
    weak = (city == "Ulm") | (number > np.quantile(number, 0.75)) | np.isnan(other)
    columns = {"city": ([0], city), "number": ([1], number), "other": ([2], other), "noise": ([3], RNG.normal(size=COUNT))}
    found, num_compared = weak_segments(columns, errors_where(weak, 0.6, 0.05))
    assert {(one.column, one.band.split(" to ")[-1] == as_text(number.max())) for one in found} == {
        ("city", False),
        ("number", True),
        ("other", False),
    }
    assert {one.band for one in found if one.column != "number"} == {"Ulm", MISSING}
    assert num_compared == 4 + 4 + 5 + 4
    assert all(one.low < one.error < one.high and one.p < 0.01 for one in found)
    costs = [(one.error - 0.05) * one.count for one in found]
    assert costs[0] == max(costs), "the costliest is first"


def test_of_hundreds_of_segments_without_a_difference_hardly_one_is_called_weak():
    columns = {f"column {number}": ([number], RNG.normal(size=COUNT)) for number in range(100)}
    found, num_compared = weak_segments(columns, errors_where(True, 0.2, 0.2))
    assert num_compared == 400 and len(found) <= 2


def test_a_few_rows_are_no_segment_nor_is_all_but_a_few():
    rare = np.array(["rare"] * 29 + ["rest"] * (COUNT - 29), dtype=object)
    assert weak_segments({"rare": ([0], rare)}, (rare == "rare").astype(float)) == ([], 0)
    assert weak_segments({}, np.zeros(0)) == ([], 0)


def test_p_and_interval_are_those_of_welch():
    from scipy import stats

    values, errors = words("a", "b"), RNG.exponential(size=COUNT)
    own, rest = errors[values == "a"], errors[values == "b"]
    first, second = compared("column", values, errors)
    expected = stats.ttest_ind(own, rest, equal_var=False, alternative="greater")
    assert (first.p, first.p + second.p) == pytest.approx((expected.pvalue, 1))
    low, high = stats.t.interval(0.95, len(own) - 1, own.mean(), stats.sem(own))
    assert (first.low, first.error, first.high) == pytest.approx((low, own.mean(), high))


def test_errors_without_any_spread_are_compared_too():
    values = words("a", "b")
    found, _ = weak_segments({"column": ([0], values)}, (values == "a").astype(float))
    assert [(one.band, one.error, one.p) for one in found] == [("a", 1.0, 0.0)]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([1.0, 2.0, 2.0, np.nan], ["1", "2", MISSING]),
        ([5.0] * 9 + [6.0], ["5", "6", MISSING]),
        (np.arange(8.0), ["0 to 1", "2 to 3", "4 to 5", "6 to 7", MISSING]),
        ([0.0] * 70 + list(np.arange(1.0, 31)), ["0", "1 to 5", "6 to 30", MISSING]),
        (np.array(["2026-01-02", "NaT", "2026-01-01"], dtype="datetime64[D]"), ["2026-01-01", "2026-01-02", MISSING]),
        (np.array(["a", "", None, "a"], dtype=object), ["a", MISSING, UNKNOWN]),
        ([np.nan] * 3, [MISSING]),
    ],
)
def test_values_are_grouped_into_bands_levels_and_gaps(values, names):
    values = np.asarray(values)
    codes, found = grouped(values)
    assert len(codes) == len(values) and codes.max() < len(found)
    assert found == names
