"""Caches from which Java starts in half the time: classes loaded and linked ahead of time (JEP 483 and 514, Java 25).

Each is of one program and one Java. Java itself checks that, and starts without one that does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Caches:
    """A directory of caches. making: the programs are run to write them."""

    directory: Path
    making: bool = False

    def options(self, program: str) -> list[str]:
        """What to tell Java when it starts a program: nothing while there is no cache of it."""
        path = self.directory / f"{program}.aot"
        if self.making:
            return [f"-XX:AOTCacheOutput={path}"]
        # Java warns of each method that it could not take from the cache, and compiles it.
        return [f"-XX:AOTCache={path}", "-Xlog:aot*=error"] if path.exists() else []
