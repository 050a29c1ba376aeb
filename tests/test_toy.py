"""The toy: complete, repeatable, and tame."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sentencepiece

from policy_server.checkpoint import load_params, read_leaves
from policy_server.config import load_config
from policy_server.model import pi0
from policy_server.model.tree import expected_leaves, nested
from policy_server.review import LOWER, UPPER, review
from policy_server.statistics import Scaling, load_norm_stats
from policy_server.toy import SENTENCES, VOCABULARY, make_toy, toy_params, write_toy_tokenizer

STEP_S = 1 / 30


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("toy") / "new", seed=4)


def test_it_is_complete(toy):
    config = load_config(toy)
    leaves = read_leaves(toy.parent / "checkpoint")
    assert {path: leaf.shape for path, leaf in leaves.items()} == expected_leaves(config.sizes)
    stats = load_norm_stats(toy.parent / "checkpoint", config.data.asset_id)
    assert review(stats, quantiles=True, adapt_to_pi=False, delta=False) == []
    assert (toy.parent / config.data.tokenizer).is_file()


@pytest.mark.parametrize("kind", ["pi0", "pi05"])
def test_the_same_seed_makes_the_same_parameters_and_none_is_constant(toy, kind):
    model = replace(load_config(toy).sizes, type=kind)
    once, again, other = (toy_params(model, seed) for seed in (1, 1, 2))
    for path, leaf in once.items():
        assert (leaf == again[path]).all()
        assert (leaf != other[path]).any()
        assert np.ptp(leaf) > 0


def test_the_tokenizer_has_the_special_tokens_where_openpis_has_them(tmp_path, capfd):
    for name in ("once", "again"):
        write_toy_tokenizer(tmp_path / name)
    assert (tmp_path / "once").read_bytes() == (tmp_path / "again").read_bytes()
    assert capfd.readouterr() == ("", "")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "once"))
    assert (pieces.pad_id(), pieces.eos_id(), pieces.bos_id()) == (0, 1, 2)
    assert pieces.vocab_size() <= VOCABULARY
    assert pieces.unk_id() not in pieces.encode("\n")
    for sentence in SENTENCES:
        assert pieces.unk_id() not in pieces.encode(sentence)


@pytest.mark.parametrize("kind", ["pi0", "pi05"])
def test_its_chunks_are_smooth_and_within_the_arms_limits(toy, kind):
    model = replace(load_config(toy).sizes, type=kind)
    if kind == "pi0":
        params = load_params(toy.parent / "checkpoint", model, "float32")
    else:
        params = nested({path: jnp.asarray(leaf) for path, leaf in toy_params(model, seed=4).items()})
    rng = np.random.default_rng(0)
    inputs = pi0.Inputs(
        images=jnp.asarray(rng.integers(0, 256, (1, 3, 224, 224, 3), np.uint8)),
        image_masks=jnp.ones((1, 3), bool),
        tokens=jnp.asarray(rng.integers(0, 70, (1, model.max_token_len)), jnp.int32),
        token_mask=jnp.ones((1, model.max_token_len), bool),
        state=jnp.asarray(rng.normal(size=(1, model.action_dim)), jnp.float32),
    )
    prefix = jax.jit(pi0.embed_prefix, static_argnums=(2, 3))(params, inputs, model, "float32")
    velocity = jax.jit(pi0.velocity, static_argnums=(5, 6))
    x = jnp.asarray(rng.normal(size=(1, model.action_horizon, model.action_dim)), jnp.float32)
    for t in pi0.flow_times(10):
        x -= velocity(params, inputs.state, prefix, x, t, model, "float32") / 10
    chunk = np.asarray(x)[0, :, :14]
    stats = load_norm_stats(toy.parent / "checkpoint", "trossen").actions
    actions = Scaling.of(stats, 14, quantiles=model.pi05).unnormalise(chunk)
    assert ((actions > LOWER) & (actions < UPPER)).all()
    assert np.abs(np.diff(actions, axis=0) / STEP_S).max() < 1.0  # rad/s
    assert np.abs(actions - stats.mean).max() > 1e-3
