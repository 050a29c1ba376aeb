"""Wake: counting, waiting, and what children make of it."""

import multiprocessing
import os
import select

import pytest

from shm import Wake

SPAWN = multiprocessing.get_context("spawn")
HANG_S = 30.0


def test_sets_are_counted_until_cleared() -> None:
    wake = Wake()
    assert wake.clear() == 0
    for _ in range(3):
        wake.set()
    assert [wake.clear(), wake.clear()] == [3, 0]
    wake.close()


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, 0.001])
def test_wait_tells_and_does_not_clear(timeout_s: float) -> None:
    wake = Wake()
    assert wake.wait(timeout_s) is False
    wake.set()
    assert wake.wait(timeout_s) is True
    assert wake.wait(timeout_s) is True
    assert wake.clear() == 1
    assert wake.wait(timeout_s) is False
    wake.close()


def test_it_is_readable_in_a_selector_while_set() -> None:
    wake, poll = Wake(), select.poll()
    poll.register(wake, select.POLLIN)
    assert poll.poll(0) == []
    wake.set()
    assert poll.poll(0) == [(wake.fileno(), select.POLLIN)]
    wake.close()


def test_close_frees_the_descriptor_once() -> None:
    wake = Wake()
    fd = wake.fileno()
    wake.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    wake.close()
    with pytest.raises((OSError, ValueError)):
        wake.set()


def echo(ask: Wake, answer: Wake, n: int) -> None:
    """Answer n asks one by one; what is still set when it starts belongs to it."""
    for _ in range(n):
        assert ask.wait(HANG_S)
        assert ask.clear() == 1
        answer.set()


def test_it_works_across_spawn_and_for_a_restarted_child() -> None:
    ask, answer = Wake(), Wake()
    for _ in range(2):
        child = SPAWN.Process(target=echo, args=(ask, answer, 3))
        child.start()
        for _ in range(3):
            ask.set()
            assert answer.wait(HANG_S)
            assert answer.clear() == 1
        child.join(HANG_S)
        assert child.exitcode == 0
        child.close()
    ask.set()
    child = SPAWN.Process(target=echo, args=(ask, answer, 1))  # set before the child was there: not lost
    child.start()
    assert answer.wait(HANG_S)
    child.join(HANG_S)
    assert child.exitcode == 0
    child.close()
    ask.close()
    answer.close()
