"""How a command waits for a motion: shows it, polls until it is over, and stops it when nobody waits any more.

Runs in the operator's process.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

from controller.client import Client, DaemonUnreachable, RequestError, Status
from controller.refused import Refused
from controller.summary import DRY_RUN, look_up, number

POLL_S = 0.1
STOP_TIMEOUT_S = 10.0

NOTHING_BEGUN = (Refused, RequestError, DaemonUnreachable)
"""Then there is no motion of ours, or nobody to tell: a stop would end another's, or say that it failed."""


def complain(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr)


def follow(client: Client, state: str, motion_id: int, deadline_s: float) -> Status:
    """Poll until the motion is over and return the status that says so. Raises TimeoutError."""
    begun_s = time.monotonic()
    show = sys.stderr.isatty()
    try:
        while (left_s := deadline_s - time.monotonic()) > 0:
            status = client.status(left_s)
            if status.get("state") != state or status.get("motion_id") != motion_id:
                return status
            if show:
                _progress(status, time.monotonic() - begun_s)
            time.sleep(min(POLL_S, left_s))
    finally:
        if show:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    raise TimeoutError(f"still {state} after {time.monotonic() - begun_s:.1f} s")


def run_for(client: Client, motion_id: int, seconds: float) -> Status | None:
    """Let a run go on for so long, then stop it. None, or the status in which it had ended before."""
    try:
        return follow(client, "running", motion_id, time.monotonic() + seconds)
    except TimeoutError:
        try:
            client.command("stop", STOP_TIMEOUT_S)
        except Refused:  # it ended by itself in the last moment
            return client.status(STOP_TIMEOUT_S)
    return None


def _progress(status: Status, elapsed_s: float) -> None:
    speeds = [abs(v) for v in look_up(status, "robot", "qd") or [] if v is not None]
    fastest = number(max(speeds, default=None), 2, "rad/s")
    line = f"{status.get('state')} {elapsed_s:5.1f} s   fastest joint {fastest}"
    if status.get("dry"):
        line = f"{DRY_RUN}   {line}"
    if status.get("state") == "running":
        plan_left = number(look_up(status, "control", "plan_left_s"), 2, "s")
        end_to_end = number(look_up(status, "policy", "end_to_end_ms", "last"), 0, "ms")
        line += f"   plan left {plan_left}   end to end {end_to_end}"
    print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)


class StopOnLeaving:
    """Sends `stop` when the operator, the clock, a closed terminal or an error ends the waiting.

    A closed terminal takes all that is printed with it: what fails there must not keep the stop from being sent.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        for caught in (signal.SIGTERM, signal.SIGHUP):
            self._before[caught] = signal.signal(caught, signal.default_int_handler)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        for caught, handler in self._before.items():
            signal.signal(caught, handler)
        if kind is None or issubclass(kind, NOTHING_BEGUN):
            return
        try:
            self._client.command("stop", STOP_TIMEOUT_S)
            complain("stopped: the arms are at rest")
        except Refused as refused:
            complain(f"nothing to stop: {refused.reason}")
        except (DaemonUnreachable, TimeoutError) as failure:
            complain(f"STOP WAS NOT CONFIRMED ({failure}); watch the arms and use the emergency stop")
