"""The configuration read again in a running daemon whose children are records: what is applied, refused, waited for."""

import asyncio
import logging

import pytest
from service_rig import ServiceManager
from supervisor_rig import Rig

from controller import logs, reload
from controller.config import load, shipped
from controller.faults import FaultCode
from controller.jog import Jog
from controller.refused import Refused
from controller.states import State


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "controller.toml"
    made.write_text(shipped("sim").read_text())
    return made


@pytest.fixture
def service(tmp_path):
    made = ServiceManager(tmp_path)
    yield made
    made.close()


@pytest.fixture
def rig(path, service, monkeypatch):
    made = Rig(load(path), service.environ)
    made.supervisor.config_path = str(path)
    root = logging.getLogger()
    level = root.level
    yield made
    root.setLevel(level)
    made.close()


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


async def beating(rig):
    """The children obey: whoever is dismissed ends, is started again, and beats."""
    started = set()

    def start(running, now_ns):
        started.add(running.row.name)
        running.process = type(rig.process("motor"))(1000 + len(started))
        running.started_ns = now_ns
        rig.status[running.row.name]["pid"] = running.process.pid

    rig.supervisor.children.start = start
    permit = rig.supervisor.owned.rings["permit"]
    record, reader = permit.blank(), permit.reader()
    while True:
        reader.newest(record)
        for name in rig.names:
            if rig.process(name).pid in record["dismissed"]:
                rig.end(name)
        rig.look()
        rig.supervisor._announce()  # noqa: SLF001
        await asyncio.sleep(0.01)


def asked(rig, who="a test"):
    """Reload; who began anew is in `rig.anew`."""

    async def run():
        life = asyncio.create_task(beating(rig))
        before = {name: rig.process(name).pid for name in rig.names}
        try:
            return await rig.supervisor.reload(who)
        finally:
            life.cancel()
            rig.anew = {name for name in rig.names if rig.process(name).pid != before[name]}

    return asyncio.run(run())


def test_what_may_change_is_in_effect_when_it_returns(rig, path):
    edit(path, "ws://127.0.0.1:8000", "ws://127.0.0.1:9000")
    edit(path, "[recorder]", '[daemon]\nlog_level = "debug"\n[recorder]')
    changed = asked(rig)
    assert "policy.url: 'ws://127.0.0.1:8000' -> 'ws://127.0.0.1:9000'" in changed
    assert rig.anew == {"link", "recorder"}
    supervisor = rig.supervisor
    for part in (supervisor, supervisor.children, supervisor.inputs, supervisor.ready):
        assert part.config.policy.url == "ws://127.0.0.1:9000"
    permit = supervisor.owned.rings["permit"]
    record = permit.blank()
    permit.reader().newest(record)
    assert logs.LEVELS[record["log_level"]] == "debug"
    assert not record["dismissed"].any(), "who comes next is not meant"
    assert logging.getLogger().level == logging.DEBUG
    assert (rig.state, rig.fault) == (State.IDLE, FaultCode.NONE)


def test_a_file_that_says_the_same_changes_nothing(rig, path):
    assert asked(rig) == ()
    assert rig.anew == set()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rate_hz = 50\n", "rate_hz = fifty\n", "not valid TOML"),
        ("blend_s = 0.1", "blend_s = 0.1\nblend = 1", "control.blend: unknown key"),
        ('kind = "sim"\nrate_hz', 'kind = "trossen"\nrate_hz', "robot"),
        ("arm_clearance_m = 0.015", "arm_clearance_m = 0.001", "only a restart changes guard.arm_clearance_m: 0.015"),
    ],
)
def test_what_cannot_be_applied_whole_is_not_applied_at_all(rig, path, caplog, old, new, said):
    before = rig.supervisor.config
    edit(path, old, new)
    edit(path, "ws://127.0.0.1:8000", "ws://127.0.0.1:9000")
    with pytest.raises(Refused, match=said):
        asked(rig)
    assert rig.supervisor.config is before
    assert rig.anew == set()
    assert any(record.levelno == logging.ERROR and said in record.getMessage() for record in caplog.records)
    assert rig.supervisor.reloading.under_way is False


@pytest.mark.parametrize("state", [State.HOMING, State.RUNNING])
def test_a_reload_is_refused_in_motion(rig, path, state):
    edit(path, "ws://127.0.0.1:8000", "ws://127.0.0.1:9000")
    rig.bring_to(state)
    with pytest.raises(Refused, match=f"in state {state.value}; a reload needs idle"):
        asked(rig)
    assert rig.state is state


def test_a_reload_is_refused_in_fault_and_while_the_daemon_ends(rig):
    rig.supervisor.trip(FaultCode.ESTOP, "a test")
    with pytest.raises(Refused, match="in state fault"):
        asked(rig)
    rig.supervisor.close()
    with pytest.raises(Refused, match="the daemon is ending"):
        asked(rig)


def test_nothing_begins_while_it_is_under_way(rig):
    rig.supervisor.reloading.under_way = True
    assert rig.supervisor.allowed() == ["stop"]
    with pytest.raises(Refused, match="being read again"):
        asyncio.run(rig.supervisor.home(1.0))
    with pytest.raises(Refused, match="being read again"):
        asyncio.run(rig.supervisor.jog(Jog("left_joint_0", 0.05), 0.1))


def test_one_that_does_not_begin_anew_is_named(rig, path, monkeypatch):
    monkeypatch.setattr(reload, "UP_TIMEOUT_S", 0.0)
    edit(path, "ws://127.0.0.1:8000", "ws://127.0.0.1:9000")
    with pytest.raises(TimeoutError, match=r"applied, but .*link.* did not begin anew"):
        asyncio.run(rig.supervisor.reload("a test"))
    permit = rig.supervisor.owned.rings["permit"]
    record = permit.blank()
    permit.reader().newest(record)
    assert not record["dismissed"].any(), "whoever gets one of these pids later is not meant"


def test_sighup_is_told_in_the_log_and_raises_nothing(rig, path, caplog):
    path.write_text("nonsense")

    async def hang_up():
        rig.supervisor.reloading.hang_up()
        await asyncio.sleep(0)
        await rig.supervisor.reloading._hung_up  # noqa: SLF001

    asyncio.run(hang_up())
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "asked for by SIGHUP is refused, all stays as it was" in record.getMessage()
    assert "not valid TOML" in record.getMessage()


def test_systemd_hears_that_it_is_over_even_if_it_was_refused(rig, path, service):
    rig.look()
    rig.supervisor._announce()  # noqa: SLF001
    assert "READY=1" in service.told()
    path.write_text("nonsense")
    with pytest.raises(Refused):
        asked(rig)
    rig.supervisor._announce()  # noqa: SLF001
    told = [text.split("\n")[0] for text in service.told() if text.startswith(("RELOADING", "READY"))]
    assert told == ["RELOADING=1", "READY=1"]


def test_systemd_does_not_hear_that_it_is_over_before_everybody_is_up(rig, path, service):
    edit(path, "ws://127.0.0.1:8000", "ws://127.0.0.1:9000")
    rig.look()
    rig.supervisor._announce()  # noqa: SLF001
    service.told()
    up = []
    awaited = rig.supervisor.children.awaited
    rig.supervisor.children.awaited = lambda names: up.append(service.told()) or awaited(names)
    asked(rig)
    assert len(up) > 1, "it was waited for"
    told = [text for told in up for text in told if text.startswith(("RELOADING", "READY"))]
    assert len(told) == 1
    assert told[0].startswith("RELOADING=1\nMONOTONIC_USEC=")
    rig.supervisor._announce()  # noqa: SLF001
    assert "READY=1" in service.told()


def test_a_child_that_does_not_leave_is_killed(rig):
    children = rig.supervisor.children
    link = children["link"]
    children.dismiss(["link"], 0)
    children.watch(4_000_000_000)
    assert rig.process("link").alive
    children.watch(6_000_000_000)
    assert not rig.process("link").alive
    children.watch(6_010_000_000)
    assert link.process is None
    assert (link.due_ns, link.failures) == (6_010_000_000, 0), "it begins anew at once"
    assert rig.fault is FaultCode.NONE
