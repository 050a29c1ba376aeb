"""Where the dumps of faults lie, and which there are. A dump is a recording directory; `recording` reads it.

    <recorder.directory>/faults/<UTC time>-<code>/

Used by the recorder process, which writes and prunes them, and by pi0ctl; it imports nothing heavy.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

FOLDER = "faults"
META = "meta.json"
UNFINISHED = ".part"
"""Ends the name of a directory that is being written, or whose writer was killed."""

_NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z-[a-z_]+(\.part)?")


@dataclass(frozen=True, slots=True)
class Dump:
    """One dump's meta.json; its fault has code, message, cause, next_step, state_before, time and t_ns."""

    directory: Path
    meta: dict[str, Any]

    @property
    def fault(self) -> dict[str, Any]:
        fault: dict[str, Any] = self.meta["fault"]
        return fault


def dump_at(directory: Path) -> Dump | None:
    """The dump that a directory is; None for anything else, a link included."""
    if not _NAME.fullmatch(directory.name) or directory.is_symlink():
        return None
    try:
        meta = json.loads((directory / META).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Dump(directory, meta) if isinstance(meta, dict) and isinstance(meta.get("fault"), dict) else None


def dumps(folder: Path) -> list[Dump]:
    """The finished ones, newest first; none where there is no such folder. Raises OSError."""
    return [dump for dump in _all(folder) if not dump.directory.name.endswith(UNFINISHED)]


def prune(folder: Path, kept: int) -> list[Path]:
    """Remove all but the newest `kept`, and nothing that is no dump; what was removed. Raises OSError."""
    old = [dump.directory for dump in islice(_all(folder), kept, None)]
    for directory in old:
        shutil.rmtree(directory)
    return old


def _all(folder: Path) -> Iterator[Dump]:
    """One after the other: all of them at once would be 30 kB each, which the recorder process would not give back."""
    if folder.is_dir():
        paths = sorted(folder.iterdir(), key=lambda path: path.name, reverse=True)  # names begin with the time
        yield from (dump for path in paths if (dump := dump_at(path)) is not None)
