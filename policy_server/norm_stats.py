"""The command `norm-stats`: statistics of a LeRobot data set, equal to those that openpi's training would compute.

Runs once before a training, or to serve a checkpoint without statistics. Frames become what the model is trained on
(chunks of `action_horizon` actions, the last one repeated beyond the episode's end; adapted and delta as the config
says), batch by batch. Always holds: the file appears whole or not at all, and none is overwritten unasked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from policy_server import aloha
from policy_server.config import STATE_DIM, ConfigError, PolicyConfig, load_config
from policy_server.inspection_view import WIDTH, statistics_table
from policy_server.review import review_for
from policy_server.running_stats import RunningStats
from policy_server.statistics import NormStats, save_norm_stats

if TYPE_CHECKING:
    from policy_server.lerobot_dataset import Frames

BATCH_SIZE = 32
FILE = "norm_stats.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "dataset", type=Path, metavar="DATASET", help="directory of a LeRobot data set, v2.0, v2.1 or v3.0"
    )
    parser.add_argument("--config", required=True, metavar="NAME|TOML", help="whose units, horizon and columns count")
    parser.add_argument(
        "--output", type=Path, metavar="FILE|DIR", help=f"a .json file, or a directory (./assets/<asset_id>/{FILE})"
    )
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    parser.add_argument("--batch-size", type=_count, default=BATCH_SIZE, help="openpi's is 32")
    parser.add_argument("--max-frames", type=_count, metavar="N", help="take N frames at random, as openpi does")


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Returns the exit status: 0 when the file is written, 1 when it is not."""
    from policy_server.lerobot_dataset import DatasetError, read_frames

    try:
        config = load_config(arguments.config)
        output = _output(arguments.output, config, arguments.force)
        frames = read_frames(arguments.dataset, config.data.dataset_state, config.data.dataset_action, STATE_DIM)
        if frames.fps != config.data.action_rate_hz:
            _say(
                f"warning: the data set has {frames.fps:g} frames per second, config {config.name} has action_rate_hz "
                f"{config.data.action_rate_hz:g}; the robot would move at another speed than in the recording"
            )
        stats = compute(frames, config, arguments.batch_size, arguments.max_frames)
        save_norm_stats(output, stats)
    except (ConfigError, DatasetError, StatsError, OSError) as error:
        _say(f"pi0-policy-server: {error}")
        return 1
    _show(stats, config)
    print(f"wrote {output}")
    return 0


class StatsError(ValueError):
    """Statistics that cannot be computed or written. The text names the value, the bound and what to do."""


def compute(
    frames: Frames, config: PolicyConfig, batch_size: int = BATCH_SIZE, max_frames: int | None = None
) -> NormStats:
    """Statistics over `frames` in batches of `batch_size` frames; an incomplete last batch does not count.

    max_frames: take so many frames, in the order in which openpi shuffles. Raises StatsError.
    """
    order = np.arange(len(frames)) if max_frames is None or max_frames >= len(frames) else shuffled(len(frames))
    wanted = len(frames) if max_frames is None else min(max_frames, len(frames))
    num_batches = wanted // batch_size
    if not num_batches:
        raise StatsError(f"{wanted} frames do not fill one batch of {batch_size}; pass --batch-size {wanted} or less")
    state_stats, action_stats = RunningStats(), RunningStats()
    console = Console(stderr=True)
    batches = _batches(frames, config, order[: num_batches * batch_size].reshape(num_batches, -1))
    for state, actions in track(batches, "batches", num_batches, console=console, disable=not console.is_terminal):
        state_stats.update(state)
        action_stats.update(actions)
    try:
        return NormStats(state_stats.result(), action_stats.result())
    except ValueError as error:
        raise StatsError(str(error)) from error


def shuffled(count: int) -> NDArray[np.int64]:
    """The numbers below `count` in the order of a torch DataLoader whose generator has seed 0.

    Mersenne Twister words: the loader draws two for its workers, then one per swap of a Fisher-Yates shuffle.
    """
    words = np.random.RandomState(0).randint(2**32, size=2 + count, dtype=np.uint32)[2:]
    targets = np.arange(count) + words % np.arange(count, 0, -1)
    order = list(range(count))
    for index, target in enumerate(targets.tolist()):
        order[index], order[target] = order[target], order[index]
    return np.array(order)


def _batches(
    frames: Frames, config: PolicyConfig, order: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """States (batch, 14) and actions (batch, horizon, 14) in model units, for each row of `order` (batches, batch)."""
    adapt = config.data.adapt_to_pi
    # As in openpi: adapted numbers are float64 until the batch is made, others float32 all the way.
    state = aloha.decode_state(frames.state) if adapt else frames.state
    action = aloha.encode_actions_inverse(frames.action) if adapt else frames.action
    steps = np.arange(config.model.action_horizon)
    for rows in order:
        chunks = action[np.minimum(rows[:, None] + steps, frames.last[rows][:, None])]
        if config.data.use_delta_joint_actions:
            chunks -= np.where(aloha.JOINTS, state[rows], 0)[:, None]
        yield state[rows].astype(np.float32), chunks.astype(np.float32)


def _output(given: Path | None, config: PolicyConfig, force: bool) -> Path:
    path = given or Path("assets", config.data.asset_id, FILE)
    if path.suffix != ".json" or path.is_dir():
        path = path / FILE
    if path.exists() and not force:
        raise StatsError(f"{path} exists; pass --force to overwrite it, or another --output")
    return path


def _show(stats: NormStats, config: PolicyConfig) -> None:
    """Print what `inspect` would print of the statistics, were they a checkpoint's."""
    Console(width=WIDTH, highlight=False).print(statistics_table(config.data.asset_id, stats))
    for warning in review_for(config, stats):
        _say(f"warning: {warning}")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def _say(line: str) -> None:
    print(line, file=sys.stderr)
