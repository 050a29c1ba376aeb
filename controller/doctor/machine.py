"""Is the machine fit to drive arms 50 times a second? Judges facts that `machine_facts` gathers. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from controller.findings import Finding, Level

GUIDE = "see docs/inference-pc.md"

GOOD_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page")
CPUS = 4
"""Control, motor and supervisor, four cameras, link and recorder: two cores do it for small pictures."""

LOAD = 0.7
"""Of each core."""

STEAL_PERCENT = 0.5
"""Ticks late by more than a millisecond rise with steal: measured, one in 25 at this much."""

MEMORY_B = 2e9
"""Of all processes: about 1 GB, and as much for what the system does meanwhile."""

DISK_B = 10e9
"""Four hours of recording with video."""

DISK_RATE = 20e6
"""Bytes per second: recorder and videos write 2 MB/s, in bursts."""

LATE_WARN_US, LATE_FAIL_US = 1000.0, 5000.0
"""Of 1 of 100 wake-ups. 5 ms is a period of the motor process."""


@dataclass(frozen=True, slots=True)
class Machine:
    """As the kernel tells it; None or empty where it does not."""

    kernel: str
    realtime_kernel: bool
    virtual: bool
    cpus: int
    isolated: frozenset[int]
    governors: frozenset[str]
    smt: bool
    clocksource: str
    load: float
    steal_percent: float | None
    memory_free_b: int
    memory_limit_b: int | None
    cpu_quota: float | None
    shm_free_b: int
    shm_needed_b: int


@dataclass(frozen=True, slots=True)
class Disk:
    """directory: the nearest that exists, of the recorder's. rate: bytes per second, None where not measured."""

    directory: str
    free_b: int
    rate: float | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Rights:
    """What a child process was granted when it asked, and how late it then woke up, in us.

    unit: what the installed service is given that this user may lack, empty without it. awake_group: the group that may
    hold the CPUs awake, empty if root alone may.
    """

    granted: tuple[str, ...]
    refused: tuple[str, ...]
    awake: bool
    late_p99_us: float
    late_max_us: float
    user: str = ""
    unit: str = ""
    awake_group: str = ""


def judge(machine: Machine, *, real: bool, pinned: tuple[int, ...]) -> list[Finding]:
    """real: arms will move, not a simulation. pinned: the CPUs that the configuration gives to control and motor."""
    serious = Level.WARN if real else Level.OK
    return [
        _kernel(machine, serious),
        _cpus(machine, serious),
        *(_pinned(machine, cpu) for cpu in pinned),
        _governor(machine),
        _clock(machine),
        _load(machine),
        _memory(machine),
        _quota(machine),
        _shared(machine),
    ]


def _one(bad: Level, wrong: bool, subject: str, text: str, next_step: str) -> Finding:
    """OK unless `wrong`; a level of OK for what is wrong tells it and asks for nothing."""
    return Finding(bad, subject, text, next_step) if wrong and bad is not Level.OK else Finding(Level.OK, subject, text)


def _kernel(machine: Machine, serious: Level) -> Finding:
    kind = "PREEMPT_RT" if machine.realtime_kernel else "not PREEMPT_RT"
    where = ", virtual machine" if machine.virtual else ""
    step = f"boot a PREEMPT_RT kernel of your distribution, on the machine itself; {GUIDE}"
    wrong = not machine.realtime_kernel or machine.virtual
    return _one(serious, wrong, "kernel", f"{machine.kernel}, {kind}{where}", step)


def _cpus(machine: Machine, serious: Level) -> Finding:
    isolated = f"isolated {_numbers(machine.isolated)}" if machine.isolated else "none isolated"
    text = f"{machine.cpus} (at least {CPUS}), {isolated}, hyperthreading {'on' if machine.smt else 'off'}"
    return _one(serious, machine.cpus < CPUS, "CPUs", text, f"use a machine with {CPUS} cores or more; {GUIDE}")


def _pinned(machine: Machine, cpu: int) -> Finding:
    subject = f"CPU {cpu}"
    if cpu >= machine.cpus:
        step = "correct realtime.control_cpu and motor_cpu in the configuration"
        return Finding(Level.FAIL, subject, f"configured, and there are {machine.cpus}", step)
    wrong = cpu not in machine.isolated
    step = f"boot with isolcpus={cpu} nohz_full={cpu} rcu_nocbs={cpu}, or do not pin; {GUIDE}"
    return _one(Level.WARN, wrong, subject, "pinned, not isolated" if wrong else "pinned and isolated", step)


def _governor(machine: Machine) -> Finding:
    text = ", ".join(sorted(machine.governors)) or "none: the kernel does not scale frequencies here"
    wrong = bool(machine.governors - {"performance"})
    return _one(Level.WARN, wrong, "CPU governor", text, "cpupower frequency-set -g performance")


def _clock(machine: Machine) -> Finding:
    wrong = machine.clocksource not in GOOD_CLOCKS
    step = f"find out from the kernel's log why tsc was given up (dmesg | grep -i tsc); {GUIDE}"
    return _one(Level.WARN, wrong, "clock source", machine.clocksource or "unknown", step)


def _load(machine: Machine) -> Finding:
    steal = machine.steal_percent
    text = f"{machine.load:.1f} of {machine.cpus} CPUs (at most {LOAD * machine.cpus:.1f})"
    text += "" if steal is None else f", stolen by a host {steal:.1f} % (at most {STEAL_PERCENT:g})"
    wrong = machine.load > LOAD * machine.cpus or (steal or 0.0) > STEAL_PERCENT
    return _one(Level.WARN, wrong, "load", text, "end what else runs here (top), on a virtual machine's host too")


def _memory(machine: Machine) -> Finding:
    limit_b = machine.memory_limit_b
    left_b = min(machine.memory_free_b, limit_b if limit_b is not None else machine.memory_free_b)
    text = f"{_size(left_b)} free (at least {_size(MEMORY_B)})" + ("" if limit_b is None else ", limited by a cgroup")
    return _one(Level.FAIL, left_b < MEMORY_B, "memory", text, "end other programs, or raise MemoryMax= of the service")


def _quota(machine: Machine) -> Finding:
    quota = machine.cpu_quota
    text = "none" if quota is None else f"{quota:.2g} CPUs: whoever has used them up stands still"
    step = "remove CPUQuota= of the service, or the container's limit"
    return _one(Level.FAIL, quota is not None, "CPU quota", text, step)


def _shared(machine: Machine) -> Finding:
    text = f"{_size(machine.shm_free_b)} free (at least {_size(machine.shm_needed_b)})"
    step = "mount -o remount,size=1G /dev/shm; a container needs --shm-size=256m"
    return _one(Level.FAIL, machine.shm_free_b < machine.shm_needed_b, "/dev/shm", text, step)


def judge_disk(disk: Disk) -> list[Finding]:
    if disk.error:
        step = "make the directory and give it to the daemon's user, or change recorder.directory"
        return [Finding(Level.WARN, "recordings", f"{disk.directory}: {disk.error}", step)]
    free = f"{disk.directory}: {_size(disk.free_b)} free (at least {_size(DISK_B)})"
    step = "remove old recordings, or set recorder.directory to another disk"
    found = [_one(Level.WARN, disk.free_b < DISK_B, "recordings", free, step)]
    if disk.rate is not None:
        rate = f"{disk.rate / 1e6:.0f} MB/s (at least {DISK_RATE / 1e6:.0f})"
        step = "set recorder.directory to a faster disk, not to a network's"
        found.append(_one(Level.WARN, disk.rate < DISK_RATE, "disk", rate, step))
    return found


def judge_rights(rights: Rights, *, real: bool, required: bool) -> list[Finding]:
    """What this user is granted, and where that is too little, what the installed service will be."""
    bad = Level.FAIL if real or required else Level.WARN
    step = f"give {rights.user or 'the user'} the limits rtprio 40 and memlock unlimited, or use the service; {GUIDE}"
    asked = ", ".join((*rights.granted, *(f"NOT {text}" for text in rights.refused))) or "nothing asked for"
    if rights.refused and rights.unit:
        found = [Finding(Level.OK, "real time", f"the service is given {rights.unit}; {rights.user}: {asked}")]
    else:
        found = [_one(bad, bool(rights.refused), "real time", asked, step)]
    if not rights.awake and rights.awake_group:
        found.append(Finding(Level.OK, "CPU wake-up", f"may be held at 0 us by group {rights.awake_group}"))
    else:
        text = "held at 0 us" if rights.awake else "refused: CPUs sleep deeply between two ticks"
        step = f'udev: KERNEL=="cpu_dma_latency", GROUP="<a group of yours>", MODE="0660"; {GUIDE}'
        found.append(_one(Level.WARN, not rights.awake, "CPU wake-up", text, step))
    return [*found, judge_lateness("wake-ups", rights.late_p99_us, rights.late_max_us)]


def judge_lateness(subject: str, p99_us: float, max_us: float) -> Finding:
    """Of ticks, against the motor process's period."""
    text = f"99 of 100 within {p99_us:.0f} us (at most {LATE_WARN_US:.0f}), latest {max_us:.0f} us"
    level = Level.FAIL if p99_us > LATE_FAIL_US else Level.WARN
    return _one(level, p99_us > LATE_WARN_US, subject, text, f"look for load and for a host that steals time; {GUIDE}")


def _numbers(values: frozenset[int]) -> str:
    return ", ".join(str(value) for value in sorted(values))


def _size(size_b: float) -> str:
    return f"{size_b / 1e9:.1f} GB" if size_b >= 1e9 else f"{size_b / 1e6:.0f} MB"
