"""What a trace tells of the stages from frame to command, and a stream of commands of who sends it."""

import numpy as np
import pytest
from PIL import Image
from synthetic import handed

from bench.commands import command_row
from bench.waterfall import END_TO_END, HAND_OVER, OVERHEAD, STAGES, TOTALS, stage_rows
from bench.waterfall_plot import draw

MS = 1_000_000


def test_each_stage_is_between_its_instants_and_what_the_server_told_is_its_own():
    rows = {row["stage"]: row for row in stage_rows(handed(3), policy_ms=0.0)}
    each = [1.0, 0.5, 0.5, 3.0, 1.0, 1.0, 26.0, 0.2, 0.4, 1.1, 0.3]
    assert [round(rows[name]["p50_ms"], 3) for name in STAGES] == each
    assert rows[END_TO_END]["p50_ms"] == pytest.approx(35.0)
    assert rows[OVERHEAD]["max_ms"] == pytest.approx(9.0)
    assert all(row["policy_ms"] == 0.0 for row in rows.values())


def test_stages_add_up_to_the_whole_for_every_chunk():
    rows = handed(20)
    rows["t_handed_ns"] += np.arange(20) ** 2 * 1000
    np.testing.assert_allclose(sum(of(rows) for of in STAGES.values()), TOTALS[END_TO_END](rows))
    means = {row["stage"]: row["mean_ms"] for row in stage_rows(rows)}
    assert sum(means[name] for name in STAGES) == pytest.approx(means[END_TO_END])
    assert means[HAND_OVER] == pytest.approx(0.3 + 1e-3 * np.mean(np.arange(20) ** 2))


def test_a_server_that_tells_no_times_has_no_stages():
    rows = handed(3)
    rows["queue_ms"][1] = np.nan
    with pytest.raises(ValueError, match="did not tell queue_ms"):
        stage_rows(rows)


def test_the_picture_has_a_bar_for_each_time_of_the_policy(tmp_path):
    rows = [row for ms in (0.0, 40.0) for row in stage_rows(handed(4), scheduling="fifo", policy_ms=ms)]
    sizes = []
    for shown in (rows, rows[: len(rows) // 2]):
        assert draw({"rows": shown}, tmp_path / "picture.png")
        with Image.open(tmp_path / "picture.png") as picture:
            sizes.append(picture.size)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] > sizes[1][1]


def test_commands_at_every_period_are_neither_late_nor_stalled():
    row = command_row(np.arange(0, 1000, 20) * MS, [50.0, 52.0, 54.0], 40.0)
    assert (row["rate_hz"], row["late"], row["stalls"], row["bursts"]) == (50.0, 0, 0, 0)
    assert (row["n"], row["p50_ms"], row["overhead_ms"]) == (3, 52.0, 12.0)


def test_a_wait_at_the_end_of_a_chunk_is_a_stall_and_what_catches_up_a_burst():
    instants_ms = [0.0, 20.0, 80.0, 80.1, 100.1, 127.0]
    row = command_row([round(t * MS) for t in instants_ms], [61.0], 40.0)
    assert (row["late"], row["stalls"], row["bursts"]) == (2, 1, 1)
    assert row["between_max_ms"] == pytest.approx(60.0)


def test_one_command_has_no_rate():
    with pytest.raises(ValueError, match="1 commands came"):
        command_row([5], [1.0], 0.0)
