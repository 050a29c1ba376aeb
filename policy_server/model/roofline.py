"""The least work of one call of the model, and the time that a device takes for it at best: the roofline.

Pure arithmetic on sizes; nothing here runs on a device. Counted are the products with weights (2 FLOP per weight and
token), attention, the weights' bytes once per pass and those of keys and values. Other activations are taken to stay
on the chip, norms and softmax to be free, so no program reaches the bound. Not counted is what no action needs: of
the last prefix layer only keys and values are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from policy_server.model import dims

_FLOAT32_BYTES = 4
_NUM_BYTES = {"bfloat16": 2, "float32": _FLOAT32_BYTES}


@dataclass(frozen=True, slots=True)
class Device:
    """What a device does at best: bfloat16 products that add up in float32, and reading plus writing its memory."""

    flop_per_s: float
    bytes_per_s: float
    source: str


_DATA_SHEET = "data sheet"

DEVICES = {
    "NVIDIA A100-SXM4-80GB": Device(312e12, 2039e9, _DATA_SHEET),
    "NVIDIA GeForce RTX 4080": Device(97.5e12, 717e9, _DATA_SHEET),
    "NVIDIA GeForce RTX 4090": Device(165.2e12, 1008e9, _DATA_SHEET),
    "NVIDIA GeForce RTX 5090": Device(209.5e12, 1792e9, _DATA_SHEET),
    "NVIDIA H100 80GB HBM3": Device(989e12, 3350e9, _DATA_SHEET),
    "NVIDIA H200": Device(790e12, 4300e9, "a large product and a large copy, measured on one"),
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": Device(503.8e12, 1792e9, _DATA_SHEET),
    "NVIDIA Thor": Device(250e12, 273e9, _DATA_SHEET),
}
"""By JAX's `device_kind`, to the letter: editions of a card differ. Rates are dense, without sparsity."""


@dataclass(frozen=True, slots=True)
class Work:
    """Operations, and the fewest bytes moved through the device's memory for them."""

    flop: float
    num_bytes: float

    def __add__(self, other: Work) -> Work:
        return Work(self.flop + other.flop, self.num_bytes + other.num_bytes)

    def times(self, count: int) -> Work:
        """The same work `count` times over, bytes included."""
        return Work(self.flop * count, self.num_bytes * count)

    def bound_s(self, device: Device) -> float:
        """The longer of computing and moving."""
        return max(self.flop / device.flop_per_s, self.num_bytes / device.bytes_per_s)


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a call. Products and attention follow one another: their bounds add up."""

    products: Work
    attention: Work

    @property
    def total(self) -> Work:
        """Both together."""
        return self.products + self.attention

    def __add__(self, other: Stage) -> Stage:
        return Stage(self.products + other.products, self.attention + other.attention)

    def times(self, count: int) -> Stage:
        """The same stage `count` times over."""
        return Stage(self.products.times(count), self.attention.times(count))

    def bound_s(self, device: Device) -> float:
        """The time it takes at best."""
        return self.products.bound_s(device) + self.attention.bound_s(device)


@dataclass(frozen=True, slots=True)
class Call:
    """One call, from pictures to actions. `step` is one of the flow's `num_steps`."""

    vision: Stage
    prefix: Stage
    step: Stage
    num_steps: int

    @property
    def steps(self) -> Stage:
        """All steps of the flow."""
        return self.step.times(self.num_steps)

    @property
    def total(self) -> Work:
        """The work of the whole call."""
        return self.vision.total + self.prefix.total + self.steps.total

    def bound_s(self, device: Device) -> float:
        """The time the whole call takes at best, transfers from and to the host left out."""
        return sum(stage.bound_s(device) for stage in (self.vision, self.prefix, self.steps))


def call(
    sizes: dims.Pi0,
    *,
    cameras: int,
    tokens: int,
    batch: int = 1,
    num_steps: int = 10,
    dtype: Literal["bfloat16", "float32"] = "bfloat16",
    guided: bool = False,
) -> Call:
    """The work of one call. tokens: of the prompt, padding included. guided: with real-time chunking."""
    prefix_tokens = cameras * sizes.siglip.num_tokens + tokens
    cache = 2 * sizes.prefix.num_kv_heads * sizes.prefix.head_dim * prefix_tokens
    cache_bytes = float(batch * sizes.prefix.depth * cache * _NUM_BYTES[dtype])
    return Call(
        vision=_vision(sizes, batch * cameras, _NUM_BYTES[dtype]),
        prefix=_prefix(sizes.prefix, batch, prefix_tokens, cache_bytes, _NUM_BYTES[dtype]),
        step=_step(sizes, batch, prefix_tokens, cache_bytes, _NUM_BYTES[dtype], guided),
        num_steps=num_steps,
    )


def _vision(sizes: dims.Pi0, pictures: int, num_bytes: int) -> Stage:
    s = sizes.siglip
    tokens = pictures * s.num_tokens
    layers = _product(tokens, s.depth * (4 * s.width**2 + 2 * s.width * s.mlp_dim), num_bytes)
    patches = _product(tokens, 3 * s.patch_size**2 * s.width, _FLOAT32_BYTES)
    head = _product(tokens, s.width * sizes.prefix.width, num_bytes)
    return Stage(layers + patches + head, Work(4 * s.depth * pictures * s.num_tokens**2 * s.width, 0))


def _prefix(gemma: dims.Gemma, batch: int, tokens: int, cache_bytes: float, num_bytes: int) -> Stage:
    full_layers = gemma.depth - 1
    keys_and_values = 2 * gemma.width * gemma.num_kv_heads * gemma.head_dim
    return Stage(
        _product(batch * tokens, full_layers * _layer_weights(gemma) + keys_and_values, num_bytes),
        Work(full_layers * batch * _attention_flop(gemma, tokens, tokens), cache_bytes),
    )


def _step(
    sizes: dims.Pi0, batch: int, prefix_tokens: int, cache_bytes: float, num_bytes: int, guided: bool
) -> Stage:
    """Guidance pulls a difference back to the noisy actions: every product once more, with its weights transposed."""
    gemma, own = sizes.suffix, sizes.num_suffix_tokens
    actions, width = batch * sizes.action_horizon, gemma.width
    products = (
        _product(batch * own, gemma.depth * _layer_weights(gemma), num_bytes)
        + _product(actions, sizes.action_dim * width, num_bytes)
        + _product(actions, sizes.action_dim * width + (0 if sizes.pi05 else width**2), _FLOAT32_BYTES)
    )
    seen = _attention_flop(gemma, own, prefix_tokens + own)
    attention = Work(gemma.depth * batch * seen, cache_bytes)
    if not guided:
        return Stage(products, attention)
    # back through attention: weights and queries see all keys, but only the suffix's own keys and values change
    back = Work(gemma.depth * batch * (seen + _attention_flop(gemma, own, own)), cache_bytes)
    return Stage(products.times(2), attention + back)


def _product(tokens: int, weights: int, num_bytes: int) -> Work:
    return Work(2.0 * tokens * weights, float(weights * num_bytes))


def _layer_weights(gemma: dims.Gemma) -> int:
    heads = 2 * gemma.num_heads + 2 * gemma.num_kv_heads
    return gemma.width * (heads * gemma.head_dim + 3 * gemma.mlp_dim)


def _attention_flop(gemma: dims.Gemma, queries: int, keys: int) -> int:
    return 4 * queries * keys * gemma.num_heads * gemma.head_dim
