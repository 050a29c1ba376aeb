"""The pages about states and faults are what the tables say."""

import subprocess
import sys
from pathlib import Path

import pytest

from controller.fault_matrix import MATRIX
from controller.faults import FAULTS
from controller.states import TRANSITIONS, mermaid
from controller.tables import PAGES, faults_page, states_page

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


def test_the_command_writes_both_pages(tmp_path):
    subprocess.run([sys.executable, "-m", "controller.tables", str(tmp_path)], check=True, timeout=60)
    assert {path.name for path in tmp_path.iterdir()} == set(PAGES)


def test_the_command_refuses_a_directory_that_is_not_there(tmp_path):
    command = [sys.executable, "-m", "controller.tables", str(tmp_path / "none")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "usage" in result.stderr
