"""The benchmarks' report, and the documents' figures: those of the results that are kept."""

import json
import re
from html.parser import HTMLParser

import pytest

from bench import compare, documents, highlights, lateness_plot, report
from bench.documents import filled
from bench.highlights import Highlight, told
from bench.lateness import lateness_row
from bench.policy import rows_of
from bench.report_plot import draw
from bench.result_files import write
from bench.results import Bar, merged, result

HOST = {
    "name": "a-host", "cpu": "a cpu", "cores": 2, "virtual": True, "kernel": "6.1", "preemption": "PREEMPT",
    "governor": "none", "realtime": {"granted": ["fifo 30"], "refused": ["mlockall (no)"]}, "python": "3.11",
    "cpu_dma_latency": "cpu_dma_latency 0", "versions": {"numpy": "2.0", "websockets": "15"}, "commit": "abc",
    "begun": "2026-01-02T03:04:05+00:00", "took_s": 1.0, "busy_percent": 12.5, "steal_percent": 0.5,
    "cpu_waited_percent": None, "load": [0.1, 0.2],
}  # fmt: skip


def wire(*medians_ms):
    def run(p50_ms):
        rows = [
            {"link": link, "cameras": 4, "peer": peer, "n": 9, "p50_ms": p50_ms, "max_ms": 2 * p50_ms}
            for link in ("loopback", "gigabit")
            for peer in ("ours", "stock")
        ]
        return result("wire", HOST, rows, [Bar("round trip", p50_ms, 2.0, "ms")], key=["cameras"], notes=["a note"])

    return merged([run(p50_ms) for p50_ms in medians_ms])


def policy():
    timing = {"what": "3 cameras", "n": 100, "p50_ms": 13.0, "p95_ms": None, "bound_ms": 6.5, "ratio": 0.5}
    return {"conditions": {"device": "a gpu", "host": "its own name"}, "timings": {"whole calls": [timing]}}


@pytest.fixture
def results(tmp_path):
    directory = tmp_path / "results"
    write(wire(1.0, 1.5, 3.0), directory / "a-host" / "wire.json")
    (directory / "a-gpu").mkdir()
    (directory / "a-gpu" / "latency.json").write_text(json.dumps(policy()))
    return directory


def test_the_page_needs_no_other_file_and_says_where_it_was_measured(results, tmp_path):
    page = report.write("a-host", results, tmp_path / "out").read_text()
    assert HTMLParser().feed(page) is None
    sources = re.findall(r'(?:src|href)="([^"]{10})', page)
    assert sources == ["data:image"]
    for text in ("a cpu, 2 cores, virtual machine", "6.1", "NOT mlockall (no)", "commit abc", "medians of 3 runs"):
        assert text in page
    assert "<li>a note</li>" in page
    assert "<td>round trip</td>" in page
    assert "a gpu" in page
    assert "its own name" not in page


def test_the_policys_times_stand_under_their_table():
    assert rows_of(policy()) == [
        {"table": "whole calls", "what": "3 cameras", "n": 100, "p50_ms": 13.0, "bound_ms": 6.5, "ratio": 0.5}
    ]


def test_without_results_the_report_says_what_to_do(results, tmp_path):
    with pytest.raises(SystemExit, match=r"no results of nowhere .* only a-host; `make bench`"):
        report.write("nowhere", results, tmp_path / "out")


def test_rows_without_a_spread_have_no_picture(tmp_path):
    assert not draw(result("startup", HOST, [{"what": "ready", "took_s": 1.0}]), tmp_path / "a.png")
    assert draw(wire(1.0), tmp_path / "b.png")
    assert [path.name for path in tmp_path.iterdir()] == ["b.png"]


def loop_result():
    rows = [
        {"load": load, "scheduling": "fifo", "program": program} | lateness_row({20: 90, 300: 9, 5000: 1}, 5000.5)
        for load in ("idle", "load")
        for program in ("ours", "cyclictest")
    ]
    return result("control_loop", HOST, rows)


def test_histograms_are_drawn_and_in_no_table(results, tmp_path):
    write(merged([loop_result(), loop_result()]), results / "a-host" / "control_loop.json")
    page = report.write("a-host", results, tmp_path / "out").read_text()
    assert "histogram" not in page
    assert (tmp_path / "out" / "control_loop.png").stat().st_size > 10_000
    assert not lateness_plot.draw(result("control_loop", HOST, [{"load": "idle", "p50_us": 1.0}]), tmp_path / "a.png")


def test_a_document_is_filled_between_its_marks_and_stays_so(results):
    text = "before\n<!-- bench: {} a-host -->\nold\n<!-- bench: end -->\nafter\n"
    kept = report.kept(results)
    once = filled(text.format("bars"), kept)
    assert "| round trip | 1.5 ms | 2 ms | yes | `python -m bench.micro wire` |" in once
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert filled(once, kept) == once
    rows = filled(text.format("wire"), kept)
    assert "| gigabit | 4 | stock | 9 | 1.5 | 3 |" in rows
    assert "`python -m bench.micro wire`; commit abc, 2026-01-02: 12.5 % busy" in rows
    assert "a cpu, 2 cores" in filled(text.format("host"), kept)


ASKED = Highlight("a request there and back", "wire", ({"link": "loopback", "peer": "ours"},), "{0[p50_ms]} ms")


def test_a_highlight_is_the_field_of_its_row():
    assert told(ASKED, wire(1.0, 1.5, 3.0)) == "1.5 ms"


@pytest.mark.parametrize(
    ("rows", "text", "why"),
    [
        (({"peer": "ours"},), "{0[p50_ms]}", "2 rows of wire are"),
        (({"peer": "nobody"},), "{0[p50_ms]}", "0 rows of wire are"),
        (({"link": "loopback", "peer": "ours"},), "{0[p50_us]}", "wire has no field 'p50_us'"),
    ],
)
def test_a_highlight_that_is_not_in_the_result_is_an_error(rows, text, why):
    with pytest.raises(ValueError, match=why):
        highlights.told(Highlight("", "wire", rows, text), wire(1.0))


def test_the_highlights_stand_with_their_commands_and_may_be_of_another_machine(results, monkeypatch):
    of_the_gpu = Highlight("a call", "latency", ({"what": "3 cameras"},), "{0[p50_ms]} ms", host="a-gpu")
    monkeypatch.setattr(documents, "HIGHLIGHTS", (ASKED, of_the_gpu))
    text = filled("<!-- bench: highlights a-host -->\n<!-- bench: end -->\n", report.kept(results))
    assert "| a request there and back | 1.5 ms | `python -m bench.micro wire` |" in text
    assert "| a call | 13 ms | `python -m bench.policy --quick` |" in text
    monkeypatch.setattr(documents, "HIGHLIGHTS", (Highlight("", "peers", (), ""),))
    with pytest.raises(ValueError, match="a-host has no result of peers; `make bench ARGS=peers` on it makes one"):
        filled("<!-- bench: highlights a-host -->\n<!-- bench: end -->\n", report.kept(results))


@pytest.mark.parametrize(
    ("what", "host", "told"), [("wire", "b-host", "no results of b-host"), ("shm", "a-host", "no result of shm")]
)
def test_a_figure_without_a_result_is_an_error(results, what, host, told):
    with pytest.raises(ValueError, match=told):
        filled(f"<!-- bench: {what} {host} -->\n<!-- bench: end -->\n", report.kept(results))


@pytest.mark.parametrize("path", report.DOCUMENTS, ids=lambda path: path.name)
def test_the_documents_hold_what_the_results_say(path):
    text = path.read_text(encoding="utf-8")
    assert filled(text, report.kept(report.RESULTS)) == text, "python -m bench.report --docs writes them anew"


def test_what_changed_is_told_with_both_numbers(tmp_path, capsys):
    write(wire(1.0, 1.1, 1.2), tmp_path / "before" / "wire.json")
    write(wire(2.0, 2.1, 2.2), tmp_path / "now" / "wire.json")
    write(wire(2.0, 2.1, 2.2) | {"bench": "new"}, tmp_path / "now" / "new.json")
    compare.main(["--now", str(tmp_path / "now"), "--before", str(tmp_path / "before")])
    told = capsys.readouterr().out
    assert "wire: 4 worse" in told
    assert "| loopback, 4, ours | p50 ms | 1.1 | 2.1 | 1.91 | 1.67 to 2.20 | worse |" in told
    assert "new: no result in" in told


def test_nothing_to_compare_is_an_error(tmp_path):
    with pytest.raises(SystemExit, match="no results in"):
        compare.main(["--now", str(tmp_path), "--before", str(tmp_path)])
