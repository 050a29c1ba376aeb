"""The parameter tree of a π0 as openpi's training stores it: path and shape of every leaf, and back to the sizes.

Read by the checkpoint reader, the inspector and the model's tests. Pure: sizes in, names and shapes out. Paths are
joined with "/"; a leading axis of stacked leaves counts the layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Literal

from policy_server.model import dims

Shape = tuple[int, ...]
Leaf = tuple[str, Shape]

_BLOCK = "PaliGemma/img/Transformer/encoderblock"
_LAYERS = "PaliGemma/llm/layers"
_NAMES = {"pi0": "π0", "pi05": "π0.5"}


class TreeError(ValueError):
    """A parameter tree that no π0 and no π0.5 has. The text names the leaf that gives it away."""


def expected_leaves(model: dims.Pi0) -> dict[str, Shape]:
    """Every leaf's path and shape, adapters included where the sizes name them; sorted by path."""
    llm = [*_gemma(model.prefix, ""), *_gemma(model.suffix, "_1", adaptive=model.pi05)]
    embedder = ("PaliGemma/llm/embedder/input_embedding", (model.vocabulary, model.prefix.width))
    return dict(sorted([*_siglip(model), *llm, embedder, *_flow(model)]))


def num_parameters(leaves: Mapping[str, Shape]) -> int:
    """How many numbers the leaves hold together."""
    return sum(math.prod(shape) for shape in leaves.values())


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Values by path as a dict of dicts, one level for every part of the path."""
    root: dict[str, Any] = {}
    for path, value in leaves.items():
        *branches, name = path.split("/")
        place = root
        for branch in branches:
            place = place.setdefault(branch, {})
        place[name] = value
    return root


def differences(leaves: Mapping[str, Shape], model: dims.Pi0) -> list[str]:
    """One line for every leaf that a checkpoint lacks, has too many or has in another shape than `model` wants."""
    wanted = expected_leaves(model)
    return [
        *(f"missing     {path} {wanted[path]}" for path in sorted(wanted.keys() - leaves.keys())),
        *(f"unexpected  {path} {leaves[path]}" for path in sorted(leaves.keys() - wanted.keys())),
        *(
            f"shape       {path} is {leaves[path]}, want {wanted[path]}"
            for path in sorted(wanted.keys() & leaves.keys())
            if leaves[path] != wanted[path]
        ),
    ]


def likely_cause(leaves: Mapping[str, Shape], model: dims.Pi0) -> str | None:
    """The mix-up behind `differences`, in a sentence that says what to do; None when it is no common one."""
    try:
        found = guess_model(leaves)
    except TreeError as error:
        return str(error)
    if found.type != model.type:
        return f"the checkpoint is a {_NAMES[found.type]}, the config wants a {_NAMES[model.type]}: take another config"
    have, want = lora_ranks(found), lora_ranks(model)
    if have == want:
        wrong = _sizes(found).items() - _sizes(model).items()
        sizes = ", ".join(f"{name} {value}" for name, value in sorted(wrong))
        return f"the checkpoint has {sizes}: correct the config" if wrong else None
    if not want:
        return f"the checkpoint has LoRA adapters ({_listed(have)}), the config has none: take its LoRA config"
    if not have:
        return f"the config wants LoRA adapters ({_listed(want)}), the checkpoint has none: take one without"
    return f"the checkpoint's LoRA ranks are {_listed(have)}, the config's {_listed(want)}: correct the config"


def lora_ranks(model: dims.Pi0) -> dict[str, int]:
    """The rank of each kind of adapter that the model has, by "expert layers"."""
    experts = {"paligemma": model.prefix, "action_expert": model.suffix}
    ranks = {f"{name} {kind}": getattr(g, f"{kind}_lora") for name, g in experts.items() for kind in ("attn", "ffn")}
    return {name: lora.rank for name, lora in ranks.items() if lora is not None}


def _sizes(model: dims.Pi0) -> dict[str, int]:
    """What a checkpoint's shapes tell, under the config's names."""
    towers: dict[str, dims.Siglip | dims.Gemma]
    towers = {"siglip": model.siglip, "paligemma": model.prefix, "action_expert": model.suffix}
    sizes = {
        f"{name}.{field.name}": getattr(tower, field.name)
        for name, tower in towers.items()
        for field in fields(tower)
        if not field.name.endswith("lora")
    }
    return sizes | {"action_dim": model.action_dim, "vocabulary": model.vocabulary}


def _listed(ranks: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {rank}" for name, rank in ranks.items())


def _affine(path: str, kernel: Shape, bias: Shape, weight: str = "kernel") -> Iterator[Leaf]:
    yield f"{path}/{weight}", kernel
    yield f"{path}/bias", bias


def _siglip(model: dims.Pi0) -> Iterator[Leaf]:
    s = model.siglip
    heads = (s.num_heads, s.width // s.num_heads)
    attention = f"{_BLOCK}/MultiHeadDotProductAttention_0"
    yield from _affine("PaliGemma/img/embedding", (s.patch_size, s.patch_size, 3, s.width), (s.width,))
    yield "PaliGemma/img/pos_embedding", (1, s.num_tokens, s.width)
    for name in ("LayerNorm_0", "LayerNorm_1"):
        yield from _affine(f"{_BLOCK}/{name}", (s.depth, s.width), (s.depth, s.width), "scale")
    for name in ("query", "key", "value"):
        yield from _affine(f"{attention}/{name}", (s.depth, s.width, *heads), (s.depth, *heads))
    yield from _affine(f"{attention}/out", (s.depth, *heads, s.width), (s.depth, s.width))
    yield from _affine(f"{_BLOCK}/MlpBlock_0/Dense_0", (s.depth, s.width, s.mlp_dim), (s.depth, s.mlp_dim))
    yield from _affine(f"{_BLOCK}/MlpBlock_0/Dense_1", (s.depth, s.mlp_dim, s.width), (s.depth, s.width))
    yield from _affine("PaliGemma/img/Transformer/encoder_norm", (s.width,), (s.width,), "scale")
    yield from _affine("PaliGemma/img/head", (s.width, model.prefix.width), (model.prefix.width,))


def _gemma(g: dims.Gemma, expert: Literal["", "_1"], *, adaptive: bool = False) -> Iterator[Leaf]:
    if g.num_heads == g.num_kv_heads:
        yield from _einsum(f"qkv_einsum{expert}", (g.depth, 3, g.num_heads, g.width, g.head_dim), g.attn_lora)
    else:
        yield from _einsum(f"q_einsum{expert}", (g.depth, g.num_heads, g.width, g.head_dim), g.attn_lora)
        yield from _einsum(f"kv_einsum{expert}", (g.depth, 2, g.num_kv_heads, g.width, g.head_dim), g.attn_lora)
    yield from _einsum(f"attn_vec_einsum{expert}", (g.depth, g.num_heads, g.head_dim, g.width), g.attn_lora)
    mlp = f"{_LAYERS}/mlp{expert}"
    for name, shape in (("gating_einsum", (g.depth, 2, g.width, g.mlp_dim)), ("linear", (g.depth, g.mlp_dim, g.width))):
        yield f"{mlp}/{name}", shape
        if g.ffn_lora is not None:
            yield f"{mlp}/{name}_lora_a", (*shape[:-1], g.ffn_lora.rank)
            yield f"{mlp}/{name}_lora_b", (*shape[:-2], g.ffn_lora.rank, shape[-1])
    for norm in ("pre_attention_norm", "pre_ffw_norm"):
        yield from _norm(f"{_LAYERS}/{norm}{expert}", (g.depth,), g.width, adaptive)
    yield from _norm(f"PaliGemma/llm/final_norm{expert}", (), g.width, adaptive)


def _einsum(name: str, shape: Shape, lora: dims.Lora | None) -> Iterator[Leaf]:
    path = f"{_LAYERS}/attn/{name}"
    yield f"{path}/w", shape
    if lora is not None:
        yield f"{path}/lora_a", (*shape[:-1], lora.rank)
        yield f"{path}/lora_b", (*shape[:-2], lora.rank, shape[-1])


def _norm(path: str, stack: Shape, width: int, adaptive: bool) -> Iterator[Leaf]:
    if adaptive:
        yield from _affine(f"{path}/Dense_0", (*stack, width, 3 * width), (*stack, 3 * width))
    else:
        yield f"{path}/scale", (*stack, width)


def _flow(model: dims.Pi0) -> Iterator[Leaf]:
    width, actions = model.suffix.width, model.action_dim
    yield from _affine("action_in_proj", (actions, width), (width,))
    yield from _affine("action_out_proj", (width, actions), (actions,))
    if model.pi05:
        yield from _affine("time_mlp_in", (width, width), (width,))
        yield from _affine("time_mlp_out", (width, width), (width,))
    else:
        yield from _affine("state_proj", (actions, width), (width,))
        yield from _affine("action_time_mlp_in", (2 * width, width), (width,))
        yield from _affine("action_time_mlp_out", (width, width), (width,))


def guess_model(leaves: Mapping[str, Shape]) -> dims.Pi0:
    """The sizes that a checkpoint's leaves show. Raises TreeError when they are those of another kind of model.

    A tree does not show everything: alpha is taken equal to the rank, the horizon and the token count are openpi's
    defaults. Leaves beyond those that were needed may still differ from `expected_leaves` of the answer.
    """
    patch, *_, siglip_width = _shape(leaves, "PaliGemma/img/embedding/kernel", 4)
    _, _, siglip_heads, _ = _shape(leaves, f"{_BLOCK}/MultiHeadDotProductAttention_0/query/kernel", 4)
    depth, _, siglip_mlp = _shape(leaves, f"{_BLOCK}/MlpBlock_0/Dense_0/kernel", 3)
    vocabulary, _ = _shape(leaves, "PaliGemma/llm/embedder/input_embedding", 2)
    action_dim, _ = _shape(leaves, "action_in_proj/kernel", 2)
    pi05 = "time_mlp_in/kernel" in leaves
    if not pi05 and "state_proj/kernel" not in leaves:
        raise TreeError("neither state_proj/kernel (π0) nor time_mlp_in/kernel (π0.5) is among the leaves")
    return dims.Pi0(
        type="pi05" if pi05 else "pi0",
        siglip=dims.Siglip(siglip_width, depth, siglip_mlp, siglip_heads, patch),
        prefix=_guess_gemma(leaves, ""),
        suffix=_guess_gemma(leaves, "_1"),
        action_dim=action_dim,
        max_token_len=200 if pi05 else 48,
        vocabulary=vocabulary,
    )


def _guess_gemma(leaves: Mapping[str, Shape], expert: Literal["", "_1"]) -> dims.Gemma:
    depth, num_heads, head_dim, width = _shape(leaves, f"{_LAYERS}/attn/attn_vec_einsum{expert}/w", 4)
    _, _, _, mlp_dim = _shape(leaves, f"{_LAYERS}/mlp{expert}/gating_einsum", 4)
    if f"{_LAYERS}/attn/qkv_einsum{expert}/w" in leaves:
        num_kv_heads = num_heads
    else:
        _, _, num_kv_heads, _, _ = _shape(leaves, f"{_LAYERS}/attn/kv_einsum{expert}/w", 5)
    attn = leaves.get(f"{_LAYERS}/attn/attn_vec_einsum{expert}/lora_a")
    ffn = leaves.get(f"{_LAYERS}/mlp{expert}/gating_einsum_lora_a")
    return dims.Gemma(width, depth, mlp_dim, num_heads, num_kv_heads, head_dim, _guess_lora(attn), _guess_lora(ffn))


def _guess_lora(adapter: Shape | None) -> dims.Lora | None:
    return dims.Lora(adapter[-1], float(adapter[-1])) if adapter else None


def _shape(leaves: Mapping[str, Shape], path: str, axes: int) -> Shape:
    shape = leaves.get(path)
    if shape is None:
        raise TreeError(f"no π0 or π0.5: the leaf {path} is missing")
    if len(shape) != axes:
        raise TreeError(f"no π0 or π0.5: {path} has shape {shape}, want {axes} axes")
    return shape
