"""The scripted policy puts the lighter into the cup through LeRobot's interface, in virtual time."""

from types import SimpleNamespace

import lerobot_robot_pi0sim.robot as plugin
from lerobot_rig import lerobot_config

from controller.robots.lerobot import LerobotRobot
from tests import sim_rig


class Through(LerobotRobot):
    """What the rig asks of a simulated robot, asked of the robot that LeRobot made."""

    @property
    def environment(self):
        return self.scene.environment


def test_the_simulated_kit_does_its_task_as_a_robot_of_lerobots(monkeypatch):
    def make(seed, clock):
        monkeypatch.setattr(plugin, "time", SimpleNamespace(monotonic_ns=clock))
        config = lerobot_config(config={"seed": seed}).robot
        return Through(config, again=False, world_writer=None, world_reader=None, clock=clock)

    monkeypatch.setattr(sim_rig, "SimRobot", make)
    rig = sim_rig.SimRig(seed=4)
    assert isinstance(rig.robot.scene, plugin.Pi0Sim)
    assert rig.demo(40), (rig.planner.fault, rig.follower.fault)
