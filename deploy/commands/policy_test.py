"""`mandate policy test`: scenarios of judgement against a policy bundle, with no broker."""

import sys
from itertools import groupby
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.commands.decide import DEFAULT_BUNDLE, OFFLINE_KEY
from processors.authority import Court
from processors.policy import PolicyError, load_bundle
from processors.scenarios.document import load_directory
from processors.scenarios.runner import Result
from processors.scenarios.runner import run as run_scenario

FAILED, BAD_INPUT = 1, 2


def run(directory: Path, policy: Path | None, text: str) -> int:
    """Prints a line a file and each failure. 0 all hold, 1 one fails, 2 something can't be read or nothing is there."""
    try:
        bundle = load_bundle(policy or DEFAULT_BUNDLE)
    except (OSError, PolicyError) as error:
        print(f"mandate policy test: {error}", file=sys.stderr)
        return BAD_INPUT
    if not directory.exists():
        print(f"mandate policy test: {directory}: there is no such file or directory", file=sys.stderr)
        return BAD_INPUT
    scenarios, errors = load_directory(directory)
    chosen = [s for s in scenarios if text.lower() in f"{s.file} {s.group} {s.name}".lower()]
    results = [run_scenario(scenario, bundle, offline_court()) for scenario in chosen]
    for file, of_file in groupby(results, key=lambda result: result.scenario.file):
        _print_file(file, list(of_file))
    for unreadable in errors:
        print(f"ERROR   {unreadable}")
    failed = sum(not result.holds for result in results)
    unread = f", {len(errors)} files unreadable" if errors else ""
    print(f"{len(results)} scenarios, {failed} failed{unread}")
    if not results and not errors:
        print(f"mandate policy test: no scenario of {directory} has {text!r} in its name", file=sys.stderr)
    if errors or not results or any(result.is_bad for result in results):
        return BAD_INPUT
    return FAILED if failed else 0


def offline_court() -> Court:
    """A court of the published offline key: its grants are worth nothing to an enforcer."""
    key = Ed25519PrivateKey.from_private_bytes(OFFLINE_KEY)
    return Court.from_keys(key, [key.public_key()])


def _print_file(file: str, results: list[Result]) -> None:
    failed = sum(not result.holds for result in results)
    print(f"{file}  {len(results)} scenarios, {failed} failed" if failed else f"{file}  {len(results)} scenarios hold")
    for result in results:
        if not result.holds:
            print(f"\n{result.report}\n")
