"""Requests that are not answered yet, on a clock of the test's own."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest

from controller.under_way import Asked, NotAsked, UnderWay

S = 1_000_000_000
OVERDUE_S = 0.2


def asked(chunk_id: int, sent_s: float, motion_id: int = 7, first: bool = False) -> Asked:
    t_ns = round(sent_s * S)
    return Asked(chunk_id, motion_id, cast(Any, None), t_ns, t_ns, True, first)


def under_way(*requests: Asked, named: bool = True, answered: bool = True) -> UnderWay:
    """With timeouts of 5 s, and 60 s for the first answer."""
    made = UnderWay(named, 5.0, 60.0)
    if answered:
        made.add(asked(0, 0.0))
        made.answered(0, 0)
    for request in requests:
        made.add(request)
    return made


def test_where_nothing_was_asked_nothing_is_waited_for_and_nothing_is_an_answer() -> None:
    nothing = under_way(answered=False)
    assert nothing.first
    assert nothing.patience_s(100 * S, OVERDUE_S) == 0.0
    assert not nothing.lost(100 * S, 7)
    with pytest.raises(NotAsked, match="an answer to nothing that was asked"):
        nothing.answered(1, 100 * S)


def test_a_named_answer_is_waited_for_until_it_is_overdue_and_taken_when_it_comes_after_all() -> None:
    requests = under_way(asked(1, 10.0))
    assert requests.patience_s(10 * S, OVERDUE_S) == OVERDUE_S
    assert requests.patience_s(round(10.25 * S), OVERDUE_S) == 0.0
    requests.add(asked(2, 10.3))
    assert requests.answered(1, 11 * S).chunk_id == 1
    assert requests.patience_s(round(10.3 * S), OVERDUE_S) == OVERDUE_S, "the second is still awaited"
    assert requests.answered(2, 11 * S).chunk_id == 2


def test_an_answer_makes_those_before_it_unwanted() -> None:
    requests = under_way(asked(1, 10.0), asked(2, 10.3))
    requests.answered(2, 11 * S)
    with pytest.raises(NotAsked, match="an answer to nothing"):
        requests.answered(1, 11 * S)


@pytest.mark.parametrize("named", [3, None, "1", True, 1.0])
def test_a_name_that_was_not_asked_is_refused(named: object) -> None:
    with pytest.raises(NotAsked, match=f"answer to request {named!r}, expected 1"):
        under_way(asked(1, 10.0)).answered(named, 11 * S)


def test_without_names_an_answer_is_to_the_only_request_and_is_waited_for_to_the_end() -> None:
    requests = under_way(asked(1, 10.0), named=False)
    assert requests.patience_s(11 * S, OVERDUE_S) == 4.0
    assert requests.answered(None, 11 * S).chunk_id == 1


def test_a_first_answer_and_one_whose_delay_nobody_knows_have_all_their_time() -> None:
    assert under_way(asked(1, 10.0), answered=False).patience_s(10 * S, OVERDUE_S) == 60.0
    assert under_way(asked(1, 10.0)).patience_s(10 * S, math.inf) == 5.0


def test_a_server_is_lost_once_it_has_owed_an_answer_for_too_long_however_often_it_is_asked() -> None:
    requests = under_way(asked(1, 10.0), asked(2, 12.0), asked(3, 14.9))
    assert not requests.lost(round(14.99 * S), 7)
    assert requests.lost(15 * S, 7)
    requests.answered(2, 15 * S)
    assert not requests.lost(round(19.9 * S), 7)
    assert requests.lost(20 * S, 7)


def test_what_an_earlier_motion_is_owed_does_not_count_but_without_names() -> None:
    assert not under_way(asked(1, 10.0, motion_id=6)).lost(100 * S, 7)
    assert not under_way(asked(1, 10.0, motion_id=6)).lost(100 * S, 0)
    assert under_way(asked(1, 10.0, motion_id=6), named=False).lost(100 * S, 0)
    requests = under_way(asked(1, 10.0, motion_id=6), asked(2, 99.0))
    assert not requests.lost(100 * S, 7), "owed since this motion asked"
