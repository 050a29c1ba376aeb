"""The comparison in closed loop: the same figures every time, no stalls of ours, and seams that cost nothing."""

import json

import pytest

from bench import closed_loop
from bench.closed_loop import METHODS, STOCK, Case, play
from bench.result_files import read
from bench.results import by_names
from controller.run_options import Seam

OURS = [method for method in METHODS if method != STOCK]


def case(method, delay_ms=100.0, task="bimodal", **more):
    given = {"jitter": 0.0, "lost": 0.0, "seed": 1, "execution_horizon": 0} | more
    return Case(task, method, delay_ms, **given)


def test_the_same_case_gives_the_same_figures():
    assert play(case("rtc")) == play(case("rtc"))


@pytest.mark.parametrize("delay_ms", [0.0, 400.0])
def test_a_conditioned_policy_goes_round_one_side_without_a_seam_to_be_felt(delay_ms):
    result = play(case("rtc", delay_ms))
    assert result.success, result.why
    assert result.stall_ticks == 0
    assert result.figures["seam_acceleration"] <= 1.1 * result.figures["chunk_acceleration"]


@pytest.mark.parametrize("delay_ms", [0.0, 100.0])
@pytest.mark.parametrize("seed", [2, 4, 11])
def test_a_policy_of_two_minds_is_blended_no_harder_than_it_asks_for_itself(seed, delay_ms):
    result = play(case("blend", delay_ms, seed=seed))
    assert result.stall_ticks == 0
    assert result.figures["seams"] >= 10
    assert result.figures["seam_acceleration"] <= 1.1 * result.figures["chunk_acceleration"]


@pytest.mark.parametrize("method", OURS)
@pytest.mark.parametrize(("execution_horizon", "delay_ms"), [(25, 440.0), (40, 140.0)])
def test_nothing_of_ours_stalls_at_any_delay_that_a_chunk_has_room_for(method, execution_horizon, delay_ms):
    # the next request leaves on a frame after the horizon, up to 43 ms old; the chunk's last 20 ms are its end
    result = play(case(method, delay_ms, execution_horizon=execution_horizon))
    assert result.stall_ticks == 0
    assert "plan_ended" not in result.why


def test_the_stock_runtime_stalls_at_every_chunks_edge():
    result = play(case(STOCK))
    assert result.stall_ticks >= 4 * (result.figures["seams"] - 1)
    assert result.figures["seam_acceleration"] > 10.0 * result.figures["chunk_acceleration"]


def test_lost_answers_are_asked_for_again():
    result = play(case("rtc", 50.0, lost=0.2, seed=3))
    assert result.success, result.why


def test_the_lighter_gets_into_the_cup_and_blend_leaves_no_trace():
    result = play(case("blend", task="lighter"))
    assert result.success, result.why
    assert result.stall_ticks == 0
    assert result.figures["seam_acceleration"] <= 1.1 * result.figures["chunk_acceleration"]


def test_the_command_writes_table_data_and_picture(tmp_path, capsys):
    options = "--tasks bimodal --methods rtc stock --delays-ms 0 50 --episodes 1 --clean-only --jobs 1"
    closed_loop.main([*options.split(), "--out", str(tmp_path), "--json", str(tmp_path / "kept.json")])
    rows = json.loads((tmp_path / "closed_loop.json").read_text())["rows"]
    assert [(row["delay_ms"], row["method"]) for row in rows] == [
        (delay_ms, method) for delay_ms in (0.0, 50.0) for method in (Seam.RTC.name.lower(), STOCK)
    ]
    table = (tmp_path / "closed_loop.md").read_text()
    assert table.count("| stock |") == 2
    assert table in capsys.readouterr().out
    assert (tmp_path / "closed_loop.png").stat().st_size > 10_000
    kept = read(tmp_path / "kept.json")
    assert len(by_names(kept)) == len(rows)
    assert [row["successes"] for row in kept["rows"]] == [row["success"] for row in rows]
