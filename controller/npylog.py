"""Append-only .npy files of structured rows, whole at every moment.

Written by the recorder process. Rows go to the file first, then the header tells of them: a writer that is
killed leaves a file that numpy.load opens, short of its last batch at most. `read` gets that batch too.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy


def header(dtype: np.dtype[Any], rows: int) -> bytes:
    """An .npy header. numpy leaves room for the first axis to grow: any `rows` give the same length."""
    buffer = io.BytesIO()
    descr = npy.dtype_to_descr(dtype)
    npy.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": (rows,)})
    return buffer.getvalue()


class NpyLog:
    """One growing file of `dtype` rows. `rows` counts those in it."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        """Create the file. Raises OSError, also when it exists."""
        self._dtype = dtype
        self.rows = 0
        self._file = path.open("xb", buffering=0)
        try:
            self._write(header(dtype, 0))
        except OSError:
            self._file.close()
            raise

    def append(self, rows: bytes) -> None:
        """Add whole rows, given as their bytes. Raises OSError (disk full) and ValueError."""
        count, rest = divmod(len(rows), self._dtype.itemsize)
        if rest:
            raise ValueError(f"{len(rows)} bytes are no whole rows of {self._dtype.itemsize} bytes")
        if count == 0:
            return
        self._write(rows)
        self.rows += count
        os.pwrite(self._file.fileno(), header(self._dtype, self.rows), 0)

    def close(self) -> None:
        self._file.close()

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]


def read(path: Path) -> np.ndarray[Any, Any]:
    """All whole rows of a file, however its writer ended. Raises OSError; ValueError: not an .npy file."""
    with path.open("rb") as file:
        version = npy.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{path}: .npy version {version}, expected (1, 0) as NpyLog writes it")
        _, _, dtype = npy.read_array_header_1_0(file)
        count = (path.stat().st_size - file.tell()) // dtype.itemsize
        return np.fromfile(file, dtype, count)
