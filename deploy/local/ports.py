"""Loopback ports: which are free, and who holds one."""

from __future__ import annotations

import socket

import psutil

from deploy.settings import LOOPBACK


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
    """That many distinct free ports."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


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
