"""Shared-memory rings, one writer and many readers each, and wake-ups between processes.

Knows nothing of robots. The protocol, byte by byte and step by step, is in README.md.
"""

from shm.errors import ShmError, TornRead
from shm.owner import Owner
from shm.ring import Ring, RingHandle
from shm.spec import RingSpec
from shm.stale import sweep
from shm.wake import Wake

__all__ = ["Owner", "Ring", "RingHandle", "RingSpec", "ShmError", "TornRead", "Wake", "sweep"]
