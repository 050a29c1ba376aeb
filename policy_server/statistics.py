"""What a data set's states and actions look like in numbers, and the scaling that the model was trained with.

Read by the policy server from `<checkpoint>/assets/<asset_id>/norm_stats.json`, written by `norm-stats`: openpi's file.
Always holds: statistics that load are finite, of one length, and in order; what is not is refused with the file's name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policy_server.config import STATE_DIM

Vector = NDArray[np.float64]

EPSILON = 1e-6
"""What openpi adds to every divisor."""


class StatisticsError(ValueError):
    """Statistics that cannot be used. The text names the file, the quantity, the value and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Statistics of one quantity, each of shape (dim,). The quantiles are None where the file has none."""

    mean: Vector
    std: Vector
    q01: Vector | None = None
    q99: Vector | None = None


@dataclass(frozen=True, slots=True, eq=False)
class NormStats:
    """Statistics of the state and of the actions as training saw them: adapted, and delta where the config says so."""

    state: Statistics
    actions: Statistics


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """Values to model units and back, element by element over the last axis; any length up to that of `offset`.

    quantiles: False maps mean to 0 and mean + std to 1 (π0), True maps q01 to -1 and q99 to 1 (π0.5). Nothing is
    clipped, and a non-finite number stays one.
    """

    offset: Vector
    scale: Vector
    quantiles: bool

    @classmethod
    def of(cls, statistics: Statistics, dim: int, quantiles: bool) -> Scaling:
        """The scaling of the first `dim` elements. Raises StatisticsError where quantiles are asked for and missing."""
        if not quantiles:
            return cls(statistics.mean[:dim], statistics.std[:dim] + EPSILON, quantiles)
        if statistics.q01 is None or statistics.q99 is None:
            raise StatisticsError(
                "the statistics hold no q01 and q99, by which π0.5 is normalised; "
                "compute them anew with `pi0-policy-server norm-stats`"
            )
        q01, q99 = statistics.q01[:dim], statistics.q99[:dim]
        return cls(q01, q99 - q01 + EPSILON, quantiles)

    # The order of operations is the reference's: the same numbers to the last bit.

    def normalise(self, values: NDArray[Any]) -> Vector:
        """Model units of `values` (..., dim)."""
        scaled: Vector = (values - self.offset) / self.scale
        return scaled * 2.0 - 1.0 if self.quantiles else scaled

    def unnormalise(self, values: NDArray[Any]) -> Vector:
        """The inverse of `normalise`."""
        scaled = (values + 1.0) / 2.0 if self.quantiles else values
        result: Vector = scaled * self.scale + self.offset
        return result


def load_norm_stats(checkpoint_dir: Path, asset_id: str) -> NormStats:
    """Read `<checkpoint_dir>/assets/<asset_id>/norm_stats.json`. Raises StatisticsError."""
    path = checkpoint_dir / "assets" / asset_id / "norm_stats.json"
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise StatisticsError(f"{path} does not exist; {_what_is_there(checkpoint_dir)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StatisticsError(f"{path} cannot be read: {error}") from error
    return parse_norm_stats(text, str(path))


def list_asset_ids(checkpoint_dir: Path) -> list[str]:
    """The asset ids whose statistics a checkpoint holds; a link to a directory counts like one."""
    assets = checkpoint_dir / "assets"
    found = []
    for folder, below, files in os.walk(assets, followlinks=True):
        here = Path(folder)
        above = {os.path.realpath(path) for path in (here, *here.parents)}
        below[:] = [name for name in below if os.path.realpath(here / name) not in above]  # a link may lead back up
        if "norm_stats.json" in files:
            found.append(here.relative_to(assets).as_posix())
    return sorted(found)


def save_norm_stats(path: Path, stats: NormStats) -> None:
    """Write openpi's file, replacing `path` in one step."""
    quantities = {name: _lists(getattr(stats, name)) for name in ("state", "actions")}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_text(json.dumps({"norm_stats": quantities}, indent=2, allow_nan=False), "utf-8")
    os.replace(unfinished, path)


def parse_norm_stats(text: str, where: str) -> NormStats:
    """Read the text of a norm_stats.json. `where` names it in errors. Raises StatisticsError."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StatisticsError(f"{where} is not JSON: {error}; copy it from the checkpoint again") from error
    quantities = table.get("norm_stats") if isinstance(table, dict) else None
    if not isinstance(quantities, dict):
        raise StatisticsError(f"{where} has no table 'norm_stats'; it is not a file that openpi wrote")
    return NormStats(**{name: _statistics(quantities, name, where) for name in ("state", "actions")})


def _what_is_there(checkpoint_dir: Path) -> str:
    if not (checkpoint_dir / "assets").is_dir():
        return (
            f"{checkpoint_dir} has no folder 'assets': pass the directory of one training step, "
            "the one that holds 'params' and 'assets'"
        )
    known = list_asset_ids(checkpoint_dir)
    if not known:
        return "no statistics are in this checkpoint: copy its folder 'assets' again, or run norm-stats on the data set"
    return f"asset ids in this checkpoint: {', '.join(known)}; set data.asset_id to one of them"


def _lists(statistics: Statistics) -> dict[str, list[float] | None]:
    names = ("mean", "std", "q01", "q99")
    arrays = {name: getattr(statistics, name) for name in names}
    return {name: None if array is None else array.tolist() for name, array in arrays.items()}


def _statistics(quantities: dict[str, Any], name: str, where: str) -> Statistics:
    table = quantities.get(name)
    if not isinstance(table, dict):
        raise StatisticsError(f"{where} has no table {name!r}, only: {', '.join(map(repr, quantities)) or 'nothing'}")
    mean, std = (_vector(table.get(key), f"{where}: {name}.{key}") for key in ("mean", "std"))
    quantiles = [table.get(key) for key in ("q01", "q99")]
    q01, q99 = (
        None if value is None else _vector(value, f"{where}: {name}.{key}")
        for key, value in zip(("q01", "q99"), quantiles, strict=True)
    )
    given = {"mean": mean, "std": std, "q01": q01, "q99": q99}
    sizes = {key: value.size for key, value in given.items() if value is not None}
    if len(set(sizes.values())) > 1:
        raise StatisticsError(f"{where}: the statistics of {name!r} differ in length: {sizes}; they must be equal")
    if (q01 is None) != (q99 is None):
        raise StatisticsError(f"{where}: {name!r} has only one of q01 and q99; give both, or null for both")
    _refuse_where(std < 0, std, f"{where}: {name}.std", "is negative")
    if q01 is not None and q99 is not None:
        _refuse_where(q01 > q99, q01, f"{where}: {name}.q01", f"is above q99, which is {_short(q99)}")
    return Statistics(mean, std, q01, q99)


def _vector(value: object, what: str) -> Vector:
    """A list of numbers as an array (dim,)."""
    numbers = isinstance(value, Sequence) and all(type(number) in (int, float) for number in value)
    if not numbers or not isinstance(value, list):
        raise StatisticsError(f"{what} is {_short(value)}, not a list of numbers")
    if len(value) < STATE_DIM:
        raise StatisticsError(
            f"{what} has {len(value)} numbers, at least {STATE_DIM} are needed: six joints and a gripper per arm"
        )
    try:
        vector = np.array(value, dtype=np.float64)
    except OverflowError as error:
        raise StatisticsError(f"{what} holds a number beyond float64: {error}") from error
    _refuse_where(~np.isfinite(vector), vector, what, "is not finite")
    return vector


def _refuse_where(wrong: NDArray[np.bool_], vector: Vector, what: str, why: str) -> None:
    if wrong.any():
        first = int(np.argmax(wrong))
        raise StatisticsError(f"{what}[{first}] is {vector[first]:g}: it {why}; compute the statistics anew")


def _short(value: object) -> str:
    text = repr(value.tolist() if isinstance(value, np.ndarray) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
