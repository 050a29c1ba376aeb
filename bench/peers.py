"""How do other clients of the same policy do on the same machine?

    python -m bench.peers [--quick] [--json FILE]

Ours is the daemon with SCHED_FIFO where it is granted, cameras, guard, recorder and simulated physics included. The
peers are run as published, each in a process of its own, against the same policy server; cameras and robot cost them
nothing (`peer_openpi`, `peer_lerobot`). By turns, at a policy of 0 and 40 ms. A time goes from the newest frame of an
observation, in host memory, to the first command made of its chunk. A stall is over 40 ms without a command, where an
action lasts 20. CPU: of the client's own processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import peer_lerobot
from bench.alone import run_alone
from bench.commands import command_row
from bench.host import ROOT, Host
from bench.results import Bar, Result, result
from bench.running import SETTLE_S, begin_run, cpu_s, running, watched
from bench.soak_stack import Server, Tap
from bench.waterfall import END_TO_END, TOTALS

OURS, OPENPI, LEROBOT = "ours", "openpi client", "LeRobot asynchronous client"
POLICY_MS = (0.0, 40.0)
PART = 0.5
"""Of each peer's overhead: ours must be less."""


def ours(policy_ms: float, seconds: float) -> dict[str, Any]:
    """A run of the daemon."""
    with running() as (daemon, server):
        server.order("fine", policy_ms, 0.0)
        begin_run(daemon)
        handed, joints = Tap(daemon, "handed"), Tap(daemon)
        handed.start()
        joints.start()
        time.sleep(SETTLE_S)
        joints.forget()
        pids, begin_s = [daemon.program.pid, *daemon.children()], time.monotonic()
        used_s = cpu_s(pids)
        chunks = watched(daemon, handed, seconds)
        used_s, took_s = cpu_s(pids) - used_s, time.monotonic() - begin_s
        row = command_row(joints.rows()["t_command_ns"].tolist(), TOTALS[END_TO_END](chunks).tolist(), policy_ms)
        return row | {"cpu_percent": 100.0 * used_s / took_s}


def openpi(policy_ms: float, seconds: float) -> dict[str, Any]:
    """A run of openpi's own client."""
    with tempfile.TemporaryDirectory(prefix="pi0-bench-") as name:
        server = Server(Path(name))
        try:
            server.order("fine", policy_ms, 0.0)
            return played([sys.executable, "-m", "bench.peer_openpi", server.url, str(seconds)], policy_ms)
        finally:
            server.program.remove()


def played(command: list[str], policy_ms: float) -> dict[str, Any]:
    """What a peer's program found. Raises CalledProcessError; it has said why."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    row = command_row(found["commands_ns"], found["end_to_end_ms"], policy_ms)
    return row | {"cpu_percent": found["cpu_percent"]}


def bars_of(rows: list[dict[str, Any]]) -> list[Bar]:
    """Our overhead beside each peer's, and our stalls.

    With a policy that answers at once: with any other, how old a frame is when the last answer comes is most of it, for
    every client alike.
    """
    own = {row["policy_ms"]: row for row in rows if row["client"] == OURS}
    bars = [
        Bar(
            f"from frame to command, ours / {row['client']}, policy of 0 ms, medians",
            own[0.0]["overhead_ms"] / row["overhead_ms"],
            PART,
            "",
        )
        for row in rows
        if row["client"] != OURS and row["policy_ms"] == 0.0
    ]
    return [*bars, Bar("stalls of ours", float(sum(row["stalls"] for row in own.values())), 0.0, "")]


def bench(quick: bool = False) -> Result:
    """All clients by turns."""
    host, rows, seconds = Host(), [], 8.0 if quick else 40.0
    clients = {OURS: ours, OPENPI: openpi}
    missing = peer_lerobot.missing()
    if not missing:
        clients[LEROBOT] = lambda policy_ms, seconds: played(peer_lerobot.command(policy_ms, seconds), policy_ms)
    for policy_ms in POLICY_MS:
        for name, client in clients.items():
            rows.append({"client": name, "policy_ms": policy_ms} | client(policy_ms, seconds))
    notes = [f"{LEROBOT} left out: {missing}"] if missing else []
    return result("peers", host.header(), rows, bars_of(rows), key=["policy_ms"], notes=notes)


if __name__ == "__main__":
    run_alone(bench, __doc__)
