"""What a policy server says of itself, held against the configuration: may observations be sent, and which. Pure."""

from __future__ import annotations

from controller.config import Config
from controller.faults import FaultCode
from controller.robots.base import JOINT_NAMES, N_JOINTS
from policy_server.protocol import (
    ENVIRONMENT_STATE,
    JPEG_IMAGES,
    OBSERVATION_AGE,
    PLAYBACK,
    REQUEST_ID,
    RTC,
    ServerInfo,
)

KNOWN_EXTENSIONS = frozenset({REQUEST_ID, ENVIRONMENT_STATE, OBSERVATION_AGE, PLAYBACK, JPEG_IMAGES, RTC})


class SessionError(RuntimeError):
    """This connection is of no more use. `code` is the fault it means for a motion under way."""

    def __init__(self, code: FaultCode, text: str) -> None:
        super().__init__(text)
        self.code = code


def check_server(info: ServerInfo, config: Config) -> tuple[tuple[str, ...], float]:
    """Cameras to send and action rate, from the metadata or else the configuration. Raises SessionError."""
    cameras = info.cameras if info.cameras is not None else config.policy.cameras
    if not cameras or len(set(cameras)) < len(cameras):
        raise SessionError(FaultCode.POLICY_REFUSED, f"the server wants no camera or one twice: {list(cameras)}")
    lacking = [name for name in cameras if name not in config.cameras]
    if lacking:
        raise SessionError(
            FaultCode.POLICY_REFUSED,
            f"the server wants camera {', '.join(lacking)}; configured: {', '.join(config.cameras)}",
        )
    size = config.policy.image_size
    if info.image_size is not None and info.image_size != (size, size):
        raise SessionError(
            FaultCode.POLICY_REFUSED,
            f"the server wants images of {info.image_size[0]}x{info.image_size[1]}; "
            f"policy.image_size is {size}",
        )
    if config.policy.image_encoding == "jpeg" and JPEG_IMAGES not in info.extensions:
        raise SessionError(
            FaultCode.POLICY_REFUSED,
            "policy.image_encoding is 'jpeg', and the server does not offer jpeg_images; set it to 'raw'",
        )
    if info.joint_names is not None and info.joint_names != JOINT_NAMES:
        other = next(((a, b) for a, b in zip(info.joint_names, JOINT_NAMES, strict=False) if a != b), None)
        raise SessionError(
            FaultCode.POLICY_REFUSED,
            f"the server's {len(info.joint_names)} joints are not this robot's {N_JOINTS}"
            + (f": it has {other[0]} where {other[1]} belongs" if other else ""),
        )
    return cameras, info.action_rate_hz if info.action_rate_hz is not None else config.policy.action_rate_hz
