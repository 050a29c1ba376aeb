"""The policy server's configurations: the shipped ones say what openpi's do, and a wrong one says what is wrong."""

from importlib.resources import files

import pytest

from policy_server.config import ConfigError, load_config, parse_config, shipped_configs
from policy_server.model import dims

SMALL = """
[model]
type = "{type}"
siglip = "mu/14"
paligemma = {paligemma}
action_expert = "dummy"
{model}
[data]
action_rate_hz = 30
{data}
"""


def small(*, type="pi0", paligemma='"dummy"', model="", data=""):
    return parse_config(SMALL.format(type=type, paligemma=paligemma, model=model, data=data), "small")


TROSSEN = {"action_rate_hz": 30.0, "adapt_to_pi": False, "use_delta_joint_actions": False, "asset_id": "trossen"}
ALOHA = {"action_rate_hz": 50.0, "adapt_to_pi": True, "use_delta_joint_actions": True, "asset_id": "trossen"}
TOOLS, BLOCK = "Put all tools on table into the pen holder", "grab and handover the red cube"
SIM = {**ALOHA, "use_delta_joint_actions": False, "asset_id": "lerobot/aloha_sim_transfer_cube_human"}


@pytest.mark.parametrize(
    ("name", "type", "lora", "data"),
    [
        ("pi0_lighter_cup_trossen", "pi0", True, TROSSEN | {"default_prompt": "put the lighter into the cup"}),
        ("pi0_trossen_organize_tools", "pi0", True, TROSSEN | {"default_prompt": TOOLS}),
        ("pi0_trossen_transfer_block", "pi0", True, TROSSEN | {"default_prompt": BLOCK}),
        ("pi05_trossen_organize_tools", "pi05", False, TROSSEN | {"default_prompt": TOOLS}),
        ("pi05_trossen_transfer_block", "pi05", False, TROSSEN | {"default_prompt": BLOCK}),
        ("pi05_trossen_multitask_training", "pi05", False, TROSSEN | {"default_prompt": None}),
        ("pi0_aloha", "pi0", False, ALOHA | {"reset_pose": (0, -1.5, 1.5, 0, 0, 0)}),
        ("pi0_aloha_sim", "pi0", False, SIM | {"default_prompt": "Transfer cube"}),
        ("pi0_base", "pi0", False, ALOHA),
        ("pi05_base", "pi05", False, ALOHA),
    ],
)
def test_a_shipped_config_is_what_openpi_serves_under_its_name(name, type, lora, data):
    config = load_config(name)
    assert (config.name, config.path, config.model.type) == (name, None, type)
    assert config.sizes == dims.Pi0(
        type=type,
        siglip=dims.SIGLIP["So400m/14"],
        prefix=dims.GEMMA["gemma_2b_lora" if lora else "gemma_2b"],
        suffix=dims.GEMMA["gemma_300m_lora" if lora else "gemma_300m"],
        max_token_len=200 if type == "pi05" else 48,
    )
    assert config.use_quantiles == config.discrete_state_input == (type == "pi05")
    assert {key: getattr(config.data, key) for key in data} == data
    assert config.description


def test_every_shipped_file_is_loaded_by_a_test():
    tested = test_a_shipped_config_is_what_openpi_serves_under_its_name.pytestmark[0].args[1]
    assert sorted(case[0] for case in tested) == shipped_configs()
    assert all(entry.name.endswith(".toml") for entry in files("policy_server").joinpath("configs").iterdir())


def test_a_file_is_loaded_by_its_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(SMALL.format(type="pi0", paligemma='"dummy"', model="", data='tokenizer = "t.model"'))
    config = load_config(path)
    assert (config.name, config.path, config.data.tokenizer) == ("mine", path, "t.model")


def test_a_variant_may_be_changed_in_parts():
    lora = "{ rank = 4, alpha = 8, rslora = true }"
    prefix = small(paligemma=f'{{ variant = "dummy", mlp_dim = 80, lora = {lora} }}').sizes.prefix
    assert (prefix.mlp_dim, prefix.width, prefix.num_heads) == (80, 64, 8)
    assert prefix.attn_lora == prefix.ffn_lora == dims.Lora(4, 8.0, rslora=True)
    assert prefix.attn_lora.scaling == 4.0


def test_every_dimension_may_be_spelt_out():
    table = "{ width = 32, depth = 4, mlp_dim = 80, num_heads = 8, num_kv_heads = 1, head_dim = 16 }"
    spelt = small(paligemma=table, model="action_dim = 20\naction_horizon = 7\nmax_token_len = 9\nvocabulary = 99")
    assert spelt.sizes == dims.Pi0(
        "pi0", dims.SIGLIP["mu/14"], dims.Gemma(32, 4, 80, 8, 1, 16), dims.GEMMA["dummy"], 20, 7, 9, 99
    )


def test_prompts_may_be_computed_with_less_padding():
    assert small(model="token_buckets = [16, 32]").model.token_buckets == (16, 32)


def test_the_state_may_be_kept_out_of_the_prompt():
    assert not small(type="pi05", model="discrete_state_input = false").discrete_state_input


def test_a_state_in_the_prompt_of_pi0_is_refused() -> None:
    """openpi reads the option for π0.5 only; a π0 was trained without it, whatever its config says."""
    with pytest.raises(ConfigError, match="openpi ignores it for pi0"):
        small(type="pi0", model="discrete_state_input = true")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"type": "pi0_fast"}, "model.type.*'pi0' or 'pi05'.*pi0_fast"),
        ({"paligemma": '"gemma_9b"'}, "'gemma_9b' is not a known variant; choose one of dummy, "),
        ({"paligemma": "{ variant = [1] }"}, r"\[1\] is not a known variant"),
        ({"paligemma": "3"}, "model.paligemma: .*it is 3"),
        ({"paligemma": '{ variant = "dummy", depth = 5 }'}, "depth is 5 in paligemma and 4 in action_expert"),
        ({"paligemma": '{ variant = "dummy", num_kv_heads = 3 }'}, "num_heads 8 is not a multiple of num_kv_heads 3"),
        ({"paligemma": '{ variant = "dummy", width = "64" }'}, "model.paligemma.width: .*'64'"),
        (
            {"paligemma": '{ variant = "dummy", lora = { rank = 1, alpha = 1 }, attn_lora = { rank = 2, alpha = 2 } }'},
            "lora stands for both attn_lora and ffn_lora; remove it, or attn_lora",
        ),
        ({"paligemma": '{ variant = "dummy", lora = { rank = 0, alpha = 1 } }'}, "rank: .*greater than or equal to 1"),
        ({"model": "action_dim = 13"}, "model.action_dim: .*greater than or equal to 14.*13"),
        ({"model": "horizon = 50"}, "model.horizon: Extra inputs"),
        ({"model": "action_horizon = 50.0"}, "model.action_horizon: .*50.0"),
        ({"model": "token_buckets = [16, 16]"}, r"token_buckets is \[16, 16\]; list rising counts below max_token_len"),
        ({"model": "token_buckets = [48]"}, r"token_buckets is \[48\]"),
        ({"data": 'cameras = ["cam_left_wrist"]'}, "list cam_high and any of cam_left_wrist, cam_right_wrist"),
        ({"data": 'cameras = ["cam_high", "cam_right_wrist", "cam_left_wrist"]'}, "in that order"),
        ({"data": 'cameras = ["cam_high", "cam_low"]'}, "cam_low"),
        ({"data": "reset_pose = [nan]"}, "data.reset_pose.0: .*finite"),
        ({"data": "default_prompt = 3"}, "data.default_prompt: .*it is 3"),
        ({"data": 'adapt_to_pi = "no"'}, "data.adapt_to_pi: .*'no'"),
        ({"data": "action_rate_hz = 0"}, "is not TOML: .*overwrite"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(wrong, says):
    with pytest.raises(ConfigError, match=f"small.toml.*{says}"):
        small(**wrong)


def test_a_rate_of_nought_is_refused():
    text = SMALL.format(type="pi0", paligemma='"dummy"', model="", data="").replace("= 30", "= 0")
    with pytest.raises(ConfigError, match=r"data.action_rate_hz: .*greater than 0.*it is 0"):
        parse_config(text, "small")


def test_all_faults_are_told_at_once():
    with pytest.raises(ConfigError, match=r"action_horizon.*; .*default_prompt"):
        small(model="action_horizon = 0", data="default_prompt = 3")


@pytest.mark.parametrize("key", ["name", "path"])
def test_a_config_cannot_rename_itself(key):
    with pytest.raises(ConfigError, match=f"small.toml: remove {key}"):
        parse_config(f'{key} = "other"\n' + SMALL.format(type="pi0", paligemma='"dummy"', model="", data=""), "small")


@pytest.mark.parametrize("name", ["pi0_lighter_cop", "", "nowhere/config.toml"])
def test_an_unknown_config_lists_the_shipped_ones(name):
    with pytest.raises(ConfigError, match=r"neither a readable TOML file.* nor one of: pi05_base, .*pi0_trossen"):
        load_config(name)
