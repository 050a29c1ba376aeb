"""Asks the kernel which way leads to a host and what it knows of it. Sends nothing but questions for names."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from controller.doctor.network import Route

NETWORK = Path("/sys/class/net")
SETTINGS = Path("/proc/sys/net/ipv4")


def route(url: str) -> Route:
    """To the host of a ws:// or wss:// URL. Raises OSError: no such name, or no way there."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "wss" else 80)
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(address)  # of a datagram socket: asks the routing table, and sends nothing
        own = probe.getsockname()[0]
    interface = _interface(own)
    state = psutil.net_if_stats()[interface]
    counted = psutil.net_io_counters(pernic=True)[interface]
    return Route(
        host=host,
        address=str(address[0]),
        interface=interface,
        speed_mbit=state.speed,
        full_duplex=state.duplex != psutil.NIC_DUPLEX_HALF,
        mtu=state.mtu,
        wireless=(NETWORK / interface / "wireless").exists(),
        packets_in=counted.packets_recv,
        lost_in=counted.errin + counted.dropin,
        send_buffer_b=int((SETTINGS / "tcp_wmem").read_text().split()[2]),
        slow_start_after_idle=(SETTINGS / "tcp_slow_start_after_idle").read_text().strip() != "0",
    )


def _interface(address: str) -> str:
    """Whose address this is."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(found.address.partition("%")[0] == address for found in addresses):
            return name
    raise OSError(f"no interface has the address {address}")
