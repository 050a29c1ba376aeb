"""The adapter on two fake arms and a fake clock; what its threads do is done in the caller, or when a test says so."""

from __future__ import annotations

from concurrent.futures import Executor, Future

import numpy as np
from fake_trossen import FOLDED, Clock, Network, sdk

from controller.config import load, parse, shipped
from controller.robots.trossen import TrossenRobot

CONFIG = load(shipped("trossen_stationary"))
TICK_S = 1.0 / CONFIG.robot.rate_hz
LEFT, RIGHT = CONFIG.robot.left_ip, CONFIG.robot.right_ip


def changed(old, new):
    text = shipped("trossen_stationary").read_text(encoding="utf-8")
    assert old in text
    return parse(text.replace(old, new), "changed")


class Inline(Executor):
    """Does at once what it is given; while `hangs` it keeps it, as a thread does whose call does not return."""

    def __init__(self, name):
        self.name, self.hangs, self.kept = name, False, []

    def submit(self, call, *arguments):
        future = Future()
        self.kept.append((future, call, arguments))
        if not self.hangs:
            self.go_on()
        return future

    def go_on(self):
        while self.kept:
            future, call, arguments = self.kept.pop(0)
            try:
                future.set_result(call(*arguments))
            except Exception as error:
                future.set_exception(error)

    def shutdown(self, wait=True, *, cancel_futures=False):
        pass


class Arms:
    """left, right: the arms themselves. robot: ours. threads: of left and right."""

    def __init__(self, config=CONFIG, q=FOLDED, driver_version="1.11.0"):
        self.config, self.clock = config, Clock()
        self.network = Network(self.clock)
        self.left, self.right = self.network.add(LEFT, q), self.network.add(RIGHT, q)
        self.sdk = sdk(self.network, driver_version)
        self.threads = []
        self.robot = self.another()

    def another(self):
        """A robot of a process that has just been started."""
        return TrossenRobot(self.config.robot, sdk=self.sdk, clock=self.clock, thread=self._thread)

    def _thread(self, name):
        self.threads.append(Inline(name))
        return self.threads[-1]

    @property
    def arms(self):
        return self.left, self.right

    @property
    def drivers(self):
        return self.network.drivers[-2:]

    @property
    def q(self):
        return np.concatenate([arm.q for arm in self.arms])

    def tick(self, q, qd=None, ticks=1):
        """What the motor process does: read, write. The last reading."""
        for _ in range(ticks):
            self.clock.advance(TICK_S)
            state = self.robot.read(self.clock.now_ns())
            self.robot.write(self.clock.now_ns(), np.asarray(q, dtype=float), np.zeros(14) if qd is None else qd)
        return state
