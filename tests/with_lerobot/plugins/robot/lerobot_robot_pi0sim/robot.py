"""A LeRobot robot whose arms are our simulation. Its features come in an order of their own, to be told by name."""

import time
from dataclasses import dataclass

import numpy as np
from lerobot.robots import Robot, RobotConfig

from controller.robots.base import JOINT_NAMES, N_JOINTS
from controller.robots.sim import SimRobot

FEATURES = tuple(f"{name}.pos" for name in reversed(JOINT_NAMES))


@RobotConfig.register_subclass("pi0sim")
@dataclass
class Pi0SimConfig(RobotConfig):
    """seed: where lighter and cup lie."""

    seed: int = 0


class Pi0Sim(Robot):
    """Positions only, as LeRobot's robots have them. `disconnect` may not be called unless a configuration says so."""

    config_class = Pi0SimConfig
    name = "pi0sim"

    def __init__(self, config):
        super().__init__(config)
        self._seed = config.seed
        self._world = (None, None)
        self._sim = None

    def attach_world(self, writer, reader):
        """Where the simulated cameras see this robot's world, and where it goes on after a loss of the process."""
        self._world = writer, reader

    def lay_out(self, seed, scene_count=None):
        self._sim.lay_out(seed, scene_count)

    @property
    def environment(self):
        """Where lighter and cup are, for who judges the task."""
        return self._sim.environment

    @property
    def observation_features(self):
        return dict.fromkeys((*FEATURES, *(name.replace(".pos", ".vel") for name in FEATURES)), float)

    @property
    def action_features(self):
        return dict.fromkeys(FEATURES, float)

    @property
    def is_connected(self):
        return self._sim is not None

    @property
    def is_calibrated(self):
        return True

    def calibrate(self):
        pass

    def configure(self):
        pass

    def connect(self, calibrate=True):
        writer, reader = self._world
        sim = SimRobot(world_writer=writer, world_reader=reader, seed=self._seed, clock=time.monotonic_ns)
        sim.connect()
        self._sim = sim

    def get_observation(self):
        state = self._sim.read(time.monotonic_ns())
        positions = {f"{name}.pos": float(value) for name, value in zip(JOINT_NAMES, state.q, strict=True)}
        return positions | {f"{name}.vel": float(value) for name, value in zip(JOINT_NAMES, state.qd, strict=True)}

    def send_action(self, action):
        self._sim.write(time.monotonic_ns(), *self._vectors(action))
        return action

    def disconnect(self):
        self._sim.disconnect()
        self._sim = None

    @staticmethod
    def _vectors(action):
        return np.array([action[f"{name}.pos"] for name in JOINT_NAMES]), np.zeros(N_JOINTS)
