"""Random chunks that lead an arm into the table or into the other arm, and what becomes of them under the guard."""

from dataclasses import dataclass

import numpy as np

from controller.follower import Mode
from controller.planner import Phase
from controller.robots.base import GRIPPERS, N_JOINTS
from controller.states import State
from tests.guard_rig import GuardedRig, clearance
from tests.motion_rig import SETTINGS

STEPS, RATE_HZ = 50, 50.0
RANGE = SETTINGS.limits
STAY = np.array([0.5, 0.5, 0.5, 0.6, 0.6, 1.0, 0.0] * 2)
"""How far from home a start may lie, rad."""

FAR = np.array([0.9, 1.2, 1.2, 1.5, 1.0, 1.5, 0.0] * 2)
"""How far from it the end of a bad chunk may lie."""


@dataclass
class Outcome:
    """depth_m: of the deepest forbidden touch. room_m: what was left above the clearance where it came nearest.

    unguarded_*: the same of the same chunks with nobody watching. ahead_s: how far ahead the violation was seen.
    """

    seed: int
    alarmed: bool
    ahead_s: float
    depth_m: float
    touched: str
    room_m: float
    unguarded_depth_m: float
    unguarded_room_m: float
    ended: str

    @property
    def missed(self):
        return self.depth_m > 0.0

    @property
    def false_alarm(self):
        """Stopped, although nobody would have come within any clearance."""
        return self.alarmed and self.unguarded_room_m >= 0.0


def near_home(random, spread):
    """A pose within the limits; grippers anywhere."""
    q = SETTINGS.home + spread * random.uniform(-1.0, 1.0, N_JOINTS)
    q[list(GRIPPERS)] = random.uniform(0.0, 0.043, 2)
    return np.clip(q, RANGE.lower, RANGE.upper)


def room(path):
    """Least distance above its clearance of any pair on a path."""
    bounds = np.array([pair.clearance_m for pair in clearance().pairs])
    return float((clearance().along(np.asarray(path)) - bounds).min())


def smooth(start, end, steps):
    x = np.linspace(0.0, 1.0, steps)[:, None]
    return start + x * x * (3.0 - 2.0 * x) * (end - start)


def scenario(seed, touching):
    """(start, good chunk, ms until the bad one comes, bad chunk). All of the good chunk keeps clear."""
    random = np.random.default_rng(seed)
    while True:
        start, via = near_home(random, STAY), near_home(random, STAY)
        good = smooth(start, start + random.choice((0.0, 0.3, 1.0)) * (via - start), STEPS)
        if room(good) > 0.005:
            break
    wait_ms = int(random.integers(100, 800))
    here = good[min(wait_ms // 20, STEPS - 1)]
    while True:
        goal = near_home(random, FAR)
        if random.random() < 0.3:
            goal[7:] = here[7:]  # one arm alone
        if touching.forbidden(goal)[0] > 0.01:
            break
    moved = int(random.integers(1, STEPS))  # 1: a jump
    bad = np.concatenate((smooth(here, goal, moved), np.tile(goal, (STEPS - moved, 1))))
    return start, good, wait_ms, bad


def played(start, good, wait_ms, bad, *, reacts, offset_ms):
    """The rig after the bad chunk has been played out or stopped."""
    rig = GuardedRig(q_start=start, reacts=reacts)
    rig.looking = reacts
    rig.advance(offset_ms)
    rig.run(good, RATE_HZ)
    rig.advance(wait_ms)
    assert rig.planner.phase in (Phase.RAMP, Phase.FOLLOW)
    rig.receive(bad, rate_hz=RATE_HZ)
    for _ in range(13):
        rig.advance(100)
        if rig.state is State.FAULT and rig.follower.mode is Mode.HOLD:
            break
    return rig


def outcome(seed, touching):
    start, good, wait_ms, bad = scenario(seed, touching)
    guarded = played(start, good, wait_ms, bad, reacts=True, offset_ms=seed % 40)
    free = played(start, good, wait_ms, bad, reacts=False, offset_ms=seed % 40)
    depth_m, touched = touching.deepest_of(guarded.q[::2])
    return Outcome(
        seed=seed,
        alarmed=bool(guarded.alarms),
        ahead_s=guarded.alarms[0][1] if guarded.alarms else np.nan,
        depth_m=depth_m,
        touched=touched,
        room_m=room(guarded.q[::4]),
        unguarded_depth_m=touching.deepest_of(free.q[::4])[0],
        unguarded_room_m=room(free.q[::4]),
        ended=guarded.alarms[0][2].told(guarded.alarms[0][1]) if guarded.alarms else "",
    )


