"""What the modules of the command line share: panels, examples in help, and calling a command's module."""

from __future__ import annotations

import importlib
from typing import Any

import typer

EXIT_CODES = "[bold]Exit codes[/]: 0 done · 1 infrastructure refused or is missing · 2 wrong input or settings"
TRY, RUN, LOOK = "Try it", "Run the parts", "Look inside"


def epilog(*examples: str, codes: str = EXIT_CODES) -> str:
    """Examples, one a paragraph, then the exit codes."""
    return "\n\n".join(["[bold]Examples[/]", *(f"[cyan]{example}[/]" for example in examples), codes])


def call(module: str, **arguments: Any) -> None:
    """Run a command's module and leave with its exit code."""
    code = importlib.import_module(module).run(**arguments)
    raise typer.Exit(code or 0)


def loaded() -> Any:
    """The settings, loaded only when a command needs them."""
    from deploy.settings import load_settings

    return load_settings()
