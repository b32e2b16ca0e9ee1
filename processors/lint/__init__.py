"""Lint: what is wrong with a policy bundle, each problem with its file, line and a sentence.

It never says what it can't be sure of: a bundle without problems may still be unwise. Scenarios tell that.
"""

from datetime import date
from pathlib import Path

from processors.lint import firing, names, own, terms
from processors.lint.finding import Finding, Problem, about
from processors.lint.reading import read
from processors.policy import Bundle
from processors.policy.places import BundleFiles

__all__ = ["Problem", "lint"]


def lint(directory: Path, today: date) -> list[Problem]:
    """All problems of a bundle, by file and line. today: rules that ended before it are past."""
    files = BundleFiles(directory)
    problems = [Problem(*flaw) for flaw in files.flaws]
    for finding in _findings(files, today) if files.content else ():
        place = files.place_of_word(finding.steps, finding.word) if finding.word else files.place(finding.steps)
        problems.append(Problem(place, about(finding.steps), finding.sentence, finding.is_warning))
    return sorted(dict.fromkeys(problems), key=lambda p: (str(p.place.file), p.place.line, p.about, p.sentence))


def _findings(files: BundleFiles, today: date) -> list[Finding]:
    bundle, findings, left_out = read(files)
    if bundle is None:
        return findings
    alone = [
        *names.unknown_names(bundle),
        *own.crm_action(bundle),
        *terms.endless_defers(bundle),
        *terms.liftable_noes(bundle),
        *terms.closed_windows(bundle),
        *terms.unproven_agents(bundle),
    ]
    findings += [finding for finding in alone if not any(repr(name) in finding.sentence for name in left_out)]
    # How parts go together can be told only when all are there.
    return findings if left_out else findings + _together(bundle, today)


def _together(bundle: Bundle, today: date) -> list[Finding]:
    return [
        *firing.moot_rules(bundle, today),
        *firing.contradictions(bundle, today),
        *firing.permits_on_nothing(bundle, today),
        *terms.unfinal_actions(bundle),
        *terms.unreachable_needs(bundle),
        *terms.unasked_actions(bundle),
        *terms.idle_words(bundle),
    ]
