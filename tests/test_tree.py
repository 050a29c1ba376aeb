"""The parameter tree: equal to openpi's at full size, read back to the sizes, and refused when it is no π0's."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from policy_server.config import load_config, shipped_configs
from policy_server.model import dims
from policy_server.model.tree import TreeError, differences, expected_leaves, guess_model, likely_cause, num_parameters

MANIFESTS = Path(__file__).parent / "goldens" / "pi0" / "manifests"

FITS = {
    "pi0_base": "pi0_base",
    "pi0_trossen_lora": "pi0_lighter_cup_trossen",
    "pi05_base": "pi05_base",
    "pi05_trossen_freezefilter_only": "pi05_trossen_transfer_block",
}

TINY = dims.Gemma(32, 2, 48, 4, 2, 8)
TINY_VISION = dims.Siglip(24, 1, 40, 3, 28)


def tiny(**changes):
    model = dims.Pi0("pi0", TINY_VISION, TINY, replace(TINY, width=16, mlp_dim=20), action_dim=20, vocabulary=64)
    return replace(model, **changes)


@pytest.mark.parametrize(("manifest", "config"), FITS.items())
def test_the_tree_is_openpis_at_full_size(manifest, config):
    reference = json.loads((MANIFESTS / f"{manifest}.json").read_text())
    leaves = expected_leaves(load_config(config).sizes)
    assert leaves == {path: tuple(leaf["shape"]) for path, leaf in reference["tree"].items()}
    assert list(leaves) == sorted(leaves)
    assert num_parameters(leaves) == reference["params"]


@pytest.mark.parametrize("config", shipped_configs())
def test_the_sizes_are_read_off_the_tree(config):
    model = load_config(config).sizes
    assert guess_model(expected_leaves(model)) == model


@pytest.mark.parametrize("kind", ["pi0", "pi05"])
@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
@pytest.mark.parametrize(("attn", "ffn"), [(None, None), (3, None), (None, 5), (3, 5)])
def test_any_sizes_are_read_off_the_tree(kind, num_kv_heads, attn, ffn):
    adapters = {"attn_lora": attn and dims.Lora(attn, attn), "ffn_lora": ffn and dims.Lora(ffn, ffn)}
    prefix = replace(TINY, num_kv_heads=num_kv_heads, **adapters)
    suffix = replace(TINY, num_kv_heads=num_kv_heads, width=16, mlp_dim=20)
    model = tiny(type=kind, prefix=prefix, suffix=suffix, max_token_len=200 if kind == "pi05" else 48)
    assert guess_model(expected_leaves(model)) == model


def test_with_as_many_key_heads_as_heads_the_three_projections_are_one_leaf():
    prefix = replace(TINY, num_kv_heads=4, attn_lora=dims.Lora(3, 3))
    leaves = expected_leaves(tiny(prefix=prefix, suffix=replace(TINY, num_kv_heads=4, width=16)))
    attn = "PaliGemma/llm/layers/attn"
    assert leaves[f"{attn}/qkv_einsum/w"] == (2, 3, 4, 32, 8)
    assert leaves[f"{attn}/qkv_einsum/lora_a"] == (2, 3, 4, 32, 3)
    assert leaves[f"{attn}/qkv_einsum/lora_b"] == (2, 3, 4, 3, 8)
    assert leaves[f"{attn}/qkv_einsum_1/w"] == (2, 3, 4, 16, 8)
    assert not [path for path in leaves if "q_einsum/" in path or "kv_einsum/" in path.replace("qkv", "")]


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("action_in_proj/kernel", "action_in_proj/kernel is missing"),
        ("PaliGemma/llm/layers/attn/attn_vec_einsum_1/w", "attn_vec_einsum_1/w is missing"),
        ("state_proj/kernel", "neither state_proj/kernel"),
    ],
)
def test_what_is_no_pi0_is_refused(lost, told):
    leaves = expected_leaves(tiny())
    del leaves[lost]
    with pytest.raises(TreeError, match=told):
        guess_model(leaves)


def test_a_leaf_with_other_axes_is_refused():
    leaves = expected_leaves(tiny()) | {"PaliGemma/llm/embedder/input_embedding": (64,)}
    with pytest.raises(TreeError, match=r"input_embedding has shape \(64,\), want 2 axes"):
        guess_model(leaves)


def test_every_difference_is_listed_once():
    model = tiny()
    leaves = expected_leaves(model)
    assert differences(leaves, model) == []
    del leaves["state_proj/bias"]
    leaves |= {"extra/kernel": (3,), "action_in_proj/bias": (17,)}
    assert [line.split() for line in differences(leaves, model)] == [
        ["missing", "state_proj/bias", "(16,)"],
        ["unexpected", "extra/kernel", "(3,)"],
        ["shape", "action_in_proj/bias", "is", "(17,),", "want", "(16,)"],
    ]


LORA = replace(TINY, attn_lora=dims.Lora(3, 3), ffn_lora=dims.Lora(5, 5))


@pytest.mark.parametrize(
    ("have", "want", "cause"),
    [
        (tiny(type="pi05"), tiny(), "is a π0.5, the config wants a π0"),
        (tiny(), tiny(type="pi05"), "is a π0, the config wants a π0.5"),
        (tiny(prefix=LORA), tiny(), r"has LoRA adapters \(paligemma attn 3, paligemma ffn 5\), the config has none"),
        (tiny(), tiny(prefix=LORA), "config wants LoRA adapters .* checkpoint has none"),
        (
            tiny(prefix=LORA),
            tiny(prefix=replace(LORA, attn_lora=dims.Lora(4, 4))),
            "ranks are paligemma attn 3, paligemma ffn 5, the config's paligemma attn 4, paligemma ffn 5",
        ),
    ],
)
def test_a_known_mix_up_is_named(have, want, cause):
    leaves = expected_leaves(have)
    assert differences(leaves, want)
    assert re.search(cause, likely_cause(leaves, want) or "")


def test_sizes_that_differ_are_named_as_in_the_config():
    leaves = expected_leaves(tiny(action_dim=18, prefix=replace(tiny().prefix, mlp_dim=24)))
    assert likely_cause(leaves, tiny()) == "the checkpoint has action_dim 18, paligemma.mlp_dim 24: correct the config"


def test_a_leaf_too_many_has_no_known_cause():
    assert likely_cause(expected_leaves(tiny()) | {"extra/kernel": (3,)}, tiny()) is None
