"""`make lock`: resolve the broker's class path with jgo and record every file's hash and size."""

from __future__ import annotations

import hashlib
from pathlib import Path

import jgo
from jgo.maven import Artifact, MavenContext

from deploy.local import jars


def main() -> None:
    """Write the lock anew."""
    kafka = jgo.resolve(f"{jars.KAFKA}+{jars.KAFKA_LOGGING}")
    group, artifact, version = jars.REGISTRY.split(":")
    component = MavenContext().project(group, artifact).at_version(version)
    registry = component.artifact(classifier="all", packaging="tar.gz")
    lock = jars.JarLock(tuple(sorted((_locked(jar) for jar in kafka), key=_order)), _locked(registry))
    jars.LOCK_PATH.write_text(jars.written(lock))
    print(f"{jars.LOCK_PATH.name}: {len(lock.files)} files, {sum(f.size for f in lock.files) / 1e6:.0f} MB")


def _locked(artifact: Artifact) -> jars.LockedFile:
    file: Path = artifact.resolve()
    content = file.read_bytes()
    path = (artifact.component.path_prefix / artifact.filename).as_posix()
    return jars.LockedFile(path, hashlib.sha256(content).hexdigest(), len(content))


def _order(file: jars.LockedFile) -> str:
    return file.path


if __name__ == "__main__":
    main()
