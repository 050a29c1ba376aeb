"""The roofline's arithmetic: against published bounds, against XLA's own count, and against the parameters' tree."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from policy_server.model import dims, rtc
from policy_server.model.fast import Plan, sample
from policy_server.model.fused import fuse
from policy_server.model.pi0 import Inputs
from policy_server.model.roofline import DEVICES, Call, Device, Work, call
from policy_server.model.tree import expected_leaves

PI0 = dims.Pi0("pi0", dims.SIGLIP["So400m/14"], dims.GEMMA["gemma_2b"], dims.GEMMA["gemma_300m"])
PI05 = replace(PI0, type="pi05", max_token_len=200)

H200 = DEVICES["NVIDIA H200"]
BENCH = Path(__file__).parent.parent / "bench"


def pi0_call(cameras: int, **others: Any) -> Call:
    return call(PI0, cameras=cameras, tokens=48, **others)


@pytest.mark.parametrize(("cameras", "gigaflop", "gigabytes"), [(3, 4195, 11.02), (4, 5460, 11.08)])
def test_work_of_a_call(cameras: int, gigaflop: float, gigabytes: float) -> None:
    total = pi0_call(cameras).total
    assert total.flop / 1e9 == pytest.approx(gigaflop, rel=0.002)
    assert total.num_bytes / 1e9 == pytest.approx(gigabytes, rel=0.002)


def test_work_of_each_stage() -> None:
    work = pi0_call(4)
    gigaflop = [stage.total.flop / 1e9 for stage in (work.vision, work.prefix, work.step)]
    assert gigaflop == pytest.approx([881, 4175, 40.4], rel=0.005)
    gigabytes = [stage.total.num_bytes / 1e9 for stage in (work.vision, work.prefix, work.step)]
    assert gigabytes == pytest.approx([0.83, 3.77, 0.648], rel=0.005)


@pytest.mark.parametrize(
    ("device", "three", "four"),
    [
        ("NVIDIA GeForce RTX 4080", 48.5, 61.5),
        ("NVIDIA GeForce RTX 4090", 29.7, 37.3),
        ("NVIDIA GeForce RTX 5090", 22.0, 28.0),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 11.2, 13.7),
        ("NVIDIA H100 80GB HBM3", 5.8, 7.1),
        ("NVIDIA H200", 6.4, 8.0),
        ("NVIDIA Thor", 40.8, 44.0),
    ],
)
def test_bound_of_a_device(device: str, three: float, four: float) -> None:
    bounds_ms = [pi0_call(cameras).bound_s(DEVICES[device]) * 1e3 for cameras in (3, 4)]
    assert bounds_ms == pytest.approx([three, four], rel=0.01)


def test_bound_of_each_stage() -> None:
    work = pi0_call(4)
    bounds_ms = [stage.bound_s(H200) * 1e3 for stage in (work.vision, work.prefix, work.steps)]
    assert bounds_ms == pytest.approx([1.11, 5.29, 1.57], rel=0.01)


@pytest.mark.parametrize(
    ("device", "three", "four"),
    [
        ("NVIDIA GeForce RTX 4090", 33.4, 41.1),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 12.4, 14.9),
        ("NVIDIA H200", 7.1, 8.8),
    ],
)
def test_bound_of_pi05(device: str, three: float, four: float) -> None:
    bounds_ms = [call(PI05, cameras=n, tokens=200).bound_s(DEVICES[device]) * 1e3 for n in (3, 4)]
    assert bounds_ms == pytest.approx([three, four], rel=0.01)


@pytest.mark.parametrize(
    ("device", "five_steps", "one_step", "twelve_tokens"),
    [
        ("NVIDIA GeForce RTX 4080", 56.7, 52.8, 60.0),
        ("NVIDIA GeForce RTX 4090", 34.0, 31.3, 36.4),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 11.9, 10.4, 13.4),
        ("NVIDIA H200", 7.2, 6.6, 7.8),
    ],
)
def test_bound_of_fewer_steps_and_tokens(device: str, five_steps: float, one_step: float, twelve_tokens: float) -> None:
    works = pi0_call(4, num_steps=5), pi0_call(4, num_steps=1), call(PI0, cameras=4, tokens=12)
    bounds_ms = [work.bound_s(DEVICES[device]) * 1e3 for work in works]
    assert bounds_ms == pytest.approx([five_steps, one_step, twelve_tokens], rel=0.015)


@pytest.mark.parametrize(("batch", "low", "high"), [(4, 27.7, 28.5), (8, 55, 57), (16, 111, 113)])
def test_bound_of_a_batch(batch: int, low: float, high: float) -> None:
    bound_ms = pi0_call(4, batch=batch).bound_s(H200) * 1e3
    assert low * 0.99 <= bound_ms <= high * 1.01


def test_a_batch_moves_the_weights_once() -> None:
    one, four = pi0_call(3), pi0_call(3, batch=4)
    assert four.total.flop == 4 * one.total.flop
    for name in ("vision", "prefix", "step"):
        assert getattr(four, name).products.num_bytes == getattr(one, name).products.num_bytes
        assert getattr(four, name).attention.num_bytes == 4 * getattr(one, name).attention.num_bytes


@pytest.mark.parametrize("model", [PI0, PI05], ids=["pi0", "pi05"])
def test_the_bytes_are_those_of_the_parameters(model: dims.Pi0) -> None:
    sizes = replace(model, action_dim=1)
    used = {
        path: math.prod(shape)
        for path, shape in expected_leaves(sizes).items()
        if path.endswith(("kernel", "w", "linear", "gating_einsum")) and "norm" not in path
    }
    work = call(sizes, cameras=1, tokens=1)
    vision = sum(n for path, n in used.items() if "/img/" in path)
    assert work.vision.products.num_bytes / 2 == pytest.approx(vision, rel=0.005)  # the patches' kernel is float32
    suffix = sum(n for path, n in used.items() if "/llm/" in path and "_1" in path)
    assert work.step.products.num_bytes / 2 == pytest.approx(suffix, rel=0.01)
    prefix = sum(n for path, n in used.items() if "/llm/" in path and "_1" not in path)
    full_layers = (PI0.prefix.depth - 1) / PI0.prefix.depth
    assert work.prefix.products.num_bytes / 2 == pytest.approx(prefix * full_layers, rel=0.001)


def shallow(model: dims.Pi0) -> dims.Pi0:
    """The same widths, fewer layers: quick to trace."""
    parts = {name: replace(getattr(model, name), depth=3) for name in ("siglip", "prefix", "suffix")}
    return replace(model, **parts)


@pytest.mark.parametrize(("model", "guided"), [(shallow(PI0), False), (shallow(PI0), True), (shallow(PI05), False)])
def test_xla_counts_as_many_operations_before_it_optimises(model: dims.Pi0, guided: bool) -> None:
    tree: dict[str, Any] = {}
    for path, shape in expected_leaves(model).items():
        *branches, name = path.split("/")
        place = tree
        for branch in branches:
            place = place.setdefault(branch, {})
        place[name] = jax.ShapeDtypeStruct(shape, jnp.bfloat16)
    weights = jax.eval_shape(partial(fuse, sizes=model, num_steps=1), tree)
    tokens = model.max_token_len
    inputs = Inputs(
        jax.ShapeDtypeStruct((1, 3, 224, 224, 3), jnp.uint8),
        jax.ShapeDtypeStruct((1, 3), jnp.bool_),
        jax.ShapeDtypeStruct((1, tokens), jnp.int32),
        jax.ShapeDtypeStruct((1, tokens), jnp.bool_),
        jax.ShapeDtypeStruct((1, model.action_dim), jnp.float32),
    )
    chunk = jax.ShapeDtypeStruct((1, model.action_horizon, model.action_dim), jnp.float32)
    function = partial(rtc.sample_guided if guided else sample, plan=Plan(model, 1, "bfloat16", unroll=True))
    lowered = jax.jit(function).lower(weights, inputs, *[chunk] * (3 if guided else 1))
    ours = call(model, cameras=3, tokens=tokens, num_steps=1, guided=guided).total.flop
    assert ours <= lowered.cost_analysis()["flops"] <= 1.02 * ours  # norms, softmax, the last layer's queries


def test_guidance_doubles_the_products_of_the_flow_and_nothing_else() -> None:
    plain, guided = pi0_call(3), pi0_call(3, guided=True)
    assert guided.step.products == plain.step.products.times(2)
    assert guided.step.attention.flop > 2 * plain.step.attention.flop
    assert (guided.vision, guided.prefix) == (plain.vision, plain.prefix)


def test_float32_moves_twice_the_bytes() -> None:
    half, full = pi0_call(3), pi0_call(3, dtype="float32")
    assert full.total.flop == half.total.flop
    assert full.total.num_bytes == pytest.approx(2 * half.total.num_bytes, rel=0.01)


def test_a_bound_is_the_longer_of_computing_and_moving() -> None:
    device = Device(flop_per_s=10.0, bytes_per_s=5.0, source="a test")
    assert Work(20.0, 5.0).bound_s(device) == 2.0
    assert Work(10.0, 15.0).bound_s(device) == 3.0


def test_the_documented_bounds_are_these(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCH)
    bench = import_module("policy_latency")
    grid = bench.bounds_grid(bench.read_options(["--cameras", "2,3,4"]), PI0)
    assert grid.as_markdown() in (BENCH.parent / "docs" / "performance.md").read_text("utf-8")


@pytest.mark.long
def test_the_bench_measures_a_toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCH)
    arguments = "--size toy --cameras 1 --batch 1 --tokens 4 --steps 2 --runs 3 --dtype float32 --no-plain".split()
    files = ["--json", str(tmp_path / "latency.json"), "--markdown", str(tmp_path / "latency.md")]
    import_module("policy_latency").main([*arguments, *files])
    report = json.loads((tmp_path / "latency.json").read_text("utf-8"))
    pieces, (whole,) = report["timings"].values()
    assert [timing["what"] for timing in pieces] == [
        "pictures to device",
        "vision",
        "prefix",
        "one step",
        "all 2 steps",
        "actions to host",
        "host starts the call (within it)",
    ]
    assert whole["n"] == 3
    assert 0 < whole["p50_ms"] <= whole["p95_ms"] <= whole["p99_ms"] <= whole["max_ms"]
    assert whole["ratio"] == pytest.approx(whole["bound_ms"] / whole["p50_ms"])
    assert "**whole calls, host to host**" in (tmp_path / "latency.md").read_text("utf-8")


@pytest.mark.parametrize("arguments", ["--cameras 0", "--runs x", "--size toy --checkpoint .", "--checkpoint ."])
def test_the_bench_refuses(arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(BENCH)
    with pytest.raises(SystemExit, match="2"):
        import_module("policy_latency").read_options(arguments.split())
    assert arguments.split()[-2] in capsys.readouterr().err
