"""The header of every benchmark: what it takes from /proc and /sys, and what it keeps to itself."""

import json
import platform
import subprocess

import pytest

from bench.host import Host, commit, governor, name_of, waited_us


@pytest.mark.parametrize(
    ("cpu", "cores", "name"),
    [
        ("AMD EPYC", 2, "amd-epyc-2-cores"),
        ("AMD EPYC 7763 64-Core Processor", 8, "amd-epyc-7763-8-cores"),
        ("Intel(R) Core(TM) i9-14900K CPU @ 3.20GHz", 32, "intel-core-i9-14900k-32-cores"),
        ("", 1, "unknown-1-cores"),
    ],
)
def test_a_name_says_what_the_machine_is(cpu, cores, name):
    assert name_of(cpu, cores) == name


def test_governor_is_that_of_all_processors(tmp_path):
    assert governor(tmp_path) == "none"
    for number, word in enumerate(["powersave", "performance", "powersave"]):
        directory = tmp_path / f"cpu{number}" / "cpufreq"
        directory.mkdir(parents=True)
        (directory / "scaling_governor").write_text(f"{word}\n")
    assert governor(tmp_path) == "performance, powersave"


def test_time_waited_is_read_where_the_kernel_tells_it(tmp_path):
    assert waited_us(tmp_path / "cpu") is None
    (tmp_path / "cpu").write_text(
        "some avg10=1.00 avg60=2.00 avg300=3.00 total=4567\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )
    assert waited_us(tmp_path / "cpu") == 4567


def test_commit_tells_changed_files(tmp_path):
    assert commit(tmp_path) is None

    def git(*words):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", tmp_path, *words],
            check=True,
            capture_output=True,
        )

    git("init", "--quiet")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "--quiet", "--message", "first")
    clean = commit(tmp_path)
    assert len(clean) == 10
    (tmp_path / "file").write_text("two")
    assert commit(tmp_path) == clean + "+"


def test_header_names_the_machine_by_what_it_is(monkeypatch):
    monkeypatch.setenv("PI0_BENCH_HOST", "a-robot-pc")
    header = Host().header()
    assert header["name"] == "a-robot-pc"
    assert json.loads(json.dumps(header, allow_nan=False)) == header
    assert platform.node() not in header.values()
    assert header["realtime"]["granted"] or header["realtime"]["refused"]
    assert header["took_s"] >= 0.0
