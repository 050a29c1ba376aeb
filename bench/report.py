"""The benchmarks' results as a page: Markdown, a picture for each, and one HTML file with all of it.

    python -m bench.report            # of this machine's results; into runs/bench
    python -m bench.report --docs     # and the figures of README.md and docs/performance.md

Shows the results of one machine, and the policy's calls on every GPU whose results are kept.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from bench import lateness_plot, waterfall_plot
from bench.documents import bars_of, command_of, filled
from bench.host import ROOT, facts
from bench.policy import conditions_of, rows_of
from bench.report_plot import draw
from bench.result_files import read
from bench.results import Result
from bench.suite import BY_NAME
from bench.tables import machine_line, moment_line, rows_grid

RESULTS = ROOT / "bench" / "results"
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "performance.md")
PICTURES = {"end_to_end": waterfall_plot.draw, "control_loop": lateness_plot.draw}
"""Of those that have one of their own."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid #e2e2e2; text-align: left; }
th { border-bottom: 2px solid #888; }
img { max-width: 100%; }
code { background: #f2f2f2; padding: 0 0.25rem; }
"""


def results_of(directory: Path) -> dict[str, Result]:
    """The results that are kept of one machine, in the suite's order, others behind."""
    order = list(BY_NAME)
    found = {path.stem: read(path) for path in sorted(directory.glob("*.json"))}
    found = {name: one for name, one in found.items() if "bench" in one}
    return dict(sorted(found.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def kept(directory: Path) -> dict[str, dict[str, Result]]:
    """By machine; what policy_latency wrote is under the name of its file."""
    found = {path.name: results_of(path) for path in sorted(directory.iterdir()) if path.is_dir()}
    for path in sorted(directory.glob("*/*.json")):
        if "timings" in (document := read(path)):
            found[path.parent.name][path.stem] = {"bench": "policy", "rows": rows_of(document), "bars": []}
    return {host: own for host, own in found.items() if own}


def policies(directory: Path) -> dict[str, dict[str, Any]]:
    """What policy_latency wrote about GPUs, by machine and file."""
    found = {f"{path.parent.name}, {path.stem}": read(path) for path in sorted(directory.glob("*/*.json"))}
    return {name: one for name, one in found.items() if "timings" in one}


def as_markdown(results: Sequence[Result], gpus: dict[str, dict[str, Any]], pictures: Sequence[str]) -> str:
    """The whole report. pictures: the benchmarks that have one beside it."""
    host = results[0]["host"]
    parts = [f"# Benchmarks: {host['name']}", machine_line(host), bars_of(results).as_markdown()]
    for one in results:
        bench = BY_NAME.get(one["bench"])
        runs = one.get("runs", 1)
        parts += [
            f"## {bench.question if bench else one['bench']}",
            f"`{command_of(one)}`, {f'medians of {runs} runs' if runs > 1 else 'one run'}; {moment_line(one['host'])}",
            *([f"![{one['bench']}]({one['bench']}.png)"] if one["bench"] in pictures else []),
            rows_grid(one).as_markdown(),
            *(["\n".join(f"- {note}" for note in one["notes"])] if one.get("notes") else []),
        ]
    for name, document in gpus.items():
        rows = {"bench": "policy", "rows": rows_of(document)}
        conditions = "\n".join(f"- {line}" for line in conditions_of(document))
        parts += [f"## One call of the model: {name}", conditions, rows_grid(rows).as_markdown()]
    return "\n\n".join(parts) + "\n"


def as_html(markdown: str, title: str, directory: Path) -> str:
    """One file that needs no other: its pictures are in it."""

    def inlined(found: re.Match[str]) -> str:
        data = base64.b64encode((directory / found[1]).read_bytes()).decode()
        return f'src="data:image/png;base64,{data}"'

    body = MarkdownIt("commonmark").enable("table").render(markdown)
    body = re.sub(r'src="([\w.-]+\.png)"', inlined, body)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )


def write(host: str, directory: Path, out: Path) -> Path:
    """The page of one machine's results, which lie in `directory`."""
    results = list(results_of(directory / host).values())
    if not results:
        there = ", ".join(path.name for path in sorted(directory.iterdir()) if results_of(path)) or "none at all"
        sys.exit(f"no results of {host} in {directory}, only {there}; `make bench` makes them")
    out.mkdir(parents=True, exist_ok=True)
    pictures = [one["bench"] for one in results if PICTURES.get(one["bench"], draw)(one, out / f"{one['bench']}.png")]
    text = as_markdown(results, policies(directory), pictures)
    (out / "report.md").write_text(text, encoding="utf-8")
    page = out / "report.html"
    page.write_text(as_html(text, f"Benchmarks: {host}", out), encoding="utf-8")
    return page


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", help="whose results (this machine's)")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench", help="(runs/bench)")
    parser.add_argument("--docs", action="store_true", help="write the figures of the documents anew")
    arguments = parser.parse_args(argv)
    page = write(arguments.host or facts()["name"], RESULTS, arguments.out)
    print(f"{page.with_suffix('.md').read_text(encoding='utf-8')}\nwritten to {page}")
    for path in DOCUMENTS if arguments.docs else ():
        path.write_text(filled(path.read_text(encoding="utf-8"), kept(RESULTS)), encoding="utf-8")
        print(f"figures of {path.relative_to(ROOT)} written")


if __name__ == "__main__":
    main()
