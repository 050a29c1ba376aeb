"""What the two arms cost the motor loop: a thread for each arm, beside four calls of the driver in a row.

The driver is a fake whose calls wait as the real one's do, evenly from 0 to 1.5 ms, without Python's lock.
`chrt -f 30 python -m bench.arm_threads` from the top of the repository.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from fake_trossen import RAISED, Network, sdk
from trossen_rig import CONFIG, LEFT, RIGHT

from controller.robots.trossen import TrossenRobot
from controller.robots.trossen_driver import ArmDriver
from controller.robots.trossen_link import ArmLink
from controller.ticker import MonotonicClock, Ticker

TICKS = 2000
WAIT_S = 1.5e-3
Q, QD = np.tile(RAISED, 2), np.zeros(14)


class Clock(MonotonicClock):
    def advance(self, seconds: float) -> None:
        time.sleep(seconds)


def waiting() -> Any:
    """The fake package, with two arms, whose two calls in the loop wait."""
    network = Network(Clock())
    for address in (LEFT, RIGHT):
        network.add(address, RAISED)
    package = sdk(network)
    for name in ("set_all_positions", "get_robot_output"):
        call = getattr(package.TrossenArmDriver, name)

        def wait(*arguments: Any, call: Callable[..., Any] = call) -> Any:
            time.sleep(random.uniform(0.0, WAIT_S))
            return call(*arguments)

        setattr(package.TrossenArmDriver, name, wait)
    return package


def threads() -> tuple[Callable[[], None], Callable[[], None]]:
    """One tick, and what ends it all."""
    robot = TrossenRobot(CONFIG.robot, sdk=waiting())
    robot.connect()

    def tick() -> None:
        robot.read(time.monotonic_ns())
        robot.write(time.monotonic_ns(), Q, QD)

    return tick, robot.disconnect


def in_a_row() -> tuple[Callable[[], None], Callable[[], None]]:
    """The same links, called by the loop itself."""
    package = waiting()
    links = [
        ArmLink(ArmDriver(package, "arm", address, CONFIG.robot.trossen), CONFIG.robot, MonotonicClock())
        for address in (LEFT, RIGHT)
    ]
    for link in links:
        link.open()
        link.hold()

    def tick() -> None:
        for number, link in enumerate(links):
            link.command = Q[7 * number : 7 * number + 7], QD[:7]
            link.step()

    return tick, lambda: [link.close() for link in links] and None


def main() -> None:
    gc.disable()  # as the motor process does
    for way in (threads, in_a_row) * 3:
        tick, end = way()
        ticker, spent_ms = Ticker(MonotonicClock(), CONFIG.robot.rate_hz), []
        for _ in range(TICKS):
            ticker.wait()
            begun_ns = time.monotonic_ns()
            tick()
            spent_ms.append((time.monotonic_ns() - begun_ns) * 1e-6)
        end()
        p50, p99, largest = np.percentile(spent_ms, [50, 99, 100])
        print(
            f"{way.__name__:<10} in the loop: p50 {p50:.2f} ms, p99 {p99:.2f} ms, largest {largest:.1f} ms; "
            f"{ticker.missed} of {TICKS} ticks missed"
        )


if __name__ == "__main__":
    main()
