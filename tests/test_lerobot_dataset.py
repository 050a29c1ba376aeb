"""Reading LeRobot data sets of every known version, and refusing damaged ones."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_sets import FPS, read, recording, table, write_info, write_parquet, write_v2, write_v3

from policy_server.lerobot_dataset import DatasetError, read_frames

KINDS = [pa.list_(pa.float32()), pa.list_(pa.float32(), 14), pa.large_list(pa.float64())]


def check(frames, given):
    assert frames.fps == FPS
    np.testing.assert_array_equal(frames.state, given.state)
    np.testing.assert_array_equal(frames.action, given.action)
    np.testing.assert_array_equal(frames.last, given.last)
    assert len(frames) == sum(given.lengths)
    assert frames.state.dtype == frames.action.dtype == np.float32


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("version", ["v2.0", "v2.1"])
def test_one_file_per_episode(tmp_path, version, kind):
    given = recording()
    check(read(write_v2(tmp_path, given, version, kind)), given)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("files", [((0, 1, 2, 3),), ((0,), (1, 2, 3)), ((0, 2), (3,), (1,))], ids=str)
def test_many_episodes_per_file(tmp_path, files, kind):
    given = recording()
    check(read(write_v3(tmp_path, given, files, kind)), given)


def test_other_columns_can_be_asked_for(tmp_path):
    given = recording()
    frames = read_frames(write_v2(tmp_path, given), "action", "observation.state", 14)
    np.testing.assert_array_equal(frames.state, given.action)
    np.testing.assert_array_equal(frames.action, given.state)


FIRST = "data/chunk-000/episode_000000.parquet"


def refuse(root, match, state="observation.state", dim=14):
    with pytest.raises(DatasetError, match=match):
        read_frames(root, state, "action", dim)


def rewrite(path, **columns):
    content = pq.read_table(path)
    for name, values in columns.items():
        content = content.set_column(content.column_names.index(name), name, values)
    pq.write_table(content, path)


def test_a_directory_without_metadata(tmp_path):
    refuse(tmp_path, "is not a LeRobot data set: it has no meta/info.json")
    refuse(tmp_path / "absent", "is not a LeRobot data set")


@pytest.mark.parametrize(
    ("info", "match"),
    [
        ({"codebase_version": "v1.6"}, r"codebase_version is 'v1.6'; known are v2.0, v2.1, v3.0"),
        ({"fps": 0}, r"fps: .*greater than 0 \(it is 0\)"),
        ({"fps": None}, "fps"),
        ({"data_path": "data/{episode}.parquet"}, r"it may use episode_chunk, episode_index only"),
        ({"data_path": "data/{0.x}.parquet"}, r"it may use episode_chunk, episode_index only"),
        ({"chunks_size": 0}, "chunks_size"),
    ],
)
def test_metadata_that_makes_no_sense(tmp_path, info, match):
    path = write_v2(tmp_path, recording()) / "meta" / "info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **info}))
    refuse(tmp_path, match)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_metadata_that_cannot_be_read(tmp_path, content):
    (write_v2(tmp_path, recording()) / "meta" / "info.json").write_bytes(content)
    refuse(tmp_path, "info.json")


def test_no_list_of_episodes(tmp_path):
    (write_v2(tmp_path, recording()) / "meta" / "episodes.jsonl").unlink()
    refuse(tmp_path, r"episodes.jsonl cannot be read")


def test_a_broken_line_in_the_list_of_episodes(tmp_path):
    path = write_v2(tmp_path, recording()) / "meta" / "episodes.jsonl"
    path.write_text(path.read_text() + '{"episode_index": 4, "length": 0}\n')
    refuse(tmp_path, r"episodes.jsonl:5: length: .*\(it is 0\)")


def test_no_episodes(tmp_path):
    (write_v2(tmp_path, recording()) / "meta" / "episodes.jsonl").write_text("\n")
    refuse(tmp_path, "has no episodes")


def test_a_recording_that_was_not_finalised(tmp_path):
    """LeRobot 3.0 that was killed: no list of episodes, and frames without a footer."""
    write_v3(tmp_path, recording())
    shutil.rmtree(tmp_path / "meta" / "episodes")
    refuse(tmp_path, r"has no meta/episodes/.* not finalised")


@pytest.mark.parametrize("keep", [0, 4, 1000])
def test_a_file_without_a_footer(tmp_path, keep):
    path = write_v2(tmp_path, recording()) / FIRST
    path.write_bytes(path.read_bytes()[:keep])
    refuse(tmp_path, r"episode_000000.parquet cannot be read .* not finalised")


def test_damage_within_a_file(tmp_path):
    path = write_v2(tmp_path, recording()) / FIRST
    content = bytearray(path.read_bytes())
    content[4:600] = bytes(596)
    path.write_bytes(content)
    refuse(tmp_path, "episode_000000.parquet")


def test_a_missing_file(tmp_path):
    (write_v2(tmp_path, recording()) / FIRST).unlink()
    refuse(tmp_path, r"episode_000000.parquet is missing \(1 of 4 files\)")


def test_a_file_too_many(tmp_path):
    path = write_v2(tmp_path, recording()) / FIRST
    shutil.copy(path, path.with_name("episode_000000 (copy).parquet"))
    refuse(tmp_path, r"\(copy\).parquet belongs to no episode")


def test_a_missing_column(tmp_path):
    write_v2(tmp_path, recording())
    refuse(
        tmp_path, r"has no column observation.q; it has observation.effort, action, observation.state", "observation.q"
    )


def test_columns_of_another_robot(tmp_path):
    write_v2(tmp_path, recording())
    refuse(tmp_path, r"observation.effort holds 2 numbers per frame; need 14", "observation.effort")
    refuse(tmp_path, r"observation.state holds 14 numbers per frame; need 7", dim=7)


@pytest.mark.parametrize(
    "values", [[0] * 20, [[0] * 14] * 20, ["x"] * 20, [[[0.5]]] * 20], ids=["int", "ints", "text", "2d"]
)
def test_columns_that_are_not_lists_of_floats(tmp_path, values):
    rewrite(write_v2(tmp_path, recording()) / FIRST, action=pa.array(values))
    refuse(tmp_path, r"action is of type .*; need lists of 14 floats")


@pytest.mark.parametrize("row", [None, [0.5] * 13, []])
def test_a_frame_of_another_length(tmp_path, row):
    rewrite(write_v2(tmp_path, recording()) / FIRST, action=pa.array([row] + [[0.5] * 14] * 19, pa.list_(pa.float32())))
    refuse(tmp_path, r"action holds (None|13|0) numbers per frame; need 14")


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 1e300, None])
def test_a_number_that_is_none(tmp_path, value):
    path = write_v2(tmp_path, recording()) / "data" / "chunk-000" / "episode_000002.parquet"
    actions = [[0.5] * 14 for _ in range(31)]
    actions[17][9] = value
    rewrite(path, action=pa.array(actions, pa.list_(pa.float64())))
    refuse(tmp_path, r"action\[9\] is (nan|-inf|inf) in episode 2, frame 17 \(1 such values\)")


def test_rows_that_the_metadata_does_not_know(tmp_path):
    given = recording()
    write_v2(tmp_path, given)
    write_parquet(tmp_path / FIRST, table(given, slice(0, 19), 0, 0))
    refuse(tmp_path, "has 19 rows, the metadata says 20")


def test_episodes_in_another_order_than_the_metadata_says(tmp_path):
    given = recording()
    write_v2(tmp_path, given)
    write_parquet(tmp_path / FIRST, table(given, slice(0, 20), 1, 0))
    refuse(tmp_path, "row 0: episode_index is 1, the metadata says 0")


def test_frames_out_of_order(tmp_path):
    path = write_v2(tmp_path, recording()) / FIRST
    rewrite(path, frame_index=pa.array([*range(18), 19, 18]))
    refuse(tmp_path, "row 18: frame_index is 19, the metadata says 18")


def test_episodes_that_leave_a_gap(tmp_path):
    write_v3(tmp_path, recording())
    path = tmp_path / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    refuse(tmp_path, "episode 2 begins at frame 20, the episodes before it end at 0")


def test_metadata_of_another_layout(tmp_path):
    write_v2(tmp_path, recording())
    write_info(tmp_path, "v3.0", "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet")
    refuse(tmp_path, r"has no meta/episodes")
