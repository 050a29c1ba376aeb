"""Writes small LeRobot data sets, of the states and actions given, in the layouts that LeRobot itself writes."""

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from policy_server.lerobot_dataset import read_frames

FPS = 30


@dataclass
class Recording:
    """state, action: (n, 14) float32, episode after episode; lengths: frames of each."""

    state: np.ndarray
    action: np.ndarray
    lengths: list[int]

    @property
    def last(self):
        return [
            end - 1 for end, length in zip(np.cumsum(self.lengths), self.lengths, strict=True) for _ in range(length)
        ]

    def episodes(self):
        ends = np.cumsum(self.lengths).tolist()
        return [slice(end - length, end) for end, length in zip(ends, self.lengths, strict=True)]


def recording(seed=0, lengths=(20, 3, 31, 14)):
    """Smooth motion with noise."""
    generator = np.random.default_rng(seed)
    t_s = np.arange(sum(lengths))[:, None] / FPS
    state = np.sin(t_s * generator.uniform(0.5, 4, 14)) * generator.uniform(0.1, 1.2, 14)
    state[:, [6, 13]] = 0.5 + 0.4 * np.sin(3 * t_s)
    action = state + generator.normal(scale=0.02, size=state.shape)
    return Recording(state.astype(np.float32), action.astype(np.float32), list(lengths))


def table(given, rows, number, begin, kind=None):
    """The parquet table of episode `number`, which is `rows` of the recording and begins at frame `begin`."""
    kind = kind or pa.list_(pa.float32())
    count = rows.stop - rows.start
    return pa.table(
        {
            "observation.effort": pa.array(np.zeros((count, 2)).tolist()),
            "action": pa.array(given.action[rows].tolist(), kind),
            "observation.state": pa.array(given.state[rows].tolist(), kind),
            "timestamp": pa.array(np.arange(count) / FPS, pa.float32()),
            "frame_index": np.arange(count),
            "episode_index": np.full(count, number),
            "index": np.arange(count) + begin,
            "task_index": np.zeros(count, np.int64),
        }
    )


def write_info(root, version, data_path, **extra):
    info = {"codebase_version": version, "robot_type": "bi_widowxai_follower", "fps": FPS, "data_path": data_path}
    (root / "meta").mkdir(parents=True, exist_ok=True)
    (root / "meta" / "info.json").write_text(json.dumps({**info, **extra}))


def write_parquet(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path)


def write_v2(root, given, version="v2.1", kind=None, chunks_size=3):
    """A file per episode, three to a folder; the metadata lists the episodes backwards."""
    path = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    write_info(root, version, path, chunks_size=chunks_size)
    lines = []
    for number, rows in enumerate(given.episodes()):
        where = root / path.format(episode_chunk=number // chunks_size, episode_index=number)
        write_parquet(where, table(given, rows, number, rows.start, kind))
        lines.append(json.dumps({"episode_index": number, "tasks": ["lift"], "length": rows.stop - rows.start}))
    (root / "meta" / "episodes.jsonl").write_text("\n".join(reversed(lines)) + "\n")
    return root


def write_v3(root, given, files=((0, 2), (3,), (1,)), kind=None):
    """Several episodes per file. `files` has their numbers, in the order of the frames; the metadata is sorted."""
    path = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    write_info(root, "v3.0", path, chunks_size=1000)
    episodes, rows, numbers = [], iter(given.episodes()), 0
    for file, members in enumerate(files):
        tables = []
        for number in members:
            part = next(rows)
            tables.append(table(given, part, number, part.start, kind))
            episodes.append(
                {
                    "episode_index": number,
                    "tasks": ["lift"],
                    "length": part.stop - part.start,
                    "data/chunk_index": file // 2,
                    "data/file_index": file % 2,
                    "dataset_from_index": part.start,
                    "dataset_to_index": part.stop,
                }
            )
        numbers += len(members)
        write_parquet(root / path.format(chunk_index=file // 2, file_index=file % 2), pa.concat_tables(tables))
    assert numbers == len(given.lengths)
    episodes.sort(key=lambda episode: episode["episode_index"])
    half = len(episodes) // 2
    for file, part in enumerate((episodes[:half], episodes[half:])):
        write_parquet(root / "meta" / "episodes" / "chunk-000" / f"file-{file:03d}.parquet", pa.Table.from_pylist(part))
    return root


def read(root):
    return read_frames(root, "observation.state", "action", 14)
