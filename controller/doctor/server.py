"""Is it our policy server, near enough, and for this robot? Judges what `server_facts` was told and measured. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from controller.config import Config
from controller.findings import Finding, Level
from controller.robots.base import GRIPPERS, JOINT_NAMES, N_JOINTS, Vector
from controller.server_terms import SessionError, check_server
from policy_server.protocol import RTC, ServerInfo

ROUND_TRIP_MS = 5.0
REQUEST_MS = 15.0
"""A request's bytes, on their way there: 5 ms at 1 Gbit/s, and as much again twice for both ends' copying."""

INFERENCE_MS = 200.0
"""Chunks of a second are followed all the same; what the arms do is then a fifth of a second old at the least."""

FAR, VERY_FAR = 5.0, 10.0
"""Standard deviations of a pose from what the policy was trained on."""

NARROWEST = np.array([0.005 if joint in GRIPPERS else 0.05 for joint in range(N_JOINTS)])
"""A joint that hardly moved in training (rad, m): no deviation is taken to be smaller."""

OUTSIDE = np.array([0.02 if joint in GRIPPERS else 0.5 for joint in range(N_JOINTS)])
"""Training data so far beyond our limits are in another unit, or another robot's."""

CHECK_URL = "check policy.url, the server's log and its firewall"
ASK_AS_ROOT = "look as root, who may read it: sudo pi0ctl doctor; pi0ctl status says whether the daemon is connected"
OTHER_ROBOT = "do not run: this checkpoint was trained in other units or on another robot; check its statistics"


@dataclass(frozen=True, slots=True)
class Inference:
    """Round trips of a few real requests, and what the server says it took for each, in ms."""

    round_trips_ms: tuple[float, ...]
    inference_ms: tuple[float, ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """error: why there is no more to say. allowed: False where this user has no key, which says nothing of the server.
    request_ms: a request's bytes there and a ping's answer back."""

    url: str
    error: str = ""
    info: ServerInfo | None = None
    round_trips_ms: tuple[float, ...] = ()
    request_b: int = 0
    request_ms: tuple[float, ...] = ()
    inference: Inference | None = None
    allowed: bool = True


def judge(server: Server, config: Config, q: Vector | None) -> list[Finding]:
    """q: the arms' present pose, None where nobody knows it; then the home pose is looked at."""
    if not server.allowed:
        return [Finding(Level.WARN, "policy server", f"{server.url}: not asked: {server.error}", ASK_AS_ROOT)]
    if server.info is None:
        return [Finding(Level.FAIL, "policy server", f"{server.url}: {server.error}", CHECK_URL)]
    info = server.info
    name = " ".join(word for word in (info.server, info.policy) if word) or "does not say who it is (a stock server)"
    found = [Finding(Level.OK, "policy server", f"{server.url}: {name}"), _round_trip(server), _request(server)]
    found += [_terms(info, config), _rate(info, config), _seam(info, config)]
    found += [_pose(info, config, q)] if info.state_statistics is not None else [_no_statistics()]
    return found + ([_inference(server.inference)] if server.inference is not None else [])


def _round_trip(server: Server) -> Finding:
    subject, times = "round trip", server.round_trips_ms
    if not times:
        step = "try again while nobody else uses it: a stock server answers nothing while it infers"
        return Finding(Level.WARN, subject, "a ping was not answered in time", step)
    text = f"{median(times):.1f} ms, at most {max(times):.1f} (bound {ROUND_TRIP_MS:g})"
    if median(times) <= ROUND_TRIP_MS:
        return Finding(Level.OK, subject, text)
    return Finding(Level.WARN, subject, text, "put the server nearer, on a cable; a run is as late by so much")


def _request(server: Server) -> Finding:
    subject, times = "request", server.request_ms
    if not times:
        return Finding(Level.WARN, subject, "how long its bytes take could not be measured", CHECK_URL)
    took_ms = median(times)
    text = f"{server.request_b / 1e3:.0f} kB in {took_ms:.1f} ms (bound {REQUEST_MS:g}), "
    text += f"{server.request_b / took_ms / 1e3:.0f} MB/s"
    if took_ms <= REQUEST_MS:
        return Finding(Level.OK, subject, text)
    return Finding(Level.WARN, subject, text, "use 1 Gbit/s or more, or set policy.image_encoding = 'jpeg'")


def _terms(info: ServerInfo, config: Config) -> Finding:
    try:
        cameras, _ = check_server(info, config)
    except SessionError as error:
        step = "correct the cameras of the configuration, or serve the policy that belongs to this robot"
        return Finding(Level.FAIL, "what it wants", str(error), step)
    said = [] if info.cameras is not None else ["cameras as configured: it does not say"]
    said += [] if info.joint_names is not None else ["joints taken to be ours: it does not say"]
    return Finding(Level.OK, "what it wants", f"{', '.join(cameras)}" + "".join(f"; {text}" for text in said))


def _rate(info: ServerInfo, config: Config) -> Finding:
    ours = config.policy.action_rate_hz
    if info.action_rate_hz is None:
        step = "make sure that policy.action_rate_hz is the data set's: at another one everything is too fast or slow"
        return Finding(Level.WARN, "action rate", f"the server does not say; {ours:g} Hz as configured", step)
    chunk = f", chunks of {info.action_horizon} steps" if info.action_horizon else ""
    return Finding(Level.OK, "action rate", f"{info.action_rate_hz:g} Hz as the server says{chunk}")


def _seam(info: ServerInfo, config: Config) -> Finding:
    if config.control.seam == "rtc" and RTC not in info.extensions:
        step = "set control.seam = 'blend', or use a server that offers rtc"
        return Finding(Level.WARN, "seam", "rtc as configured, and the server does not offer it: blend", step)
    return Finding(Level.OK, "seam", f"{config.control.seam}; rtc {'' if RTC in info.extensions else 'not '}offered")


def _no_statistics() -> Finding:
    text = "the server does not tell what states it was trained on (a stock server never does): nothing to compare"
    return Finding(Level.OK, "trained on", text)


def _pose(info: ServerInfo, config: Config, q: Vector | None) -> Finding:
    subject, statistics = "trained on", info.state_statistics
    assert statistics is not None
    mean, std = np.array(statistics.mean), np.array(statistics.std)
    if mean.shape != (N_JOINTS,):
        return Finding(Level.FAIL, subject, f"states of {len(mean)} numbers, this robot has {N_JOINTS}", OTHER_ROBOT)
    limits = config.robot.limits
    lower, upper = np.array(limits.lower * 2), np.array(limits.upper * 2)
    low = np.array(statistics.q01 if statistics.q01 is not None else statistics.mean)
    high = np.array(statistics.q99 if statistics.q99 is not None else statistics.mean)
    beyond = np.maximum(lower - low, high - upper) / OUTSIDE
    worst = int(np.argmax(beyond))
    if beyond[worst] > 1.0:
        text = (
            f"{JOINT_NAMES[worst]} from {low[worst]:.3g} to {high[worst]:.3g}; "
            f"its limits here are {lower[worst]:.3g} to {upper[worst]:.3g}"
        )
        return Finding(Level.FAIL, subject, text, OTHER_ROBOT)
    return _deviation(mean, std, np.array(config.robot.homing.pose * 2), q)


def _deviation(mean: Vector, std: Vector, home: Vector, q: Vector | None) -> Finding:
    """Arms that are only not at home yet are no other robot: those whose home is far away too may be."""
    pose, at = ("home pose", home) if q is None else ("present pose", q)
    sigmas, from_home = (np.abs(there - mean) / np.maximum(std, NARROWEST) for there in (at, home))
    worst = int(np.argmax(sigmas))
    text = (
        f"{pose}: {JOINT_NAMES[worst]} {at[worst]:.3f} is {sigmas[worst]:.1f} deviations from the mean "
        f"{mean[worst]:.3f} (bound {FAR:g})"
    )
    if sigmas[worst] <= FAR:
        return Finding(Level.OK, "trained on", text)
    if min(sigmas.max(), from_home.max()) <= VERY_FAR:
        return Finding(Level.WARN, "trained on", text, "a run begins near the poses of the data: home, and look again")
    return Finding(Level.FAIL, "trained on", f"{text}; home is {from_home.max():.0f} away", OTHER_ROBOT)


def _inference(inference: Inference) -> Finding:
    if inference.error:
        step = "read the server's log; a run would fail in the same way"
        return Finding(Level.FAIL, "inference", inference.error, step)
    whole, of_it = median(inference.round_trips_ms), _median(inference.inference_ms)
    text = f"{whole:.0f} ms there and back (bound {INFERENCE_MS:g})"
    text += f", {of_it:.0f} ms of it in the server" if of_it is not None else ""
    if whole <= INFERENCE_MS:
        return Finding(Level.OK, "inference", text)
    return Finding(Level.WARN, "inference", text, "look at the server's GPU; fewer cameras or steps are faster")


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
