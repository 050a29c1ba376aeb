"""Removes what a killed daemon left in /dev/shm. The supervisor runs this once at its start.

Must never remove a segment of a living owner, nor anything whose name is not exactly one of ours.
"""

from __future__ import annotations

import os

from shm.owner import is_alive, owner_of
from shm.segment import SHM_DIR


def sweep() -> list[str]:
    """Unlink the segments of dead owners and return their names.

    Skips those of other users (no permission) and those that somebody else removes meanwhile.
    """
    removed = []
    for name in sorted(os.listdir(SHM_DIR)):
        owner = owner_of(name)
        if owner is None or is_alive(*owner):
            continue
        try:
            (SHM_DIR / name).unlink()
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            continue
        removed.append(name)
    return removed
