"""Loading a checkpoint that openpi's training wrote, straight onto the device.

Runs once, before the model is built. Always holds: every leaf that the model wants is there in its shape, and nothing
else is; adapters are merged; every number on disk is finite. Host memory stays near the size of the largest leaf.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tensorstore as ts
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from policy_server.model import dims, lora, tree
from policy_server.param_store import CheckpointError, Leaf, find_params, read_leaves

__all__ = ["CheckpointError", "Leaf", "check_tree", "find_params", "load_params", "read_leaves"]

Dtype = Literal["bfloat16", "float32"]

LONGEST_LIST = 12
"""Differing leaves that an error names before it counts the rest."""


@dataclass(frozen=True, slots=True)
class _Group:
    """A parameter of the loaded model and what is read for it: one leaf, or a weight with its adapters A and B."""

    path: str
    leaves: tuple[Leaf, ...]
    adapter: dims.Lora | None

    @property
    def num_bytes(self) -> int:
        return sum(leaf.num_bytes for leaf in self.leaves)

    def start_reading(self, dtype: Dtype) -> list[ts.Future[np.ndarray[Any, Any]]]:
        """A weight that is merged is read as stored, so that it is rounded once, after the merge."""
        return [leaf.start_reading(dtype if self.adapter is None else leaf.dtype) for leaf in self.leaves]


def check_tree(leaves: Mapping[str, Leaf], model: dims.Pi0, directory: Path) -> None:
    """Raises CheckpointError with the list of differing leaves unless the checkpoint is one of `model`."""
    shapes = {path: leaf.shape for path, leaf in leaves.items()}
    lines = tree.differences(shapes, model)
    if not lines:
        return
    cause = tree.likely_cause(shapes, model)
    shown = [f"  {line}" for line in lines[:LONGEST_LIST]]
    if len(lines) > LONGEST_LIST:
        shown.append(f"  and {len(lines) - LONGEST_LIST} more")
    many = f"{len(lines)} of its leaves differ" if len(lines) > 1 else "one of its leaves differs"
    head = f"{directory} does not fit the config: {many}" + (f"; {cause}" if cause else "")
    raise CheckpointError("\n".join([head, *shown]))


def load_params(
    directory: Path,
    model: dims.Pi0,
    dtype: Dtype,
    *,
    device: jax.Device | None = None,
    say: Callable[[str], None] | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """The parameters as a nested dict of arrays on `device`, keyed as in the checkpoint, without adapters.

    directory: a step directory, or its `params/`. dtype: of every leaf; float32 keeps float32 leaves unrounded. say:
    takes lines for a log. progress: draw a bar if stderr is a terminal. Raises CheckpointError.
    """
    started_s = time.monotonic()
    directory = Path(directory)
    leaves = read_leaves(directory)
    check_tree(leaves, model, directory)
    groups = _groups(leaves, model)
    num_bytes = sum(group.num_bytes for group in groups)
    params: dict[str, jax.Array] = {}
    watched = progress and sys.stderr.isatty()
    if not watched and say is not None:
        say(f"loading {directory} gigabytes={num_bytes / 1e9:.2f} dtype={dtype}")
    with _bar(num_bytes, watched) as advance:
        for group, arrays in _read_ahead(groups, dtype):
            params[group.path] = _to_device(group, arrays, dtype, device)
            del arrays  # before the next are read
            advance(group.num_bytes)
    if say is not None:
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        say(
            f"loaded seconds={time.monotonic() - started_s:.1f} gigabytes={num_bytes / 1e9:.2f} "
            f"peak_host_gigabytes={peak_bytes / 1e9:.2f}"
        )
    return tree.nested(params)


def _groups(leaves: Mapping[str, Leaf], model: dims.Pi0) -> list[_Group]:
    groups = []
    for path, leaf in leaves.items():
        if not lora.is_adapter(path):
            adapter = lora.adapter_for(path, model)
            parts = (leaf, *(leaves[name] for name in lora.adapters_of(path))) if adapter else (leaf,)
            groups.append(_Group(path, parts, adapter))
    return groups


def _read_ahead(groups: Sequence[_Group], dtype: Dtype) -> Iterator[tuple[_Group, list[np.ndarray[Any, Any]]]]:
    """The groups' data, largest first. What is being read or held never exceeds the largest group."""
    waiting = deque(sorted(groups, key=lambda group: -group.num_bytes))
    room = waiting[0].num_bytes
    reading: deque[tuple[_Group, list[ts.Future[np.ndarray[Any, Any]]]]] = deque()
    while waiting or reading:
        while waiting and waiting[0].num_bytes <= room:
            group = waiting.popleft()
            room -= group.num_bytes
            reading.append((group, group.start_reading(dtype)))
        group, futures = reading.popleft()
        yield group, [leaf.finish(future) for leaf, future in zip(group.leaves, futures, strict=True)]
        del futures
        room += group.num_bytes


def _to_device(
    group: _Group, arrays: Sequence[np.ndarray[Any, Any]], dtype: Dtype, device: jax.Device | None
) -> jax.Array:
    """Returns once the data have arrived, so that the host's copy can go."""
    placed: list[jax.Array] = [jax.device_put(array, device) for array in arrays]
    for array in placed:
        array.block_until_ready()
    if group.adapter is None:
        return placed[0]
    merged: jax.Array = _merge(group.path, *placed, group.adapter, dtype)
    return merged


@partial(jax.jit, static_argnames=("path", "adapter", "dtype"))
def _merge(path: str, weight: jax.Array, a: jax.Array, b: jax.Array, adapter: dims.Lora, dtype: Dtype) -> jax.Array:
    """All layers at once: a loop over them takes ten times as long to compile. Rounded once, at the end."""
    return lora.merge(path, weight, a, b, adapter).astype(dtype)


@contextmanager
def _bar(total: int, watched: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, if somebody watches; takes the bytes that have arrived."""
    if not watched:
        yield lambda num_bytes: None
        return
    columns = (TextColumn("loading"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("loading", total=total)
        yield lambda num_bytes: bar.advance(task, num_bytes)
