"""A process that beats and does nothing else: deaf to SIGTERM, as all children are, and to the order to end."""

from __future__ import annotations

import time

from controller.child import Child


def run(child: Child) -> None:
    while True:
        child.read_permit()
        child.beat(time.monotonic_ns())
        time.sleep(0.02)
