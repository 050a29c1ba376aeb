"""From a request to the model's inputs, and from its outputs to the answer: what openpi's transforms do, in one place.

Runs in the policy server's worker thread, per request, on the host. Always holds: for every request that the reference
answers, images, tokens and masks are bit-equal to its own and numbers agree to float32; a request that would be
misread is refused with ObservationError; a request is never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as brief
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policy_server import aloha
from policy_server.config import STATE_DIM, UNUSED_CAMERAS, PolicyConfig
from policy_server.images import read_picture
from policy_server.model.dims import IMAGE_SIZE
from policy_server.policy import ObservationError
from policy_server.statistics import NormStats, Scaling
from policy_server.tokenizer import Tokenizer, TokenizerError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ModelInputs:
    """One request as the model sees it. Cameras are in the order of the config's, black where masked.

    images: uint8 (cameras, 224, 224, 3). image_masks: bool (cameras,). tokens: int32 (max_token_len,).
    token_mask: bool (max_token_len,). state: float32 (action_dim,), normalised and padded with zeros.
    """

    images: NDArray[np.uint8]
    image_masks: NDArray[np.bool_]
    tokens: NDArray[np.int32]
    token_mask: NDArray[np.bool_]
    state: NDArray[np.float32]


FARTHEST = 100.0
"""Bound on normalised actions that a client sends; those of a policy stay within a few."""


class Transforms:
    """The transforms of one config with one checkpoint's statistics. Raises StatisticsError where these do not suit."""

    def __init__(self, config: PolicyConfig, stats: NormStats, tokenizer: Tokenizer) -> None:
        self._name = config.name
        self._data = config.data
        self._sizes = config.sizes
        self._discrete_state = config.discrete_state_input
        self._tokenizer = tokenizer
        self._state = Scaling.of(stats.state, STATE_DIM, config.use_quantiles)
        self._actions = Scaling.of(stats.actions, STATE_DIM, config.use_quantiles)

    def inputs(self, observation: Mapping[str, Any]) -> ModelInputs:
        """Read one request. Raises ObservationError that names the key, the value and what to send."""
        if not isinstance(observation, Mapping):
            raise ObservationError(f"observation is of type {type(observation).__name__}, send a map")
        state = self._read_state(observation)
        padded = np.zeros(self._sizes.action_dim, np.float32)
        padded[:STATE_DIM] = _as_float32(state, "state", observation["state"])
        tokens, token_mask = self._read_prompt(observation, state)
        images, image_masks = self._read_images(observation)
        return ModelInputs(images, image_masks, tokens, token_mask, padded)

    def outputs(self, raw_actions: NDArray[np.float32], inputs: ModelInputs) -> Floats:
        """The answer's actions, float64 (horizon, 14), of the model's, float32 (horizon, action_dim).

        Positions in rad, grippers in the robot's own unit. A non-finite number stays one.
        """
        actions = self._actions.unnormalise(raw_actions[:, :STATE_DIM])
        if self._data.use_delta_joint_actions:
            actions += self._origin(inputs)
        return aloha.encode_actions(actions) if self._data.adapt_to_pi else actions

    def to_model(self, actions: NDArray[Any], inputs: ModelInputs) -> NDArray[np.float32]:
        """The inverse of `outputs`: float32 (k, 14) in model units of a client's `actions` (k, 14).

        Raises ObservationError for actions of another shape and for numbers that no policy can have meant.
        """
        given = _as_floats(actions, "rtc.actions", 2, f"(steps, {STATE_DIM}), as in an answer")
        with np.errstate(over="ignore", invalid="ignore"):  # the result is looked at
            adapted = aloha.encode_actions_inverse(given) if self._data.adapt_to_pi else given
            if self._data.use_delta_joint_actions:
                adapted = adapted - self._origin(inputs)
            normalised = self._actions.normalise(adapted)
        far = np.abs(normalised) > FARTHEST
        if far.any():
            step, joint = np.argwhere(far)[0]
            raise ObservationError(
                f"'rtc.actions' has {given[step, joint]:g} at step {step}, joint {joint}, more than {FARTHEST:g} times "
                "the data's spread from its mean; send what is left of the last answer"
            )
        return _as_float32(normalised, "rtc.actions", actions)

    def _origin(self, inputs: ModelInputs) -> Floats:
        """What delta actions count from, (14,): the state as the model got it; the grippers' is 0."""
        return np.where(aloha.JOINTS, self._state.unnormalise(inputs.state[:STATE_DIM]), 0.0)

    def _read_state(self, observation: Mapping[str, Any]) -> Floats:
        """The normalised state, (14,)."""
        meaning = f"({STATE_DIM},): six joints and a gripper per arm, left arm first"
        state = _as_floats(_require(observation, "state", meaning), "state", 1, meaning)
        with np.errstate(over="ignore", invalid="ignore"):  # the result is looked at
            return self._state.normalise(aloha.decode_state(state) if self._data.adapt_to_pi else state)

    def _read_prompt(
        self, observation: Mapping[str, Any], state: Floats
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        prompt = observation.get("prompt", self._data.default_prompt)
        if isinstance(prompt, np.ndarray) and prompt.ndim == 0:
            prompt = prompt.item()
        if prompt is None and "prompt" in observation:
            raise ObservationError("'prompt' is None; send a text, or leave the key out for the config's own")
        if prompt is None:
            raise ObservationError(
                f"observation lacks 'prompt' and config {self._name} has no default_prompt; "
                "send the task as a text, for example 'put the lighter into the cup'"
            )
        if not isinstance(prompt, str):
            raise ObservationError(f"'prompt' is {brief(prompt)}, of type {type(prompt).__name__}; send a text")
        try:
            return self._tokenizer.encode(prompt, self._sizes.max_token_len, state if self._discrete_state else None)
        except TokenizerError as error:
            raise ObservationError(str(error)) from error

    def _read_images(self, observation: Mapping[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        cameras = self._data.cameras
        given = _require(observation, "images", f"a map from camera to picture: {', '.join(cameras)}")
        if not isinstance(given, Mapping):
            raise ObservationError(
                f"'images' is of type {type(given).__name__}, send a map from camera to picture: {', '.join(cameras)}"
            )
        unknown = [name for name in given if name not in cameras and name not in UNUSED_CAMERAS]
        if unknown:
            raise ObservationError(
                f"'images' has {brief(unknown)}, which config {self._name} does not use; "
                f"send {', '.join(cameras)} ({', '.join(UNUSED_CAMERAS)} is ignored)"
            )
        if cameras[0] not in given:
            raise ObservationError(f"'images' lacks {cameras[0]!r}, the one camera that the model cannot do without")
        masks = np.array([name in given for name in cameras])
        images = np.zeros((len(cameras), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        for name, tile in zip(cameras, images, strict=True):
            if name in given:
                read_picture(given[name], f"image {name!r}", tile)
        return images, masks


def _require(observation: Mapping[str, Any], key: str, meaning: str) -> Any:
    if key not in observation:
        raise ObservationError(f"observation lacks {key!r}: send {meaning}; it has {brief(list(observation))}")
    return observation[key]


def _as_floats(value: object, key: str, ndim: int, wanted: str) -> Floats:
    """Finite numbers as float64, with `ndim` axes, the last of 14."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ObservationError(f"{key!r} is {brief(value)}: {error}; send numbers") from error
    if array.dtype.kind not in "fiu":
        raise ObservationError(f"{key!r} is {brief(value)}, of dtype {array.dtype}; send finite numbers")
    if array.ndim != ndim or array.shape[-1] != STATE_DIM:
        raise ObservationError(f"{key!r} has shape {array.shape}, send {wanted}")
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float64)
    if not (finite := np.isfinite(numbers)).all():
        index = tuple(int(axis) for axis in np.argwhere(~finite)[0])
        raise ObservationError(f"{key!r} holds {numbers[index]} at {list(index)}; send finite numbers")
    return numbers


def _as_float32(values: Floats, key: str, given: object) -> NDArray[np.float32]:
    """What the model computes with. Raises ObservationError where a finite `given` is beyond it."""
    with np.errstate(over="ignore"):
        result = values.astype(np.float32)
    if not np.isfinite(result).all():
        raise ObservationError(
            f"{key!r} is {brief(given)}, beyond float32 once normalised; send rad, and grippers in the robot's unit"
        )
    return result
