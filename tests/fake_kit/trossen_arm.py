"""A package `trossen_arm` with two arms that are not there, in real time: for a daemon with this folder on PYTHONPATH.

What the file right_arm in the daemon's directory says happens to the right arm: an error of the controller by its name.
"""

import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from fake_trossen import FOLDED, Controller, ErrorState, Network, sdk

WORD = Path("right_arm")


class RealClock:
    """CLOCK_MONOTONIC."""

    def now_ns(self):
        return time.monotonic_ns()

    def sleep_until(self, t_ns, wake_fd=None):
        self.advance((t_ns - self.now_ns()) * 1e-9)
        return False

    def advance(self, seconds):
        time.sleep(max(0.0, seconds))


class ToldArm(Controller):
    """Does what the file says."""

    def cycle(self, setpoint, dt_s):
        word = WORD.read_text() if WORD.exists() else ""
        if word:
            self.fail(ErrorState[word], "Joint 4")
        return super().cycle(setpoint, dt_s)


_clock = RealClock()
_network = Network(_clock)
_network.add("127.0.0.1")
_network.arms["127.0.0.2"] = ToldArm(_clock, "127.0.0.2", FOLDED)
globals().update(vars(sdk(_network)))
