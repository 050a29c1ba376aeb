"""The whole system, for real, over many episodes mixed with faults: what must never happen does not.

    python -m bench.soak --episodes 100 --seed 0
    python -m bench.soak --minutes 60 --spare         # does anything grow?

A real policy server and a real daemon with small test-pattern cameras. Each episode homes, runs with options of its own
and meets one disturbance: an operator's, a process killed or hung, a server that is late, lies or dies. The commands of
every motor tick are judged. After each episode every process is asked for its memory, open files and threads: how fast
they grow is told per hour (`growth`). A process that a disturbance has ended begins anew; with --spare none is, and all
are watched for as long as the soak lasts. Writes soak.json and soak.txt, and the daemon's log; exit status 1 if
something was found that must not be. The same seed gives the same episodes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from bench.host import Host
from bench.result_files import write
from bench.soak_plan import DISTURBANCES, SPARING, Episode, episodes
from bench.soak_player import Player
from bench.soak_report import Outcome, as_result, as_text, document
from bench.soak_stack import Daemon, Server, write_configuration
from controller.client import DaemonUnreachable
from controller.refused import Refused

MADE = ("daemon.log", "server.log")


def line(episode: Episode, outcome: Outcome) -> str:
    """One episode for the screen."""
    options = episode.options
    how = f"{options.seam.word}{' dry' if options.dry else ''} {options.speed:g} h{options.execution_horizon}"
    found = "" if outcome.as_expected else "  UNEXPECTED"
    found += f"  VIOLATIONS {len(outcome.violations)}" if outcome.violations else ""
    found += f"  STEPS {len(outcome.steps)}" if outcome.steps else ""
    return (
        f"{episode.number:4} {how:22} {outcome.disturbance:28} {outcome.state:8} {outcome.fault or '-':16} "
        f"{outcome.took_s:5.1f} s{found}"
    )


@contextlib.contextmanager
def stack(directory: Path) -> Iterator[tuple[Daemon, Server]]:
    """Server and daemon; both are gone afterwards, however it ends."""
    server = Server(directory)
    try:
        daemon = Daemon(directory, write_configuration(directory, server.url))
        try:
            yield daemon, server
        finally:
            daemon.program.remove()
    finally:
        server.program.remove()


def lasting(plan: Iterator[Episode], minutes: float) -> Iterator[Episode]:
    """The episodes that begin within so many minutes of the first."""
    end_s = time.monotonic() + 60.0 * minutes
    for episode in plan:
        if time.monotonic() >= end_s:
            return
        yield episode


def soak(directory: Path, plan: Iterable[Episode], seed: int, *, spared: bool) -> dict[str, Any]:
    """Play all of it; the report. An episode that cannot be brought to an end ends the soak and is told."""
    outcomes: list[Outcome] = []
    left: list[str] = []
    with stack(directory) as (daemon, server):
        daemon.allowed("home")
        player = Player(daemon, server, seed)
        for episode in plan:
            try:
                outcomes.append(player.play(episode))
            except (TimeoutError, Refused, DaemonUnreachable) as error:
                left.append(f"episode {episode.number} ({episode.disturbance.name}) did not end: {error}")
                break
            print(line(episode, outcomes[-1]), flush=True)
        status = daemon.program.end()
        if status != 0:
            left.append(f"the daemon ended with {'nothing but force' if status is None else f'exit status {status}'}")
        left += daemon.leftovers()
    return document(outcomes, player.lives, left, player.tap.dropped, seed=seed, spared=spared)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    how_long = parser.add_mutually_exclusive_group()
    how_long.add_argument("--episodes", type=int, default=100, metavar="N", help="(100)")
    how_long.add_argument("--minutes", type=float, metavar="M", help="in place of a number of episodes")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(0)")
    parser.add_argument("--spare", action="store_true", help="no disturbance ends one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write growth and verdicts there, as benchmarks do")
    parser.add_argument("--out", type=Path, default=Path("runs/soak"), help="(runs/soak)")
    arguments = parser.parse_args(argv)
    for name in ("episodes", "minutes"):
        if (value := getattr(arguments, name)) is not None and not value > 0:
            parser.error(f"--{name} {value:g} must be above 0")
    directory = arguments.out.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(directory / "rec", ignore_errors=True)
    for name in MADE:
        (directory / name).unlink(missing_ok=True)
    host, endless = Host(), episodes(arguments.seed, SPARING if arguments.spare else DISTURBANCES)
    minutes = arguments.minutes
    plan = islice(endless, arguments.episodes) if minutes is None else lasting(endless, minutes)
    report = soak(directory, plan, arguments.seed, spared=arguments.spare)
    text = as_text(report)
    if arguments.json is not None:
        write(as_result(report, host.header()), arguments.json)
    (directory / "soak.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (directory / "soak.txt").write_text(text, encoding="utf-8")
    print(f"\n{text}\nwritten to {os.path.relpath(directory)}")
    if any(report["must_be_none"].values()):
        return 1
    shutil.rmtree(directory / "rec")
    return 0


if __name__ == "__main__":
    sys.exit(main())
