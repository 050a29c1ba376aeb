"""A toy: a complete checkpoint of a tiny π0 made on the spot, in the form that openpi's training writes.

For tests, and for demonstrations without a trained model. The parameters are random, so its motion means nothing; they
are shaped such that chunks are smooth and stay near the pose that the statistics name. Same seed, same parameters.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from policy_server.config import load_config
from policy_server.model import dims, lora
from policy_server.model.tree import Shape, expected_leaves, nested
from policy_server.statistics import NormStats, Statistics, save_norm_stats

ASSET_ID = "trossen"

STAGED = (0.0, math.pi / 3, math.pi / 6, math.pi / 5, 0.0, 0.0, 0.03)
"""Where each arm of a WidowX AI waits: six joints in rad, gripper in m."""

SPREAD = (0.09, 0.06, 0.06, 0.06, 0.06, 0.06, 0.003)
"""One deviation of the toy's actions around it, rad and m."""

NORMAL_99 = 2.326
"""Deviations from a normal distribution's mean to its 99th percentile."""

GAIN = 4.0
"""How fast the toy's flow leaves the noise: ten steps leave (1 - 0.1 · GAIN)^10 = 0.6 % of it."""

LEVEL = 4.0
"""A constant in the action tokens: it keeps swish nearly linear and lets the norms pass the noise's size."""

TURNING = ((0, 1), (3, 4), (7, 8), (10, 11))
"""Pairs of joints that a toy π0 turns in circles: a chunk begins at the state and goes along the tangent."""

TURN = 3.0
"""How far along it a head would get that sees the state only, in radii. FIRST_SEEN of that is seen by the first row."""

FIRST_SEEN = 0.2

GROWTH, MARK = 1.3, 0.4
"""Small circles grow by so much an answer, and stop growing where the norm of the state's token takes it back. MARK,
the constant part of that token, sets where: at 0.03 to 0.15 rad."""

SENTENCES = (
    "Put all tools on table into the pen holder",
    "put the lighter into the cup",
    "grab and handover the red cube",
    "Task: Transfer cube, State: 0 1 2 3 4 5 6 7 8 9 -1;\nAction: ",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ abcdefghijklmnopqrstuvwxyz 0123456789 .,:;!?'-",
)

VOCABULARY = 128
"""Of the toy model; its tokenizer has fewer tokens: a character each."""

CONFIG = f"""\
description = "a tiny π0 with random parameters: it exercises the whole path, and its motion means nothing"

[model]
type = "pi0"
siglip = {{ width = 32, depth = 1, mlp_dim = 64, num_heads = 2, patch_size = 28 }}
paligemma = {{ width = 32, depth = 2, mlp_dim = 64, num_heads = 4, num_kv_heads = 1, head_dim = 8 }}
action_expert = {{ width = 64, depth = 2, mlp_dim = 64, num_heads = 4, num_kv_heads = 1, head_dim = 8 }}
vocabulary = {VOCABULARY}

[data]
action_rate_hz = 30.0
asset_id = "{ASSET_ID}"
default_prompt = "put the lighter into the cup"
adapt_to_pi = false
use_delta_joint_actions = false
tokenizer = "tokenizer.model"
"""


def make_toy(directory: Path, *, seed: int = 0) -> Path:
    """Write a toy into `directory`: `checkpoint/`, `tokenizer.model` and `toy.toml`. Returns the latter's path."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "toy.toml"
    config.write_text(CONFIG, "utf-8")
    write_toy_tokenizer(directory / "tokenizer.model")
    write_toy_checkpoint(directory / "checkpoint", load_config(config).sizes, seed=seed, stats=staged_stats())
    return config


def write_toy_checkpoint(directory: Path, model: dims.Pi0, *, seed: int, stats: NormStats) -> None:
    """Write a step directory with random parameters of `model`. As after training, what LoRA froze is bfloat16.

    directory: must not hold `params/` yet. Takes the memory of all parameters in float32.
    """
    import orbax.checkpoint as ocp  # type: ignore[import-untyped]

    params = {
        f"{path}/value": jnp.asarray(leaf, jnp.bfloat16 if _frozen(path, model) else jnp.float32)
        for path, leaf in toy_params(model, seed).items()
    }
    with ocp.PyTreeCheckpointer() as writer:
        writer.save(directory.absolute() / "params", {"params": nested(params)})
    save_norm_stats(directory / "assets" / ASSET_ID / "norm_stats.json", stats)


def write_toy_tokenizer(path: Path) -> None:
    """Write a SentencePiece model with a token for every character of SENTENCES; pad 0, eos 1, bos 2."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        model_type="char",
        vocab_size=VOCABULARY,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        user_defined_symbols=["\n"],
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        num_threads=1,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())


def staged_stats() -> NormStats:
    """Statistics of two arms that move a little around STAGED."""
    mean, std = np.tile(STAGED, 2), np.tile(SPREAD, 2)
    around = Statistics(mean, std, mean - NORMAL_99 * std, mean + NORMAL_99 * std)
    return NormStats(state=around, actions=around)


def toy_params(model: dims.Pi0, seed: int) -> dict[str, NDArray[np.float32]]:
    """Random float32 parameters by path; no leaf is constant."""
    rng = np.random.default_rng(seed)
    leaves = {}
    for path, shape in expected_leaves(model).items():
        leaves[path] = rng.standard_normal(shape, np.float32) * np.float32(_std(path, shape))
        if path.startswith("PaliGemma/img") and path.endswith("scale"):  # a factor; Gemma's norms add one themselves
            leaves[path] += 1
    _pass_the_noise_on(leaves, model)
    return leaves


def _std(path: str, shape: Shape) -> float:
    """Keeps activations near one."""
    if path.endswith(("bias", "scale", "pos_embedding", "lora_b")):
        return 0.1
    if path.endswith("input_embedding"):
        return 1 / math.sqrt(shape[-1])
    if path == "PaliGemma/img/embedding/kernel":
        return 1 / math.sqrt(math.prod(shape[:-1]))
    if "MultiHeadDotProductAttention" in path and "/out/" not in path:
        return 1 / math.sqrt(shape[1])
    heads = shape[1] if "/out/" in path or "attn_vec_einsum" in path else 1
    return 1 / math.sqrt(heads * shape[-2])


def _pass_the_noise_on(leaves: dict[str, NDArray[np.float32]], model: dims.Pi0) -> None:
    """Make velocity ≈ GAIN · (x - a random function of everything): the flow forgets its noise, chunks are smooth.

    The first half of a token's width carries x itself, the second half LEVEL; the rest stays small and random.
    """
    width = model.suffix.width
    n = min(model.action_dim, width // 2)
    carried = np.eye(n, dtype=np.float32)
    flow = [path for path in leaves if "/" in path and not path.startswith("PaliGemma")]
    for path in flow:
        leaves[path] *= np.float32(0.1)
    leaves["action_in_proj/kernel"][:n, :n] += carried
    leaves["action_out_proj/kernel"][:n, :n] += GAIN * LEVEL / math.sqrt(2) * carried
    if model.pi05:
        leaves["action_in_proj/bias"][n:] += LEVEL
        return  # its layers' answers pass gates, which are small
    for layer in ("attn/attn_vec_einsum_1/w", "mlp_1/linear"):
        leaves[f"PaliGemma/llm/layers/{layer}"] *= np.float32(0.03)
    leaves["action_time_mlp_in/bias"] += LEVEL
    for name in ("action_time_mlp_in", "action_time_mlp_out"):
        leaves[f"{name}/kernel"][:width] += np.eye(width, dtype=np.float32)
    leaves["action_time_mlp_out/bias"][:n] -= LEVEL * leaves["action_time_mlp_out/kernel"][:, :n].sum(axis=0)
    _turn_the_state(leaves, model)


def _turn_the_state(leaves: dict[str, NDArray[np.float32]], model: dims.Pi0) -> None:
    """Let two heads of the first layer look at the state's token and add what they see to the actions.

    They tell it from other tokens by a mark of alternating sign. The first sees it from every row, by way of the rotary
    positions that turn least; the second the better the later the row, by way of those that turn by 0.01 rad a row.
    """
    attn = "PaliGemma/llm/layers/attn"
    if f"{attn}/qkv_einsum_1/w" in leaves:
        queries, keys, values = leaves[f"{attn}/qkv_einsum_1/w"][0]
        others = leaves[f"{attn}/qkv_einsum/w"][0, 2]
    else:
        queries, (keys, values) = leaves[f"{attn}/q_einsum_1/w"][0], leaves[f"{attn}/kv_einsum_1/w"][0]
        others = leaves[f"{attn}/kv_einsum/w"][0, 1]
    outs = leaves[f"{attn}/attn_vec_einsum_1/w"][0]
    width, head_dim = queries.shape[1:]
    n = min(model.action_dim, width // 2)
    mark = np.where(np.arange(width - n) % 2, 1.0, -1.0)
    size = math.sqrt((width - n) * width)  # of a token that is normalised and lies in its second half alone
    still, turning = head_dim // 2 - 1, head_dim // 4 + head_dim // 2
    scale = leaves["PaliGemma/llm/layers/pre_attention_norm_1/scale"][0]
    for random in (queries[:, :, still], queries[:2], values, others, outs[:2], scale):
        random *= np.float32(0.1)
    leaves["state_proj/bias"][n:] += MARK * mark
    for key in keys[:2]:
        key[n:, [still, turning - head_dim // 2]] += (6 * math.sqrt(head_dim) * mark / size)[:, None]
    queries[0, n:, still] += 6 / size
    queries[1, n:, still] += 0.7 / size
    queries[1, n:, turning] -= 1.0 / size
    gain = GROWTH * MARK * math.sqrt((width - n) / width)
    pairs = [pair for pair in TURNING if max(pair) < n][: head_dim // 2]
    for column, (a, b) in enumerate(pairs):
        for h, joint, other, sign in ((2 * column, a, b, 1), (2 * column + 1, b, a, -1)):
            leaves["state_proj/kernel"][joint, joint] += 1
            values[:2, joint, h] += 1
            outs[0, h, joint] -= gain
            outs[0, h, other] += gain * sign * TURN * FIRST_SEEN
            outs[1, h, other] -= gain * sign * TURN


def _frozen(path: str, model: dims.Pi0) -> bool:
    """Whether openpi's training leaves the leaf as it was, in bfloat16: an expert with adapters trains only those."""
    if not path.startswith("PaliGemma/llm/") or lora.is_adapter(path):
        return False
    expert = model.suffix if any(part.endswith("_1") for part in path.split("/")) else model.prefix
    return expert != expert.without_lora


def main(argv: Sequence[str] | None = None) -> None:
    """`python -m policy_server.toy`: what the demo runs, since the controller imports none of this."""
    parser = argparse.ArgumentParser(
        prog="python -m policy_server.toy", description="Write a toy checkpoint, its tokenizer and its configuration."
    )
    parser.add_argument("directory", type=Path, help="must not hold a checkpoint yet")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same parameters")
    arguments = parser.parse_args(argv)
    print(make_toy(arguments.directory, seed=arguments.seed))


if __name__ == "__main__":
    main()
