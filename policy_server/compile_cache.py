"""Compiled programs kept from one start of the server to the next.

Always holds: what JAX runs from the directory was written by this user or by root; nobody else may write there. An
entry that cannot be read, as a start that is cut off while it writes leaves it, is removed and written again.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

ENTRIES = "*-cache"
"""The name of an entry is its module, a hash and this suffix, joined by dashes."""

_UNREADABLE = "Error reading persistent compilation cache entry"
_ELSEWHERE = "give another --compile-cache DIR, or --no-compile-cache"

log = logging.getLogger(__name__)


def keep_compiled(directory: Path | None) -> None:
    """Have JAX keep what it compiles in `directory`, which nobody else may write to, or (None) nowhere.

    Takes over JAX's warnings of entries that it cannot read. Raises OSError (PermissionError if others can write).
    """
    if directory is not None:
        _claim(directory)
        warnings.filterwarnings("always", _UNREADABLE)
    shown = warnings.showwarning
    others = shown.others if isinstance(shown, _Healer) else shown
    warnings.showwarning = others if directory is None else _Healer(directory, others)
    jax.config.update("jax_compilation_cache_dir", None if directory is None else str(directory))
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # the choice of kernels, too: the same speed after every restart
    jax.config.update("jax_persistent_cache_enable_xla_caches", "xla_gpu_per_fusion_autotune_cache_dir")


def _claim(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        raise OSError(f"cannot keep compiled programs in {directory}: {error.strerror}; {_ELSEWHERE}") from error
    if status.st_uid not in (os.geteuid(), 0):
        raise PermissionError(
            f"{directory} holds programs that will be run, yet belongs to the user {status.st_uid}; {_ELSEWHERE}"
        )
    if status.st_mode & 0o022:
        raise PermissionError(
            f"{directory} holds programs that will be run, yet others may write to it; "
            f"run: chmod go-w {directory}, or {_ELSEWHERE}"
        )
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(f"cannot keep compiled programs in {directory}: no right to write there; {_ELSEWHERE}")


@dataclass(frozen=True, slots=True)
class _Healer:
    """Stands in for `warnings.showwarning`: JAX warns of an entry, compiles, and then writes what is not there.

    others: shows the other warnings.
    """

    directory: Path
    others: Callable[..., Any]

    def __call__(self, message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        unreadable = re.match(f"{_UNREADABLE} for '(.*?)'", str(message))
        if unreadable is None:
            self.others(message, category, *where, **more)
            return
        entries = list(self.directory.glob(ENTRIES))
        damaged = {entry for entry in entries if not _is_whole(entry)}
        own = {entry for entry in entries if entry.name.rsplit("-", 2)[0] == unreadable[1]}
        if not damaged & own:  # whole, but not what this JAX reads
            damaged |= own
        for entry in damaged:
            entry.unlink(missing_ok=True)  # another server may heal, too
        log.warning("event=compiling-again directory=%s removed=%d reason='damaged'", self.directory, len(damaged))


def _is_whole(entry: Path) -> bool:
    """Whether all of it is there. What JAX writes where there is a zstd is taken for damaged: then more is compiled."""
    try:
        zlib.decompress(entry.read_bytes())
    except (OSError, zlib.error):
        return False
    return True
