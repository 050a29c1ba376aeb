"""The parameters of a checkpoint on disk, as orbax writes them: which leaves there are, and reading one.

Runs wherever a checkpoint is loaded or inspected; needs tensorstore and neither orbax nor JAX. A step directory holds
`params/`: the tree in `_METADATA`, every leaf a zarr array, all of them in one OCDBT database. Always holds: what
cannot be read ends in one CheckpointError that names the directory or leaf; numbers that are read are finite; missing
data never reads as zeros where the checkpoint says that it stores them. What it cannot see is a flipped bit within the
numbers: orbax keeps a checksum of the index only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

FLOATS = {"bfloat16": 2, "float16": 2, "float32": 4}
"""The types a parameter may have on disk, and their bytes."""

_OPTIMISER_KEYS = {"opt_state", "ema_params", "step", "tx", "model_def"}


class CheckpointError(ValueError):
    """A checkpoint that cannot be used. The text names the directory or the leaf, the fault and the next step."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One parameter on disk. `path` is joined with "/", as in the model's tree."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    directory: Path
    store: ts.TensorStore

    @property
    def num_bytes(self) -> int:
        """Bytes once decompressed."""
        return prod(self.shape) * FLOATS[self.dtype]

    def start_reading(self, dtype: str) -> ts.Future[np.ndarray[Any, Any]]:
        """Begin to read the whole leaf as `dtype`, rounded to nearest even; `finish` takes the future."""
        store = self.store if dtype == self.dtype else ts.cast(self.store, ts.dtype(dtype))
        return store.read()

    def finish(self, future: ts.Future[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        """Wait for the data. Raises CheckpointError when they are damaged, missing or not finite."""
        with _named(self.directory, self.path):
            data = future.result()
        if not all_finite(data):
            raise CheckpointError(
                f"{self.directory}: leaf {self.path} holds numbers that are not finite as {data.dtype}: "
                "the training diverged or the file is damaged; take another step of the run"
            )
        return data


def find_params(directory: Path) -> Path:
    """The directory with the parameters: `params/` in a step directory, or `directory` itself.

    Raises CheckpointError that says where to look instead.
    """
    if (directory / "params").is_dir():
        return directory / "params"
    if (directory / "_METADATA").is_file():
        return directory
    raise CheckpointError(f"{directory} is no checkpoint: {_why_not(directory)}")


def _why_not(directory: Path) -> str:
    if directory.parts[:1] == ("gs:",):
        return "it is a remote address and nothing is fetched; copy it to this machine (gsutil -m cp -r) and give that"
    if not directory.exists():
        return "there is no such directory"
    if not directory.is_dir():
        return "it is a file; give the step directory that openpi's training wrote"
    if "orbax-checkpoint-tmp" in directory.name:
        return "it is what an interrupted save left; give an older step"
    if (directory / "model.safetensors").is_file():
        return "model.safetensors holds PyTorch weights; give the JAX checkpoint that they were converted from"
    for below in ("*/params", "*/*/params"):
        steps = [path.parent for path in directory.glob(below) if "orbax-checkpoint-tmp" not in path.parent.name]
        if steps:
            newest = max(steps, key=lambda step: int(step.name) if step.name.isdecimal() else -1)
            return f"it holds {len(steps)} of them; give one, say {newest}" if steps[1:] else f"give {newest}"
    for above in directory.absolute().parents[:3]:
        if (above / "params" / "_METADATA").is_file():
            return f"it is a part of one; give {above}"
    inside = sorted(path.name for path in directory.iterdir())
    return f"it has no params directory; it holds {', '.join(inside[:8]) or 'nothing'}"


def read_leaves(directory: Path) -> dict[str, Leaf]:
    """Every leaf of a checkpoint by its path, sorted: metadata only, no parameter is read.

    directory: a step directory (with `params/`), or `params/` itself. Raises CheckpointError.
    """
    params = find_params(Path(directory))
    tree, use_zarr3, all_data_stored = _read_metadata(params)
    ocdbt = (params / "manifest.ocdbt").is_file()
    if not ocdbt and list(params.glob("ocdbt.process_*")):
        raise CheckpointError(
            f"{params}: manifest.ocdbt is missing, so the save or the copy was not finished; copy the checkpoint again"
        )
    base = {"driver": "file", "path": f"{params.absolute()}/"}
    context = ts.Context({"cache_pool": {"total_bytes_limit": 0}})
    opening = {}
    for path, name in tree.items():
        kvstore = {"driver": "ocdbt", "base": base} if ocdbt else base
        spec = {
            "driver": "zarr3" if use_zarr3 else "zarr",
            "kvstore": kvstore | {"path": f"{name}/" if ocdbt else f"{base['path']}{name}/"},
            "fill_missing_data_reads": not all_data_stored,
            "recheck_cached_data": False,
            "recheck_cached_metadata": False,
        }
        with _named(params, path):
            f"{base['path']}{name}".encode()  # where this fails, tensorstore would not say why
            opening[path] = ts.open(spec, read=True, open=True, context=context)
    leaves = {}
    for path, future in opening.items():
        with _named(params, path):
            store = future.result()
        dtype = store.dtype.name
        if dtype not in FLOATS:
            raise CheckpointError(f"{params}: leaf {path} is stored as {dtype}, want one of {', '.join(FLOATS)}")
        leaves[path] = Leaf(path, tuple(store.shape), dtype, params, store)
    return dict(sorted(leaves.items()))


def _read_metadata(params: Path) -> tuple[dict[str, str], bool, bool]:
    """The name on disk of every leaf, whether arrays are zarr version 3, whether zeros are stored like other data."""
    file = params / "_METADATA"
    try:
        metadata = json.loads(file.read_text("utf-8"))
        entries = metadata["tree_metadata"].values()
        keys = [tuple(str(part["key"]) for part in entry["key_metadata"]) for entry in entries]
        use_zarr3 = bool(metadata.get("use_zarr3"))
        all_data_stored = bool(metadata.get("store_array_data_equal_to_fill_value"))
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror}); copy the checkpoint again") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{file} is damaged: not the JSON that orbax writes ({type(error).__name__}: {error}); "
            "copy the checkpoint again"
        ) from error
    return _leaf_names(params, keys), use_zarr3, all_data_stored


def _leaf_names(params: Path, keys: Sequence[tuple[str, ...]]) -> dict[str, str]:
    """Name on disk by path. The path goes without the leading "params", and without "value" if all leaves end in it."""
    if () in keys:
        raise CheckpointError(f"{params / '_METADATA'} is damaged: a leaf has no name; copy the checkpoint again")
    tops = {key[0] for key in keys}
    if tops != {"params"}:
        if params.name == "train_state" or tops & _OPTIMISER_KEYS:
            raise CheckpointError(f"{params} is the optimiser's state; give the step directory {params.parent}")
        raise CheckpointError(
            f"{params} holds {', '.join(sorted(tops)) or 'nothing'}, want params: not a checkpoint of openpi"
        )
    end = -1 if all(key[-1] == "value" for key in keys) else None
    return {"/".join(key[1:end]): ".".join(key) for key in keys}


@contextmanager
def _named(params: Path, path: str) -> Iterator[None]:
    """Whatever tensorstore raises within becomes a CheckpointError that names the leaf."""
    try:
        yield
    except (ValueError, OSError) as error:
        reason = re.sub(r"\s*\[[a-z_]+='.*", "", str(error), flags=re.DOTALL)
        raise CheckpointError(f"{params}: leaf {path} cannot be read: {reason}; copy the checkpoint again") from error


def all_finite(array: np.ndarray[Any, Any]) -> bool:
    """Whether no element is NaN or infinite, without a temporary array: read as integers, those are the extremes."""
    if array.size == 0:
        return True
    bits = 8 * array.dtype.itemsize
    infinity = np.array(np.inf, array.dtype).view(f"u{array.dtype.itemsize}").item()
    return bool(
        array.view(f"i{array.dtype.itemsize}").max() < infinity
        and array.view(f"u{array.dtype.itemsize}").max() < infinity | 1 << (bits - 1)
    )
