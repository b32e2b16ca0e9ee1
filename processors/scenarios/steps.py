"""The words of given and when: each makes one journal entry (or lets time pass, or names several steps).

A step is a mapping of one word, e.g. `says: hello`. What stands under the word are the record's fields by their
schema names, all of them; a field `<name>_id` may be given as `<name>` with a name used before. Nothing here lists
fields: a new one in the schema can be given at once.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from processors.scenarios.fields import controls_of, conversation_of, lead_of, resolve
from processors.scenarios.moments import duration, moment
from processors.scenarios.people import signed_as_told
from processors.scenarios.source import BadScenario, Seq, plain, read
from processors.scenarios.tale import Tale
from processors.scenarios.words import CONTROLS, WORDS, Step
from schemas.jsonio import from_json, iso, to_json
from schemas.records import PolicyActivation, Record, TranscriptSegment


class Teller:
    """Carries out the steps of one scenario."""

    def __init__(self, tale: Tale, file: str, beginnings: Mapping[str, Any]) -> None:
        self._tale = tale
        self._file = file
        self._own = beginnings
        self._beginnings = {**_shipped(), **beginnings}

    def run(self, items: list[Any], line: int, context: Mapping[str, Any] | None = None) -> None:
        """Carries out steps in order. context: lead and conversation for steps that don't name theirs."""
        for index, item in enumerate(items):
            where = f"{self._file}:{items.lines[index] if isinstance(items, Seq) else line}"
            step = _read_step(item, where, self._beginnings)
            step = step._replace(controls={**(context or {}), **step.controls})
            try:
                self._carry_out(step)
            except ValueError as error:
                raise error if isinstance(error, BadScenario) else step.bad(_first_line(error)) from error

    def _carry_out(self, step: Step) -> None:
        special = SPECIAL.get(step.word)
        if special is not None:
            special(self, step)
            return
        word = WORDS[step.word]
        at = self._move(step)
        fields = resolve(self._tale, step, word, at)
        body: Record = from_json(word.record, fields)
        if how := step.controls.get("signed"):
            body = signed_as_told(body, how, self._tale.bundle, self._tale.named)
        self._name(step, body)
        self._tale.conversations[fields["lead_id"]] = fields.get("conversation_id") or conversation_of(self._tale, step)
        self._tale.tell(body, at)

    def _move(self, step: Step) -> int:
        """The time of the step's entry; the clock goes there, never back."""
        at = self._tale.now + duration(step.controls.get("after", 1))
        if at > self._tale.now:
            self._tale.advance(at)
        return at

    def _name(self, step: Step, body: Record) -> None:
        name = step.controls.get("as")
        if name is None:
            return
        before = self._tale.named.get(str(name))
        if before is not None and not (isinstance(before, TranscriptSegment) and isinstance(body, TranscriptSegment)):
            raise step.bad(f"{name!r} already names something in this scenario")
        self._tale.named[str(name)] = body

    # --- words that are more than a record
    def _begin(self, step: Step) -> None:
        name = str(step.given["name"])
        steps = self._beginnings.get(name)
        if steps is None:
            raise step.bad(f"no beginning is named {name!r}; there are: {', '.join(sorted(self._beginnings))}")
        mark = (name, lead_of(step), conversation_of(self._tale, step))
        if mark not in self._tale.begun:
            self._tale.begun.add(mark)
            # What is wrong in a shipped beginning is told at the line that named it.
            self.run(steps if name in self._own else list(steps), step.line, step.about())

    def _wait(self, step: Step) -> None:
        self._tale.wait(self._tale.now + duration(step.given["for"]))

    def _at(self, step: Step) -> None:
        to = moment(step.given["moment"])
        if to < self._tale.now:
            raise step.bad(f"it is already {iso(self._tale.now)}: time does not go back")
        self._tale.wait(to)

    def _repeat(self, step: Step) -> None:
        body = self._tale.named.get(str(step.given["of"]))
        if body is None:
            raise step.bad(f"nothing is named {step.given['of']!r}; name a step with `as` to repeat it")
        self._tale.tell(body, self._move(step))

    def _confirms(self, step: Step) -> None:
        for kind in step.given["signals"]:
            words = f"words for {str(kind).lower()}"
            self.run([{"says": words}, {"signal": str(kind)}], step.line, step.about())

    def _policy(self, step: Step) -> None:
        fields = dict(step.given)
        activation = self._tale.activation(plain(fields.pop("change", None)))
        if fields:
            activation = from_json(PolicyActivation, {**to_json(activation), **plain(fields)})
        at = self._move(step)
        self._name(step, activation)
        self._tale.tell(activation, at)


SPECIAL: dict[str, Callable[[Teller, Step], None]] = {
    "beginning": Teller._begin, "wait": Teller._wait, "at": Teller._at, "repeat": Teller._repeat,
    "confirms": Teller._confirms, "policy": Teller._policy,
}  # fmt: skip
_SPECIAL_CONTROLS: dict[str, tuple[str, ...]] = {
    "beginning": ("lead", "conversation"), "confirms": ("lead", "conversation"), "repeat": ("after",),
    "policy": ("as", "after"), "wait": (), "at": (),
}  # fmt: skip
_SPECIAL_SCALAR = {"beginning": "name", "wait": "for", "at": "moment", "repeat": "of", "confirms": "signals"}


@cache
def _shipped() -> dict[str, Any]:
    file = Path(__file__).parent / "beginnings.yaml"
    found: dict[str, Any] = read(file, file.name)
    return found


def _read_step(item: Any, where: str, beginnings: Mapping[str, Any]) -> Step:
    if isinstance(item, str):
        return Step("beginning", {"name": item}, {}, where)
    all_words = [*WORDS, *SPECIAL]
    found = [key for key in item if key not in CONTROLS] if isinstance(item, dict) else []
    if len(found) != 1 or found[0] not in all_words:
        unknown = next((key for key in found if key not in all_words), None)
        said = f"unknown step {unknown!r}" if unknown else "a step is one word with what belongs to it"
        raise BadScenario(where, f"{said}; words: {', '.join(all_words)}; any step may have {', '.join(CONTROLS)}")
    word = found[0]
    given, controls = item[word], {key: item[key] for key in CONTROLS if key in item}
    if not isinstance(given, dict) or word == "wait":
        scalar = _SPECIAL_SCALAR.get(word) or (WORDS[word].scalar if word in WORDS else "")
        if not scalar:
            raise BadScenario(where, f"{word}: expected a mapping of its fields")
        given = {scalar: given}
    for key in [key for key in CONTROLS if key in given]:
        if key in controls:
            raise BadScenario(where, f"{word}: {key} stands beside it and under it")
        controls[key] = given[key]
    return _checked(Step(word, {k: v for k, v in given.items() if k not in CONTROLS}, controls, where))


def _checked(step: Step) -> Step:
    """Refuses what the word does not take. Words that are no record have one key."""
    allowed = _SPECIAL_CONTROLS[step.word] if step.word in SPECIAL else controls_of(step.word)
    for key in step.controls:
        if key not in allowed:
            raise step.bad(f"it takes no {key!r}")
    only = _SPECIAL_SCALAR.get(step.word)
    if only is not None and set(step.given) != {only}:
        raise step.bad(f"give it only {only}")
    if step.word == "confirms" and not isinstance(step.given["signals"], list):
        step.given["signals"] = [step.given["signals"]]
    return step


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"the changed bundle is none: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)
