"""Shared by all tests."""

import signal
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

# how long an example takes is the machine's business: no test bounds real time from above
settings.register_profile("default", deadline=None)
settings.load_profile("default")

# whoever starts the tests in the background of a shell has them ignore it, and with them every program they start
signal.signal(signal.SIGINT, signal.default_int_handler)

HAS_LEROBOT = find_spec("lerobot") is not None
collect_ignore = [] if HAS_LEROBOT else ["with_lerobot"]


def pytest_report_header() -> str:
    return "" if HAS_LEROBOT else "tests/with_lerobot: LeRobot has an environment of its own; make test-lerobot"


@pytest.fixture(scope="session")
def compile_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models of equal sizes are compiled once in a run, whatever parameters they get."""
    from policy_server.compile_cache import keep_compiled

    keep_compiled(tmp_path_factory.mktemp("compiled"))
    yield
    keep_compiled(None)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: a socket's path has at most 107 bytes, which pytest's own directories may exceed."""
    with tempfile.TemporaryDirectory(prefix="pi0-") as name:
        yield Path(name)
