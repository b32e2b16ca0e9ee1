"""Loopback ports: which are free, and who holds one."""

from __future__ import annotations

import random
import socket

import psutil

from deploy.settings import LOOPBACK

# Below the ports for outgoing connections of Linux (32768) and macOS (49152).
QUIET_RANGE = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    if accepts(port):  # on some systems one can bind beside a server on all addresses
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def pick_free(count: int) -> list[int]:
    """That many distinct free ports, none of which the system would give to an outgoing connection meanwhile."""
    picked: list[int] = []
    while len(picked) < count:
        port = random.choice(QUIET_RANGE)
        if port not in picked and is_free(port):
            picked.append(port)
    return picked


def accepts(port: int) -> bool:
    """Whether a server listens there."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=0.5).close()
    except OSError:
        return False
    return True


def holder(port: int) -> str:
    """Who listens on a port, as far as the system tells us: `java, process 4711`, or `another process`."""
    for process in psutil.process_iter():
        try:
            if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections("tcp")):
                return f"{process.name()}, process {process.pid}"
        except (psutil.Error, OSError):
            continue
    return "another process"
