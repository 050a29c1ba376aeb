"""The real kit: two Trossen WidowX AI arms on the vendor's driver, each in a thread of its own.

A call of the driver waits for the exchange with the arm that is under way, up to 1.5 ms: four of them in a row would
not fit into a tick of 5 ms, and one that hangs would hang the loop. So the loop leaves commands and finds states; the
arms' threads are in the driver meanwhile, which lets Python go on.
Connecting and disconnecting move nothing: arms are taken braked, held where they are, and let go braked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from typing import Any

import numpy as np

from controller.config_robot import Robot as RobotConfig
from controller.robots.base import N_JOINTS, JointState, Robot, RobotError, Vector
from controller.robots.trossen_checks import N_ARM
from controller.robots.trossen_driver import ArmDriver, load
from controller.robots.trossen_link import ArmLink
from controller.robots.trossen_stream import Silence
from controller.robots.trossen_thread import ArmThread
from controller.ticker import Clock, MonotonicClock

CLOSE_S = 3.0
"""How long letting go of the arms may take; then the process ends without it, and the arms brake by themselves."""

log = logging.getLogger(__name__)


class _Side:
    """One arm, the thread that serves it, what is under way there, and whether the arm has been silent for too long."""

    def __init__(self, link: ArmLink, thread: Executor, config: RobotConfig) -> None:
        self.link, self.thread = link, thread
        self.exchange: Future[None] | None = None
        self.silent = ""
        self._silence = Silence(1.0 / config.rate_hz)
        self._bound_s = config.trossen.stale_s

    @property
    def failure(self) -> str:
        return self.link.failure or self.silent

    def look(self, now_ns: int) -> None:
        """Note what came of the last exchange, and for how long nothing new has come."""
        if self.exchange is not None and self.exchange.done():
            self.exchange.result()
        silent_s = self._silence.look(now_ns, self.link.newest[1].number if self.link.newest else -1)
        if silent_s > self._bound_s and not self.silent:
            self.silent = (
                f"{self.link.arm}: no new state for {1e3 * silent_s:.0f} ms (bound {1e3 * self._bound_s:.0f} ms); "
                "check power and cable of the arm, and load on this machine"
            )

    def feed(self, q: Vector, qd: Vector) -> None:
        """Leave a command. One that comes while an exchange is under way takes the place of the one before it. A
        silent arm is still told to brake, if it can hear."""
        self.link.command = q.copy(), qd.copy()
        if not self.link.failure and (self.exchange is None or self.exchange.done()):
            self.exchange = self.thread.submit(self.link.step)


class TrossenRobot(Robot):
    """Not thread-safe: one caller. sdk: the vendor's package; None imports it. The rest are stand-ins for tests."""

    def __init__(
        self,
        config: RobotConfig,
        *,
        sdk: Any = None,
        clock: Clock | None = None,
        thread: Callable[[str], Executor] = ArmThread,
    ) -> None:
        """Raises RobotError."""
        self.failure = ""
        sdk, clock = load() if sdk is None else sdk, clock or MonotonicClock()
        self._sides = [
            _Side(
                ArmLink(ArmDriver(sdk, f"{name} arm", address or "", config.trossen), config, clock),
                thread(f"{name} arm"),
                config,
            )
            for name, address in (("left", config.left_ip), ("right", config.right_ip))
        ]

    def connect(self) -> JointState:
        try:
            self._both(ArmLink.open)  # neither arm takes hold before both have passed
            self._both(ArmLink.hold)
        except Exception:
            self.disconnect()
            raise
        return self._state()

    def read(self, now_ns: int) -> JointState:
        for side in self._sides:
            side.look(now_ns)
        self.failure = "; ".join(side.failure for side in self._sides if side.failure)
        return self._state()

    def write(self, now_ns: int, q: Vector, qd: Vector) -> None:
        if q.shape != (N_JOINTS,) or qd.shape != (N_JOINTS,):
            raise RobotError(f"a command has {N_JOINTS} positions and velocities, got {q.shape} and {qd.shape}")
        if not (np.isfinite(q).all() and np.isfinite(qd).all()):
            raise RobotError(f"non-finite command refused: q {q.tolist()}, qd {qd.tolist()}")
        for number, side in enumerate(self._sides):
            half = slice(number * N_ARM, (number + 1) * N_ARM)
            side.feed(q[half], qd[half])

    def disconnect(self) -> None:
        closing = [side.thread.submit(side.link.close) for side in self._sides]
        finished, unfinished = wait(closing, CLOSE_S)
        for error in filter(None, (future.exception() for future in finished)):
            log.error("an arm was not let go; it brakes when this process has ended", exc_info=error)
        if unfinished:
            log.error("an arm was not let go within %g s; it brakes when this process has ended", CLOSE_S)
        for side in self._sides:
            side.thread.shutdown(wait=False)

    def _both(self, act: Callable[[ArmLink], None]) -> None:
        """The same for both arms, at once. Raises RobotError with what failed on either."""
        futures = [side.thread.submit(act, side.link) for side in self._sides]
        wait(futures)
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in errors:
            if not isinstance(error, RobotError):
                raise error
        if errors:
            raise RobotError("; ".join(map(str, errors)))

    def _state(self) -> JointState:
        newest = [side.link.newest for side in self._sides if side.link.newest is not None]
        if len(newest) < len(self._sides):
            raise RobotError("the arms are not connected")
        states = [state for _, state in newest]
        return JointState(
            t_ns=min(t_ns for t_ns, _ in newest),
            q=np.concatenate([state.q for state in states]),
            qd=np.concatenate([state.qd for state in states]),
            effort=np.concatenate([state.effort for state in states]),
            external_effort=np.concatenate([state.external_effort for state in states]),
            temperature=np.concatenate([state.temperature for state in states]),
        )
