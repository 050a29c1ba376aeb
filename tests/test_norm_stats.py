"""The command `norm-stats`, against openpi's own results and against a slow, plain computation."""

import argparse
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from lerobot_sets import Recording, read, recording, write_v2, write_v3

from policy_server.config import parse_config
from policy_server.norm_stats import StatsError, add_arguments, compute, run, shuffled
from policy_server.running_stats import BINS
from policy_server.statistics import parse_norm_stats

GOLDENS = Path(__file__).parent / "goldens" / "norm_stats"
NAMES = ("mean", "std", "q01", "q99")
CASES = {  # adapt_to_pi, use_delta_joint_actions, max_frames
    "absolute": (False, False, None),
    "delta": (False, True, None),
    "adapted": (True, True, None),
    "shuffled": (True, True, 60),
}


def toml(adapt=False, delta=False, horizon=9, rate_hz=30.0):
    return f"""
[model]
type = "pi0"
siglip = "mu/14"
paligemma = "dummy"
action_expert = "dummy"
action_horizon = {horizon}
[data]
action_rate_hz = {rate_hz}
asset_id = "lab/kit"
adapt_to_pi = {str(adapt).lower()}
use_delta_joint_actions = {str(delta).lower()}
"""


def config(**settings):
    return parse_config(toml(**settings), "small")


@pytest.fixture
def golden():
    with np.load(GOLDENS / "frames.npz") as stored:
        return Recording(stored["state"], stored["action"], stored["lengths"].tolist())


@pytest.mark.parametrize("write", [write_v2, write_v3])
@pytest.mark.parametrize("case", CASES)
def test_it_equals_openpi(tmp_path, golden, case, write):
    """To the bit where it was made; 1e-6, far less than a bin, leaves room for another machine's arcsin."""
    adapt, delta, max_frames = CASES[case]
    stats = compute(read(write(tmp_path, golden)), config(adapt=adapt, delta=delta), 8, max_frames)
    expected = json.loads((GOLDENS / "expected.json").read_text())[case]
    for quantity in ("state", "actions"):
        for name in NAMES:
            found = getattr(getattr(stats, quantity), name)
            np.testing.assert_allclose(found, expected[quantity][name], rtol=0, atol=1e-6, err_msg=f"{quantity}.{name}")


def slow_chunks(given, horizon, delta):
    """Every chunk of every episode, frame by frame."""
    for rows in given.episodes():
        for row in range(rows.start, rows.stop):
            chunk = [given.action[min(row + step, rows.stop - 1)].astype(np.float64) for step in range(horizon)]
            for action in chunk:
                for joint in (*range(6), *range(7, 13)):
                    action[joint] -= given.state[row][joint] if delta else 0.0
            yield given.state[row], chunk


@pytest.mark.parametrize("delta", [False, True])
def test_it_agrees_with_a_slow_computation(tmp_path, delta):
    given = recording(seed=4, lengths=(40, 7, 33))
    given.action[0], given.action[-1] = given.action.max(axis=0) + 1, given.action.min(axis=0) - 1
    batch = sum(given.lengths)  # one batch, so the bins never move
    stats = compute(read(write_v3(tmp_path, given, ((0, 1), (2,)))), config(horizon=12, delta=delta), batch)
    states, chunks = zip(*slow_chunks(given, 12, delta), strict=True)
    for found, values in ((stats.state, np.array(states, np.float64)), (stats.actions, np.concatenate(chunks))):
        np.testing.assert_allclose(found.mean, values.mean(axis=0), atol=5e-6)
        np.testing.assert_allclose(found.std, values.std(axis=0), rtol=1e-4)
        width = np.ptp(values, axis=0) / BINS + 1e-6
        for quantile, value in ((0.01, found.q01), (0.99, found.q99)):
            exact = np.sort(values, axis=0)[math.ceil(quantile * len(values)) - 1]
            assert np.all(np.abs(value - exact) <= width)


def test_an_incomplete_batch_does_not_count(tmp_path):
    given = recording(lengths=(20,))
    whole = compute(read(write_v2(tmp_path / "a", given)), config(), 8)
    cut = Recording(given.state[:16], given.action.copy(), [20])
    cut.state = np.concatenate([cut.state, given.state[16:] + 9])
    other = compute(read(write_v2(tmp_path / "b", cut)), config(), 8)
    np.testing.assert_array_equal(whole.state.mean, other.state.mean)


def test_the_order_is_that_of_a_torch_loader():
    """Drawn with torch 2.13: DataLoader(shuffle=True) with a generator of seed 0."""
    assert shuffled(10).tolist()[:9] == [3, 7, 5, 2, 0, 8, 1, 6, 9]
    assert shuffled(1000).tolist()[:12] == [933, 484, 39, 190, 47, 528, 899, 145, 829, 966, 826, 664]
    assert sorted(shuffled(1000)) == list(range(1000))
    assert shuffled(1).tolist() == [0]


def test_more_frames_than_there_are_means_all_in_order(tmp_path):
    frames = read(write_v2(tmp_path, recording()))
    plain, many = compute(frames, config(), 8), compute(frames, config(), 8, len(frames))
    for name in NAMES:
        np.testing.assert_array_equal(getattr(plain.actions, name), getattr(many.actions, name))


def test_too_few_frames(tmp_path):
    frames = read(write_v2(tmp_path, recording()))
    with pytest.raises(StatsError, match="68 frames do not fill one batch of 69; pass --batch-size 68 or less"):
        compute(frames, config(), 69)
    with pytest.raises(StatsError, match="5 frames do not fill one batch of 32; pass --batch-size 5 or less"):
        compute(frames, config(), max_frames=5)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs the command in an empty directory, with a config and a data set beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(toml())
    write_v2(tmp_path / "set", recording())

    def call(*arguments):
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        return run(parser.parse_args(["set", "--config", "small.toml", *arguments]))

    return call


def test_the_command_writes_openpis_file(command, capsys):
    assert command() == 0
    printed = capsys.readouterr()
    assert "wrote assets/lab/kit/norm_stats.json" in printed.out
    assert "right gripper" in printed.out
    text = Path("assets/lab/kit/norm_stats.json").read_text()
    expected = compute(read(Path("set")), config())
    stats = parse_norm_stats(text, "file")
    np.testing.assert_array_equal(stats.actions.q99, expected.actions.q99)
    np.testing.assert_array_equal(stats.state.std, expected.state.std)


def test_odd_statistics_are_warned_of(command, capsys):
    given = recording()
    given.action[:, 8] *= 30
    given.state[:, 2] = 0.25
    shutil.rmtree("set")
    write_v2(Path("set"), given)
    assert command() == 0
    warnings = capsys.readouterr().err
    assert "actions: right joint_1 spans more than a full turn" in warnings
    assert "state: left joint_2 did not move in the data" in warnings


def test_nothing_is_overwritten_unasked(command, capsys):
    path = Path("here/norm_stats.json")
    path.parent.mkdir()
    path.write_text("mine")
    assert command("--output", "here") == 1
    assert path.read_text() == "mine"
    assert "here/norm_stats.json exists; pass --force" in capsys.readouterr().err
    assert command("--output", "here", "--force") == 0
    assert parse_norm_stats(path.read_text(), "file").state.mean.shape == (14,)


@pytest.mark.parametrize(
    ("given", "written"),
    [("other.json", "other.json"), ("new", "new/norm_stats.json"), ("a/b/c.json", "a/b/c.json")],
)
def test_the_output_may_be_a_file_or_a_directory(command, given, written):
    assert command("--output", given) == 0
    assert Path(written).is_file()


def test_another_frame_rate_is_a_warning(command, capsys):
    Path("small.toml").write_text(toml(rate_hz=50.0))
    assert command() == 0
    assert "30 frames per second, config small has action_rate_hz 50" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--config", "absent.toml"], "absent.toml"),
        (["--batch-size", "1000"], "do not fill one batch of 1000"),
        (["--output", "small.toml/x"], "small.toml"),
    ],
)
def test_errors_are_one_line(command, capsys, arguments, match):
    assert command(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("pi0-policy-server: ")
    assert error.count("\n") == 1
    assert match in error


def test_an_unreadable_set_writes_nothing(command, capsys):
    Path("set/meta/info.json").unlink()
    assert command() == 1
    assert "not a LeRobot data set" in capsys.readouterr().err
    assert not Path("assets").exists()


@pytest.mark.parametrize("count", ["0", "-3", "x", "1.5"])
def test_counts_are_checked(command, count):
    with pytest.raises(SystemExit, match="2"):
        command("--batch-size", count)
