"""Compiled programs kept from one start of the server to the next.

Always holds: what JAX runs from the directory was written by this user; nobody else may write there.
"""

from __future__ import annotations

from pathlib import Path

import jax


def keep_compiled(directory: Path | None) -> None:
    """Have JAX keep what it compiles in `directory`, which nobody else may write to, or (None) nowhere.

    Raises PermissionError, OSError.
    """
    if directory is not None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.stat().st_mode & 0o022:
            raise PermissionError(
                f"{directory} holds programs that will be run, yet others may write to it; chmod go-w {directory}"
            )
    jax.config.update("jax_compilation_cache_dir", None if directory is None else str(directory))
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # the choice of kernels, too: the same speed after every restart
    jax.config.update("jax_persistent_cache_enable_xla_caches", "xla_gpu_per_fusion_autotune_cache_dir")
