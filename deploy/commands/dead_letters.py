"""`mandate dead-letters`: list them, show one, send originals again.

What strangers wrote never reaches the terminal as it came.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from deploy.dead_letters import Chosen, Filter, Found, choose, lead_of, original_of, read, refusal, replay
from deploy.settings import Settings
from schemas.codec import Codec
from schemas.jsonio import iso, parse_time, to_json
from schemas.records import DeadLetter, DeadLetterCode, Record
from streams.code_texts import DEAD_LETTERS
from streams.registry import connect

BAD_INPUT = 2
_ERROR_SHOWN = 160
_BYTES_SHOWN = 1_024


class Wrong(ValueError):  # noqa: N818  (the family "refused" of errors)
    """What was typed can't be meant. The operator types what the message says."""


def run(settings: Settings, command: str, **arguments: Any) -> int:
    """One of list, show, replay. 2: wrong input, no such letter, or one that can't be replayed; nothing was sent."""
    try:
        return _COMMANDS[command](settings, **arguments)
    except Wrong as error:
        print(f"mandate: {error}", file=sys.stderr)
        return BAD_INPUT


def filter_of(*, topic: str | None, code: str | None, since: str | None, lead: str | None) -> Filter:
    """The filter that was typed; raises Wrong."""
    wanted_code = None
    if code is not None:
        found = code.upper().replace("-", "_")
        if found not in DeadLetterCode.__members__:
            raise Wrong(f"there is no code {code!r}; there are {', '.join(DeadLetterCode.__members__)}.")
        wanted_code = DeadLetterCode(found)
    try:
        at = None if since is None else parse_time(since)
    except (ValueError, OverflowError):
        raise Wrong(f"--since {since!r} is no ISO 8601 time with a zone: write it as 2026-11-18T17:00:00Z.") from None
    return Filter(topic=topic, code=wanted_code, since=at, lead=lead)


# --- list
def list_letters(
    settings: Settings, *, wanted: dict[str, str | None], from_start: bool, limit: int, summary: bool, as_json: bool
) -> int:
    """Print a line a letter, newest first; with `summary`, counts by code and topic instead."""
    chosen, codec = filter_of(**wanted), connect(settings)
    found = (letter for letter in read(settings, codec) if chosen.takes(letter.letter, codec))
    if summary:
        return _print_summary(found, as_json)
    rows: deque[dict[str, Any]] = deque(maxlen=None if from_start else limit)
    total = 0
    for letter in found:
        total += 1
        if not from_start or len(rows) < limit:
            rows.append(_row(letter, codec))
    for row in rows if from_start else reversed(rows):
        print(json.dumps(row) if as_json else _line(row))
    if total > len(rows):
        print(f"mandate: {total - len(rows):,} more; --max {total} shows them.", file=sys.stderr)
    elif not total:
        print("mandate: there is no such dead letter.", file=sys.stderr)
    return 0


def _row(found: Found, codec: Codec) -> dict[str, Any]:
    letter = found.letter
    return {
        "dead_letter_id": letter.dead_letter_id,
        "at": iso(letter.at),
        "code": letter.code.value,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "stage": letter.stage,
        "lead_id": lead_of(letter, codec),
        "replayed_from": found.came_from,
        "error": letter.error,
    }


def _line(row: dict[str, Any]) -> str:
    lead = f"  {row['lead_id']}" if row["lead_id"] else ""
    again = f"  (replayed from {row['replayed_from']})" if row["replayed_from"] else ""
    error = row["error"] if len(row["error"]) <= _ERROR_SHOWN else row["error"][:_ERROR_SHOWN] + " …"
    place = f"{row['topic']}/{row['partition']}@{row['offset']}"
    return printable(f"{row['dead_letter_id']}  {row['at']}  {row['code']:16}  {place}{lead}{again}  {error}")


def _print_summary(found: Iterator[Found], as_json: bool) -> int:
    counts: Counter[tuple[str, str]] = Counter()
    last: dict[tuple[str, str], int] = {}
    for letter in (item.letter for item in found):
        kind = (letter.code.value, letter.topic)
        counts[kind] += 1
        last[kind] = max(letter.at, last.get(kind, letter.at))
    for (code, topic), count in counts.most_common():
        at = iso(last[code, topic])
        if as_json:
            print(json.dumps({"code": code, "topic": topic, "count": count, "last_at": at}))
        else:
            print(printable(f"{count:9,}  {code:16}  {topic}  last {at}  {DEAD_LETTERS[DeadLetterCode(code)].meaning}"))
    if not as_json:
        print(f"{counts.total():9,}  in all")
    return 0


# --- show
def show(settings: Settings, *, wanted: str, as_json: bool) -> int:
    """Print everything about one letter; of one that is recorded more than once, its latest record."""
    codec = connect(settings)
    found = [item for item in read(settings, codec) if item.letter.dead_letter_id == wanted][-1:]
    if not found:
        raise Wrong(f"there is no dead letter {printable(wanted)}; `mandate dead-letters list` shows what there is.")
    letter = found[0].letter
    original = original_of(letter, codec)
    if as_json:
        print(json.dumps(_whole(found[0], original), indent=2))
    else:
        print("\n".join(_told(letter, original)))
    return 0


def _whole(found: Found, original: Record | None) -> dict[str, Any]:
    text = DEAD_LETTERS[found.letter.code]
    return {
        **to_json(found.letter),
        "meaning": text.meaning,
        "advice": text.advice,
        "replayed_from": found.came_from,
        "record": None if original is None else type(original).__name__,
        "decoded": None if original is None else to_json(original),
        "replay_refused": refusal(found.letter),
    }


def _told(letter: DeadLetter, original: Record | None) -> Iterator[str]:
    text = DEAD_LETTERS[letter.code]
    yield printable(f"{letter.code}  {letter.dead_letter_id}")
    yield printable(f"  {letter.error}")
    yield f"  {text.meaning} {text.advice}"
    yield ""
    yield printable(f"From     {letter.topic}/{letter.partition}, offset {letter.offset}")
    yield printable(f"By       {letter.stage}, at {iso(letter.at)}")
    yield f"Key      {'none' if letter.key is None else printable(_short(letter.key))}"
    for name in sorted(letter.headers):
        yield printable(f"Header   {name}: {_short(letter.headers[name])}")
    reason = refusal(letter)
    yield printable(f"Replay   {'can be sent again' if reason is None else 'refused: ' + reason}")
    yield from _value(letter.value, original)


def _value(value: bytes | None, original: Record | None) -> Iterator[str]:
    if value is None:
        yield "Value    none"
        return
    size = f"{len(value):,} bytes"
    if original is not None:
        yield f"Value    {size}, a {type(original).__name__}:"
        lines = json.dumps(to_json(original), indent=2, ensure_ascii=False).split("\n")
        yield from ("  " + printable(line) for line in lines)
    elif (text := _text(value)) is not None:
        yield f"Value    {size} of text, not decoded:"
        yield from ("  " + printable(line) for line in text[:_BYTES_SHOWN].split("\n"))
    else:
        yield f"Value    {size}, not decoded:"
        yield from ("  " + line for line in hex_lines(value[:_BYTES_SHOWN]))
    if original is None and len(value) > _BYTES_SHOWN:
        yield "  … cut off here; --json has all of it"


def printable(text: str) -> str:
    """Text with every control, format and surrogate character as its escape: nothing in it moves a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def hex_lines(data: bytes) -> Iterator[str]:
    """Bytes as offset, hex and ASCII, sixteen a line."""
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{at:08x}  {row.hex(' '):47}  |{shown}|"


def _text(value: bytes) -> str | None:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if "\x00" not in text else None


def _short(data: bytes) -> str:
    text = _text(data)
    shown = text if text is not None else "0x" + data.hex()
    return shown if len(shown) <= _ERROR_SHOWN else shown[:_ERROR_SHOWN] + " …"


# --- replay
def send_again(
    settings: Settings, *, ids: list[str], every: bool, wanted: dict[str, str | None], dry_run: bool, yes: bool
) -> int:
    """Send originals to the topics that they came from, and wait until the broker holds all of them."""
    chosen_filter = filter_of(**wanted)
    if every and ids:
        raise Wrong("name letters or give --all, not both.")
    if every and chosen_filter.code is None:
        raise Wrong("--all needs --code: letters of one cause are mended and replayed together.")
    if not every and (not ids or chosen_filter != Filter()):
        raise Wrong("name the letters by id, or give --all with --code and further filters.")
    codec = connect(settings)
    chosen = choose(settings, codec, ids=None if every else frozenset(ids), wanted=chosen_filter)
    _check(chosen, ids, every)
    for line in _plan(chosen):
        print(line)
    if not chosen.letters or dry_run:
        print("Nothing was sent.")
        return 0
    if len(chosen.letters) > 1 and not yes and not _confirmed(len(chosen.letters)):
        raise Wrong("nothing was sent. --yes sends without asking.")
    return _send(settings, codec, chosen)


def _check(chosen: Chosen, ids: list[str], every: bool) -> None:
    """Named letters go all together or not at all; of --all, what can't go is left out and said."""
    if every:
        for name in chosen.came_back:
            del chosen.letters[name]
        return
    missing = [name for name in ids if name not in chosen.letters and name not in chosen.refused]
    if missing:
        raise Wrong(f"there is no dead letter {printable(missing[0])}. Nothing was sent.")
    for name, reason in chosen.refused.items():
        raise Wrong(printable(f"{name} can't be replayed: {reason}. Nothing was sent."))


def _plan(chosen: Chosen) -> Iterator[str]:
    counts = Counter((found.letter.topic, found.letter.code.value) for found in chosen.letters.values())
    for (topic, code), count in sorted(counts.items()):
        yield f"{count:,} × {code} to {topic}"
    for reason, count in sorted(Counter(chosen.refused.values()).items()):
        yield printable(f"left out: {count:,}, {reason}")
    for name, later in chosen.came_back.items():
        verb = "was replayed before and came back as" if name in chosen.letters else "left out: it came back as"
        yield printable(f"{name} {verb} {later}")


def _confirmed(count: int) -> bool:
    try:
        return input(f"Send these {count:,} records again? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _send(settings: Settings, codec: Codec, chosen: Chosen) -> int:
    from streams.clock import make_clock
    from streams.kafka import make_producer
    from streams.sender import Sender

    # Never 0 under a driven clock, which means "the wall clock" to the Kafka client and would be taken as the time.
    at_ms = 0 if settings.clock == "system" else max(make_clock(settings).now(), 1000) // 1000
    sent = replay(settings, codec, Sender(make_producer(settings)), chosen.letters, at_ms)
    print(f"{sent:,} sent; the broker holds {'it' if sent == 1 else 'them all'}.")
    if sent < len(chosen.letters):
        gone = len(chosen.letters) - sent
        print(f"mandate: {gone:,} not sent: retention removed them before they were read again.", file=sys.stderr)
        return 1
    return 0


_COMMANDS: Mapping[str, Callable[..., int]] = {"list": list_letters, "show": show, "replay": send_again}
