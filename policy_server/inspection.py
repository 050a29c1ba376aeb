"""The command `inspect`: what a checkpoint is, which configurations fit it, and what is odd about it.

Runs anywhere the checkpoint lies; reads the tree, the statistics and the small leaves, needs neither a GPU nor JAX.
Always holds: it changes nothing, and its status is 0 only for a checkpoint that can be served, by `--config` if given.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath
from typing import TYPE_CHECKING

from policy_server.config import STATE_DIM, ConfigError, PolicyConfig, load_config, shipped_configs
from policy_server.inspection_view import as_table, show, size_text
from policy_server.model import dims, tree
from policy_server.review import review, review_for
from policy_server.statistics import NormStats, Scaling, StatisticsError, list_asset_ids, load_norm_stats

if TYPE_CHECKING:
    from policy_server.param_store import Leaf

SMALL_BYTES = 1 << 20
"""Leaves up to this size are read, to see that the files open and hold finite numbers."""

LEAST_COMPRESSED = 0.25
"""Trained weights hardly compress; files that hold less than this share of them are not all there."""


@dataclass(frozen=True, slots=True)
class Report:
    """What `inspect` found. `differences` and `cause` are about `config`, empty without one."""

    directory: Path
    model: dims.Pi0
    num_parameters: int
    num_bytes: int
    disk_bytes: int
    dtypes: dict[str, int]
    statistics: dict[str, NormStats]
    fitting: list[str]
    config: PolicyConfig | None
    differences: list[str]
    cause: str | None
    errors: list[str]
    warnings: list[str]

    @property
    def usable(self) -> bool:
        """Whether it can be served: with `config`, or with some."""
        return not self.differences and not self.errors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="a step directory that openpi's training wrote")
    parser.add_argument("--config", metavar="NAME|TOML", help="say whether this configuration fits, and why not")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Returns the exit status: 0 for a usable checkpoint, 1 for any other."""
    from policy_server.param_store import CheckpointError

    try:
        config = load_config(arguments.config) if arguments.config else None
        report = inspect(arguments.directory, config)
    except (ConfigError, CheckpointError, tree.TreeError, OSError) as error:
        print(f"pi0-policy-server: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(as_table(report), indent=2, ensure_ascii=False))
    else:
        show(report)
    return 0 if report.usable else 1


def inspect(directory: Path, config: PolicyConfig | None = None) -> Report:
    """Look at a checkpoint. Raises CheckpointError or TreeError when it is damaged or no π0's."""
    from policy_server.param_store import find_params, read_leaves

    params = find_params(directory)
    leaves = read_leaves(directory)
    shapes = {path: leaf.shape for path, leaf in leaves.items()}
    model = tree.guess_model(shapes)
    _read_small(leaves.values())
    num_bytes = sum(leaf.num_bytes for leaf in leaves.values())
    disk_bytes = sum(file.stat().st_size for file in params.rglob("*") if file.is_file())
    errors, warnings = [], []
    if disk_bytes < LEAST_COMPRESSED * num_bytes:
        warnings.append(
            f"the files hold {size_text(disk_bytes)} for {size_text(num_bytes)} of numbers, too little "
            "even if compressed; copy the checkpoint again if it does not load"
        )
    if config is None and (odd := tree.differences(shapes, model)):
        errors.append(f"no config can fit: {'; '.join(odd[:4])}{' …' if odd[4:] else ''}")
    fitting = [name for name in shipped_configs() if not tree.differences(shapes, load_config(name).sizes)]
    statistics, faults, others = _statistics(params.parent, model, config)
    warnings += others
    for asset_id, stats in statistics.items():
        if config is None or asset_id == config.data.asset_id:
            warnings += [f"{asset_id}: {warning}" for warning in _review(stats, model, config)]
    return Report(
        directory=directory,
        model=model,
        num_parameters=tree.num_parameters(shapes),
        num_bytes=num_bytes,
        disk_bytes=disk_bytes,
        dtypes=_dtypes(leaves.values()),
        statistics=statistics,
        fitting=fitting,
        config=config,
        differences=tree.differences(shapes, config.sizes) if config else [],
        cause=tree.likely_cause(shapes, config.sizes) if config else None,
        errors=errors + faults,
        warnings=warnings,
    )


def _read_small(leaves: Iterable[Leaf]) -> None:
    reading = [(leaf, leaf.start_reading(leaf.dtype)) for leaf in leaves if leaf.num_bytes <= SMALL_BYTES]
    for leaf, future in reading:
        leaf.finish(future)


def _dtypes(leaves: Iterable[Leaf]) -> dict[str, int]:
    """Parameters of each type on disk."""
    count: Counter[str] = Counter()
    for leaf in leaves:
        count[leaf.dtype] += tree.num_parameters({leaf.path: leaf.shape})
    return dict(count.most_common())


def _statistics(
    directory: Path, model: dims.Pi0, config: PolicyConfig | None
) -> tuple[dict[str, NormStats], list[str], list[str]]:
    """Statistics by asset id, why the needed ones cannot be used, and which others cannot: base checkpoints hold
    those of many robots."""
    asset_ids = list_asset_ids(directory)
    wanted, quantiles = None, model.pi05
    if config is not None:
        wanted, quantiles = config.data.asset_id, config.use_quantiles
        asset_ids = [wanted, *(asset_id for asset_id in asset_ids if asset_id != normpath(wanted))]
    found, unusable = {}, {}
    for asset_id in asset_ids or ["trossen"]:
        try:
            stats = found[asset_id] = load_norm_stats(directory, asset_id)
            for part in (stats.state, stats.actions):
                Scaling.of(part, STATE_DIM, quantiles)
        except StatisticsError as error:
            unusable[asset_id] = f"{asset_id}: {error}"
    if config is None and not found.keys() - unusable.keys():
        wanted = next(iter(unusable))
    faults = [unusable.pop(wanted)] if wanted in unusable else []
    return found, faults, list(unusable.values())


def _review(stats: NormStats, model: dims.Pi0, config: PolicyConfig | None) -> list[str]:
    if config is None:
        return review(stats, quantiles=model.pi05, adapt_to_pi=False, delta=False)
    return review_for(config, stats)
