"""What a process holds of the machine, as /proc tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Footprint:
    """pss_mb: memory, and of what it shares with other processes its share. files: open descriptors."""

    pss_mb: float
    files: int
    threads: int


def footprint(pid: int) -> Footprint:
    """As of now. Raises OSError if the process is gone."""
    proc = Path(f"/proc/{pid}")
    lines = (proc / "smaps_rollup").read_text().splitlines()
    pss_kb = next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), None)
    if pss_kb is None:
        raise ProcessLookupError(f"process {pid} has ended and holds no memory")
    return Footprint(pss_kb / 1024, len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir())))
