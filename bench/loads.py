"""Work that keeps a machine busy while something else is measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SPIN = "while True: pass"
MEMORY = """
import numpy as np
a, b = np.ones(1 << 25), np.empty(1 << 25)
while True:
    np.copyto(b, a)
"""
DISK = """
import os, tempfile
block = os.urandom(1 << 22)
with tempfile.TemporaryFile() as file:
    while True:
        file.seek(0)
        for _ in range(16):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
"""


@contextmanager
def load(cores: int) -> Iterator[None]:
    """One that computes for each core, one that copies memory, one that writes to the disk; gone afterwards."""
    programs = [SPIN] * cores + [MEMORY, DISK]
    running = [subprocess.Popen([sys.executable, "-c", program]) for program in programs]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()
