"""The whole system, for real, over many episodes mixed with faults: what must never happen does not.

    python -m bench.soak --episodes 100 --seed 0

A real policy server and a real daemon with small test-pattern cameras. Each episode homes, runs with options of its own
and meets one disturbance: an operator's, a process killed or hung, a server that is late, lies or dies. The commands of
every motor tick are judged. Writes soak.json and soak.txt, and the daemon's log; exit status 1 if anything was found
that must not be. The same seed gives the same episodes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.soak_plan import Episode, episodes
from bench.soak_player import Player
from bench.soak_report import Outcome, as_text, document
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


def soak(directory: Path, plan: Sequence[Episode], seed: int) -> dict[str, object]:
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
    return document(outcomes, player.memory, left, player.tap.dropped, seed=seed)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/soak"))
    arguments = parser.parse_args(argv)
    directory = arguments.out.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(directory / "rec", ignore_errors=True)
    for name in MADE:
        (directory / name).unlink(missing_ok=True)
    report = soak(directory, episodes(arguments.episodes, arguments.seed), arguments.seed)
    text = as_text(report)
    (directory / "soak.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (directory / "soak.txt").write_text(text, encoding="utf-8")
    print(f"\n{text}\nwritten to {os.path.relpath(directory)}")
    if any(report["must_be_none"].values()):  # type: ignore[attr-defined]
        return 1
    shutil.rmtree(directory / "rec")
    return 0


if __name__ == "__main__":
    sys.exit(main())
