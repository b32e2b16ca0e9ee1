"""One digest for one set of parameters, whoever computes it and in whatever order."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.digest import parameters_digest

values = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(st.characters(codec="utf-8")))
parameters = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), values, max_size=5)


def test_the_digest_is_that_of_the_canonical_json_as_anybody_can_compute_it() -> None:
    text = '{"crm_fields":{"status":"won"},"parameters":{"a":true,"b":-5,"ü":"x"},"tool":null}'
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert parameters_digest({"ü": "x", "b": -5, "a": True}, {"status": "won"}, None) == expected


@given(parameters)
def test_the_order_of_parameters_does_not_matter(asked: dict[str, bool | int | str]) -> None:
    turned = dict(reversed(asked.items()))
    assert parameters_digest(asked, {}, None) == parameters_digest(turned, {}, None)


@given(parameters, parameters)
def test_different_parameters_have_different_digests(
    one: dict[str, bool | int | str], other: dict[str, bool | int | str]
) -> None:
    # In Python True == 1; to whoever acts on them they are not the same.
    same = {k: (type(v), v) for k, v in one.items()} == {k: (type(v), v) for k, v in other.items()}
    assert (parameters_digest(one, {}, None) == parameters_digest(other, {}, None)) == same


def test_each_of_the_three_parts_counts() -> None:
    parts = [
        parameters_digest({}, {}, None),
        parameters_digest({"a": "b"}, {}, None),
        parameters_digest({}, {"a": "b"}, None),
        parameters_digest({}, {}, "a"),
        parameters_digest({}, {}, ""),
    ]
    assert len(set(parts)) == len(parts)


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**63 - 1, -(2**63)])
def test_an_integer_that_json_can_not_hold_exactly_has_a_digest_of_its_own(value: int) -> None:
    near: list[bool | int | str] = [value - 1 if value > 0 else value + 1, str(value), f'{{"integer":"{value}"}}']
    assert parameters_digest({"a": value}, {}, None) not in {parameters_digest({"a": n}, {}, None) for n in near}
