"""From the configuration file's seven values of one arm to the vectors that planner and follower work with. Pure."""

from __future__ import annotations

import numpy as np

from controller.config import Config
from controller.config_robot import MoveLimits, both_arms
from controller.contact import ContactWatch
from controller.follower import Gate
from controller.hermite import STEEPER
from controller.moves import Bounds
from controller.planner import Settings
from controller.robots.base import GRIPPERS, N_JOINTS, Vector
from controller.shaper import Range
from controller.timeline import Fading


def _bounds(limits: MoveLimits) -> Bounds:
    return Bounds(both_arms(limits.velocity), both_arms(limits.acceleration), both_arms(limits.jerk))


def _range(config: Config) -> Range:
    return Range(both_arms(config.robot.limits.lower), both_arms(config.robot.limits.upper))


def _blend_acceleration(config: Config) -> Vector:
    share = np.full(N_JOINTS, config.control.blend_acceleration)
    share[list(GRIPPERS)] = 1.0  # a hand that closes late misses
    return share * both_arms(config.robot.limits.acceleration)


def planner_settings(config: Config) -> Settings:
    limits, homing = config.robot.limits, config.robot.homing
    return Settings(
        limits=_range(config),
        follow=Bounds(
            both_arms(limits.velocity), both_arms(limits.acceleration) / STEEPER, both_arms(limits.brake.jerk)
        ),
        ramp=_bounds(config.control.ramp),
        homing=_bounds(homing),
        home=both_arms(homing.pose),
        home_tolerance=both_arms(homing.tolerance),
        home_settle_s=homing.settle_s,
        fading=Fading(
            config.control.blend_s,
            config.control.blend_max_s,
            _blend_acceleration(config),
            config.control.ensemble_decay,
        ),
        speed_ramp_s=config.control.speed_ramp_s,
        period_ns=round(1e9 / config.control.rate_hz),
        piece_ns=round(1e9 * config.control.command_s),
    )


def gate(config: Config) -> Gate:
    limits = config.robot.limits
    return Gate(
        limits=_range(config),
        follow=Bounds(both_arms(limits.velocity), both_arms(limits.acceleration), both_arms(limits.brake.jerk)),
        tracking=both_arms(limits.tracking),
        brake=_bounds(limits.brake),
        stall_ns=round(1e9 * config.control.command_s),
    )


def contact_watch(config: Config) -> ContactWatch:
    limits = config.robot.limits
    return ContactWatch(None if limits.contact is None else both_arms(limits.contact), limits.contact_s)
