"""`inspect`: what it says of a checkpoint, which configurations fit, and whose statistics look odd."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policy_server import inspection
from policy_server.__main__ import main
from policy_server.config import load_config
from policy_server.inspection import inspect
from policy_server.model.tree import expected_leaves
from policy_server.param_store import Leaf
from policy_server.review import ARMS, DIM, GRIPPERS, JOINTS, review, spans
from policy_server.statistics import NormStats, Statistics, load_norm_stats, save_norm_stats
from policy_server.toy import CONFIG, make_toy, staged_stats, toy_params, write_toy_checkpoint

CHECKPOINTS = Path(__file__).parent / "goldens" / "pi0" / "ckpts"
MINI = CHECKPOINTS / "pi0_lora_mini"
KIT = load_norm_stats(MINI, "trossen")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def step(toy, tmp_path):
    """A copy of the toy's checkpoint to change."""
    return Path(shutil.copytree(toy.parent / "checkpoint", tmp_path / "step"))


def changed(stats, quantity, **values):
    """The statistics with some of one quantity's arrays replaced."""
    return replace(stats, **{quantity: replace(getattr(stats, quantity), **values)})


def scaled(stats, which, factor):
    """Both quantities with some elements in another unit."""
    factors = np.where(which, factor, 1.0)
    return NormStats(
        *(Statistics(*(part * factors for part in (q.mean, q.std, q.q01, q.q99))) for q in (stats.state, stats.actions))
    )


def warned(stats, *, quantiles=False, adapt_to_pi=False, delta=False):
    return review(stats, quantiles=quantiles, adapt_to_pi=adapt_to_pi, delta=delta)


@pytest.mark.parametrize("stats", [KIT, staged_stats()], ids=["kit", "toy"])
@pytest.mark.parametrize("quantiles", [False, True])
def test_nothing_is_odd_about_the_kits_own_statistics(stats, quantiles):
    assert warned(stats, quantiles=quantiles) == []


def test_degrees_are_noticed_and_nothing_else_is_said_of_them():
    warnings = warned(scaled(KIT, ARMS, 180 / np.pi))
    assert [warning.split(":")[0] for warning in warnings] == ["state", "actions"]
    assert all("degrees or motor steps rather than radians" in warning for warning in warnings)
    assert "left joint_0, left joint_1, left joint_2 and 9 more" in warnings[0]


@pytest.mark.parametrize(
    ("factor", "told"), [(1000, "millimetres or degrees"), (1 / 0.044, "a share or an angle, from another robot")]
)
def test_grippers_that_are_not_in_metres_are_noticed(factor, told):
    warnings = warned(scaled(KIT, GRIPPERS, factor))
    assert [told in warning for warning in warnings] == [True, True]
    assert "left gripper, right gripper" in warnings[0]


@pytest.mark.parametrize(("joint", "low", "high"), [(1, -1.8, 0.2), (9, 0.0, 3.0), (6, 0.0, 0.08), (3, -2.0, 2.0)])
@pytest.mark.parametrize("quantity", ["state", "actions"])
def test_joints_beyond_the_arms_reach_belong_to_another_robot(joint, low, high, quantity):
    part = getattr(KIT, quantity)
    q01, q99 = part.q01.copy(), part.q99.copy()
    q01[joint], q99[joint] = low, high
    (warning,) = warned(changed(KIT, quantity, q01=q01, q99=q99))
    assert warning.startswith(f"{quantity}: {JOINTS[joint]} goes where a WidowX AI cannot")
    assert "statistics of another robot" in warning


def test_a_joint_that_did_not_move_is_noticed():
    std = KIT.state.std.copy()
    std[[2, 13]] = 0, 5e-5
    (warning,) = warned(changed(KIT, "state", std=std))
    assert "state: left joint_2, right gripper did not move in the data" in warning


def test_equal_quantiles_matter_to_a_model_that_is_normalised_by_them():
    q99 = KIT.actions.q99.copy()
    q99[6] = KIT.actions.q01[6]
    stats = changed(KIT, "actions", q99=q99)
    assert warned(stats) == []
    (warning,) = warned(stats, quantiles=True)
    assert "actions: q01 equals q99 for left gripper" in warning


@pytest.mark.parametrize("quantities", [("state", "actions"), ("state",), ("actions",)])
def test_a_model_that_is_normalised_by_quantiles_needs_them(tmp_path, capsys, quantities):
    step = Path(shutil.copytree(CHECKPOINTS / "pi05_mini", tmp_path / "step"))
    stats = staged_stats()
    for quantity in quantities:
        stats = changed(stats, quantity, q01=None, q99=None)
    save_norm_stats(step / "assets" / "trossen" / "norm_stats.json", stats)
    assert main(["inspect", str(step), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["usable"], report["warnings"]) == (False, [])
    (error,) = report["errors"]
    assert error.startswith("trossen: the statistics hold no q01 and q99")
    assert report["statistics"]["trossen"][quantities[0]]["left gripper"]["q99"] is None
    save_norm_stats(step / "assets" / "whole" / "norm_stats.json", KIT)
    assert main(["inspect", str(step), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["errors"], report["warnings"]) == ([], [error])


def test_a_config_tells_whether_quantiles_are_needed(step, toy, tmp_path):
    stats = changed(changed(staged_stats(), "state", q01=None, q99=None), "actions", q01=None, q99=None)
    save_norm_stats(step / "assets" / "trossen" / "norm_stats.json", stats)
    assert main(["inspect", str(step), "--config", str(toy)]) == 0
    pi05 = tmp_path / "pi05.toml"
    pi05.write_text(CONFIG.replace('type = "pi0"', 'type = "pi05"'))
    write_toy_checkpoint(tmp_path / "pi05", load_config(pi05).sizes, seed=0, stats=stats)
    report = inspect(tmp_path / "pi05", load_config(pi05))
    assert report.differences == []
    assert [error.split(",")[0] for error in report.errors] == ["trossen: the statistics hold no q01 and q99"]
    assert not report.usable


def test_without_quantiles_the_range_comes_from_mean_and_deviation():
    part = Statistics(np.full(DIM, 1.0), np.full(DIM, 2.0))
    low, high = spans(part)
    np.testing.assert_allclose(low, 1 - 2.326 * 2)
    np.testing.assert_allclose(high, 1 + 2.326 * 2)


def test_delta_actions_and_absolute_ones_are_told_apart():
    around_zero = np.where(ARMS, 0.01, KIT.actions.mean)
    low, high = np.where(ARMS, -0.1, KIT.actions.q01), np.where(ARMS, 0.1, KIT.actions.q99)
    offsets = changed(KIT, "actions", mean=around_zero, q01=low, q99=high)
    assert any("they look like offsets from the state" in warning for warning in warned(offsets))
    assert warned(offsets, delta=True) == []
    (warning,) = warned(KIT, delta=True)
    assert "they look absolute, but the config has use_delta_joint_actions = true" in warning


def test_adapted_statistics_have_their_own_bounds():
    assert all("metres, but the config has adapt_to_pi = true" in w for w in warned(KIT, adapt_to_pi=True))
    signs = np.where(np.isin(np.arange(DIM) % 7, (1, 2)), -1.0, 1.0)
    parts = [
        Statistics(
            signs * q.mean, q.std, np.minimum(signs * q.q01, signs * q.q99), np.maximum(signs * q.q01, signs * q.q99)
        )
        for q in (KIT.state, KIT.actions)
    ]
    adapted = scaled(NormStats(*parts), GRIPPERS, 20)
    assert warned(adapted, adapt_to_pi=True) == []
    assert len(warned(adapted)) == 2


def test_the_report_of_a_golden_checkpoint(capsys):
    assert main(["inspect", str(MINI)]) == 0
    said = capsys.readouterr().out
    for text in (
        "π0: state token",
        "width 48, depth 3, mlp 100, 3 heads, 256 tokens",
        "width 64, depth 4, mlp 128, 8 heads of 16 on 1, vocabulary 2048",
        "paligemma attn rank 16, paligemma ffn rank 16, action_expert attn rank 32",
        "762,316 (0.4 M float32, 0.4 M bfloat16)",
        "cam_high; cam_left_wrist, cam_right_wrist may be missing; cam_low is not looked at",
        "no shipped config",
        "statistics trossen",
        "left gripper",
    ):
        assert text in said
    assert max(map(len, said.splitlines())) <= 100
    assert "warning" not in said


def test_the_same_as_json(capsys):
    assert main(["inspect", str(CHECKPOINTS / "pi05_mini"), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert (table["usable"], table["type"], table["num_parameters"]) == (True, "pi05", 505_836)
    assert table["sizes"]["paligemma"] == {
        "variant": "dummy", "width": 64, "depth": 4, "mlp_dim": 128, "num_heads": 8, "num_kv_heads": 1, "head_dim": 16,
    }  # fmt: skip
    assert table["parameters_by_dtype"] == {"float32": 505_836}
    assert table["lora_ranks"] == {}
    assert table["config"] is None
    assert (table["errors"], table["warnings"], table["fitting_configs"]) == ([], [], [])
    kit = load_norm_stats(CHECKPOINTS / "pi05_mini", "trossen")
    assert table["statistics"]["trossen"]["actions"]["right gripper"] == {
        name: getattr(kit.actions, name)[13] for name in ("mean", "std", "q01", "q99")
    }


def test_a_config_that_fits(toy, capsys):
    assert main(["inspect", str(toy.parent / "checkpoint"), "--config", str(toy)]) == 0
    assert "toy fits" in capsys.readouterr().out


def test_a_config_that_does_not_fit(toy, capsys):
    assert main(["inspect", str(CHECKPOINTS / "pi05_mini"), "--config", str(toy)]) == 1
    said = capsys.readouterr().out
    assert "toy does not fit: 59 leaves differ; the checkpoint is a π0.5" in said
    assert "missing     state_proj/kernel (32, 64)" in said
    assert "and 47 more; --json lists all" in said
    assert main(["inspect", str(CHECKPOINTS / "pi05_mini"), "--config", str(toy), "--json"]) == 1
    table = json.loads(capsys.readouterr().out)
    assert len(table["config"]["differences"]) == 59
    assert not table["usable"]


@pytest.mark.parametrize(
    ("config", "fitting"),
    [
        ("pi0_base", ["pi0_aloha", "pi0_aloha_sim", "pi0_base"]),
        (
            "pi0_lighter_cup_trossen",
            ["pi0_lighter_cup_trossen", "pi0_trossen_organize_tools", "pi0_trossen_transfer_block"],
        ),
        (
            "pi05_base",
            [
                "pi05_base",
                "pi05_trossen_multitask_training",
                "pi05_trossen_organize_tools",
                "pi05_trossen_transfer_block",
            ],
        ),
    ],
)
def test_the_shipped_configs_that_fit_a_full_size_checkpoint_are_listed(config, fitting, monkeypatch, capsys):
    shapes = expected_leaves(load_config(config).sizes)
    leaves = {path: Leaf(path, shape, "float32", MINI, None) for path, shape in shapes.items()}
    monkeypatch.setattr("policy_server.param_store.read_leaves", lambda _: leaves)
    monkeypatch.setattr(inspection, "_read_small", lambda _: None)
    report = inspect(MINI)
    assert report.fitting == fitting
    assert any("too little even if compressed" in warning for warning in report.warnings)
    assert main(["inspect", str(MINI)]) == 0
    assert "So400m/14" in (said := capsys.readouterr().out)
    assert ("gemma_2b_lora" in said) == ("lighter" in config)


def test_statistics_are_judged_by_the_config(step, toy, tmp_path, capsys):
    save_norm_stats(step / "assets" / "trossen" / "norm_stats.json", scaled(KIT, GRIPPERS, 20))
    assert main(["inspect", str(step), "--config", str(toy)]) == 0
    assert "a share or an angle, from another robot" in capsys.readouterr().out.replace("\n", "")
    adapted = tmp_path / "adapted.toml"
    adapted.write_text(CONFIG.replace("adapt_to_pi = false", "adapt_to_pi = true"))
    assert main(["inspect", str(step), "--config", str(adapted)]) == 0
    assert "another robot" not in capsys.readouterr().out


def test_missing_statistics_make_it_unusable(step, toy, capsys):
    (step / "assets" / "trossen").rename(step / "assets" / "mine")
    assert main(["inspect", str(step)]) == 0
    assert "asset ids      mine" in capsys.readouterr().out
    assert main(["inspect", str(step), "--config", str(toy)]) == 1
    assert "asset ids in this checkpoint: mine" in " ".join(capsys.readouterr().out.split())
    shutil.rmtree(step / "assets")
    assert main(["inspect", str(step)]) == 1
    assert "error:" in capsys.readouterr().out


@pytest.mark.parametrize("asset_id", ["trossen", "./trossen", "trossen/", "mine/../trossen"])
def test_statistics_are_found_as_serve_finds_them(step, tmp_path, asset_id):
    assets = step / "assets"
    (assets / "mine").mkdir()
    (assets / "trossen").rename(tmp_path / "elsewhere")
    (assets / "trossen").symlink_to(tmp_path / "elsewhere")
    config = tmp_path / "linked.toml"
    config.write_text(CONFIG.replace('asset_id = "trossen"', f'asset_id = "{asset_id}"'))
    report = inspect(step, load_config(config))
    assert report.usable
    assert list(report.statistics) == [asset_id]
    assert list(inspect(step).statistics) == ["trossen"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_small_leaf_that_is_not_finite_is_one_line_on_stderr(tmp_path, capsys, monkeypatch, bad):
    def damaged(*args, **options):
        leaves = toy_params(*args, **options)
        leaves["state_proj/bias"][1] = bad
        return leaves

    monkeypatch.setattr("policy_server.toy.toy_params", damaged)
    make_toy(tmp_path)
    assert main(["inspect", str(tmp_path / "checkpoint")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "leaf state_proj/bias holds numbers that are not finite as float32" in err
    assert len(err.splitlines()) == 1


def test_statistics_of_other_robots_do_not_matter(step, toy, capsys):
    droid = step / "assets" / "droid"
    droid.mkdir()
    seven = dict.fromkeys(("mean", "std", "q01", "q99"), [0.1] * 7)
    (droid / "norm_stats.json").write_text(json.dumps({"norm_stats": {"state": seven, "actions": seven}}))
    assert main(["inspect", str(step), "--config", str(toy)]) == 0
    assert "has 7 numbers" in " ".join(capsys.readouterr().out.split())


def test_a_tree_that_no_config_describes_is_unusable(step, monkeypatch):
    shapes = expected_leaves(inspect(step).model) | {"extra/kernel": (2, 2)}
    leaves = {path: Leaf(path, shape, "float32", step, None) for path, shape in shapes.items()}
    monkeypatch.setattr("policy_server.param_store.read_leaves", lambda _: leaves)
    monkeypatch.setattr(inspection, "_read_small", lambda _: None)
    report = inspect(step)
    assert not report.usable
    assert report.errors == ["no config can fit: unexpected  extra/kernel (2, 2)"]


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda step: shutil.rmtree(step / "params"), "has no params directory"),
        (lambda step: (step / "params" / "_METADATA").write_text("{"), "_METADATA is damaged"),
        (lambda step: [path.unlink() for path in (step / "params").rglob("d/*")], "cannot be read"),
        (lambda step: shutil.rmtree(step / "params" / "ocdbt.process_0"), "cannot be read"),
        (lambda step: shutil.rmtree(step), "no such directory"),
    ],
)
def test_a_damaged_checkpoint_is_one_line_on_stderr(step, break_it, told, capsys):
    break_it(step)
    assert main(["inspect", str(step)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert len(err.splitlines()) == 1


def test_another_kind_of_model_is_one_line_on_stderr(monkeypatch, capsys):
    leaf = Leaf("decoder/kernel", (3, 4), "float32", MINI, None)
    monkeypatch.setattr("policy_server.param_store.read_leaves", lambda _: {leaf.path: leaf})
    assert main(["inspect", str(MINI)]) == 1
    assert "no π0 or π0.5: the leaf PaliGemma/img/embedding/kernel is missing" in capsys.readouterr().err


def test_an_unknown_config_is_one_line_on_stderr(capsys):
    assert main(["inspect", str(MINI), "--config", "nowhere.toml"]) == 1
    assert "neither a readable TOML file" in capsys.readouterr().err


def test_it_needs_no_jax():
    code = "from policy_server.__main__ import main; import sys; main(); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, "inspect", str(MINI)], check=True, stdout=subprocess.DEVNULL)
