"""How long one call of the model takes, piece by piece, beside the device's roofline and the reference's structure.

Runs on any device that JAX sees; the figures count on a GPU. Full-size π0 with random parameters made on the device,
unless told otherwise. The first of --cameras and of --batch make the call that is taken to pieces and compared with
the plain path (model/pi0.py, jitted: the reference's structure on the same parameters and inputs).

    python bench/policy_latency.py --cameras 3,2,4 --batch 1,2,4,8,16 --rtc --markdown table.md
    python bench/policy_latency.py --size toy --runs 20
    python bench/policy_latency.py --bounds          # the roofline of every known device; measures nothing
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import asdict, replace
from pathlib import Path

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # as the server does, and before JAX starts

import ceilings
import jax
import jaxlib
from pieces import Case, Pieces, random_params, work_of
from rich.console import Console
from timings import Grid, Timing, timings_grid

from policy_server.checkpoint import load_params
from policy_server.config import PolicyConfig, load_config, parse_config
from policy_server.model import fast, roofline, tree
from policy_server.model.choice import plan_for
from policy_server.model.dims import Pi0
from policy_server.model.fused import fuse
from policy_server.toy import CONFIG as TOY

WARM_RUNS_ON_CPU, WARM_RUNS = 1, 5
"""A GPU captures its graph on the second run and settles by the fifth."""


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = read_options(arguments)
    config = parse_config(TOY, "toy") if options.size == "toy" else load_config(options.config)
    sizes = config.sizes if options.tokens is None else replace(config.sizes, max_token_len=options.tokens)
    console = Console(width=None if os.isatty(1) else 120)
    if options.bounds:
        console.print(bounds_grid(options, sizes.without_lora).on_screen())
        return
    device = jax.local_devices()[0]
    precision = "highest" if options.dtype == "float32" else None  # as the server computes
    with jax.default_device(device), jax.default_matmul_precision(precision):
        measure(console, options, config, sizes, device)


def measure(
    console: Console, options: argparse.Namespace, config: PolicyConfig, sizes: Pi0, device: jax.Device
) -> None:
    """All tables. The plain path comes first: fusing the parameters uses them up."""
    limits = None if options.measure or options.dtype == "float32" else roofline.DEVICES.get(device.device_kind)
    limits = limits or ceilings.measure(device, options.dtype)
    warm_runs = WARM_RUNS_ON_CPU if device.platform == "cpu" else WARM_RUNS
    plan = plan_of(options, sizes.without_lora, device, console)
    pieces = Pieces(plan, device, limits, runs=options.runs, warm_runs=warm_runs, say=console.log)
    base = Case(options.cameras[0], options.batch[0])
    params = (
        random_params(plan.sizes, options.dtype)
        if options.checkpoint is None
        else load_params(options.checkpoint, sizes, options.dtype, device=device, say=console.print, progress=True)
    )
    plain = [pieces.plain(params, base)] if options.plain else []
    weights = jax.block_until_ready(fuse(params, plan.sizes, plan.num_steps))
    whole, *start = pieces.whole(weights, base, start=options.components)
    parts = list(pieces.components(weights, base)) if options.components else []
    others = [timing for case in cases(options) if case != base for timing in pieces.whole(weights, case)]
    facts = describe(config, plan, device, limits) | {
        "parameters": "random" if options.checkpoint is None else str(options.checkpoint),
        "runs": f"{options.runs} each, after {warm_runs} warm",
    }
    tables = {f"pieces of one call: {base}": [*parts, *start], "whole calls, host to host": [whole, *others, *plain]}
    tables = {title: timings for title, timings in tables.items() if timings}
    show(console, options, facts, tables)


def cases(options: argparse.Namespace) -> list[Case]:
    """Each number of cameras at the first batch, each batch at the first number of cameras; with --rtc all twice."""
    shapes = [(n, options.batch[0]) for n in options.cameras] + [(options.cameras[0], b) for b in options.batch[1:]]
    return [Case(*shape, guided) for guided in ((False, True) if options.rtc else (False,)) for shape in shapes]


def plan_of(options: argparse.Namespace, sizes: Pi0, device: jax.Device, console: Console) -> fast.Plan:
    """What the server chooses on this device, unless told otherwise."""
    plan = plan_for(sizes, options.steps, options.dtype, device, console.print)
    if options.attention != "auto":
        plan = replace(plan, vision_attention=options.attention, prefix_attention=options.attention)
    if options.kernels is not None:
        plan = replace(plan, kernels=options.kernels)
    return replace(plan, unroll=options.unroll)


def describe(config: PolicyConfig, plan: fast.Plan, device: jax.Device, limits: roofline.Device) -> dict[str, str]:
    """Where and what was measured: a figure means nothing without."""
    sizes = plan.sizes
    num_parameters = tree.num_parameters(tree.expected_leaves(sizes))
    driver = Path("/proc/driver/nvidia/version")
    peak_bytes = (device.memory_stats() or {}).get("peak_bytes_in_use")
    return {
        "device": f"{device.device_kind} ({device.platform})",
        "host": f"{platform.node()}, {processor()}, {os.cpu_count()} CPUs, Linux {platform.release()}",
        "driver": driver.read_text().splitlines()[0] if driver.exists() else "no NVIDIA driver",
        "versions": f"jax {jax.__version__}, jaxlib {jaxlib.__version__}, Python {platform.python_version()}, "
        f"{device.client.platform_version.splitlines()[0]}",
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "not set"),
        "roofline": f"{limits.flop_per_s / 1e12:.4g} TFLOP/s, {limits.bytes_per_s / 1e9:.4g} GB/s ({limits.source})",
        "model": f"{config.name}: {sizes.type}, {num_parameters / 1e6:.2f} M parameters",
        "call": f"{plan.dtype}, {sizes.max_token_len} prompt tokens, horizon {sizes.action_horizon}, "
        f"{plan.num_steps} steps {'written out' if plan.unroll else 'in a loop'}, "
        f"layers of the flow {'as kernels of our own' if plan.kernels else 'by XLA'}",
        "attention": f"vision {plan.vision_attention}, prefix {plan.prefix_attention}",
        "peak device memory": "not told by this device" if peak_bytes is None else f"{peak_bytes / 1e9:.2f} GB",
    }


def processor() -> str:
    """The CPU's name."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())


def bounds_grid(options: argparse.Namespace, sizes: Pi0) -> Grid:
    """The roofline of every known device."""
    shapes = [Case(cameras, options.batch[0], guided) for guided in (False, True) for cameras in options.cameras]
    names = [f"{case.cameras} cameras{' RTC' * case.guided}" for case in shapes]
    rows = []
    for name, device in sorted(roofline.DEVICES.items()):
        bounds_s = [work_of(sizes, case, options.steps, "bfloat16").bound_s(device) for case in shapes]
        rates = f"{device.flop_per_s / 1e12:.4g}", f"{device.bytes_per_s / 1e9:.4g}"
        rows.append((name, *rates, *(f"{bound_s * 1e3:.1f}" for bound_s in bounds_s)))
    tokens, batch = sizes.max_token_len, options.batch[0]
    title = f"bounds in ms, bfloat16, {tokens} prompt tokens, {options.steps} steps, batch {batch}"
    return Grid(title, ("device", "TFLOP/s", "GB/s", *names), rows)


def show(console: Console, options: argparse.Namespace, facts: dict[str, str], tables: dict[str, list[Timing]]) -> None:
    """To the terminal, and to the files that were asked for."""
    grids = [timings_grid(title, timings) for title, timings in tables.items()]
    for name, fact in facts.items():
        console.print(f"{name:20}{fact}", highlight=False)
    for grid in grids:
        console.print(grid.on_screen())
    if options.markdown is not None:
        conditions = "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
        parts = [conditions, *(f"**{grid.title}**\n\n{grid.as_markdown()}" for grid in grids)]
        options.markdown.write_text("\n\n".join(parts) + "\n", "utf-8")
    if options.json is not None:
        timings = {title: [asdict(t) | {"ratio": t.ratio} for t in timings] for title, timings in tables.items()}
        text = json.dumps({"conditions": facts, "timings": timings}, indent=1, ensure_ascii=False, allow_nan=False)
        options.json.write_text(text + "\n", "utf-8")


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    """The command line. Bad values end the program with a line that names them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="pi0_base", help="shipped configuration or TOML file (%(default)s)")
    parser.add_argument("--checkpoint", type=Path, help="its step directory; random parameters without")
    parser.add_argument("--size", choices=("full", "toy"), default="full", help="toy: a tiny model, not --config")
    parser.add_argument("--cameras", type=counts, default=[3, 2, 4], metavar="N,...", help="(3,2,4)")
    parser.add_argument("--batch", type=counts, default=[1, 2, 4, 8, 16], metavar="N,...", help="(1,2,4,8,16)")
    parser.add_argument("--tokens", type=count, metavar="N", help="prompt tokens, all of them valid (the config's)")
    parser.add_argument("--steps", type=count, default=10, metavar="N", help="of the flow (%(default)s)")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="(%(default)s)")
    parser.add_argument("--attention", choices=("auto", "xla", "cudnn"), default="auto", help="auto: as the server")
    parser.add_argument("--unroll", action="store_true", help="write the flow's steps out")
    parser.add_argument("--kernels", action=argparse.BooleanOptionalAction, help="of the flow (as the server)")
    parser.add_argument("--rtc", action="store_true", help="time every call with real-time chunking, too")
    parser.add_argument("--components", action=argparse.BooleanOptionalAction, default=True, help="time the pieces")
    parser.add_argument("--plain", action=argparse.BooleanOptionalAction, default=True, help="time the plain path")
    parser.add_argument("--runs", type=count, default=100, metavar="N", help="timed runs of everything (%(default)s)")
    parser.add_argument("--measure", action="store_true", help="measure the device's limits even where they are known")
    parser.add_argument("--bounds", action="store_true", help="print the bounds of all known devices, and end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    options = parser.parse_args(arguments)
    if options.size == "toy" and options.checkpoint is not None:
        parser.error("--size toy makes its own parameters; give --config with --checkpoint instead")
    if options.config == parser.get_default("config") and options.checkpoint is not None:
        parser.error("--checkpoint needs the --config that it was trained with")
    return options


def counts(text: str) -> list[int]:
    """Distinct positive integers, in the order given."""
    return list(dict.fromkeys(count(part) for part in text.split(",")))


def count(text: str) -> int:
    """A positive integer."""
    value = int(text)
    if value < 1:
        raise ValueError(f"{value} is below 1")
    return value


if __name__ == "__main__":
    main()
