"""Any robot that LeRobot can drive, as the motor process needs one: matched by name, moved by nobody but us.

LeRobot's interface has no time stamps, no fault and no promise to hold still. So a reading is as old as the call that
took it; whatever a call raises is an error of the robot; and `connect`, `disconnect` and the garbage collector move the
arms only if the configuration says so (lerobot_types.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Protocol, runtime_checkable

import numpy as np

from controller import lerobot_library
from controller.config_robot import Robot as RobotConfig
from controller.config_robot import both_arms
from controller.robots import lerobot_types
from controller.robots.base import N_JOINTS, JointState, Robot, RobotError, Vector
from controller.robots.lerobot_joints import JointMap, Mismatch, implausible
from controller.sim.world import WorldReader, WorldWriter

log = logging.getLogger(__name__)

_kept: list[Any] = []
"""Robots that were left as they are: an object that nobody refers to might disconnect itself."""


@runtime_checkable
class Simulated(Protocol):
    """A LeRobot robot that is a simulation of ours: it has a world to show and a scene to lay out."""

    def attach_world(self, writer: WorldWriter, reader: WorldReader) -> None: ...

    def lay_out(self, seed: int, scene_count: int | None = None) -> None: ...


class LerobotRobot(Robot):
    """The robot of [robot.lerobot]. Raises RobotError already when it is made: then nothing has been connected.

    again: whether this is not the first try since the daemon's start.
    world_writer, world_reader: for a robot that is `Simulated`; `scene` is that robot, None for all others.
    """

    between_ticks = False  # a bus of servos is busy for most of a period

    def __init__(
        self,
        config: RobotConfig,
        *,
        again: bool,
        world_writer: WorldWriter,
        world_reader: WorldReader,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        assert config.lerobot is not None  # config_robot.py
        self._settings = config.lerobot
        self._kind = config.lerobot.type
        if text := lerobot_types.refusal(self._kind, self._settings.allow_moves, self._settings.units):
            raise RobotError(text)
        if again and (what := lerobot_types.moves(self._kind, "connect")):
            raise RobotError(
                f"connect() of {self._kind!r} {what}, so it is called once, at the start of the controller, when "
                "people expect it; stand clear and start the controller anew"
            )
        self._lower, self._upper = both_arms(config.limits.lower), both_arms(config.limits.upper)
        self._clock = clock
        self._calls = _Calls(clock, round(1e9 / config.rate_hz))
        try:
            self._robot = lerobot_library.make_robot(self._kind, self._settings.config)
        except lerobot_library.LerobotError as error:
            raise RobotError(f"LeRobot robot {self._kind!r}: {error}") from error
        self._may_disconnect()
        self._map = self._match()
        self._before: tuple[int, Vector] | None = None
        self.scene = self._robot if isinstance(self._robot, Simulated) else None
        if self.scene is not None:
            self.scene.attach_world(world_writer, world_reader)

    def connect(self) -> JointState:
        what = lerobot_types.moves(self._kind, "connect")
        log.info("lerobot type=%s connecting, which %s", self._kind, what or "moves nothing")
        _kept.append(self._robot)
        try:
            return self._connected()
        except RobotError:
            self._leave(by_disconnect=not lerobot_types.moves(self._kind, "disconnect"))  # nobody is to move now
            raise

    def _connected(self) -> JointState:
        with self._telling("connect"):
            self._robot.connect(calibrate=False)
            calibrated = self._robot.is_calibrated
        if not calibrated:
            raise RobotError(f"LeRobot robot {self._kind!r} is not calibrated; run lerobot-calibrate for it first")
        now_ns = self._clock()
        first = self.read(now_ns)
        if text := implausible(first.q, self._lower, self._upper):
            raise RobotError(f"LeRobot robot {self._kind!r}: {text}")
        if np.isfinite(first.q).all():  # what is not, the motor process refuses
            self.write(now_ns, first.q, np.zeros(N_JOINTS))
        return self.read(self._clock())

    def read(self, now_ns: int) -> JointState:
        """The reading is stamped with the beginning of the call that takes it: it may be newer, never older."""
        with self._telling("get_observation"), self._calls:
            seen = self._robot.get_observation()
            q = self._map.q(seen)
            qd = self._map.qd(seen)
            effort, external_effort = self._map.effort(seen), self._map.external_effort(seen)
        return JointState(now_ns, q, self._difference(now_ns, q) if qd is None else qd, effort, external_effort)

    def write(self, now_ns: int, q: Vector, qd: Vector) -> None:
        if not np.isfinite(q).all():
            raise RobotError(f"non-finite command refused: q {q.tolist()}")
        with self._telling("send_action"), self._calls:
            self._robot.send_action(self._map.action(q))

    def disconnect(self) -> None:
        if self._calls.slow:
            log.info("lerobot type=%s %s", self._kind, self._calls)
        wanted = "disconnect" in self._settings.allow_moves or not lerobot_types.moves(self._kind, "disconnect")
        self._leave(by_disconnect=wanted)

    def _leave(self, *, by_disconnect: bool) -> None:
        known = lerobot_types.TYPES.get(self._kind)
        names = ("disconnect",) if by_disconnect else known.close if known else ()
        log.info("lerobot type=%s left by: %s", self._kind, ", ".join(names) or "nothing; disconnect() might move it")
        for name in names:
            try:
                attrgetter(name)(self._robot)()
            except Exception:  # the other arm shall be closed, too
                log.exception("lerobot type=%s %s failed", self._kind, name)

    def _match(self) -> JointMap:
        known = lerobot_types.TYPES.get(self._kind)
        units = self._settings.units or (known.units if known else None)
        assert units is not None  # lerobot_types.refusal
        with self._telling("features"):
            observation, action = self._robot.observation_features, self._robot.action_features
        try:
            return JointMap(
                self._settings.names, units, observation, action, efforts=known is not None and known.efforts
            )
        except Mismatch as error:
            raise RobotError(f"LeRobot robot {self._kind!r}: {error}") from error

    def _may_disconnect(self) -> None:
        """Refuse a robot that disconnects itself when it is thrown away, where that may move the arms."""
        what = lerobot_types.moves(self._kind, "disconnect")
        if what and "disconnect" not in self._settings.allow_moves and (own := lerobot_library.finalizers(self._robot)):
            raise RobotError(
                f"{', '.join(own)} may disconnect by itself when this process ends (__del__), and disconnect() {what}; "
                "if that is wanted, add 'disconnect' to robot.lerobot.allow_moves"
            )

    def _difference(self, now_ns: int, q: Vector) -> Vector:
        """Velocity from the reading before this one; zero until there is one."""
        before, self._before = self._before, (now_ns, q)
        if before is None or now_ns <= before[0]:
            return np.zeros(N_JOINTS)
        difference: Vector = (q - before[1]) * (1e9 / (now_ns - before[0]))
        return difference

    @contextmanager
    def _telling(self, call: str) -> Iterator[None]:
        """Whatever the robot raises is a RobotError that names the call; drivers have exceptions of every family."""
        try:
            yield
        except Exception as error:
            raise RobotError(f"LeRobot robot {self._kind!r}: {call}: {type(error).__name__}: {error}") from error


class _Calls:
    """Counts calls that took longer than a tick: a robot that blocks cannot be driven at this rate."""

    def __init__(self, clock: Callable[[], int], period_ns: int) -> None:
        self._clock, self._period_ns = clock, period_ns
        self._begin_ns = 0
        self.slow = 0
        self.longest_ns = 0

    def __enter__(self) -> None:
        self._begin_ns = self._clock()

    def __exit__(self, *_: object) -> None:
        took_ns = self._clock() - self._begin_ns
        self.longest_ns = max(self.longest_ns, took_ns)
        if took_ns > self._period_ns:
            self.slow += 1
            if self.slow & (self.slow - 1) == 0:  # the 1st, 2nd, 4th, 8th: the log does not fill up
                log.warning("lerobot %s; lower robot.rate_hz if this goes on", self)

    def __str__(self) -> str:
        return (
            f"calls longer than a tick of {self._period_ns * 1e-6:.1f} ms: {self.slow}, "
            f"longest {self.longest_ns * 1e-6:.1f} ms"
        )
