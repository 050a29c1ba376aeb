"""What happens in each episode of a soak, and which faults may come of it. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import count

from controller.fault_matrix import trips
from controller.faults import FaultCode
from controller.run_options import RunOptions, Seam
from controller.states import State


class Deed(Enum):
    """How a disturbance is done."""

    NOTHING = "nothing"
    COMMAND = "command"  # an operator's
    ADJUST = "adjust"  # speed and seam, some times
    KILL = "kill"  # SIGKILL to a process
    HANG = "hang"  # SIGSTOP to a process, which the supervisor has to replace
    PAUSE = "pause"  # SIGSTOP, and SIGCONT after `pause_s`
    SERVER = "server"  # it behaves in another way, see soak_server.WAYS
    LATE = "late"  # the server's answers take LATE_MS
    SERVER_KILLED = "server killed"


C = FaultCode


@dataclass(frozen=True, slots=True)
class Disturbance:
    """faults: one of them follows in a run. may_pass: or none, as where there are none.

    target: process, operator's command or way of the server. pause_s: least and longest.
    """

    deed: Deed
    target: str = ""
    faults: tuple[FaultCode, ...] = ()
    may_pass: bool = False
    pause_s: tuple[float, float] = (0.0, 0.0)
    weight: int = 2

    @property
    def name(self) -> str:
        pause = f" {self.pause_s[0]:g}-{self.pause_s[1]:g} s" if self.deed is Deed.PAUSE else ""
        return f"{self.deed.value} {self.target}".strip() + pause

    @property
    def delays_policy(self) -> bool:
        """Whether the plan may rightly run out."""
        return C.PLAN_ENDED in self.faults or self.target == "link" or self.deed is Deed.SERVER_KILLED

    def expected(self, state: State) -> tuple[frozenset[FaultCode], bool]:
        """The faults of which one may come if it happens in this state, and whether none may."""
        faults = frozenset(code for code in self.faults if trips(code, state))
        return faults, self.may_pass or not faults


CAMERA_FAULTS = (C.CAMERA_LOST, C.CAMERA_STALE, C.OBSERVATION_SPREAD, C.PLAN_ENDED)

DISTURBANCES = (
    Disturbance(Deed.NOTHING, weight=6),
    Disturbance(Deed.COMMAND, "stop", weight=6),
    Disturbance(Deed.COMMAND, "estop", (C.ESTOP,)),
    Disturbance(Deed.ADJUST, weight=8),
    Disturbance(Deed.KILL, "control", (C.CONTROL_LOST,)),
    Disturbance(Deed.HANG, "control", (C.CONTROL_LOST, C.COMMAND_STALE)),
    Disturbance(Deed.PAUSE, "control", pause_s=(0.02, 0.1), weight=3),
    Disturbance(Deed.KILL, "motor", (C.MOTOR_LOST,)),
    Disturbance(Deed.HANG, "motor", (C.MOTOR_LOST,)),
    Disturbance(Deed.PAUSE, "motor", pause_s=(0.01, 0.15), weight=3),
    Disturbance(Deed.KILL, "link", (C.LINK_LOST,)),
    Disturbance(Deed.HANG, "link", (C.LINK_LOST, C.PLAN_ENDED)),
    Disturbance(Deed.KILL, "guard", (C.GUARD_LOST,)),
    Disturbance(Deed.HANG, "guard", (C.GUARD_LOST,)),
    Disturbance(Deed.KILL, "camera", CAMERA_FAULTS),
    Disturbance(Deed.HANG, "camera", CAMERA_FAULTS),
    Disturbance(Deed.KILL, "recorder"),
    Disturbance(Deed.PAUSE, "recorder", pause_s=(0.5, 1.5)),
    Disturbance(Deed.PAUSE, "supervisor", pause_s=(0.02, 0.25), weight=3),
    Disturbance(Deed.PAUSE, "supervisor", (C.LEASE_LOST,), pause_s=(0.7, 1.2), weight=3),
    Disturbance(Deed.SERVER, "jumpy", weight=8),
    Disturbance(Deed.LATE, weight=4),
    Disturbance(Deed.SERVER, "table", (C.COLLISION_AHEAD,), weight=4),
    Disturbance(Deed.SERVER, "slow", (C.PLAN_ENDED, C.POLICY_LOST)),
    Disturbance(Deed.SERVER, "stuck", (C.POLICY_STUCK,)),
    Disturbance(Deed.SERVER, "error", (C.POLICY_REFUSED,), weight=1),
    Disturbance(Deed.SERVER, "crash", (C.POLICY_REFUSED, C.POLICY_LOST), weight=1),
    Disturbance(Deed.SERVER, "nan", (C.ANSWER_INVALID,), weight=1),
    Disturbance(Deed.SERVER, "far", (C.ANSWER_INVALID,), weight=1),
    Disturbance(Deed.SERVER, "seven", (C.ANSWER_INVALID,), weight=1),
    Disturbance(Deed.SERVER_KILLED, faults=(C.POLICY_LOST,)),
)

SPARING = tuple(row for row in DISTURBANCES if row.deed not in (Deed.KILL, Deed.HANG, Deed.SERVER_KILLED))
"""Those that end no process."""

LATE_MS = (250.0, 50.0)
"""Latency and jitter: with the longest execution horizon here, an answer still comes before its chunk's end."""

HOMING_DEEDS = frozenset({Deed.COMMAND, Deed.KILL, Deed.HANG, Deed.PAUSE})
HOMING_SHARE = 0.3
"""Of those, how many come on the way home in place of in the run."""

DRY_SHARE = 0.3
"""Of the runs that nothing disturbs, how many are dry."""

HORIZONS = (0, 0, 5, 15, 25)


@dataclass(frozen=True, slots=True)
class Episode:
    """homing: the disturbance comes on the way home instead of in the run, if there is a way."""

    number: int
    options: RunOptions
    latency_ms: float
    jitter_ms: float
    wait_s: float
    disturbance: Disturbance
    homing: bool
    pause_s: float


def episodes(seed: int, among: Sequence[Disturbance] = DISTURBANCES) -> Iterator[Episode]:
    """Without end, the same for the same seed. Every disturbance comes once before any comes by its weight."""
    dice = random.Random(seed)
    first, weights = dice.sample(among, len(among)), [row.weight for row in among]
    for number in count():
        again = number >= len(first)
        disturbance = dice.choices(among, weights)[0] if again else first[number]
        yield _episode(number, disturbance, again, dice)


def _episode(number: int, disturbance: Disturbance, again: bool, dice: random.Random) -> Episode:
    latency_ms = dice.uniform(0.0, 150.0)
    speed = dice.choice((1.0, 1.0, 1.0, round(dice.uniform(0.3, 1.0), 2)))
    in_homing = disturbance.deed in HOMING_DEEDS and again
    dry = disturbance.deed is Deed.NOTHING and dice.random() < DRY_SHARE
    return Episode(
        number=number,
        options=RunOptions(dice.choice(list(Seam)), speed, dry, dice.choice(HORIZONS)),
        latency_ms=round(latency_ms),
        jitter_ms=round(dice.uniform(0.0, 0.5) * latency_ms),
        wait_s=dice.uniform(0.3, 2.0),
        disturbance=disturbance,
        homing=in_homing and dice.random() < HOMING_SHARE,
        pause_s=dice.uniform(*disturbance.pause_s),
    )
