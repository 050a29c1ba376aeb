"""An arm's thread: in order, with whatever comes of it, and never in the way of the process's end."""

import gc
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from fake_trossen import RAISED, Network, sdk
from trossen_rig import CONFIG, LEFT, RIGHT

from controller.robots.trossen import TrossenRobot
from controller.robots.trossen_thread import ArmThread


def test_work_is_done_in_order_in_one_thread():
    thread, done = ArmThread("left arm"), []
    for number in range(20):
        last = thread.submit(lambda number=number: done.append((number, threading.current_thread().name)))
    last.result(60)
    assert done == [(number, "left arm") for number in range(20)]
    thread.shutdown()


def test_what_is_raised_is_for_whoever_looks_and_the_thread_goes_on():
    thread = ArmThread("arm")
    with pytest.raises(ZeroDivisionError):
        thread.submit(lambda: 1 // 0).result(60)
    assert thread.submit(int, "7").result(60) == 7
    thread.shutdown()


def test_a_thread_ends_once_it_has_done_what_was_handed_in():
    thread = ArmThread("an arm that ends")
    last = thread.submit(int, "7")
    thread.shutdown()
    assert last.result(60) == 7
    while any(other.name == "an arm that ends" for other in threading.enumerate()):
        time.sleep(0.001)


def test_a_call_that_hangs_does_not_keep_the_process_alive():
    code = (
        "import threading\nfrom controller.robots.trossen_thread import ArmThread\n"
        "ArmThread('arm').submit(threading.Event().wait)\nprint('over')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "over\n"


class RealClock:
    def now_ns(self):
        return time.monotonic_ns()

    def sleep_until(self, t_ns, wake_fd=None):
        self.advance((t_ns - self.now_ns()) * 1e-9)

    def advance(self, seconds):
        time.sleep(max(0.0, seconds))


def test_the_loop_with_its_threads_leaves_no_garbage():
    """The motor process runs without the collector."""
    network = Network(RealClock())
    for address in (LEFT, RIGHT):
        network.add(address, RAISED)
    patient = CONFIG.robot.trossen.model_copy(update={"stale_s": 0.5})
    robot = TrossenRobot(
        CONFIG.robot.model_copy(update={"trossen": patient}), sdk=sdk(network), clock=network.clock
    )
    robot.connect()
    q, qd = np.tile(RAISED, 2), np.zeros(14)
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            robot.read(time.monotonic_ns())
            robot.write(time.monotonic_ns(), q, qd)
            time.sleep(0.002)
        assert gc.collect() == 0
    finally:
        gc.enable()
        robot.disconnect()
    assert len(network.drivers[0].calls) > 20
