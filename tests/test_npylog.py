import numpy as np
import pytest

from controller import layout, npylog
from controller.npylog import NpyLog


def rows(count: int, start: int = 0) -> np.ndarray:
    made = np.zeros(count, layout.JOINTS)
    made["t_ns"] = np.arange(start, start + count)
    made["q"][:, 3] = 0.5 * made["t_ns"]
    return made


def test_numpy_load_reads_what_was_appended_with_every_column_in_place(tmp_path):
    path = tmp_path / "joints.npy"
    log = NpyLog(path, layout.JOINTS)
    log.append(rows(3).tobytes())
    log.append(rows(2, start=3).tobytes())
    log.close()
    loaded = np.load(path)
    assert log.rows == 5
    assert loaded.dtype == layout.JOINTS
    np.testing.assert_array_equal(loaded, rows(5))


def test_the_header_keeps_its_length_however_many_rows_there_are(tmp_path):
    lengths = {len(npylog.header(layout.TICK, count)) for count in (0, 9, 10, 10**6, 2**62)}
    assert len(lengths) == 1


def test_a_file_is_readable_while_it_is_still_open(tmp_path):
    log = NpyLog(tmp_path / "a.npy", layout.JOINTS)
    assert len(np.load(tmp_path / "a.npy")) == 0
    log.append(rows(4).tobytes())
    assert len(np.load(tmp_path / "a.npy")) == 4
    log.close()


def test_a_crash_between_rows_and_header_loses_nothing(tmp_path):
    path = tmp_path / "a.npy"
    log = NpyLog(path, layout.JOINTS)
    log.append(rows(4).tobytes())
    log.close()
    with path.open("ab") as file:
        file.write(rows(3, start=4).tobytes())
    assert len(np.load(path)) == 4  # numpy believes the header
    np.testing.assert_array_equal(npylog.read(path), rows(7))


@pytest.mark.parametrize("lost_b", [1, layout.JOINTS.itemsize - 1])
def test_a_row_cut_short_is_left_out(tmp_path, lost_b):
    path = tmp_path / "a.npy"
    log = NpyLog(path, layout.JOINTS)
    log.append(rows(4).tobytes())
    log.close()
    path.write_bytes(path.read_bytes()[:-lost_b])
    np.testing.assert_array_equal(npylog.read(path), rows(3))


def test_bytes_that_are_no_whole_rows_are_refused_and_nothing_is_written(tmp_path):
    log = NpyLog(tmp_path / "a.npy", layout.JOINTS)
    with pytest.raises(ValueError, match=r"no whole rows of \d+ bytes"):
        log.append(rows(2).tobytes()[:-1])
    log.close()
    assert len(npylog.read(tmp_path / "a.npy")) == 0


def test_an_existing_file_is_never_overwritten(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        NpyLog(path, layout.JOINTS)
    assert path.read_bytes() == b"precious"


def test_a_file_that_is_not_npy_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(b"something else altogether, long enough")
    with pytest.raises(ValueError, match="magic"):
        npylog.read(path)
