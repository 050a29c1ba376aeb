"""The doctor's findings for a person and for a script. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from controller.findings import Finding, Level, worst

MARKS = {Level.OK: ("ok", "green"), Level.WARN: ("warn", "bold yellow"), Level.FAIL: ("FAIL", "bold red")}
SUBJECT_WIDTH = 18


@dataclass(frozen=True, slots=True)
class Section:
    """One area and what was found there."""

    name: str
    findings: list[Finding]


def all_of(sections: list[Section]) -> list[Finding]:
    return [finding for section in sections for finding in section.findings]


def described(sections: list[Section], config: str) -> dict[str, Any]:
    """In JSON types."""
    return {
        "config": config,
        "worst": worst(all_of(sections)).name.lower(),
        "sections": [
            {
                "name": section.name,
                "findings": [
                    {
                        "level": finding.level.name.lower(),
                        "subject": finding.subject,
                        "text": finding.text,
                        "next_step": finding.next_step or None,
                    }
                    for finding in section.findings
                ],
            }
            for section in sections
        ],
    }


def shown(sections: list[Section]) -> RenderableType:
    """A table for each area; what to do next stands under what is not well."""
    return Group(*(part for section in sections for part in (Text(section.name, "bold"), _table(section), Text())))


def verdict(sections: list[Section], took_s: float) -> Text:
    """The last line."""
    found = all_of(sections)
    count = {level: sum(finding.level is level for finding in found) for level in Level}
    word, style = MARKS[worst(found)]
    text = f"{count[Level.OK]} ok, {count[Level.WARN]} warn, {count[Level.FAIL]} fail, looked for {took_s:.1f} s"
    return Text.assemble((word, style), f"  {text}")


def _table(section: Section) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column(width=4)
    table.add_column(width=SUBJECT_WIDTH)
    table.add_column(ratio=1)
    for finding in section.findings:
        word, style = MARKS[finding.level]
        told = Text(finding.text)
        if finding.next_step:
            told.append(f"\n-> {finding.next_step}", "cyan")
        table.add_row(Text(word, style), Text(finding.subject), told)
    return table
