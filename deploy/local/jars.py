"""The lock of what the local stack runs: every file by coordinate, SHA-256 and size."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

LOCK_PATH = Path(__file__).resolve().parent.parent / "locks" / "jars.lock"

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
# Kafka logs through SLF4J and brings no writer for it; this one writes to stderr.
KAFKA_LOGGING = "org.slf4j:slf4j-simple:1.7.36"
REGISTRY = "io.apicurio:apicurio-registry-app:3.3.3"


@dataclass(frozen=True, slots=True)
class LockedFile:
    """One file of a Maven repository, as it must be."""

    path: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class JarLock:
    """The broker's class path and the registry's archive."""

    kafka: tuple[LockedFile, ...]
    registry: LockedFile

    @property
    def files(self) -> tuple[LockedFile, ...]:
        return (*self.kafka, self.registry)


def read_lock(path: Path = LOCK_PATH) -> JarLock:
    """The committed lock."""
    content = tomllib.loads(path.read_text())
    kafka = tuple(LockedFile(**row) for row in content["kafka"])
    (registry,) = (LockedFile(**row) for row in content["registry"])
    return JarLock(kafka, registry)


def written(lock: JarLock) -> str:
    """The lock's text."""
    lines = ["# The jars of the local stack. Written by `make lock`; every file is checked against it.", ""]
    for section, files in (("kafka", lock.kafka), ("registry", (lock.registry,))):
        for file in files:
            lines += [
                f"[[{section}]]",
                f'path = "{file.path}"',
                f'sha256 = "{file.sha256}"',
                f"size = {file.size}",
                "",
            ]
    return "\n".join(lines)
