"""Checkpoints: read as orbax reads them, merged, bounded in memory, and refused in one sentence when unusable."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore as ts

from policy_server import checkpoint, param_store
from policy_server.checkpoint import CheckpointError, load_params, read_leaves
from policy_server.model import dims, lora
from policy_server.model.tree import expected_leaves, guess_model, nested
from policy_server.param_store import Leaf
from policy_server.toy import staged_stats, toy_params, write_toy_checkpoint

CHECKPOINTS = Path(__file__).parent / "goldens" / "pi0" / "ckpts"
GOLDENS = ("pi0_dummy_mini", "pi0_lora_mini", "pi05_mini")

GEMMA = dims.Gemma(8, 2, 12, 2, 1, 4)
TINY = dims.Pi0("pi0", dims.Siglip(8, 1, 8, 2, 112), GEMMA, replace(GEMMA, width=6), action_dim=14, vocabulary=16)
WITH_LORA = replace(TINY, prefix=replace(GEMMA, attn_lora=dims.Lora(2, 4.0), ffn_lora=dims.Lora(3, 6.0)))


def model_of(directory):
    return guess_model({path: leaf.shape for path, leaf in read_leaves(directory).items()})


def flat(params):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in leaves}


def restored(directory):
    """What orbax itself reads, by path, as stored."""
    with ocp.PyTreeCheckpointer() as reader:
        item = reader.metadata(directory / "params").item_metadata.tree
        how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
        return {
            k.removesuffix("/value"): v for k, v in flat(reader.restore(directory / "params", how)["params"]).items()
        }


def save(directory, leaves, *, end="/value", **options):
    """Write leaves by path as orbax does with these options."""
    params = nested({f"{path}{end}": jnp.asarray(leaf) for path, leaf in leaves.items()})
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options)) as writer:
        writer.save(directory / "params", args=ocp.args.PyTreeSave({"params": params}))
    return directory


@pytest.fixture(scope="module")
def tiny():
    return toy_params(TINY, seed=3)


@pytest.fixture
def golden(tmp_path):
    """A copy to break."""
    return Path(shutil.copytree(CHECKPOINTS / "pi0_dummy_mini", tmp_path / "step"))


@pytest.mark.parametrize("name", GOLDENS)
def test_every_number_is_the_one_that_orbax_reads(name):
    model, stored = model_of(CHECKPOINTS / name), restored(CHECKPOINTS / name)
    exact = flat(load_params(CHECKPOINTS / name, model, "float32"))
    rounded = flat(load_params(CHECKPOINTS / name, model, "bfloat16"))
    assert {path: leaf.shape for path, leaf in exact.items()} == expected_leaves(model.without_lora)
    assert exact.keys() == rounded.keys()
    assert {leaf.dtype.name for leaf in exact.values()} == {"float32"}
    assert {leaf.dtype.name for leaf in rounded.values()} == {"bfloat16"}
    for path, leaf in exact.items():
        if lora.adapter_for(path, model) is None:
            np.testing.assert_array_equal(leaf, stored[path].astype(np.float32), err_msg=path)
        np.testing.assert_array_equal(rounded[path], np.asarray(jnp.asarray(leaf).astype(jnp.bfloat16)), err_msg=path)


def test_adapters_are_merged_with_the_scaling_of_the_model():
    directory = CHECKPOINTS / "pi0_lora_mini"
    found = model_of(directory)
    model = replace(found, prefix=replace(found.prefix, attn_lora=dims.Lora(16, 40.0), ffn_lora=dims.Lora(16, 40.0)))
    stored = {path: np.asarray(leaf, np.float64) for path, leaf in restored(directory).items()}
    params = flat(load_params(directory, model, "float32"))
    attn, mlp = "PaliGemma/llm/layers/attn", "PaliGemma/llm/layers/mlp"
    by_hand = {
        f"{attn}/kv_einsum/w": 2.5 * stored[f"{attn}/kv_einsum/lora_a"] @ stored[f"{attn}/kv_einsum/lora_b"],
        f"{attn}/attn_vec_einsum/w": 2.5
        * np.einsum(
            "lnhr,lmrd->lnhd", stored[f"{attn}/attn_vec_einsum/lora_a"], stored[f"{attn}/attn_vec_einsum/lora_b"]
        ),
        f"{mlp}/linear": stored[f"{mlp}/linear_lora_a"] @ stored[f"{mlp}/linear_lora_b"],
        f"{attn}/q_einsum_1/w": stored[f"{attn}/q_einsum_1/lora_a"] @ stored[f"{attn}/q_einsum_1/lora_b"],
    }
    for path, delta in by_hand.items():
        assert np.abs(delta).max() > 1e-3
        np.testing.assert_allclose(params[path], stored[path] + delta, atol=1e-4, rtol=1e-5, err_msg=path)


def test_the_parameters_may_be_named_directly_and_lie_anywhere(tmp_path, monkeypatch):
    source = CHECKPOINTS / "pi0_dummy_mini"
    odd = tmp_path / "a step%20#1"
    shutil.copytree(source / "params", odd / "params")
    monkeypatch.chdir(odd)
    wanted = restored(source)["state_proj/kernel"]
    for directory in (source / "params", odd, Path(), Path("params"), str(odd)):
        leaf = read_leaves(directory)["state_proj/kernel"]
        np.testing.assert_array_equal(leaf.finish(leaf.start_reading("float32")), wanted)


@pytest.mark.parametrize(
    "options",
    [{}, {"end": ""}, {"use_zarr3": True}, {"use_ocdbt": False}, {"use_ocdbt": False, "use_zarr3": True}],
    ids=str,
)
def test_every_form_that_orbax_writes(tmp_path, tiny, options):
    params = flat(load_params(save(tmp_path, tiny, **options), TINY, "float32"))
    assert params.keys() == tiny.keys()
    for path, leaf in tiny.items():
        np.testing.assert_array_equal(params[path], leaf, err_msg=path)


def test_a_leaf_named_value_stays_one_unless_all_are(tmp_path, tiny):
    save(tmp_path, tiny | {"action_in_proj/value": np.zeros(3, np.float32)}, end="")
    with pytest.raises(CheckpointError, match=r"unexpected +action_in_proj/value \(3,\)"):
        load_params(tmp_path, TINY, "float32")


def test_arrays_go_to_the_device_that_is_asked_for(tmp_path, tiny):
    device = jax.devices()[0]
    params = load_params(save(tmp_path, tiny), TINY, "bfloat16", device=device)
    assert {leaf.device for leaf in jax.tree.leaves(params)} == {device}
    assert all(leaf.committed for leaf in jax.tree.leaves(params))


def test_it_says_how_much_and_how_long(tmp_path, tiny, capsys):
    lines = []
    load_params(save(tmp_path, tiny), TINY, "bfloat16", say=lines.append, progress=True)
    assert re.fullmatch(rf"loading {tmp_path} gigabytes=0\.00 dtype=bfloat16", lines[0])
    assert re.fullmatch(r"loaded seconds=\d+\.\d gigabytes=0\.00 peak_host_gigabytes=\d+\.\d\d", lines[1])
    assert len(lines) == 2
    assert capsys.readouterr() == ("", "")


def test_no_more_is_read_ahead_than_the_largest_leaf_holds(monkeypatch):
    directory = CHECKPOINTS / "pi0_lora_mini"
    under_way, most = {}, 0
    start, place = Leaf.start_reading, checkpoint._to_device  # noqa: SLF001

    def started(leaf, dtype):
        nonlocal most
        under_way[leaf.path] = leaf.num_bytes
        most = max(most, sum(under_way.values()))
        return start(leaf, dtype)

    def placed(group, *rest):
        result = place(group, *rest)
        for leaf in group.leaves:
            del under_way[leaf.path]
        return result

    monkeypatch.setattr(Leaf, "start_reading", started)
    monkeypatch.setattr(checkpoint, "_to_device", placed)
    load_params(directory, model_of(directory), "bfloat16")
    groups = checkpoint._groups(read_leaves(directory), model_of(directory))  # noqa: SLF001
    assert not under_way
    assert most == max(group.num_bytes for group in groups)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_a_parameter_that_is_not_finite_is_refused(tmp_path, tiny, bad, stored):
    leaf = np.array(tiny["action_out_proj/kernel"])
    leaf[1, 2] = bad
    save(tmp_path, tiny | {"action_out_proj/kernel": leaf.astype(stored)})
    with pytest.raises(CheckpointError, match="leaf action_out_proj/kernel holds numbers that are not finite"):
        load_params(tmp_path, TINY, "bfloat16")


def test_a_number_beyond_bfloat16_is_refused_only_there(tmp_path, tiny):
    leaf = np.array(tiny["action_out_proj/bias"])
    leaf[:2] = 3.4e38, -3.4e38
    save(tmp_path, tiny | {"action_out_proj/bias": leaf})
    params = load_params(tmp_path, TINY, "float32")
    np.testing.assert_array_equal(params["action_out_proj"]["bias"], leaf)
    with pytest.raises(CheckpointError, match="action_out_proj/bias holds numbers that are not finite as bfloat16"):
        load_params(tmp_path, TINY, "bfloat16")


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_the_largest_finite_numbers_count_as_finite(dtype):
    limit = jnp.finfo(dtype).max
    for value, finite in (
        (limit, True),
        (-limit, True),
        (-0.0, True),
        (np.inf, False),
        (-np.inf, False),
        (-np.nan, False),
    ):
        assert param_store.all_finite(np.array([[0, 1], [value, -1]], jnp.dtype(dtype))) is finite


def test_an_adapter_that_is_not_finite_is_named(tmp_path):
    leaves = toy_params(WITH_LORA, seed=0)
    path = "PaliGemma/llm/layers/mlp/linear_lora_b"
    leaves[path][0, 0, 0] = np.nan
    with pytest.raises(CheckpointError, match=f"leaf {path} holds numbers that are not finite"):
        load_params(save(tmp_path, leaves), WITH_LORA, "float32")


@pytest.mark.parametrize(
    ("have", "want", "told"),
    [
        (WITH_LORA, TINY, "10 of its leaves differ; the checkpoint has LoRA adapters"),
        (TINY, WITH_LORA, "10 of its leaves differ; the config wants LoRA adapters"),
        (replace(TINY, type="pi05"), TINY, "is a π0.5, the config wants a π0"),
        (replace(TINY, action_dim=18), TINY, r"shape +action_in_proj/kernel is \(18, 6\), want \(14, 6\)"),
    ],
)
def test_another_model_is_refused_with_the_leaves_that_differ(tmp_path, have, want, told):
    write_toy_checkpoint(tmp_path, have, seed=0, stats=staged_stats())
    with pytest.raises(CheckpointError, match=told) as caught:
        load_params(tmp_path, want, "float32")
    assert len(str(caught.value).splitlines()) <= 2 + checkpoint.LONGEST_LIST


def test_a_long_list_ends_in_a_count():
    with pytest.raises(CheckpointError, match=r"(?s)50 of its leaves differ.*\n  and 38 more$"):
        load_params(CHECKPOINTS / "pi0_dummy_mini", replace(TINY, siglip=dims.Siglip(7, 2, 9, 1, 32)), "float32")


def test_what_no_float_is_is_refused(tmp_path, tiny):
    save(tmp_path, tiny | {"action_out_proj/bias": np.zeros(14, np.int8)})
    with pytest.raises(CheckpointError, match="leaf action_out_proj/bias is stored as int8, want one of bfloat16"):
        read_leaves(tmp_path)


def shorten(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def renamed(step, change):
    """Change the key by which the first leaf is known."""
    file = step / "params/_METADATA"
    table = json.loads(file.read_text())
    change(next(iter(table["tree_metadata"].values()))["key_metadata"])
    file.write_text(json.dumps(table))


def largest_data(step):
    return max((step / "params").rglob("d/*"), key=lambda path: path.stat().st_size)


def index(step):
    return next((step / "params" / "d").iterdir())


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda step: (step / "params/_METADATA").unlink(), "params/_METADATA cannot be read"),
        (lambda step: shorten(step / "params/_METADATA"), "params/_METADATA is damaged"),
        (lambda step: shorten(step / "params/_METADATA", 0), "params/_METADATA is damaged"),
        (lambda step: (step / "params/_METADATA").write_text("[1]"), "params/_METADATA is damaged"),
        (lambda step: (step / "params/_METADATA").write_text('{"tree_metadata": {}}'), "holds nothing"),
        (lambda step: (step / "params/_METADATA").write_bytes(b"\xff\xfe"), "params/_METADATA is damaged"),
        (lambda step: (step / "params/_METADATA").write_text("[" * 100_000), "_METADATA is damaged: .*RecursionError"),
        (lambda step: renamed(step, list.clear), "params/_METADATA is damaged: a leaf has no name"),
        (lambda step: renamed(step, lambda key: key[1].update(key="\ud800")), "leaf .* cannot be read: .*surrogates"),
        (lambda step: (step / "params/manifest.ocdbt").unlink(), "manifest.ocdbt is missing"),
        (lambda step: shorten(step / "params/manifest.ocdbt"), "manifest.ocdbt"),
        (lambda step: index(step).unlink(), "leaf PaliGemma/.* cannot be read: .*params/d/"),
        (lambda step: shorten(index(step)), "leaf PaliGemma/.* cannot be read: .*params/d/"),
        (lambda step: index(step).write_bytes(index(step).read_bytes()[::-1]), "leaf PaliGemma/.* cannot be read"),
        (lambda step: largest_data(step).unlink(), "leaf PaliGemma/.* cannot be read"),
        (lambda step: shorten(largest_data(step)), "leaf PaliGemma/.* cannot be read"),
        (lambda step: largest_data(step).write_bytes(b"\x5a" * 4_000_000), "leaf PaliGemma/.* cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_sentence(golden, damage, told):
    model = model_of(golden)
    damage(golden)
    with pytest.raises(CheckpointError, match=told) as caught:
        load_params(golden, model, "bfloat16")
    assert len(str(caught.value).splitlines()) == 1
    assert str(golden) in str(caught.value)


@pytest.mark.parametrize("use_zarr3", [False, True])
def test_missing_data_are_not_read_as_zeros(tmp_path, tiny, use_zarr3):
    save(tmp_path, tiny, use_ocdbt=False, use_zarr3=use_zarr3)
    chunk = max((tmp_path / "params").rglob("*input_embedding*/**/0*"), key=lambda path: path.is_file())
    assert chunk.is_file()
    chunk.unlink()
    with pytest.raises(CheckpointError, match="leaf PaliGemma/llm/embedder/input_embedding cannot be read"):
        load_params(tmp_path, TINY, "float32")


def test_a_name_that_no_file_can_have_is_refused_in_one_sentence(tmp_path, tiny):
    save(tmp_path, tiny, use_ocdbt=False)
    renamed(tmp_path, lambda key: key[1].update(key="a/../b"))
    with pytest.raises(CheckpointError, match=r"leaf a/../b/.* cannot be read: .*Invalid file path: ") as caught:
        read_leaves(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_zeros_are_read_as_zeros(tmp_path, tiny):
    save(tmp_path, tiny | {"state_proj/bias": np.zeros(6, np.float32)})
    assert not np.asarray(load_params(tmp_path, TINY, "bfloat16")["state_proj"]["bias"]).any()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("nowhere", "there is no such directory"),
        ("run", "it holds 2 of them; give one, say .*run/19999$"),
        ("run/19999/assets", "it is a part of one; give .*run/19999$"),
        ("run/19999/params/d", "it is a part of one; give .*run/19999$"),
        ("run/19999/train_state", "is the optimiser's state; give the step directory .*run/19999$"),
        ("run/wandb_id.txt", "it is a file"),
        ("run/20000.orbax-checkpoint-tmp-7", "an interrupted save left"),
        ("torch", r"model.safetensors holds PyTorch weights"),
        ("other", "it has no params directory; it holds a, b"),
        ("other/a", "it holds nothing"),
    ],
)
def test_the_right_directory_is_named(tmp_path, given, told):
    for step in ("5000", "19999"):
        shutil.copytree(CHECKPOINTS / "pi0_dummy_mini", tmp_path / "run" / step)
    (tmp_path / "run/wandb_id.txt").write_text("x")
    (tmp_path / "run/20000.orbax-checkpoint-tmp-7").mkdir()
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/model.safetensors").write_bytes(b"")
    for name in ("a", "b"):
        (tmp_path / "other" / name).mkdir(parents=True)
    state = tmp_path / "run/19999/train_state"
    state.mkdir()
    key = {"key_metadata": [{"key": "opt_state", "key_type": 2}], "value_metadata": {"value_type": "jax.Array"}}
    (state / "_METADATA").write_text(json.dumps({"tree_metadata": {"('opt_state',)": key}}))
    with pytest.raises(CheckpointError, match=told):
        read_leaves(tmp_path / given)


def test_a_remote_address_is_not_fetched():
    with pytest.raises(CheckpointError, match="it is a remote address and nothing is fetched; copy it to this machine"):
        read_leaves(Path("gs://bucket/checkpoints/pi0_base"))


def test_casts_round_to_nearest_even():
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, np.uint32)
    numbers = bits.view(np.float32)[np.isfinite(bits.view(np.float32))]
    ties = (np.arange(256, dtype=np.uint32) << 16 | 0x3F808000).view(np.float32)
    numbers = np.concatenate([numbers, ties])
    cast = ts.cast(ts.array(numbers), ts.bfloat16).read().result()
    wanted = np.asarray(jnp.asarray(numbers).astype(jnp.bfloat16))
    np.testing.assert_array_equal(cast.view(np.uint16), wanted.view(np.uint16))


def test_what_lora_froze_is_stored_in_half_precision(tmp_path):
    write_toy_checkpoint(tmp_path, WITH_LORA, seed=1, stats=staged_stats())
    halves = {path for path, leaf in read_leaves(tmp_path).items() if leaf.dtype == "bfloat16"}
    assert halves == {
        path
        for path in expected_leaves(WITH_LORA)
        if path.startswith("PaliGemma/llm/") and "lora" not in path and "_1/" not in path
    }
