"""`python -m tests.faults.fuzz`: hostile records and webhook bodies, many of them, without a broker."""

import argparse
import sys
import time

from tests.faults.fuzz.trial import BrokenError, Tally, Trial


def main(arguments: list[str] | None = None) -> int:
    """0: all held. 1: something did not; the last line says which record."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--records", type=int, default=100_000, help="records over all input topics")
    parser.add_argument("--webhooks", type=int, default=10_000, help="webhook bodies for Twilio, Telnyx and Deepgram")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives others; the same gives the same")
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    trial = Trial()
    try:
        trial.run(asked.records, asked.webhooks, asked.seed)
    except BrokenError as error:
        print(f"after {trial.tally.taken:,}: {error}"[:1_000].encode("ascii", "backslashreplace").decode())
        return 1
    print(report(trial.tally))
    print(
        f"{trial.tally.taken:,} in {time.monotonic() - began:.0f} s: no crash, no permit, no record without an answer."
    )
    return 0


def report(tally: Tally) -> str:
    """Outcomes by what was done to the records, dead letters by code, verdicts on what was accepted."""
    outcomes = ("dead letter", "accepted", "said nothing", "waits")
    rows = [("", *outcomes)]
    for how in sorted({how for how, _ in tally.damages}):
        rows.append((how, *(f"{tally.damages[how, outcome]:,}" for outcome in outcomes)))
    rows.append(("all", *(f"{tally.outcomes[outcome]:,}" for outcome in outcomes)))
    lines = ["  ".join((row[0].ljust(16), *(cell.rjust(12) for cell in row[1:]))) for row in rows]
    codes = ", ".join(f"{code} {count:,}" for code, count in tally.codes.most_common())
    verdicts = ", ".join(f"{verdict} {count:,}" for verdict, count in sorted(tally.verdicts.items()))
    return "\n".join((*lines, f"Dead letters: {codes}", f"Decisions: {verdicts} (permits: Mandate's own)"))


if __name__ == "__main__":
    sys.exit(main())
