"""The states and actions of a LeRobot data set on disk, without its pictures. Versions 2.0, 2.1 and 3.0.

Read by `norm-stats`. Frames come in the order in which LeRobot numbers them. Always holds: what is returned agrees with
the data set's own metadata, episode by episode and frame by frame; a data set that was cut short is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

INFO = Path("meta", "info.json")
VERSIONS = ("v2.0", "v2.1", "v3.0")
FINALISE = "a recording that was not finalised cannot be read; finalise it (LeRobotDataset.finalize()) or record again"

Index = Annotated[int, Field(ge=0)]
Row = TypeVar("Row", bound=BaseModel)


class DatasetError(ValueError):
    """A data set that cannot be used. The text names the file, what is wrong with it and what to do."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Every frame of a data set. `last` is the row of the last frame of each frame's episode.

    fps: frames per second. state, action: (n, dim) float32, finite. last: (n,).
    """

    fps: float
    state: NDArray[np.float32]
    action: NDArray[np.float32]
    last: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.last)


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Info(_Table):
    codebase_version: str
    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    data_path: str
    chunks_size: Annotated[int, Field(ge=1)] = 1000


class _EpisodeV2(_Table):
    episode_index: Index
    length: Annotated[int, Field(ge=1)]


class _EpisodeV3(_EpisodeV2):
    chunk_index: Index = Field(alias="data/chunk_index")
    file_index: Index = Field(alias="data/file_index")
    dataset_from_index: Index


@dataclass(frozen=True, slots=True)
class _Episode:
    index: int
    length: int
    path: Path


def read_frames(directory: Path, state_key: str, action_key: str, dim: int) -> Frames:
    """The frames of the data set in `directory`; both columns hold `dim` numbers per frame. Raises DatasetError."""
    info_path = directory / INFO
    if not info_path.is_file():
        raise DatasetError(f"{directory} is not a LeRobot data set: it has no {INFO}")
    info = _parse(_Info, _text(info_path), str(info_path))
    if info.codebase_version not in VERSIONS:
        raise DatasetError(
            f"{info_path}: codebase_version is {info.codebase_version!r}; known are {', '.join(VERSIONS)}: "
            "convert the data set with LeRobot"
        )
    episodes = (_episodes_v3 if info.codebase_version == "v3.0" else _episodes_v2)(directory, info)
    _check_files(directory, episodes)
    states, actions = [], []
    for path, group in groupby(episodes, lambda episode: episode.path):
        table = _read_table(path, ["episode_index", "frame_index", state_key, action_key])
        _check_rows(table, list(group), path)
        states.append(_vectors(table, state_key, dim, path))
        actions.append(_vectors(table, action_key, dim, path))
    lengths = [episode.length for episode in episodes]
    last = np.repeat(np.cumsum(lengths) - 1, lengths)
    return Frames(info.fps, np.concatenate(states), np.concatenate(actions), last)


def _episodes_v2(directory: Path, info: _Info) -> list[_Episode]:
    """One file per episode; the file's name follows from the episode's number."""
    path = directory / "meta" / "episodes.jsonl"
    rows = [
        _parse(_EpisodeV2, line, f"{path}:{number}")
        for number, line in enumerate(_text(path).splitlines(), 1)
        if line.strip()
    ]
    return [
        _Episode(
            index=row.episode_index,
            length=row.length,
            path=directory
            / _name(info, episode_chunk=row.episode_index // info.chunks_size, episode_index=row.episode_index),
        )
        for row in sorted(rows, key=lambda row: row.episode_index)
    ]


def _episodes_v3(directory: Path, info: _Info) -> list[_Episode]:
    """Many episodes per file; where each begins is written in parquet."""
    paths = sorted((directory / "meta" / "episodes").glob("*/*.parquet"))
    if not paths:
        raise DatasetError(f"{directory} has no meta/episodes/*/*.parquet: {FINALISE}")
    columns = ["episode_index", "length", "data/chunk_index", "data/file_index", "dataset_from_index"]
    rows = [_parse(_EpisodeV3, row, str(path)) for path in paths for row in _read_table(path, columns).to_pylist()]
    rows.sort(key=lambda row: row.dataset_from_index)
    begin = 0
    for row in rows:
        if row.dataset_from_index != begin:
            raise DatasetError(
                f"{directory}: episode {row.episode_index} begins at frame {row.dataset_from_index}, the episodes "
                f"before it end at {begin}; the data set is damaged or a part of another: copy it again, whole"
            )
        begin += row.length
    return [
        _Episode(
            index=row.episode_index,
            length=row.length,
            path=directory / _name(info, chunk_index=row.chunk_index, file_index=row.file_index),
        )
        for row in rows
    ]


def _check_files(directory: Path, episodes: Sequence[_Episode]) -> None:
    """LeRobot reads whatever lies in data/, so a file too many shifts every frame after it."""
    if not episodes:
        raise DatasetError(f"{directory} has no episodes; record some")
    wanted = {episode.path for episode in episodes}
    if missing := sorted(path for path in wanted if not path.is_file()):
        raise DatasetError(f"{missing[0]} is missing ({len(missing)} of {len(wanted)} files); copy the data set whole")
    if surplus := sorted(set((directory / "data").glob("**/*.parquet")) - wanted):
        raise DatasetError(
            f"{surplus[0]} belongs to no episode of the metadata ({len(surplus)} such files); "
            "remove what is not the data set's, or copy the data set whole"
        )


def _check_rows(table: pa.Table, episodes: Sequence[_Episode], path: Path) -> None:
    """Refuse rows that are not exactly the frames of `episodes`, in their order."""
    expected = sum(episode.length for episode in episodes)
    if len(table) != expected:
        raise DatasetError(
            f"{path} has {len(table)} rows, the metadata says {expected}; the data set is damaged: copy it again, whole"
        )
    wanted = {
        "episode_index": np.repeat([episode.index for episode in episodes], [episode.length for episode in episodes]),
        "frame_index": np.concatenate([np.arange(episode.length) for episode in episodes]),
    }
    for key, values in wanted.items():
        wrong = np.flatnonzero(table[key].to_numpy() != values)
        if len(wrong):
            row = wrong[0]
            raise DatasetError(
                f"{path}, row {row}: {key} is {table[key][row]}, the metadata says {values[row]}; "
                "the frames are not in the order that LeRobot expects: write the data set again with LeRobot"
            )


def _vectors(table: pa.Table, key: str, dim: int, path: Path) -> NDArray[np.float32]:
    """The column `key` as an array (rows, dim)."""
    column = table[key]
    kind = column.type
    if not (_is_list(kind) and pa.types.is_floating(kind.value_type)):
        raise DatasetError(f"{path}: {key} is of type {kind}; need lists of {dim} floats")
    lengths = {length.as_py() for length in pc.unique(pc.list_value_length(column))}
    if lengths - {dim}:
        found = ", ".join(str(length) for length in sorted(lengths - {dim}, key=str))
        raise DatasetError(
            f"{path}: {key} holds {found} numbers per frame; need {dim} "
            "(left joints 0-5, left gripper, right joints 0-5, right gripper)"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        values: NDArray[np.float32] = pc.list_flatten(column).to_numpy().astype(np.float32).reshape(-1, dim)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, index = bad[0]
        where = f"episode {table['episode_index'][row]}, frame {table['frame_index'][row]}"
        raise DatasetError(
            f"{path}: {key}[{index}] is {values[row, index]} in {where} "
            f"({len(bad)} such values); remove the episode: no training survives it"
        )
    return values


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _read_table(path: Path, columns: Sequence[str]) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if missing := [name for name in columns if name not in names]:
                raise DatasetError(f"{path} has no column {', '.join(missing)}; it has {', '.join(names)}")
            return file.read(columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path} cannot be read ({error}): {FINALISE}") from error


def _name(info: _Info, **numbers: int) -> str:
    try:
        return info.data_path.format(**numbers)
    except (LookupError, ValueError, AttributeError) as error:
        raise DatasetError(f"{INFO}: data_path is {info.data_path!r}; it may use {', '.join(numbers)} only") from error


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); copy the data set whole") from error


def _parse(kind: type[Row], content: str | dict[str, Any], where: str) -> Row:
    """A row of JSON text, or of a table."""
    try:
        return kind.model_validate_json(content) if isinstance(content, str) else kind.model_validate(content)
    except ValidationError as error:
        raise DatasetError(f"{where}: {_faults(error)}") from error


def _faults(error: ValidationError) -> str:
    faults = [(".".join(map(str, fault["loc"])) or "text", fault) for fault in error.errors(include_url=False)]
    return "; ".join(f"{key}: {fault['msg']} (it is {fault['input']!r})" for key, fault in faults)
