"""What `inspect` found, as text for a terminal of 100 columns and as JSON. Pure but for the printing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from policy_server.config import CAMERAS, UNUSED_CAMERAS
from policy_server.model import dims, tree
from policy_server.review import JOINTS, spans
from policy_server.statistics import NormStats, Statistics

if TYPE_CHECKING:
    from policy_server.inspection import Report

WIDTH = 100
"""Columns of the report."""

LONGEST_LIST = 12
"""Differing leaves that are shown before the rest is counted."""


def show(report: Report) -> None:
    """Print the report."""
    console = Console(width=WIDTH, highlight=False)
    facts = Table.grid(padding=(0, 2))
    for name, text in _facts(report):
        facts.add_row(f"[bold]{name}[/bold]", escape(text))
    console.print(facts)
    for asset_id, stats in report.statistics.items():
        if report.config is None or report.config.data.asset_id == asset_id:
            console.print(statistics_table(asset_id, stats))
    for line in report.differences[:LONGEST_LIST]:
        console.print(f"  {line}", markup=False)
    if more := report.differences[LONGEST_LIST:]:
        console.print(f"  and {len(more)} more; --json lists all")
    for colour, kind, lines in (("red", "error", report.errors), ("yellow", "warning", report.warnings)):
        for line in lines:
            console.print(f"[{colour}]{kind}:[/{colour}] {escape(line)}")


def _facts(report: Report) -> list[tuple[str, str]]:
    model, config = report.model, report.config
    ranks = tree.lora_ranks(model)
    dtypes = ", ".join(f"{count / 1e6:,.1f} M {dtype}" for dtype, count in report.dtypes.items())
    facts = [
        ("checkpoint", str(report.directory)),
        ("model", "π0.5: adaptive norms, state in the prompt" if model.pi05 else "π0: state token, mean and deviation"),
        (
            "vision",
            f"{_called(dims.SIGLIP, model.siglip)}, {_sizes(model.siglip)}, {model.siglip.num_tokens} tokens",
        ),
        (
            "paligemma",
            f"{_called(dims.GEMMA, model.prefix)}, {_sizes(model.prefix)}, vocabulary {model.vocabulary}",
        ),
        (
            "action expert",
            f"{_called(dims.GEMMA, model.suffix)}, {_sizes(model.suffix)}, actions {model.action_dim}",
        ),
        ("adapters", ", ".join(f"{name} rank {rank}" for name, rank in ranks.items()) or "none"),
        ("parameters", f"{report.num_parameters:,} ({dtypes})"),
        ("size", f"{size_text(report.num_bytes)}, {size_text(report.disk_bytes)} in files"),
        (
            "cameras",
            f"{CAMERAS[0]}; {', '.join(CAMERAS[1:])} may be missing; {', '.join(UNUSED_CAMERAS)} is not looked at",
        ),
        ("asset ids", ", ".join(report.statistics) or "none"),
        ("fits", ", ".join(report.fitting) or "no shipped config; write one with these sizes"),
    ]
    if config is not None:
        count = len(report.differences)
        verdict = f"does not fit: {count} leaves differ; {report.cause or 'see below'}" if count else "fits"
        facts.append(("config", f"{config.name} {verdict}"))
    else:
        facts.append(
            ("judged as", "absolute joint positions of two WidowX AI in rad and m; --config may say otherwise")
        )
    return facts


def _called(known: Mapping[str, object], sizes: object) -> str:
    return _name(known, sizes) or "its own size"


def _sizes(sizes: dims.Gemma | dims.Siglip) -> str:
    heads = f"{sizes.num_heads} heads"
    if isinstance(sizes, dims.Gemma):
        heads += f" of {sizes.head_dim} on {sizes.num_kv_heads}"
    return f"width {sizes.width}, depth {sizes.depth}, mlp {sizes.mlp_dim}, {heads}"


def statistics_table(asset_id: str, stats: NormStats) -> Table:
    """Mean, deviation and where 98 % of the values lie, of the state on the left and the actions on the right."""
    table = Table(title=f"statistics {escape(asset_id)}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("", no_wrap=True)
    for quantity in ("state", "actions"):
        for name in ("mean", "std", "1 %", "99 %"):
            table.add_column(f"{quantity}\n{name}", justify="right")
    parts = (stats.state, stats.actions)
    columns = [column for part in parts for column in (part.mean, part.std, *spans(part))]
    for i, joint in enumerate(JOINTS):
        table.add_row(joint, *(f"{column[i]:.4f}" for column in columns))
    return table


def size_text(num_bytes: int) -> str:
    """Bytes in MB or GB."""
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.2f} MB"


def as_table(report: Report) -> dict[str, Any]:
    """The report as JSON has it; statistics name each of the fourteen values."""
    config = report.config
    return {
        "directory": str(report.directory),
        "usable": report.usable,
        "type": report.model.type,
        "sizes": _shown_sizes(report.model),
        "lora_ranks": tree.lora_ranks(report.model),
        "num_parameters": report.num_parameters,
        "num_bytes": report.num_bytes,
        "disk_bytes": report.disk_bytes,
        "parameters_by_dtype": report.dtypes,
        "cameras": {"used": list(CAMERAS), "required": [CAMERAS[0]], "accepted_and_unused": list(UNUSED_CAMERAS)},
        "statistics": {
            asset_id: {name: _values(getattr(stats, name)) for name in ("state", "actions")}
            for asset_id, stats in report.statistics.items()
        },
        "fitting_configs": report.fitting,
        "config": None
        if config is None
        else {"name": config.name, "fits": not report.differences, "differences": report.differences},
        "errors": report.errors,
        "warnings": report.warnings,
    }


def _shown_sizes(model: dims.Pi0) -> dict[str, Any]:
    """The sizes that a tree shows, named as in a config."""
    parts = {
        "siglip": asdict(model.siglip),
        "paligemma": asdict(model.prefix.without_lora),
        "action_expert": asdict(model.suffix.without_lora),
    }
    tables = {name: {key: size for key, size in part.items() if size is not None} for name, part in parts.items()}
    names = {
        "siglip": _name(dims.SIGLIP, model.siglip),
        "paligemma": _name(dims.GEMMA, model.prefix),
        "action_expert": _name(dims.GEMMA, model.suffix),
    }
    shown = {name: {"variant": names[name], **table} for name, table in tables.items()}
    return {**shown, "action_dim": model.action_dim, "vocabulary": model.vocabulary}


def _name(known: Mapping[str, object], sizes: object) -> str | None:
    """openpi's name of the sizes, None for sizes of their own."""
    return next((name for name, value in known.items() if value == sizes), None)


def _values(statistics: Statistics) -> dict[str, dict[str, float | None]]:
    columns = {name: getattr(statistics, name) for name in ("mean", "std", "q01", "q99")}
    return {
        joint: {name: None if column is None else float(column[i]) for name, column in columns.items()}
        for i, joint in enumerate(JOINTS)
    }
