"""Running the benchmarks: by turns, one failure apart, and what is measured goes through every peer."""

import sys
from contextlib import closing
from itertools import product

import numpy as np
import pytest

from bench import __main__ as program
from bench.hand_over import bar_of, last, measure, now, publish, readers
from bench.result_files import write
from bench.results import result
from bench.suite import Bench
from bench.transports import TRANSPORTS
from bench.wire_peers import JPEG, OURS, RAW, STOCK, asking, message, observation, serving

WRITES = """
import sys
from pathlib import Path
from bench.result_files import read, write
kept, at = Path({kept!r}), sys.argv.index("--json")
one = read(kept)
one["rows"][0]["p50_ms"] += 1.0
write(one, kept)
write(one, Path(sys.argv[at + 1]))
"""


def test_runs_become_results_and_one_that_fails_keeps_no_other_from_running(tmp_path, capfd):
    host = {"busy_percent": 1.0, "steal_percent": 0.0, "cpu_waited_percent": 0.0, "load": [0.1], "took_s": 1.0}
    kept = tmp_path / "kept.json"
    write(result("good", host, [{"what": "it", "p50_ms": 0.5}]), kept)
    good = Bench("good", "?", ("-c", WRITES.format(kept=str(kept))), 3, ())
    bad = Bench("bad", "?", ("-c", "import sys; sys.exit('no such device')"), 1)
    results, failed = program.measure([bad, good], None, quick=True)
    assert failed == ["bad"]
    (one,) = results
    assert one["rows"] == [{"what": "it", "p50_ms": 2.5, "repeats": {"p50_ms": [1.5, 2.5, 3.5]}}]
    told = capfd.readouterr()
    assert "no such device" in told.err
    assert "4 of 4: python -c" in told.out


@pytest.mark.parametrize("arguments", [["no-such"], ["wire", "--repeats", "0"]])
def test_what_cannot_be_run_is_refused_by_name(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        program.main(arguments)
    assert arguments[-1] in capsys.readouterr().err


@pytest.mark.parametrize("kind", TRANSPORTS, ids=lambda kind: kind.name)
def test_a_frame_reaches_all_readers_of_a_transport(kind):
    if kind.missing:
        pytest.skip(kind.missing)
    with closing(kind(4096, 2)) as transport:
        found = measure(transport, 5)
    assert found["n"] == 10
    assert 0.0 < found["p50_ms"] <= found["max_ms"]
    assert found["mb_per_s"] > 0.0


@pytest.mark.parametrize("kind", TRANSPORTS, ids=lambda kind: kind.name)
def test_a_frame_is_stamped_when_it_is_whole_where_its_time_begins(kind):
    if kind.missing:
        pytest.skip(kind.missing)
    frame, stamped = np.arange(4096, dtype=np.uint8), []
    with closing(kind(4096, 1)) as transport, readers(transport) as ends:
        send = transport.sender()
        publish(send, ends, frame, lambda memory: (stamped.append((memory is frame, memory.copy())), now(memory)))
        publish(send, ends, frame, last)
    ((in_own_memory, seen),) = stamped
    assert in_own_memory == ("in" in kind.copies)
    np.testing.assert_array_equal(seen, np.arange(4096, dtype=np.uint8))


def test_the_bar_is_for_a_frame_that_was_filled_in_place():
    rows = [
        {"what": what, "transport": kind.name, "readers": count, "p50_ms": p50_ms}
        for p50_ms, (what, kind, count) in enumerate(product(("joints", "frame"), TRANSPORTS, (4, 1)), 1)
    ]
    wanted = {"what": "frame", "transport": "shm, filled in place", "readers": 1}
    assert [bar_of(rows).value] == [row["p50_ms"] for row in rows if wanted.items() <= row.items()]


@pytest.mark.filterwarnings("ignore:connect.. must be used as a context:DeprecationWarning")
@pytest.mark.parametrize("peer", [OURS, STOCK])
def test_both_peers_answer_the_same_request(peer):
    what = observation(3, 48, 64)
    with serving(peer) as port:
        for encoding in (RAW, JPEG) if peer == OURS else (RAW,):
            with asking(peer, port, what, encoding) as infer:
                np.testing.assert_array_equal(infer()["actions"], np.zeros((50, 14)))


def test_pictures_are_such_as_a_jpeg_encoder_is_made_for():
    what = observation(4, 480, 640)
    assert len(what["images"]) == 4
    assert 0.05 < len(message(what, JPEG)) / len(message(what, RAW)) < 0.2
    assert sys.getsizeof(message(what, RAW)) > 4 * 3 * 480 * 640
