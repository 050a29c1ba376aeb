"""The Trossen AI Stationary Kit as a MuJoCo model: two WidowX AI arms, table, frame, four cameras.

Built by the motor process (physics) and by each simulated camera's process (pictures), always the same
model, so that one `qpos` means the same world everywhere. Kinematics, limits, masses, gains and camera poses
are the published ones; the shapes are primitives of about the right size. Only pairs that can matter collide,
which keeps a step cheap. World frame, in metres: origin under the middle of the table plate, x away from the
operator's camera post, y left, z up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mujoco  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from controller.robots.base import ARM_JOINTS, JOINT_NAMES
from controller.sim import scene
from controller.sim.materials import ARM_RGBA, Bits, Rgba, dress

TIMESTEP_S = 0.002
CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
SIDES = ("left", "right")
START_POSE = (0.0, math.pi / 12, math.pi / 12, 0.0, 0.0, 0.0, 0.040)
"""Published start pose of the simulated kit; its gripper (0.044 m) is drawn in to the firmware's limit."""

MIMICS = tuple(f"{side}_right_carriage_joint" for side in SIDES)
"""The joints of the fingers that follow the grippers' own."""

BASE_POSITION = {"left": (-0.019982, 0.4575, 0.039086), "right": (-0.019982, -0.4575, 0.039086)}
BASE_YAW = {"left": -math.pi / 2, "right": math.pi / 2}

Triple = tuple[float, float, float]
BOX = mujoco.mjtGeom.mjGEOM_BOX
CAPSULE = mujoco.mjtGeom.mjGEOM_CAPSULE
CYLINDER = mujoco.mjtGeom.mjGEOM_CYLINDER


@dataclass(frozen=True, slots=True)
class Shape:
    """One primitive in its body's frame: capsule or cylinder from `a` to `b`, or a box of half size `b` at `a`."""

    type: Any
    a: Triple
    b: Triple
    radius: float = 0.0
    solid: bool = True
    dark: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """One moving body with the joint that carries it. Joint units: rad, N m; for the slides m, N."""

    name: str
    joint: str
    origin: Triple
    axis: Triple
    lower: float
    upper: float
    effort: float
    armature: float
    mass: float
    centre: Triple
    inertia: Triple
    shapes: tuple[Shape, ...]


def _capsule(a: Triple, b: Triple, radius: float, *, solid: bool = True, dark: bool = False) -> Shape:
    return Shape(CAPSULE, a, b, radius, solid, dark)


def _box(centre: Triple, half: Triple, *, solid: bool = True, dark: bool = False) -> Shape:
    return Shape(BOX, centre, half, 0.0, solid, dark)


LINKS = (
    Link("link_1", "joint_0", (0, 0, 0.05725), (0, 0, 1), -3.05433, 3.05433, 27, 0.032,
         0.1527, (-0.00011, 0.00171, 0.02045), (2.0e-4, 1.7e-4, 0.8e-4),
         (Shape(CYLINDER, (0, 0, 0), (0, 0, 0.03), 0.042, False),
          Shape(CYLINDER, (0.02, -0.045, 0.04625), (0.02, 0.045, 0.04625), 0.034, False, True))),
    Link("link_2", "joint_1", (0.02, 0, 0.04625), (0, 1, 0), 0.0, 3.14159, 27, 0.032,
         1.1532, (-0.13122, -0.00293, 0.00021), (0.00103, 0.01736, 0.01794),
         (_capsule((0, 0, 0), (-0.264, 0, 0), 0.030),
          Shape(CYLINDER, (-0.264, -0.04, 0), (-0.264, 0.04, 0), 0.033, False, True))),
    Link("link_3", "joint_2", (-0.264, 0, 0), (0, -1, 0), 0.0, 2.35619, 27, 0.032,
         0.6867, (0.18084, -0.00094, 0.05555), (0.00059, 0.00548, 0.00567),
         (_capsule((0, 0, 0), (0.03, 0, 0.06), 0.028, solid=False),
          _capsule((0.03, 0, 0.06), (0.245, 0, 0.06), 0.028),
          Shape(CYLINDER, (0.245, -0.034, 0.06), (0.245, 0.034, 0.06), 0.029, False, True))),
    Link("link_4", "joint_3", (0.245, 0, 0.06), (0, -1, 0), -1.5708, 1.5708, 7, 0.0018,
         0.4579, (0.05798, 0.00027, 0.05884), (0.00029, 0.00066, 0.00067),
         (_capsule((0, 0, 0), (0.06775, 0, 0.0455), 0.026),)),
    Link("link_5", "joint_4", (0.06775, 0, 0.0455), (0, 0, -1), -1.5708, 1.5708, 7, 0.0018,
         0.3669, (0.00412, -0.00001, -0.04283), (0.00032, 0.00027, 0.00019),
         (_capsule((0, 0, 0), (0.02895, 0, -0.0455), 0.025, dark=True),)),
    Link("link_6", "joint_5", (0.02895, 0, -0.0455), (1, 0, 0), -3.14159, 3.14159, 7, 0.0018,
         0.6719, (0.04684, 0.00145, 0.00896), (0.00078, 0.00111, 0.00118),
         (_capsule((0, 0, 0), (0.05, 0, 0), 0.028),
          _box((0.075, 0, 0), (0.008, 0.075, 0.012), dark=True),
          _box((0.044, 0, 0.030), (0.006, 0.012, 0.020), solid=False, dark=True),
          _box((0.044, 0, 0.054), (0.010, 0.021, 0.020), dark=True))),
)  # fmt: skip

FINGER_TIP_M = 0.166
"""Along link_6's x axis: how far the fingers reach, 10 mm beyond the tool point."""

TOOL_M = 0.156062
_FINGER = _box(((FINGER_TIP_M - 0.0865) / 2, -0.017, 0), ((FINGER_TIP_M - 0.0865) / 2, 0.006, 0.011))

GAINS = ((200, 10), (200, 10), (200, 10), (100, 5), (50, 5), (50, 5), (1000, 50))
"""(kp, kv) of the position servos, per joint of one arm."""


@dataclass(frozen=True, slots=True)
class Kit:
    """The compiled model and where its parts lie in `qpos` and `qvel`, joints in JOINT_NAMES order."""

    model: Any  # mujoco.MjModel, which has no type stubs
    joint_qpos: NDArray[np.intp]
    joint_dof: NDArray[np.intp]
    mimic_qpos: NDArray[np.intp]  # the two right carriages, which follow joints 6 and 13
    environment_qpos: NDArray[np.intp]  # what task.ENVIRONMENT_NAMES names


def build() -> Kit:
    """The kit with lighter and cup, compiled; the same every time."""
    spec = mujoco.MjSpec()
    spec.modelname = "trossen_ai_stationary"
    spec.compiler.degree = False
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0  # friction harder than contact: a pinched object does not creep
    dress(spec)
    _add_frame(spec)
    for side in SIDES:
        _add_arm(spec, side)
    for side in SIDES:
        _add_servos(spec, side)
    scene.add_objects(spec)
    return _index(spec.compile())


def joint_limits() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(lower, upper, velocity) which the arm's firmware clips commands to, 14 each, JOINT_NAMES order."""
    lower = (-3.05433, 0.0, 0.0, -1.5708, -1.5708, -3.1416, 0.0)
    upper = (3.05433, 3.14159, 2.3562, 1.5708, 1.5708, 3.1416, 0.040)
    velocity = (6.2832, 6.2832, 6.2832, 9.4248, 9.4248, 9.4248, 0.25)
    return np.tile(lower, 2), np.tile(upper, 2), np.tile(velocity, 2)


def _add_arm(spec: Any, side: str) -> None:
    yaw = BASE_YAW[side]
    base = spec.worldbody.add_body(
        name=f"{side}_base_link", pos=BASE_POSITION[side], quat=(math.cos(yaw / 2), 0, 0, math.sin(yaw / 2))
    )
    for shape in (
        _box((0, 0, -0.008), (0.06, 0.06, 0.010), solid=False, dark=True),
        Shape(CYLINDER, (0, 0, 0), (0, 0, 0.05), 0.046, False, True),
    ):
        _add_shape(base, side, shape)
    body = base
    for link in LINKS:
        body = _add_link(body, side, link)
    body.add_site(name=f"{side}_tool", pos=(TOOL_M, 0, 0), group=4)
    # A D405's lens sits beside the middle of its housing, pitched down onto the fingers.
    _add_camera(body, f"cam_{side}_wrist", (0.05864, 0.009, 0.05427), (0.98481, 0, 0.17365, 0), fovy=87)
    for name, mirror in (("left", 1), ("right", -1)):
        _add_link(body, side, _carriage(name, mirror))
    equality = spec.add_equality(
        type=mujoco.mjtEq.mjEQ_JOINT,
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        name1=f"{side}_right_carriage_joint",
        name2=f"{side}_left_carriage_joint",
        solref=(0.005, 1.0),
    )
    equality.data[:5] = (0, 1, 0, 0, 0)


def _carriage(name: str, mirror: int) -> Link:
    """One finger on its slide; closed, its inner face lies on link_6's x axis."""
    x, y, z = _FINGER.a
    finger = _box((x, mirror * y, z), _FINGER.b)
    foot = _box((0.004, mirror * -0.004, 0), (0.006, 0.017, 0.013), solid=False, dark=True)
    return Link(
        f"carriage_{name}", f"{name}_carriage_joint", (0.0865, mirror * 0.023, 0), (0, mirror, 0),
        0.0, 0.044, 400, 0.1, 0.0813, (0.004, 0, 0), (2e-5, 6e-5, 6e-5), (finger, foot),
    )  # fmt: skip


def _add_link(parent: Any, side: str, link: Link) -> Any:
    body = parent.add_body(
        name=f"{side}_{link.name}", pos=link.origin, mass=link.mass, ipos=link.centre, inertia=link.inertia,
        explicitinertial=True, gravcomp=1.0,
    )  # fmt: skip
    slide = link.joint.endswith("carriage_joint")
    body.add_joint(
        name=f"{side}_{link.joint}",
        type=mujoco.mjtJoint.mjJNT_SLIDE if slide else mujoco.mjtJoint.mjJNT_HINGE,
        axis=link.axis, range=(link.lower, link.upper), limited=True,
        armature=link.armature, frictionloss=0.1,
        actgravcomp=True, actfrcrange=(-link.effort, link.effort), actfrclimited=True,
    )  # fmt: skip
    for shape in link.shapes:
        _add_shape(body, side, shape)
    return body


def _add_shape(body: Any, side: str, shape: Shape) -> None:
    rgba: Rgba = ARM_RGBA["dark"] if shape.dark else ARM_RGBA[side]
    geom = body.add_geom(type=shape.type, rgba=rgba, contype=0, conaffinity=0)
    if shape.type == BOX:
        geom.pos, geom.size = shape.a, shape.b
    else:
        geom.fromto = (*shape.a, *shape.b)
        geom.size = (shape.radius, 0, 0)
    if not shape.solid:
        return
    # Arms meet the table, the objects and, asked from the right arm only, each other; never themselves.
    geom.contype = Bits.LEFT_ARM if side == "left" else Bits.RIGHT_ARM
    geom.conaffinity = Bits.TABLE | Bits.OBJECT | (Bits.LEFT_ARM if side == "right" else 0)
    geom.condim = 4
    geom.friction = (1.5, 0.02, 0.0005)
    geom.solref = (0.006, 1.0)
    geom.solimp = (0.97, 0.995, 0.001, 0.5, 2.0)  # hard enough that a pinched lighter of 22 g is not dented
    geom.priority = 1


def _add_servos(spec: Any, side: str) -> None:
    effort = {link.joint: link.effort for link in LINKS} | {"left_carriage_joint": 400.0}
    for joint, (kp, kv) in zip(ARM_JOINTS, GAINS, strict=True):
        actuator = spec.add_actuator(
            name=f"{side}_{joint}",
            target=f"{side}_{joint}",
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            gaintype=mujoco.mjtGain.mjGAIN_FIXED,
            biastype=mujoco.mjtBias.mjBIAS_AFFINE,
            forcerange=(-effort[joint], effort[joint]),
            forcelimited=True,
        )
        actuator.gainprm[0] = kp
        actuator.biasprm[:3] = (0, -kp, -kv)


def _add_frame(spec: Any) -> None:
    """Table plate, legs, the aluminium frame and the two cameras on it."""
    world = spec.worldbody
    world.add_geom(
        name="table", type=mujoco.mjtGeom.mjGEOM_BOX, pos=(0, 0, 0.01), size=(0.38, 0.61, 0.01),
        material="table", contype=Bits.TABLE, conaffinity=0, condim=4, friction=(1.0, 0.01, 0.0005),
    )  # fmt: skip
    world.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, pos=(0, 0, -0.75), size=(4, 4, 0.1),
        material="floor", contype=Bits.TABLE, conaffinity=0,
    )  # fmt: skip
    sides = (("left", 1), ("right", -1))
    bars = [(f"{side} post", (-0.38, sign * 0.42774, 0.52), (0.01, 0.01, 0.54)) for side, sign in sides]
    bars += [("top bar", (-0.38, 0, 1.05), (0.01, 0.43774, 0.01))]
    bars += [
        (f"{end} {side} table leg", (x, sign * 0.57, -0.375), (0.02, 0.02, 0.375))
        for end, x in (("near", -0.34), ("far", 0.34))
        for side, sign in sides
    ]
    bars += [
        ("high camera", (-0.346, 0.009, 1.072), (0.014, 0.021, 0.021)),
        ("low camera", (-0.394, 0.009, 0.05), (0.010, 0.021, 0.021)),
    ]
    for name, position, half in bars:
        world.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=position,
            size=half,
            material="frame",
            contype=0,
            conaffinity=0,
        )
    _add_camera(world, "cam_high", (-0.3247, 0.009, 1.0478), (0.8434, 0, 0.5373, 0), fovy=65)
    _add_camera(world, "cam_low", (-0.3785, 0.009, 0.0511), (0.9988, 0, -0.048, 0), fovy=125)


def _add_camera(body: Any, name: str, position: Triple, quat: tuple[float, ...], fovy: float) -> None:
    """A camera whose published frame looks along +x with +z up; MuJoCo's own look along -z with +y up."""
    turned = np.empty(4)
    mujoco.mju_mulQuat(turned, np.asarray(quat, float), np.array((0.5, 0.5, -0.5, -0.5)))
    body.add_camera(name=name, pos=position, quat=turned, fovy=fovy)


def _index(model: Any) -> Kit:
    def qpos(names: list[str]) -> NDArray[np.intp]:
        return np.array([model.joint(name).qposadr[0] for name in names], dtype=np.intp)

    objects = [model.joint(f"{name}_free").qposadr[0] for name in ("lighter", "cup")]
    return Kit(
        model=model,
        joint_qpos=qpos(list(JOINT_NAMES)),
        joint_dof=np.array([model.joint(name).dofadr[0] for name in JOINT_NAMES], dtype=np.intp),
        mimic_qpos=qpos(list(MIMICS)),
        environment_qpos=np.concatenate([np.arange(start, start + 7) for start in objects]).astype(np.intp),
    )
