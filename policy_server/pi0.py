"""π0 as a policy: a checkpoint, its configuration and its statistics, answering openpi's observations.

Runs in the policy server's worker thread, or in a program of one's own (`from policy_server import load_policy`).
Always holds: the answer is the checkpoint's, with the reference's keys; a non-finite number is an error, not an answer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from numpy.typing import NDArray

from policy_server.checkpoint import find_params, load_params
from policy_server.compile_cache import keep_compiled
from policy_server.config import STATE_DIM, PolicyConfig, load_config
from policy_server.continuation import check_length, read_rest
from policy_server.model.choice import plan_for
from policy_server.model.dims import IMAGE_SIZE
from policy_server.model.fused import fuse
from policy_server.model.rtc import target_of
from policy_server.noise import Noise
from policy_server.policy import Observation, ObservationError, Policy, Session
from policy_server.programs import Programs
from policy_server.protocol import JPEG_IMAGES, RTC, ServerInfo, StateStatistics
from policy_server.review import review_for
from policy_server.statistics import Statistics, load_norm_stats
from policy_server.tokenizer import Tokenizer, find_tokenizer
from policy_server.transforms import ModelInputs, Transforms

Floats = NDArray[np.float32]

NVIDIA = Path("/dev/nvidia0")


class NonFiniteError(ArithmeticError):
    """The model answered with a number that is not finite."""


class Pi0Policy(Policy):
    """A loaded model. Made by `load_policy`."""

    def __init__(
        self,
        config: PolicyConfig,
        transforms: Transforms,
        programs: Programs,
        *,
        seed: int,
        rtc: bool,
        statistics: StateStatistics | None = None,
    ) -> None:
        """statistics: of the state as robots send it; None where training saw it in another convention."""
        sizes = config.sizes
        self.info = ServerInfo(
            policy=config.name,
            cameras=config.data.cameras,
            image_size=(IMAGE_SIZE, IMAGE_SIZE),
            action_rate_hz=config.data.action_rate_hz,
            action_horizon=sizes.action_horizon,
            action_dim=STATE_DIM,
            reset_pose=config.data.reset_pose,
            state_statistics=statistics,
            extensions=frozenset({JPEG_IMAGES} | ({RTC} if rtc else set())),
        )
        self._chunk = (sizes.action_horizon, sizes.action_dim)
        self.transforms = transforms
        self.programs = programs
        self._seed = seed
        self._rtc = rtc
        self._rtc_extra_ms: float | None = None
        self._own_session = self.new_session()

    def warm_up(self, say: Callable[[str], None]) -> None:
        """Compile every program and run it until it is at speed. Without it, the first observations pay."""
        medians_ms = self.programs.compile_all(say)
        self.new_session().infer(self._dark_observation())
        if True in medians_ms:
            self._rtc_extra_ms = medians_ms[True] - medians_ms[False]
            say(f"real-time chunking adds_ms={self._rtc_extra_ms:.1f}")

    def new_session(self) -> Pi0Session:
        """A session whose noise starts from the policy's seed, whoever else is connected."""
        return Pi0Session(self, Noise(self._seed, self._chunk))

    def infer(self, observation: Mapping[str, Any], noise: NDArray[Any] | None = None) -> dict[str, Any]:
        """The answer to one observation, as openpi's `Policy.infer`.

        observation: `state` (14,), `images` of uint8 (3, height, width) per camera, `prompt`; unknown keys are ignored.
        noise: (horizon, action_dim), or as a batch of one; None draws it. Returns `actions`, float64 (horizon, 14):
        absolute positions, one row per 1 / action_rate_hz; and `policy_timing` in ms. Raises ObservationError,
        NonFiniteError.
        """
        return self._own_session.answer(observation, noise)

    def answer(self, observation: Mapping[str, Any], noise: Callable[[], Floats]) -> dict[str, Any]:
        """The answer to one observation with noise that is drawn once the observation is known to be good."""
        started_ns = time.monotonic_ns()
        inputs = self.transforms.inputs(observation)
        guide = self._read_guide(observation, inputs)
        chunk = noise()
        transformed_ns = time.monotonic_ns()
        raw_actions = self.programs.run(inputs, chunk, guide)
        computed_ns = time.monotonic_ns()
        actions = self.transforms.outputs(raw_actions, inputs)
        if not np.isfinite(actions).all():
            raise NonFiniteError("the model answered with numbers that are not finite; nothing was sent")
        now_ns = time.monotonic_ns()
        timing = {
            "infer_ms": (now_ns - started_ns) / 1e6,
            "transform_ms": (transformed_ns - started_ns + now_ns - computed_ns) / 1e6,
            "device_ms": (computed_ns - transformed_ns) / 1e6,
        }
        if guide is not None and self._rtc_extra_ms is not None:
            timing["rtc_extra_ms"] = self._rtc_extra_ms
        return {"actions": actions, "policy_timing": timing}

    def check_noise(self, noise: NDArray[Any]) -> Floats:
        """`noise` as the model takes it. Raises ObservationError."""
        chunk = np.asarray(noise)
        if chunk.shape == (1, *self._chunk):
            chunk = chunk[0]
        if chunk.shape != self._chunk or not np.issubdtype(chunk.dtype, np.floating) or not np.isfinite(chunk).all():
            raise ObservationError(f"noise is {chunk.dtype} {chunk.shape}; send {self._chunk} finite floats")
        return chunk.astype(np.float32)

    def _dark_observation(self) -> Observation:
        """Arms at zero, no light on any camera."""
        cameras = self.info.cameras or ()
        dark = np.zeros((3, 480, 640), np.uint8)
        return {"state": np.zeros(STATE_DIM), "images": dict.fromkeys(cameras, dark), "prompt": "wait"}

    def _read_guide(self, observation: Mapping[str, Any], inputs: ModelInputs) -> tuple[Floats, Floats] | None:
        rest = read_rest(observation, self._chunk[0], STATE_DIM)
        if rest is None:
            return None
        if not self._rtc:
            raise ObservationError(f"{RTC!r} is not offered by this server (started with --no-rtc)")
        left = self.transforms.to_model(rest[0], inputs)
        check_length(left, self._chunk[0])
        return target_of(left, rest[1], *self._chunk)


class Pi0Session(Session):
    """One client's observations, and the sequence of noise that belongs to them."""

    def __init__(self, policy: Pi0Policy, noise: Noise) -> None:
        self._policy = policy
        self._noise = noise

    def infer(self, observation: Observation) -> dict[str, Any]:
        """See `Pi0Policy.infer`."""
        return self.answer(observation, None)

    def answer(self, observation: Mapping[str, Any], noise: NDArray[Any] | None) -> dict[str, Any]:
        """See `Pi0Policy.infer`. Given noise leaves the sequence as it was."""
        given = None if noise is None else self._policy.check_noise(noise)
        return self._policy.answer(observation, self._noise.draw if given is None else lambda: given)


def load_policy(
    config: str | Path | PolicyConfig,
    checkpoint_dir: str | Path,
    dtype: Literal["bfloat16", "float32"] = "bfloat16",
    num_steps: int = 10,
    *,
    seed: int = 0,
    rtc: bool = True,
    compile_cache: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Pi0Policy:
    """Load a checkpoint as openpi's training wrote it. Documented in `policy_server.load_policy`."""
    if dtype not in ("bfloat16", "float32"):
        raise ValueError(f"dtype is {dtype!r}; choose bfloat16 or float32")
    if not 1 <= num_steps <= 100:
        raise ValueError(f"num_steps is {num_steps}; choose 1..100")
    settings = config if isinstance(config, PolicyConfig) else load_config(config)
    directory = find_params(Path(checkpoint_dir)).parent
    stats = load_norm_stats(directory, settings.data.asset_id)
    for line in _adapters(settings):
        say(line)
    for warning in review_for(settings, stats):
        say(f"warning: {warning}")
    tokenizer = Tokenizer(find_tokenizer(settings), settings.sizes.vocabulary)
    transforms = Transforms(settings, stats, tokenizer)
    # Three quarters of a GPU taken at the start surprise whoever shares it; the model needs what it needs.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if compile_cache is not None:
        keep_compiled(compile_cache)
    device = jax.local_devices()[0]
    say(f"device={device.device_kind!r} platform={device.platform}")
    if device.platform == "cpu" and NVIDIA.exists():
        say("warning: this machine has a GPU, and JAX does not see it; install jax[cuda12], see docs/policy-server.md")
    params = load_params(directory, settings.sizes, dtype, device=device, say=say, progress=True)
    with jax.default_device(device), jax.default_matmul_precision("highest"):
        weights = jax.block_until_ready(fuse(params, settings.sizes, num_steps))
    programs = Programs(
        weights,
        plan_for(settings.sizes.without_lora, num_steps, dtype, device, say),
        buckets=(*settings.model.token_buckets, settings.sizes.max_token_len),
        cameras=len(settings.data.cameras),
        guided=rtc,
        device=device,
    )
    told = None if settings.data.adapt_to_pi else _told(stats.state)
    return Pi0Policy(settings, transforms, programs, seed=seed, rtc=rtc, statistics=told)


def _told(state: Statistics) -> StateStatistics:
    """For the metadata, so that clients can hold a pose against what the policy was trained on."""

    def first(values: NDArray[np.float64]) -> tuple[float, ...]:
        return tuple(values[:STATE_DIM].tolist())

    quantiles = (state.q01, state.q99)
    q01, q99 = (None if values is None else first(values) for values in quantiles)
    return StateStatistics(first(state.mean), first(state.std), q01, q99)


def _adapters(config: PolicyConfig) -> list[str]:
    """A checkpoint holds no alpha: what the config says of it cannot be checked, so it is said aloud."""
    experts = {"paligemma": config.sizes.prefix, "action_expert": config.sizes.suffix}
    return [
        f"merging {name} attention adapters: rank {lora.rank}, alpha {lora.alpha:g}, scaled by {lora.scaling:g}"
        for name, expert in experts.items()
        if (lora := expert.attn_lora) is not None
    ]
