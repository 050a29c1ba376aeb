"""What a child does that is dismissed, or told to say more or less."""

import logging
import os

import pytest
from board_rig import Daemon

from controller import layout, logs


@pytest.fixture
def daemon(tmp_path):
    made = Daemon(tmp_path)
    yield made
    made.owned.close()


def dismissed(*pids):
    return [*pids, *[0] * (layout.PERMIT["dismissed"].shape[0] - len(pids))]


def test_only_the_child_that_is_dismissed_ends(daemon):
    child = daemon.child()
    child.read_permit()
    assert not child.should_end
    daemon.write("permit", dismissed=dismissed(os.getpid() + 1))
    child.read_permit()
    assert not child.should_end
    daemon.write("permit", dismissed=dismissed(os.getpid() + 1, os.getpid()))
    child.read_permit()
    assert child.should_end


def test_the_log_level_of_the_permit_is_taken_over_with_the_next_beat(daemon):
    root = logging.getLogger()
    before = root.level
    try:
        daemon.write("permit", log_level=logs.LEVELS.index("info"))
        child = daemon.child()
        root.setLevel(logging.WARNING)
        child.beat(1)
        assert root.level == logging.WARNING, "what it was started with is its own affair"
        daemon.write("permit", log_level=logs.LEVELS.index("debug"))
        child.read_permit()
        child.beat(2)
        assert root.level == logging.DEBUG
    finally:
        root.setLevel(before)
