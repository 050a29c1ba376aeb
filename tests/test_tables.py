"""The pages about states, faults and the configuration are what the code says."""

import subprocess
import sys
from pathlib import Path

import pytest

from controller.fault_matrix import MATRIX
from controller.faults import FAULTS
from controller.states import TRANSITIONS, mermaid
from controller.tables import PAGES, configuration_page, faults_page, states_page

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name):
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run: python -m controller.tables docs"


def test_the_states_page_has_the_diagram_and_a_row_for_each_transition():
    page = states_page()
    assert mermaid() in page
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == len(TRANSITIONS)
    assert all(len([cell for cell in row.split("|") if cell.strip()]) == 4 for row in rows)


def test_the_faults_page_has_a_row_for_each_fault():
    rows = [line for line in faults_page().splitlines() if line.startswith("| `")]
    words, matrix = rows[: len(FAULTS)], rows[len(FAULTS) :]
    assert [row.split("`")[1] for row in words] == [code.name.lower() for code in FAULTS]
    assert [row.split("`")[1] for row in matrix] == [code.name.lower() for code in MATRIX]
    assert all(row.count("|") == 6 for row in rows)


def test_the_command_writes_every_page(tmp_path):
    subprocess.run([sys.executable, "-m", "controller.tables", str(tmp_path)], check=True, timeout=60)
    assert {path.name for path in tmp_path.iterdir()} == set(PAGES)


def test_the_command_refuses_a_directory_that_is_not_there(tmp_path):
    command = [sys.executable, "-m", "controller.tables", str(tmp_path / "none")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "usage" in result.stderr


def test_the_configuration_page_tells_of_every_key_what_it_is():
    page = configuration_page()
    assert {line.split("`")[1] for line in page.splitlines() if line.startswith("## ")} >= {
        "[robot]", "[robot.limits.brake]", "[cameras.NAME]", "[cameras.NAME.lerobot]", "[control]", "[realtime]",
    }  # fmt: skip
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert [row for row in rows if len(row) != 4 or not row[3].strip(" |")] == []
    for row in (
        "| `rate_hz` | number ≥ 10, ≤ 500 | `50.0` | Ticks per second; whatever the policy's action rate. |",
        "| `upper` | 7 numbers |  | Largest position. |",
        '| `arm` | `"rad"` or `"deg"` |  | Of the six joints of an arm. |',
    ):
        assert row in page
