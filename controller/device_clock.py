"""Where a camera's own clock stands against CLOCK_MONOTONIC. Pure."""

from __future__ import annotations

SECOND_NS = 1_000_000_000

WINDOW_NS = 10 * SECOND_NS
"""Two crystals that part by 50 ppm are half a millisecond apart after this."""

JUMP_NS = SECOND_NS
"""No transfer takes so long: the device's clock was set anew."""

OLDEST_NS = SECOND_NS // 2
"""A frame exposed longer than this before its arrival was stamped by a clock that is wrong."""


class DeviceClock:
    """Maps instants of a free-running device to ours, by when its frames arrive.

    No frame arrives before the instant it is stamped with, so the least distance of stamp and arrival among the recent
    frames is the distance of the clocks, but for what the quickest transfer takes. That stays in the result, which is
    late by it; the jitter of the transfers does not.
    """

    def __init__(self) -> None:
        self._newest_ns: int | None = None
        self._last_ns = 0
        self._begun_ns = 0
        self._least_ns = 0
        self._least_before_ns = 0

    def to_host_ns(self, t_device_ns: int, t_arrival_ns: int) -> int:
        """The instant of a frame that the device stamped t_device_ns and that arrived at t_arrival_ns.

        As long as the device's stamps rise, so do the instants: a first frame that was late makes the next ones no
        earlier than itself.
        """
        distance_ns = t_arrival_ns - t_device_ns
        before_ns, self._newest_ns = self._newest_ns, t_device_ns
        if before_ns is None or t_device_ns < before_ns or abs(distance_ns - self._least_ns) > JUMP_NS:
            self._begun_ns, self._least_ns, self._least_before_ns = t_arrival_ns, distance_ns, distance_ns
            self._last_ns = 0
        elif t_arrival_ns - self._begun_ns > WINDOW_NS // 2:  # the window is two halves, the older one is forgotten
            self._begun_ns, self._least_before_ns, self._least_ns = t_arrival_ns, self._least_ns, distance_ns
        self._least_ns = min(self._least_ns, distance_ns)
        self._last_ns = max(t_device_ns + min(self._least_ns, self._least_before_ns), self._last_ns + 1)
        return self._last_ns


def wall_to_monotonic_ns(t_wall_ns: int, wall_now_ns: int, monotonic_now_ns: int) -> int:
    """An instant of the system's clock on CLOCK_MONOTONIC, by both clocks as they are now."""
    return t_wall_ns - wall_now_ns + monotonic_now_ns


def is_believable(t_exposure_ns: int, t_arrival_ns: int) -> bool:
    """Whether a frame that arrived then can have been exposed then."""
    return 0 <= t_arrival_ns - t_exposure_ns <= OLDEST_NS
