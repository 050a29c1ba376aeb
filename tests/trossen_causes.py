"""Everything for which an arm is refused, done to one arm of a rig, and what is then said of it."""

import numpy as np
from fake_trossen import ErrorState, Model, StandardEndEffector


def unreachable(rig):
    rig.right.powered = False


def owned(rig):
    rig.left.owner = object()


def old_firmware(rig):
    rig.right.firmware = "1.10.4"


def other_model(rig):
    rig.left.model = Model.vxai_v0_left


def in_error(rig):
    rig.left.fail(ErrorState.joint_overheated)


def narrow(rig):
    rig.right.upper[3] = 1.2


def slow(rig):
    rig.left.velocity[2] = 3.1


def stroke(rig):
    rig.left.upper[6] = 0.035


def moving(rig):
    rig.right.qd[2] = 0.3


def astray(rig):
    rig.left.q[4] = 1.9


def nothing_measured(rig):
    rig.left.q[4] = np.nan


def other_tool(rig):
    rig.left.tool = StandardEndEffector.wxai_v0_leader


REFUSALS = {
    unreachable: r"right arm \(192\.168\.1\.4\): Failed to connect .* within 10 seconds; check power and cable",
    owned: r"left arm .*within 10 seconds; .*no other program holds it",
    old_firmware: r"right arm .* versions: driver 1\.11\.0, firmware 1\.10\.4: .*pip install 'trossen-arm==1\.10\.\*'",
    other_model: r"left arm .* model: vxai_v0_left, configured is wxai_v0; check the arm's address",
    in_error: r"left arm .* error: 10 joint_overheated: a joint is too hot; switch .* off and on",
    narrow: r"right arm .* limits: robot.limits.upper of joint_3 = 1.5697 must be at most 1.199; correct",
    slow: r"left arm .* robot.limits.velocity of joint_2 = 3 must be at most 2.79.*brake.velocity of joint_2 = 3.5 ",
    stroke: r"left arm .* robot.limits.upper of left_carriage_joint = 0.0398 must be at most 0.0349",
    moving: r"right arm .* rest: joint_2 moves at 0.300 \(bound 0.1\); let the arm come to rest",
    astray: r"left arm .* position: joint_4 at 1.9000 lies outside -1.5698..1.5698 by more than 0.05; switch",
    nothing_measured: r"left arm .* position: joint_4 at nan lies outside",
    other_tool: r"left arm .* end effector: the arm does not report the values of wxai_v0_follower",
}
