"""One module a command of `mandate`, each with `run(...) -> int | None` (the exit code; None is 0)."""
