"""Counters and histograms."""

import pytest

from jefe.core.metrics import BOUNDS, Histogram, Metrics


def test_a_histogram_counts_each_time_in_one_range():
    histogram = Histogram()
    for bound in BOUNDS:
        histogram.add(bound)
    histogram.add(1000)
    histogram.add(0)
    assert histogram.buckets == [2] + [1] * len(BOUNDS)
    assert histogram.count == len(BOUNDS) + 2
    assert histogram.sum == pytest.approx(sum(BOUNDS) + 1000)


def test_quantiles_are_right_up_to_the_width_of_a_range():
    histogram = Histogram()
    assert histogram.quantile(0.5) == 0
    for _ in range(99):
        histogram.add(0.002)
    histogram.add(0.3)
    assert histogram.quantile(0.5) == 0.0025
    assert histogram.quantile(0.99) == 0.0025
    assert histogram.quantile(1) == 0.3


def test_the_figures_are_those_of_all_languages_together():
    metrics = Metrics()
    metrics.runs["hexput"].finished += 2
    metrics.runs["other"].finished += 1
    metrics.runs["hexput"].killed += 1
    metrics.runs["hexput"].cancelled += 5
    metrics.run_time.add(0.25)
    metrics.run_time.add(0.5)
    figures = metrics.figures()
    assert figures["runs"] == 4  # one that nobody waited for has not ended
    assert figures["outcomes"] == {"finished": 3, "killed": 1, "cancelled": 5}
    assert (figures["timeTaken"], figures["maxTimeTaken"]) == (750, 500)
