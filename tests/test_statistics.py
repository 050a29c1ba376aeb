"""Statistics of a checkpoint: openpi's file, read and written, and the scaling that the model was trained with."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from policy_server.statistics import (
    NormStats,
    Scaling,
    Statistics,
    StatisticsError,
    list_asset_ids,
    load_norm_stats,
    parse_norm_stats,
    save_norm_stats,
)

GOLDENS = Path(__file__).parent / "goldens" / "pi0" / "transforms"
TEXT = (GOLDENS / "norm_stats.json").read_text()


def checkpoint(tmp_path, asset_id="trossen", text=TEXT):
    path = tmp_path / "assets" / asset_id / "norm_stats.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return tmp_path


def edited(quantity="state", **changes):
    """The golden file with some arrays replaced, or changed by a function."""
    table = json.loads(TEXT)
    entry = table["norm_stats"][quantity]
    entry.update({key: change(entry[key]) if callable(change) else change for key, change in changes.items()})
    return json.dumps(table)


def at(index, value):
    return lambda values: [*values[:index], value, *values[index + 1 :]]


def test_a_checkpoints_statistics_are_read_to_the_last_bit(tmp_path):
    stats = load_norm_stats(checkpoint(tmp_path), "trossen")
    for quantity, table in json.loads(TEXT)["norm_stats"].items():
        for name, values in table.items():
            array = getattr(getattr(stats, quantity), name)
            assert array.dtype == np.float64
            assert array.tolist() == values


def test_what_is_written_is_openpis_file_byte_for_byte(tmp_path):
    path = tmp_path / "new" / "norm_stats.json"
    save_norm_stats(path, parse_norm_stats(TEXT, "golden"))
    assert path.read_bytes() == (GOLDENS / "norm_stats.json").read_bytes()
    assert [entry.name for entry in path.parent.iterdir()] == ["norm_stats.json"]


def test_statistics_without_quantiles_come_back_without(tmp_path):
    stats = parse_norm_stats(edited(q01=None, q99=None), "file")
    assert stats.state.q01 is stats.state.q99 is None
    save_norm_stats(tmp_path / "norm_stats.json", stats)
    again = parse_norm_stats((tmp_path / "norm_stats.json").read_text(), "file")
    assert again.state.q01 is None
    assert again.actions.q01 is not None


def test_non_finite_statistics_are_not_written(tmp_path):
    stats = parse_norm_stats(TEXT, "golden")
    broken = replace(stats, state=replace(stats.state, mean=np.full(14, np.nan)))
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_norm_stats(tmp_path / "norm_stats.json", broken)
    assert not (tmp_path / "norm_stats.json").exists()


def test_a_missing_asset_id_lists_those_that_are_there(tmp_path):
    checkpoint(tmp_path, "lerobot/aloha_sim")
    checkpoint(tmp_path, "trossen")
    assert list_asset_ids(tmp_path) == ["lerobot/aloha_sim", "trossen"]
    with pytest.raises(StatisticsError, match=r"droid/norm_stats.json does not exist; .*: lerobot/aloha_sim, trossen;"):
        load_norm_stats(tmp_path, "droid")


def test_statistics_behind_links_are_listed_and_a_link_back_up_is_not_followed(tmp_path):
    checkpoint(tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere" / "assets" / "trossen"
    step = checkpoint(tmp_path / "step", "mine")
    for name, target in (("trossen", folder), ("alias", "mine"), ("loop", ".."), ("top", "/"), ("self", "self")):
        (step / "assets" / name).symlink_to(target)
    (folder / "back").symlink_to(step / "assets")
    assert list_asset_ids(step) == ["alias", "mine", "trossen"]
    assert load_norm_stats(step, "trossen").state.mean.size == 14
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "assets").symlink_to(step / "assets")
    assert list_asset_ids(tmp_path / "other") == ["alias", "mine", "trossen"]


def test_a_folder_without_assets_is_no_training_step(tmp_path):
    with pytest.raises(StatisticsError, match=r"has no folder 'assets': pass the directory of one training step"):
        load_norm_stats(tmp_path, "trossen")


def test_a_checkpoint_without_statistics_says_how_to_get_them(tmp_path):
    (tmp_path / "assets").mkdir()
    with pytest.raises(StatisticsError, match=r"no statistics are in this checkpoint.* norm-stats"):
        load_norm_stats(tmp_path, "trossen")


@pytest.mark.parametrize("damage", [lambda path: path.unlink() or path.mkdir(), lambda path: path.write_bytes(b"\xff")])
def test_an_unreadable_file_is_named(tmp_path, damage):
    damage(checkpoint(tmp_path) / "assets" / "trossen" / "norm_stats.json")
    with pytest.raises(StatisticsError, match=r"trossen/norm_stats.json cannot be read: "):
        load_norm_stats(tmp_path, "trossen")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TEXT[:200], "is not JSON: .*copy it from the checkpoint again"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "has no table 'norm_stats'"),
        ('{"norm_stats": []}', "has no table 'norm_stats'"),
        ('{"norm_stats": {"state": {}}}', r"state.mean is None, not a list of numbers"),
        (json.dumps({"norm_stats": {"actions": {}, "qpos": {}}}), "has no table 'state', only: 'actions', 'qpos'"),
        (edited(mean=[0.0] * 13), r"state.mean has 13 numbers, at least 14 are needed"),
        (edited(mean=[0.0] * 15), r"'state' differ in length: {'mean': 15, 'std': 14, 'q01': 14, 'q99': 14}"),
        (edited("actions", std=None), r"actions.std is None, not a list"),
        (edited(std="14 numbers, all of them 1"), r"state.std is '14 numbers.*', not a list"),
        (edited(std=at(3, True)), r"state.std is \[.*\.\.\., not a list of numbers"),
        (edited(std=at(3, float("nan"))), r"state.std\[3\] is nan: it is not finite; compute"),
        (edited(q99=at(13, float("inf"))), r"state.q99\[13\] is inf: it is not finite"),
        (edited(mean=at(0, 10**400)), r"state.mean holds a number beyond float64"),
        (edited("actions", std=at(5, -1e-9)), r"actions.std\[5\] is -1e-09: it is negative"),
        (edited(q01=at(2, 9.0)), r"state.q01\[2\] is 9: it is above q99"),
        (edited(q01=None), r"'state' has only one of q01 and q99"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_value(text, says):
    with pytest.raises(StatisticsError, match=f"(?s)file.json:? .*{says}|file.json:? {says}"):
        parse_norm_stats(text, "file.json")


def test_more_than_fourteen_numbers_are_read():
    longer = {key: lambda values: [*values, 0.0] for key in ("mean", "std", "q01", "q99")}
    stats = parse_norm_stats(edited(**longer), "file")
    assert (stats.state.mean.size, Scaling.of(stats.state, 14, quantiles=False).offset.size) == (15, 14)


def scaling(quantity, quantiles):
    return Scaling.of(getattr(parse_norm_stats(TEXT, "golden"), quantity), 14, quantiles)


@pytest.mark.parametrize(("quantiles", "suffix"), [(False, "z"), (True, "q")])
def test_scaling_equals_openpis_bit_for_bit(quantiles, suffix):
    golden = np.load(GOLDENS / "normalize.npz")
    state = scaling("state", quantiles).normalise(golden["state14"])
    np.testing.assert_array_equal(state, golden[f"norm_state_{suffix}"])
    actions = scaling("actions", quantiles).unnormalise(golden["model_actions"][:, :14])
    np.testing.assert_array_equal(actions, golden[f"unnorm_actions_{suffix}"][:, :14])


@given(arrays(np.float64, (3, 14), elements=st.floats(-1e3, 1e3)), st.booleans())
def test_unnormalise_undoes_normalise(values, quantiles):
    scale = scaling("actions", quantiles)
    np.testing.assert_allclose(scale.unnormalise(scale.normalise(values)), values, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(scale.normalise(scale.unnormalise(values)), values, rtol=1e-12, atol=1e-9)


def test_a_joint_that_never_moved_does_not_divide_by_nought():
    still = Statistics(np.ones(14), np.zeros(14), np.ones(14), np.ones(14))
    for quantiles in (False, True):
        scale = Scaling.of(still, 14, quantiles)
        assert scale.unnormalise(scale.normalise(np.full(14, 1.5))) == pytest.approx(np.full(14, 1.5))


def test_a_non_finite_number_stays_one():
    normalised = scaling("state", False).normalise(np.array([np.nan, np.inf] + [0.0] * 12))
    assert np.isnan(normalised[0])
    assert np.isinf(normalised[1])
    assert np.isfinite(normalised[2:]).all()


def test_quantiles_are_asked_for_where_there_are_none():
    stats = NormStats(Statistics(np.zeros(14), np.ones(14)), Statistics(np.zeros(14), np.ones(14)))
    with pytest.raises(StatisticsError, match=r"hold no q01 and q99.* `pi0-policy-server norm-stats`$"):
        Scaling.of(stats.state, 14, quantiles=True)
