"""`python -m tests.faults.checker NOTES`: judges what a run left in topics and stores. The cluster must be quiet.

NOTES is the file that the onlookers of the run wrote (`history.write_notes`); the settings say which cluster, CRM store
and lake. Prints one line a check, and with --json writes what was found; exit code 1 when anything was.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from deploy import keys
from deploy.settings import load_settings
from sinks.complete import completeness
from tests.faults.checks import check
from tests.faults.history import court_of, read, read_notes

SHOWN = 5


def main() -> int:
    """0: nothing is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.checker", description=__doc__)
    parser.add_argument("notes", type=Path, help="what was seen while it ran")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    arguments = parser.parse_args()
    began = time.monotonic()
    settings = load_settings()
    signing = keys.load_private_key(settings.signing_key_path)
    approver = keys.load_private_key(settings.approver_key_path).public_key()
    history = read(settings, read_notes(arguments.notes), court_of(signing, approver))
    history.audit = dict(completeness(settings))
    found = check(history)
    for name, findings in found.items():
        print(f"{'ok ' if not findings else 'NOT'} {name}" + (f": {len(findings)}" if findings else ""))
        for finding in findings[:SHOWN]:
            print(f"      {finding.text}")
    entries = sum(map(len, history.journal.values()))
    repeated_in = {
        topic: sum(sum(copies.values()) - 1 for copies in found.values()) for topic, found in history.written.items()
    }
    repeated = sum(repeated_in.values())
    print(
        f"{len(history.notes.requests)} requests, {entries} journal entries, {len(history.answers)} decisions, "
        f"{len(history.effects)} effects, {repeated} outputs repeated; checked in {time.monotonic() - began:.1f} s"
    )
    if arguments.json:
        counts = {
            "requests": len(history.notes.requests), "journal entries": entries, "decisions": len(history.answers),
            "effects": len(history.effects), "revocations": len(history.notes.revoked) + len(history.notes.cut_off),
            "outputs repeated": repeated,
        }  # fmt: skip
        told = {"counts": counts, "repeated": repeated_in, "found": found}
        arguments.json.write_text(json.dumps(told))
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
