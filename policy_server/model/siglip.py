"""The vision tower: SigLIP's ViT with learned positions and no pooling, one call for all pictures.

The readable form, on arrays whose paths equal the checkpoint's (`PaliGemma/img`, layers stacked on axis 0); what is
served is `fast.py`, which must agree with it. Letters: n pictures, p tokens, d width, h heads, k width of a head.
Patches and positions are computed in float32, the rest in `dtype`, normalisation and softmax in float32.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from policy_server.model import dims

Params = dict[str, Any]

EPSILON = 1e-6


def encode(params: Params, images: Array, sizes: dims.Siglip, dtype: DTypeLike) -> Array:
    """Tokens of each picture, row by row: (n, p, width of the head) from float (n, 224, 224, 3) in -1..1."""
    x = embed_patches(params, images, sizes).astype(dtype)
    x, _ = jax.lax.scan(lambda x, layer: (_block(layer, x), None), x, params["Transformer"]["encoderblock"])
    x = layer_norm(params["Transformer"]["encoder_norm"], x)
    return dense(params["head"], x)


def embed_patches(params: Params, images: Array, sizes: dims.Siglip) -> Array:
    """A linear map of each patch, plus its position: float32 (n, p, d)."""
    n, patch, grid = images.shape[0], sizes.patch_size, sizes.grid
    images = images[:, : grid * patch, : grid * patch].astype(jnp.float32)
    patches = images.reshape(n, grid, patch, grid, patch, 3).swapaxes(2, 3).reshape(n, grid * grid, -1)
    kernel = params["embedding"]["kernel"].reshape(-1, sizes.width)
    return patches @ kernel + params["embedding"]["bias"] + params["pos_embedding"]


def _block(layer: Params, x: Array) -> Array:
    x = x + _attention(layer["MultiHeadDotProductAttention_0"], layer_norm(layer["LayerNorm_0"], x))
    mlp = layer["MlpBlock_0"]
    hidden = jax.nn.gelu(dense(mlp["Dense_0"], layer_norm(layer["LayerNorm_1"], x)), approximate=True)
    return x + dense(mlp["Dense_1"], hidden)


def _attention(params: Params, x: Array) -> Array:
    q, k, v = (
        jnp.einsum("npd,dhk->nphk", x, params[name]["kernel"].astype(x.dtype)) + params[name]["bias"].astype(x.dtype)
        for name in ("query", "key", "value")
    )
    logits = jnp.einsum("nphk,nqhk->nhpq", q / q.shape[-1] ** 0.5, k, preferred_element_type=jnp.float32)
    seen = jnp.einsum("nhpq,nqhk->nphk", jax.nn.softmax(logits).astype(x.dtype), v)
    out = params["out"]
    return jnp.einsum("nphk,hkd->npd", seen, out["kernel"].astype(x.dtype)) + out["bias"].astype(x.dtype)


def layer_norm(params: Params, x: Array) -> Array:
    """Normalise the last axis in float32; back to the type of `x`."""
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    scaled = centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + EPSILON)
    return (scaled * params["scale"] + params["bias"]).astype(x.dtype)


def dense(params: Params, x: Array) -> Array:
    """x · kernel + bias, in the type of `x`."""
    return x @ params["kernel"].astype(x.dtype) + params["bias"].astype(x.dtype)
