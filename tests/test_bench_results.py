"""Results of benchmarks: several runs made one, rows by their names, pytest-benchmark's JSON."""

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.pytest_rows import rows_of
from bench.result_files import read, write
from bench.results import Bar, by_names, merged, result, spread
from bench.suite import BY_NAME, Bench, rounds

BENCH = Path(__file__).parent.parent / "bench"

HOST = {
    "name": "a",
    "busy_percent": 10.0,
    "steal_percent": 0.0,
    "cpu_waited_percent": None,
    "load": [1.0, 2.0],
    "took_s": 3.0,
}


def run(*medians, **host):
    rows = [
        {"peer": peer, "cameras": 4, "n": 10, "p50_ms": p50}
        for peer, p50 in zip(("ours", "stock"), medians, strict=False)
    ]
    return result("wire", HOST | host, rows, [Bar("round trip", medians[0], 2.0, "ms")], key=["cameras"])


def test_a_result_is_of_plain_values_and_says_whether_bars_are_met(tmp_path):
    one = run(1.23456789, 2.5)
    assert one["rows"][0] == {"peer": "ours", "cameras": 4, "n": 10, "p50_ms": 1.235}
    assert one["bars"] == [{"name": "round trip", "value": 1.23456789, "bound": 2.0, "unit": "ms", "met": True}]
    assert not run(2.1)["bars"][0]["met"]
    path = tmp_path / "some" / "wire.json"
    write(one, path)
    assert read(path) == one
    assert sum("p50_ms" in line for line in path.read_text().splitlines()) == 2


def test_a_result_without_rows_is_written_too(tmp_path):
    write(result("wire", HOST, [], []), tmp_path / "a.json")
    assert read(tmp_path / "a.json")["rows"] == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_finding_that_is_not_a_number_is_refused(value):
    with pytest.raises(ValueError, match=str(value)):
        run(value)


def test_runs_become_one_by_their_medians():
    one = merged(
        [run(1.0, 5.0, busy_percent=20.0), run(3.0, 4.0), run(2.0, 9.0, load=[0.5, 7.0], cpu_waited_percent=4.0)]
    )
    ours, stock = one["rows"]
    assert (ours["p50_ms"], stock["p50_ms"]) == (2.0, 5.0)
    assert ours["repeats"]["p50_ms"] == [1.0, 3.0, 2.0]
    assert one["bars"][0]["value"] == 2.0
    assert one["runs"] == 3
    host = one["host"]
    assert (host["busy_percent"], host["cpu_waited_percent"], host["load"], host["took_s"]) == (
        20.0,
        4.0,
        [0.5, 7.0],
        9.0,
    )


def test_histograms_of_several_runs_are_added_up():
    runs = [
        result("loop", {"took_s": 1.0, "load": [0.0]}, [{"program": "ours", "p50_us": 1.0, "histogram": bins}])
        for bins in ([[8, 1], [16, 2]], [[16, 3], [32, 1]])
    ]
    row = merged(runs)["rows"][0]
    assert row["histogram"] == [[8, 1], [16, 5], [32, 1]]
    assert "histogram" not in row["repeats"]


def test_a_row_that_a_run_lacks_is_kept():
    assert [row["peer"] for row in merged([run(1.0), run(1.0, 2.0)])["rows"]] == ["ours", "stock"]


def test_one_run_stays_as_it_is():
    assert merged([run(1.0)])["rows"] == run(1.0)["rows"]


def test_runs_of_different_benchmarks_are_not_mixed():
    with pytest.raises(ValueError, match="'shm'"):
        merged([run(1.0), run(1.0) | {"bench": "shm"}])


def test_rows_are_told_apart_by_their_texts_and_by_the_key():
    rows = [{"transport": "shm", "readers": n, "p50_ms": 0.1 * n} for n in (1, 2)]
    assert set(by_names(result("a", HOST, rows, key=["readers"]))) == {("shm", "1"), ("shm", "2")}
    with pytest.raises(ValueError, match=r"two rows of a .*'shm'"):
        by_names(result("a", HOST, rows))


def test_a_spread_has_values_that_occurred():
    assert spread(range(1, 201), "ms", 0.5) == {"n": 200, "p50_ms": 50.0, "p99_ms": 99.0, "max_ms": 100.0}
    assert "p99_ms" in spread(range(100), "ms")
    assert "p99_ms" not in spread(range(99), "ms")
    with pytest.raises(ValueError, match="no value of ms"):
        spread([], "ms")


def test_rows_of_pytest_benchmark():
    benchmark = {"name": "test_a", "extra_info": {"peer": "ours", "bytes": 7}, "stats": {"data": [0.001, 0.003, 0.002]}}
    (row,) = rows_of({"benchmarks": [benchmark]}, "ms")
    assert row == pytest.approx({"peer": "ours", "bytes": 7, "n": 3, "p50_ms": 2.0, "max_ms": 3.0})
    with pytest.raises(ValueError, match="test_a does not say"):
        rows_of({"benchmarks": [benchmark | {"extra_info": {}}]}, "ms")


def test_runs_take_turns():
    a, b = (Bench(name, "?", ("-m", name), repeats) for name, repeats in (("a", 3), ("b", 1)))
    assert [bench.name for bench in rounds((a, b))] == ["a", "b", "a", "a"]
    assert [bench.name for bench in rounds((a, b), 2)] == ["a", "b", "a", "b"]
    assert a.command == "python -m a --quick"


def test_every_benchmark_has_a_program_and_a_question():
    for bench in BY_NAME.values():
        assert bench.question.endswith("?")
        assert bench.repeats >= 1
        assert bench.arguments[0] == "-m"
        assert find_spec(bench.arguments[1]), f"{bench.command} is not there"


def docstring(path):
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


PURE = [path for path in sorted(BENCH.glob("*.py")) if "Pure." in docstring(path)]


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.stem)
def test_what_is_called_pure_touches_neither_clock_nor_system(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {alias.name for node in nodes for alias in node.names} | {getattr(node, "module", "") for node in nodes}
    assert not imported & {"os", "time", "socket", "subprocess", "threading", "multiprocessing", "pathlib"}


def test_the_rules_of_comparison_are_pure():
    assert {"results", "verdict", "suite", "tables", "documents", "pytest_rows", "link_shape"} <= {p.stem for p in PURE}
