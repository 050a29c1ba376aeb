"""A configuration of [robot.lerobot] and a LeRobot robot that a test plays, for tests that need no LeRobot."""

import json
import re

from controller.config import parse, shipped
from controller.robots.base import JOINT_NAMES

HOME = {name: 0.002 * (1 + i) for i, name in enumerate(JOINT_NAMES)}
"""Where each joint is: within the limits, and everywhere another value."""


def lerobot_toml(table, camera=None):
    """The shipped simulation's configuration with [robot.lerobot] and pattern cameras, or all of one [cameras.*]."""
    text = shipped("sim").read_text(encoding="utf-8").replace('kind = "sim"', 'kind = "lerobot"', 1)
    camera = camera or {"kind": "pattern"}
    lines = "\n".join(f"{key} = {toml(value)}" for key, value in camera.items())
    text = re.sub(r'(?m)^kind = "sim"', lambda _: lines, text)
    return text + f"\n[robot.lerobot]\n{chr(10).join(f'{key} = {toml(value)}' for key, value in table.items())}\n"


def toml(value):
    """A word, number, list or table in TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(v)}" for key, v in value.items()) + " }"
    return json.dumps(value)


def lerobot_config(**table):
    return parse(lerobot_toml({"type": "pi0sim", **table}), "rig")


class FakeRobot:
    """Has the interface of a LeRobot robot. `q`: feature -> value. Notes every call."""

    def __init__(self, features=(".pos",), names=None, q=None):
        named = [(names or {}).get(joint, joint) for joint in reversed(JOINT_NAMES)]
        self.observation_features = {name + suffix: float for name in named for suffix in features}
        self.action_features = {name + ".pos": float for name in named}
        self.q = q or {name + ".pos": HOME[joint] for name, joint in zip(named, reversed(JOINT_NAMES), strict=True)}
        self.is_calibrated = True
        self.called, self.sent = [], []
        self.fails = {}

    def _call(self, name):
        self.called.append(name)
        if name in self.fails:
            raise self.fails[name]

    def connect(self, calibrate=True):
        self._call(f"connect(calibrate={calibrate})")

    def get_observation(self):
        self._call("get_observation")
        return dict.fromkeys(self.observation_features, 0.5) | self.q

    def send_action(self, action):
        self._call("send_action")
        self.sent.append(action)
        return action

    def disconnect(self):
        self._call("disconnect")
