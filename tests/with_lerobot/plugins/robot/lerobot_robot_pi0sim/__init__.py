"""The simulated kit as a plug-in of LeRobot: what any maker of a robot would ship, found by the distribution's name."""

from lerobot_robot_pi0sim.robot import Pi0Sim as Pi0Sim
from lerobot_robot_pi0sim.robot import Pi0SimConfig as Pi0SimConfig
