"""What docs/policy-server.md says of options and keys is what there is."""

import argparse
import re
from pathlib import Path

import pytest

from policy_server import norm_stats, serve
from policy_server.config import DataTable, ModelTable, PolicyConfig, parse_config
from policy_server.model.dims import Gemma, Lora, Siglip

GUIDE = (Path(__file__).parent.parent / "docs" / "policy-server.md").read_text("utf-8")


def rows(heading):
    """The first cells of the table whose heading begins with `heading`."""
    table = GUIDE.partition(f"\n| {heading}")[2].partition("\n\n")[0]
    return [line.split(" | ")[0] for line in table.splitlines()[2:]]


def test_the_example_is_a_config():
    [text] = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    sizes = parse_config(text, "example").sizes
    assert sizes.siglip == Siglip(width=48, depth=3, mlp_dim=100, num_heads=3, patch_size=14)
    lora = Lora(16, 16.0)
    assert sizes.prefix == Gemma(64, 4, 128, 8, 1, 16, attn_lora=lora, ffn_lora=lora)
    lora = Lora(32, 32.0)
    assert sizes.suffix == Gemma(32, 4, 80, 8, 1, 16, attn_lora=lora, ffn_lora=lora)


@pytest.mark.parametrize(("heading", "table"), [("`[model]`", ModelTable), ("`[data]`", DataTable)])
def test_every_key_is_described(heading, table):
    described = re.findall(r"`(\w+)`", " ".join(rows(heading)))
    assert described == list(table.model_fields)


def test_no_key_at_the_top_is_left_out():
    assert set(PolicyConfig.model_fields) == {"name", "path", "description", "model", "data"}  # the first two are given
    assert "`description`" in GUIDE


@pytest.mark.parametrize(("command", "text"), [(serve, " ".join(rows("option"))), (norm_stats, GUIDE)])
def test_every_option_is_described(command, text):
    parser = argparse.ArgumentParser(add_help=False)
    command.add_arguments(parser)
    options = set(re.findall(r"\[?(--[a-z-]+)", parser.format_help()))
    described = set(re.findall(r"--[a-z-]+", text))
    others = {"--policy"} if command is serve else set()  # the scripted policy is the demo's
    assert options - others <= described
    if command is serve:
        assert described <= options
