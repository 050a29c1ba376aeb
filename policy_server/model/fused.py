"""The served form of the parameters: one array per layer and fused projection, nothing left to compute twice.

Made once, on the device, from the checkpoint's tree; `fast.py` runs on it. Layers are unstacked because a slice of a
stacked weight may be copied before each product. What depends on the flow's time alone (time embedding, its MLP, the
adaptive norms of π0.5) becomes a table with one row per step.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from policy_server.model import dims
from policy_server.model.pi0 import embed_time, flow_times
from policy_server.model.siglip import dense

Params = dict[str, Any]


class Affine(NamedTuple):
    """x · kernel + bias."""

    kernel: Array
    bias: Array


class VisionLayer(NamedTuple):
    """One block of the vision tower. `qkv`: (d, 3·d); norms are (scale, bias)."""

    norm_0: Affine
    qkv: Affine
    out: Affine
    norm_1: Affine
    up: Affine
    down: Affine


class Vision(NamedTuple):
    """The vision tower. `patch` maps the pixels of a patch, positions included in its bias (p, d)."""

    patch: Affine
    layers: list[VisionLayer]
    norm: Affine
    head: Affine


class Layer(NamedTuple):
    """One transformer layer of one expert. Norm scales are 1 + scale, float32; None where they depend on time.

    qkv: (d, (n + 2k)·h), heads of queries, keys, values side by side. gate_up: (d, 2·mlp).
    """

    attn_norm: Array | None
    qkv: Array
    out: Array
    ffn_norm: Array | None
    gate_up: Array
    down: Array


class Modulation(NamedTuple):
    """What one adaptive norm does at one step, (d,) each: x → x · scale + shift; `gate` weighs the block's output."""

    scale: Array
    shift: Array
    gate: Array


class Step(NamedTuple):
    """What depends on time alone; every array has one row per step.

    t: (steps,). time_bias: (steps, d_1) inside the time MLP of π0, None for π0.5, whose norms are `attn`, `ffn` (one
    per layer) and `final`.
    """

    t: Array
    time_bias: Array | None
    attn: list[Modulation] | None
    ffn: list[Modulation] | None
    final: Modulation | None


class Weights(NamedTuple):
    """A whole model. `action_in` leads straight into the time MLP for π0 (then `action_mlp`), else to the tokens."""

    vision: Vision
    embedding: Array
    prefix: list[Layer]
    suffix: list[Layer]
    final_norm: Array | None
    state: Affine | None
    action_in: Affine
    action_mlp: Affine | None
    action_out: Affine
    steps: Step


def fuse(params: Params, sizes: dims.Pi0, num_steps: int) -> Weights:
    """The served form of a checkpoint's tree with merged adapters, in the tree's own type.

    Empties `params` on the way: beside the model the device holds the vision tower or one leaf a second time.
    """
    llm = params["PaliGemma"].pop("llm")
    flow = {name: params.pop(name) for name in list(params) if name != "PaliGemma"}
    norms = {name: llm["layers"].pop(name) for name in list(llm["layers"]) if "norm" in name}
    norms["final_norm_1"] = llm["final_norm_1"]
    vision = _fuse_vision(params["PaliGemma"].pop("img"), sizes)
    state, action_in, action_mlp, action_out, steps = _fuse_flow(flow, norms, sizes, num_steps)
    return Weights(
        vision=vision,
        embedding=llm["embedder"].pop("input_embedding"),
        prefix=_fuse_expert(llm["layers"], norms, "", sizes.prefix),
        suffix=_fuse_expert(llm["layers"], norms, "_1", sizes.suffix),
        final_norm=None if sizes.pi05 else _norm_scale(norms["final_norm_1"]["scale"]),
        state=state,
        action_in=action_in,
        action_mlp=action_mlp,
        action_out=action_out,
        steps=steps,
    )


@partial(jax.jit, static_argnames="sizes")
def _fuse_vision(img: Params, sizes: dims.Pi0) -> Vision:
    d, depth = sizes.siglip.width, sizes.siglip.depth
    block = img["Transformer"]["encoderblock"]
    attention = block["MultiHeadDotProductAttention_0"]
    q, k, v, out = (attention[name] for name in ("query", "key", "value", "out"))
    columns = [
        _unstack_affine(block["LayerNorm_0"]["scale"], block["LayerNorm_0"]["bias"]),
        _unstack_affine(
            _join(q["kernel"].reshape(depth, d, d), k["kernel"].reshape(depth, d, d), v["kernel"].reshape(depth, d, d)),
            _join(q["bias"].reshape(depth, d), k["bias"].reshape(depth, d), v["bias"].reshape(depth, d)),
        ),
        _unstack_affine(out["kernel"].reshape(depth, d, d), out["bias"]),
        _unstack_affine(block["LayerNorm_1"]["scale"], block["LayerNorm_1"]["bias"]),
        _unstack_affine(**block["MlpBlock_0"]["Dense_0"]),
        _unstack_affine(**block["MlpBlock_0"]["Dense_1"]),
    ]
    embedding, norm, head = img["embedding"], img["Transformer"]["encoder_norm"], img["head"]
    return Vision(
        patch=Affine(
            embedding["kernel"].reshape(-1, d).astype(jnp.float32),
            embedding["bias"].astype(jnp.float32) + img["pos_embedding"][0].astype(jnp.float32),
        ),
        layers=[VisionLayer(*parts) for parts in zip(*columns, strict=True)],
        norm=Affine(norm["scale"], norm["bias"]),
        head=Affine(**head),
    )


def _fuse_expert(layers: Params, norms: Params, name: str, sizes: dims.Gemma) -> list[Layer]:
    attn, mlp = layers["attn"], layers[f"mlp{name}"]
    if f"qkv_einsum{name}" in attn:
        q, k, v = jnp.unstack(attn.pop(f"qkv_einsum{name}")["w"], axis=1)
    else:
        q = attn.pop(f"q_einsum{name}")["w"]
        k, v = jnp.unstack(attn.pop(f"kv_einsum{name}")["w"], axis=1)
    qkv = _fuse_projections(q, k, v)
    del q, k, v
    out = _unstack(attn.pop(f"attn_vec_einsum{name}")["w"].reshape(sizes.depth, -1, sizes.width))
    gate_up, down = _fuse_gates(mlp.pop("gating_einsum")), _unstack(mlp.pop("linear"))
    attn_norm, ffn_norm = (
        _unstack(_norm_scale(norm["scale"])) if "scale" in norm else [None] * sizes.depth
        for norm in (norms[f"pre_attention_norm{name}"], norms[f"pre_ffw_norm{name}"])
    )
    return [Layer(*parts) for parts in zip(attn_norm, qkv, out, ffn_norm, gate_up, down, strict=True)]


@jax.jit
def _fuse_projections(*heads: Array) -> list[Array]:
    """Stacked (layers, n, d, h) each as one (d, n·h) per layer, side by side."""
    return _unstack(_join(*(jnp.moveaxis(w, 2, 1).reshape(w.shape[0], w.shape[2], -1) for w in heads)))


@jax.jit
def _fuse_gates(gating: Array) -> list[Array]:
    return [_join(layer[0], layer[1]) for layer in jnp.unstack(gating)]


@partial(jax.jit, static_argnames=("sizes", "num_steps"))
def _fuse_flow(
    flow: Params, norms: Params, sizes: dims.Pi0, num_steps: int
) -> tuple[Affine | None, Affine, Affine | None, Affine, Step]:
    """The way of state and actions into the suffix and out of it, and the tables of time.

    In float32, as openpi computes it, but for the norms and the way out.
    """
    d = sizes.suffix.width
    action_out = Affine(**flow["action_out_proj"])
    t = jnp.asarray(flow_times(num_steps))
    time = embed_time(t, d)
    action_in = _float32(flow["action_in_proj"])
    if not sizes.pi05:
        mlp_in = _float32(flow["action_time_mlp_in"])
        of_action, of_time = mlp_in.kernel[:d], mlp_in.kernel[d:]
        bias = action_in.bias @ of_action + time @ of_time + mlp_in.bias
        into = Affine(action_in.kernel @ of_action, jnp.zeros(d))
        steps = Step(t, bias, None, None, None)
        return _float32(flow["state_proj"]), into, _float32(flow["action_time_mlp_out"]), action_out, steps

    hidden = jax.nn.swish(dense(flow["time_mlp_in"], time))
    condition = jax.nn.swish(dense(flow["time_mlp_out"], hidden)).astype(action_out.kernel.dtype)
    attn, ffn = (
        [_modulation(jax.tree.map(lambda a, i=i: a[i], norm["Dense_0"]), condition) for i in range(sizes.suffix.depth)]
        for norm in (norms["pre_attention_norm_1"], norms["pre_ffw_norm_1"])
    )
    steps = Step(t, None, attn, ffn, _modulation(norms["final_norm_1"]["Dense_0"], condition))
    return None, action_in, None, action_out, steps


def _modulation(params: Params, condition: Array) -> Modulation:
    scale, shift, gate = jnp.split(dense(params, condition), 3, axis=-1)
    return Modulation(1 + scale.astype(jnp.float32), shift.astype(jnp.float32), gate)


def _norm_scale(scale: Array) -> Array:
    return 1 + scale.astype(jnp.float32)


def _float32(params: Params) -> Affine:
    return Affine(params["kernel"].astype(jnp.float32), params["bias"].astype(jnp.float32))


def _unstack(stacked: Array) -> list[Array]:
    return list(_unstacked(stacked))


@jax.jit
def _unstacked(stacked: Array) -> tuple[Array, ...]:
    return jnp.unstack(stacked)


def _unstack_affine(kernel: Array, bias: Array) -> list[Affine]:
    return [Affine(*parts) for parts in zip(_unstack(kernel), _unstack(bias), strict=True)]


def _join(*parts: Array) -> Array:
    return jnp.concatenate(parts, axis=-1)
