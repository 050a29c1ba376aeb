"""The directory of compiled programs: who may write there, and what becomes of damaged entries."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from policy_server.compile_cache import ENTRIES, keep_compiled

START = textwrap.dedent("""
    import logging, pathlib, sys
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    import jax, numpy as np
    from policy_server.compile_cache import keep_compiled

    keep_compiled(pathlib.Path(sys.argv[1]))
    events = []
    jax.monitoring.register_event_listener(lambda event, **more: events.append(event.rpartition("/")[2]))

    @jax.jit
    def one(x):
        return x + 1

    @jax.jit
    def two(x):
        return x * x

    assert [np.asarray(f(np.ones(n, np.float32))).sum() for f, n in ((one, 2), (two, 3), (one, 4))] == [4, 3, 8]
    print("found", events.count("cache_hits"), "compiled", events.count("cache_misses"))
""")
"""One start of a program with three compiled functions, two of a name."""


def start(directory: Path) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", START, str(directory)], capture_output=True, text=True, timeout=120, check=True
    )
    assert run.stderr == ""
    return run.stdout.splitlines()


@pytest.mark.long
def test_damaged_entries_are_written_again(tmp_path: Path) -> None:
    """What one start has written again, the next one finds."""
    tmp_path.chmod(0o700)
    said = f"event=compiling-again directory={tmp_path} removed={{}} reason='damaged'"
    assert start(tmp_path) == ["found 0 compiled 3"]
    one, other_one, two = sorted(tmp_path.glob(ENTRIES))
    other_one.write_bytes(other_one.read_bytes()[:-10])
    assert start(tmp_path) == [said.format(1), "found 2 compiled 1"]
    one.write_bytes(b"")
    two.write_bytes(two.read_bytes()[:100])
    assert start(tmp_path) == [said.format(2), "found 1 compiled 2"], "one line for all of them"
    one.write_bytes(zlib.compress(b"whole, and yet no program"))
    other_one.write_bytes(one.read_bytes())
    assert start(tmp_path) == [said.format(2), "found 1 compiled 2"]
    assert start(tmp_path) == ["found 3 compiled 0"]


@pytest.fixture
def restored() -> Iterator[None]:
    """Where this process keeps its programs is other tests' business."""
    before = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.usefixtures("restored")
def test_other_warnings_are_shown_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def show(message: Warning | str, *where: object) -> None:
        shown.append(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        keep_compiled(tmp_path)
        keep_compiled(tmp_path)
        warnings.warn("something else", stacklevel=1)
        assert shown == ["something else"]
        keep_compiled(None)
        assert warnings.showwarning is show


ELSEWHERE = "give another --compile-cache DIR, or --no-compile-cache"


def refused(directory: Path) -> str:
    with pytest.raises(OSError) as error:  # noqa: PT011 - the text is looked at
        keep_compiled(directory)
    return str(error.value)


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert refused(file) == f"cannot keep compiled programs in {file}: File exists; {ELSEWHERE}"
    assert refused(file / "a") == f"cannot keep compiled programs in {file / 'a'}: Not a directory; {ELSEWHERE}"


def test_a_directory_that_others_may_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    assert refused(tmp_path).endswith(f"others may write to it; run: chmod go-w {tmp_path}, or {ELSEWHERE}")


def test_a_directory_of_someone_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = list(tmp_path.stat())
    status[4] = os.geteuid() + 1
    monkeypatch.setattr(Path, "stat", lambda path, **options: os.stat_result(status))
    assert re.search(f"yet belongs to the user {status[4]}; {ELSEWHERE}", refused(tmp_path))


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert refused(tmp_path).endswith(f"no right to write there; {ELSEWHERE}")


@pytest.mark.usefixtures("restored")
def test_a_directory_of_root_s_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = list(tmp_path.stat())
    status[4] = 0
    monkeypatch.setattr(Path, "stat", lambda path, **options: os.stat_result(status))
    with warnings.catch_warnings():
        keep_compiled(tmp_path)
        keep_compiled(None)
