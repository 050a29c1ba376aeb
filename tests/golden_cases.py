"""The reference's observations and answers, and configurations for the small models that gave them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policy_server.config import CAMERAS, PolicyConfig, parse_config
from policy_server.model.pi0 import Inputs
from policy_server.transforms import ModelInputs

GOLDENS = Path(__file__).parent / "goldens" / "pi0"
POLICIES = ("pi0_dummy_mini", "pi0_dummy_mini_adapt", "pi0_lora_mini", "pi05_mini")
NUM_OBSERVATIONS = 4

_EXPERT = 'variant = "dummy", width = 32, mlp_dim = 80'
_EXPERTS = {
    "pi0_dummy_mini": ('"dummy"', '"dummy"'),
    "pi05_mini": ('"dummy"', f"{{ {_EXPERT} }}"),
    "pi0_lora_mini": (
        '{ variant = "dummy", lora = { rank = 16, alpha = 16 } }',
        f"{{ {_EXPERT}, lora = {{ rank = 32, alpha = 32 }} }}",
    ),
}


def checkpoint(name: str) -> Path:
    """The step directory of a golden policy."""
    return GOLDENS / "ckpts" / name.removesuffix("_adapt")


def config(name: str) -> PolicyConfig:
    """The configuration of a golden policy."""
    adapt = name.endswith("_adapt")
    prefix, suffix = _EXPERTS[name.removesuffix("_adapt")]
    text = f"""
        [model]
        type = "{"pi05" if name.startswith("pi05") else "pi0"}"
        siglip = {{ width = 48, depth = 3, mlp_dim = 100, num_heads = 3 }}
        paligemma = {prefix}
        action_expert = {suffix}
        vocabulary = 2048
        [data]
        action_rate_hz = 30
        default_prompt = "Put all tools on table into the pen holder"
        adapt_to_pi = {str(adapt).lower()}
        use_delta_joint_actions = {str(adapt).lower()}
        tokenizer = "{GOLDENS / "transforms" / "tokenizer_stub.model"}"
    """
    return parse_config(text, name)


@cache
def _load(name: str) -> dict[str, NDArray[Any]]:
    with np.load(GOLDENS / f"{name}.npz") as file:
        return dict(file)


def observation(i: int) -> dict[str, Any]:
    """Observation i as a client sends it, letterboxed already; 2 lacks a wrist, 1 has no prompt."""
    data = _load("policy/observations")
    present = [name for name, there in zip(CAMERAS, data[f"{i}/masks"], strict=True) if there]
    prompt = json.loads((GOLDENS / "policy" / "prompts.json").read_text("utf-8"))[i]
    return {
        "state": data[f"{i}/state"],
        "images": {name: hwc.transpose(2, 0, 1) for name, hwc in zip(present, data[f"{i}/images"], strict=True)},
        **({} if prompt is None else {"prompt": prompt}),
    }


def noise(i: int) -> NDArray[np.float32]:
    """The noise (50, 32) that the reference was given with observation i."""
    return _load("policy/observations")[f"{i}/noise"]


def answer(name: str, mode: str, i: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The reference's model output (50, 32) and answer (50, 14); mode "f32p" or "bf16"."""
    data = _load(f"policy/{name}")
    return data[f"{mode}/{i}/raw_actions"], data[f"{mode}/{i}/actions"]


def trace(name: str) -> dict[str, NDArray[Any]]:
    """Intermediate values of observation 2 in float32; see the README of the goldens for what was thinned out."""
    return _load(f"policy/{name}_trace")


def components() -> dict[str, NDArray[Any]]:
    """Small functions of the model: inputs and outputs."""
    return _load("components")


def batch(inputs: ModelInputs) -> Inputs:
    """One observation as a batch of one."""
    arrays: list[Any] = [
        array[None] for array in (inputs.images, inputs.image_masks, inputs.tokens, inputs.token_mask, inputs.state)
    ]
    return Inputs(*arrays)
