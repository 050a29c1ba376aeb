"""The one memory fence of the project: readers and writers call it between a sequence word and the data.

x86-64 shows stores in program order and loads in program order, which is all that a sequence lock needs, so
there `fence` does nothing. Other machines (arm64) may reorder both; there it is libatomic's fence. A machine
with neither refuses to import this package: reading torn records would be the alternative.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable

from shm.errors import ShmError

_ORDERED_MACHINES = frozenset({"x86_64", "AMD64"})
_ACQ_REL = 4  # memory_order_acq_rel of <stdatomic.h>


def _nothing() -> None:
    pass


def _libatomic() -> Callable[[], None]:
    fence = ctypes.CDLL("libatomic.so.1").atomic_thread_fence
    fence.argtypes = [ctypes.c_int]
    fence.restype = None

    def call() -> None:
        fence(_ACQ_REL)

    return call


def fence_for(machine: str) -> Callable[[], None]:
    """The fence for a machine as named by `platform.machine()`. Raises ShmError where there is none."""
    if machine in _ORDERED_MACHINES:
        return _nothing
    try:
        return _libatomic()
    except (OSError, AttributeError) as error:
        raise ShmError(
            f"no memory fence on {machine!r}: {error}; install libatomic (Debian, Ubuntu: libatomic1)"
        ) from error


fence = fence_for(platform.machine())
