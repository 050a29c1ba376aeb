"""Better, worse or noise: on figures whose answer is known."""

import math

import numpy as np
import pytest

from bench.results import merged, result
from bench.verdict import Verdict, change, changes, only_in_one

HOST = {"busy_percent": 0.0, "steal_percent": 0.0, "cpu_waited_percent": 0.0, "load": [0.0], "took_s": 1.0}


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [
        ([1.0, 1.1, 1.2], [2.0, 2.1, 2.2], Verdict.WORSE),
        ([2.0, 2.1, 2.2], [1.0, 1.1, 1.2], Verdict.BETTER),
        ([1.0, 1.1, 1.2], [1.05, 1.1, 1.15], Verdict.SAME),
        ([1.0, 1.0, 1.0], [1.05, 1.05, 1.05], Verdict.SAME),  # no noise at all, and yet below the floor
        ([1.0, 1.5, 2.0], [1.4, 2.0, 2.6], Verdict.UNCLEAR),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], Verdict.SAME),
        ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], Verdict.WORSE),
        ([1.0], [2.0, 2.0], Verdict.NO_REPEATS),
        ([-1.0, -1.0], [2.0, 2.0], Verdict.NO_RATIO),
    ],
)
def test_verdicts(before, now, verdict):
    assert change("p50_ms", before, now).verdict is verdict


@pytest.mark.parametrize("what", ["mb_per_s", "rate_hz", "success"])
def test_of_some_findings_more_is_better(what):
    assert change(what, [1.0, 1.0], [2.0, 2.0]).verdict is Verdict.BETTER
    assert change(what, [2.0, 2.0], [1.0, 1.0]).verdict is Verdict.WORSE


def test_the_numbers_are_those_of_the_medians():
    one = change("p50_ms", [1.0, 2.0, 9.0], [3.0, 4.0, 5.0])
    assert (one.before, one.now, one.ratio) == (2.0, 4.0, 2.0)
    assert one.low <= one.ratio <= one.high
    assert (one.low, one.high) == (pytest.approx(3.0 / 9.0), 5.0)


def test_the_floor_is_what_it_is_said_to_be():
    assert change("p50_ms", [1.0, 1.0], [1.2, 1.2], floor=0.1).verdict is Verdict.WORSE
    assert change("p50_ms", [1.0, 1.0], [1.2, 1.2], floor=0.3).verdict is Verdict.SAME


def test_noise_alone_is_rarely_called_a_change():
    """Runs of one distribution, 20 % wide: of a hundred comparisons at most a few are verdicts."""
    random = np.random.default_rng(0)
    verdicts = [change("p50_ms", *np.exp(random.normal(0.0, 0.2, (2, 5)))).verdict for _ in range(100)]
    assert sum(verdict in (Verdict.BETTER, Verdict.WORSE) for verdict in verdicts) <= 5


def test_a_change_by_half_is_seen_through_such_noise():
    random = np.random.default_rng(1)
    pairs = [np.exp(random.normal(0.0, 0.1, (2, 5))) * [[1.0], [1.5]] for _ in range(50)]
    assert sum(change("p50_ms", *pair).verdict is Verdict.WORSE for pair in pairs) >= 45


def test_from_none_to_some_has_no_finite_ratio():
    assert change("stalls", [0.0, 0.0], [1.0, 1.0]).ratio == math.inf


def runs(*p50s, peer="ours"):
    return merged([result("a", HOST, [{"peer": peer, "n": 5, "p50_ms": p50, "max_ms": 9.0}]) for p50 in p50s])


def test_rows_are_compared_by_name_and_how_much_was_measured_is_no_finding():
    ((name, one),) = changes(runs(1.0, 1.1), runs(2.0, 2.1))
    assert (name, one.what, one.verdict) == ("ours", "p50_ms", Verdict.WORSE)


def test_rows_of_one_side_are_named():
    before, now = runs(1.0, 1.1), runs(1.0, 1.1, peer="stock")
    assert list(changes(before, now)) == []
    assert only_in_one(before, now) == ["ours: no more", "stock: new"]
