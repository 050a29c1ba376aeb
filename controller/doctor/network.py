"""Is the way to the policy server good enough? Judges facts that `network_facts` gathers. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from controller.findings import Finding, Level

GUIDE = "see docs/inference-pc.md"

SPEED_MBIT = 1000
ERRORS = 1e-4
"""Packets lost or broken, of all that came in."""

BUFFER_B = 1 << 20
"""A request of four raw pictures, and room for the one behind it."""


@dataclass(frozen=True, slots=True)
class Route:
    """The way to a host, and the kernel's settings for it. speed_mbit: 0 where the interface does not say."""

    host: str
    address: str
    interface: str
    speed_mbit: int
    full_duplex: bool
    mtu: int
    wireless: bool
    packets_in: int
    lost_in: int
    send_buffer_b: int
    slow_start_after_idle: bool

    @property
    def local(self) -> bool:
        """Whether the server is on this very machine."""
        return self.interface == "lo"


def judge(route: Route, request_b: int) -> list[Finding]:
    """request_b: bytes of a request, four pictures and a pose."""
    if route.local:
        return [Finding(Level.OK, "way to the server", f"{route.host} is this machine")]
    return [_link(route, request_b), *_losses(route), *_settings(route, request_b)]


def _link(route: Route, request_b: int) -> Finding:
    subject, name = "way to the server", f"{route.address} through {route.interface}"
    step = f"use a cable of 1 Gbit/s or more straight to the server, and no wireless; {GUIDE}"
    if route.wireless:
        return Finding(Level.WARN, subject, f"{name}: wireless, answers come late now and then", step)
    if route.speed_mbit == 0:
        return Finding(Level.OK, subject, f"{name}, MTU {route.mtu}; the interface does not tell its speed")
    took_ms = 8e-3 * request_b / route.speed_mbit
    text = (
        f"{name}: {route.speed_mbit} Mbit/s (at least {SPEED_MBIT}), {'full' if route.full_duplex else 'HALF'} duplex, "
        f"MTU {route.mtu}: {took_ms:.1f} ms for a request's {request_b / 1e3:.0f} kB"
    )
    slow = route.speed_mbit < SPEED_MBIT or not route.full_duplex or route.mtu < 1500
    return Finding(Level.WARN, subject, text, step) if slow else Finding(Level.OK, subject, text)


def _losses(route: Route) -> list[Finding]:
    if not route.packets_in:
        return []
    share = route.lost_in / route.packets_in
    text = f"{route.lost_in} of {route.packets_in} lost or broken since it is up (at most {ERRORS:g} of them)"
    if share <= ERRORS:
        return [Finding(Level.OK, "packets", text)]
    step = f"change the cable or the port; ethtool -S {route.interface} says which"
    return [Finding(Level.WARN, "packets", text, step)]


def _settings(route: Route, request_b: int) -> list[Finding]:
    bound_b = max(BUFFER_B, request_b)
    text = f"net.ipv4.tcp_wmem at most {route.send_buffer_b} B (at least {bound_b})"
    buffer = Finding(Level.OK, "send buffer", text)
    if route.send_buffer_b < bound_b:
        step = f"sysctl -w net.ipv4.tcp_wmem='4096 1048576 {4 * BUFFER_B}'; {GUIDE}"
        buffer = Finding(Level.WARN, "send buffer", text, step)
    idle = Finding(Level.OK, "TCP after a pause", "goes on at full speed")
    if route.slow_start_after_idle:
        step = f"sysctl -w net.ipv4.tcp_slow_start_after_idle=0; {GUIDE}"
        idle = Finding(Level.WARN, "TCP after a pause", "starts slowly: several round trips more for a request", step)
    return [buffer, idle]
