"""From the files of a bundle to a typed bundle, with every problem on the way, not only the first."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from pydantic import TypeAdapter, ValidationError

from processors.lint.finding import KINDS_BY_WORD, Finding
from processors.policy import Bundle
from processors.policy.places import BundleFiles, Steps

_PREFIX = "Value error, "
_NAMED = re.compile(r"^(\w+) (\S+): (.*)$", re.DOTALL)
_QUOTED = re.compile(r"'([^']*)'")


class Reading(NamedTuple):
    """The bundle and what its types refuse.

    bundle: None when too much is missing to look at the rest. left_out: names of parts that are refused.
    """

    bundle: Bundle | None
    findings: list[Finding]
    left_out: frozenset[str]


def read(files: BundleFiles) -> Reading:
    """The bundle of some files. Parts that are refused are left out, so that the rest can be looked at."""
    content, findings, dropped = dict(files.content), list[Finding](), set[str]()
    for _ in range(3):
        try:
            return Reading(Bundle.model_validate_json(_json(content)), findings, frozenset(dropped))
        except ValidationError as error:
            of_parts = [row for row in error.errors() if row["loc"]]
            if not of_parts:
                findings += _of_the_whole(error, dropped)
                return Reading(_unchecked(content), findings, frozenset(dropped))
            findings += [_of_a_part(files, row) for row in of_parts]
            bad = {row["loc"][:2] for row in of_parts}
            if any(len(loc) < 2 or loc[0] not in KINDS_BY_WORD.values() for loc in bad):
                return Reading(None, findings, frozenset(dropped))
            dropped |= {_name(files, loc) for loc in bad}
            content = {key: _without(value, {loc[1] for loc in bad if loc[0] == key}) for key, value in content.items()}
    return Reading(None, findings, frozenset(dropped))


def _json(content: Any) -> str:
    return json.dumps(content, default=str)  # YAML makes dates of what looks like one


def _unchecked(content: dict[str, Any]) -> Bundle:
    """The bundle though names in it lead nowhere."""
    parsed = {
        key: TypeAdapter[Any](cast(Any, Bundle.model_fields[key].annotation)).validate_json(_json(value))
        for key, value in content.items()
    }
    return Bundle.model_construct(**parsed)


def _without(part: Any, bad: set[str | int]) -> Any:
    if isinstance(part, dict):
        return {key: value for key, value in part.items() if key not in bad}
    return [item for index, item in enumerate(part) if index not in bad] if isinstance(part, list) else part


def _name(files: BundleFiles, loc: Steps) -> str:
    """What a part goes by: its key, or the name within it."""
    container, step = files.content[str(loc[0])], loc[1]
    item = container[step] if isinstance(step, int) and isinstance(container, list) else None
    names = [item[key] for key in ("id", "cause", "name") if key in item] if isinstance(item, dict) else []
    return str(names[0] if names else step)


def _of_a_part(files: BundleFiles, row: Any) -> Finding:
    loc: Steps = row["loc"]
    sentence = row["msg"].removeprefix(_PREFIX)
    if len(loc) < 2 or loc[0] not in KINDS_BY_WORD.values():
        return Finding(loc, sentence)
    steps: Steps = (loc[0], _name(files, loc))
    prefix = f"{steps[0]}"[:-1] + f" {steps[1]}: "
    sentence = sentence.removeprefix(prefix)
    if sentence.startswith("CEL, "):
        return Finding((*steps, "check", "cel"), sentence)
    inner = [str(step) for step in loc[2:]]
    if inner[:1] == ["check"] and len(inner) > 1:
        del inner[1]  # the kind of check, which pydantic puts in
    return Finding((*steps, *inner), f"{'.'.join(inner)}: {sentence}" if inner else sentence)


def _of_the_whole(error: ValidationError, dropped: set[str]) -> Iterator[Finding]:
    """Names that lead nowhere: the bundle tells them all in one message, each with its part."""
    for sentence in error.errors()[0]["msg"].removeprefix(_PREFIX).split("; "):
        found, quoted = _NAMED.match(sentence), _QUOTED.search(sentence)
        word = quoted[1] if quoted else ""
        if word in dropped:
            continue
        if found and found[1] in KINDS_BY_WORD:
            yield Finding((KINDS_BY_WORD[found[1]], found[2]), found[3], word)
        else:
            yield Finding((), sentence, word)
