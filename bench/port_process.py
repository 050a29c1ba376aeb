"""A server in a process of its own, as long as a benchmark needs it."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def port_of(serve: Callable[..., None], *arguments: Any) -> Iterator[int]:
    """Runs `serve(told, *arguments)`, which sends its port of loopback through `told` and serves there until killed."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, *arguments), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()
