"""Published keys are read again when their file changed, and at no other time."""

import json
import logging
import os
from pathlib import Path

import pytest

from agents.keyring import Keyring
from tests.agents.grants import KEY, OTHER_KEY, jwk


def publish(path: Path, *kids: str) -> None:
    """Writes a JWKS as `mandate keys` does: beside it, then in its place."""
    draft = path.with_name("draft")
    draft.write_text(json.dumps({"keys": [jwk(OTHER_KEY if kid == "new" else KEY, kid) for kid in kids]}))
    os.replace(draft, path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "jwks.json"
    publish(found, "old")
    return found


def test_a_key_counts_from_its_publication_to_its_end(path: Path) -> None:
    ring = Keyring(path)
    assert ring.get("old") is not None
    assert ring.get("new") is None
    publish(path, "new", "old")
    assert ring.get("new") is not None
    assert ring.get("old") is not None
    publish(path, "new")
    assert ring.get("old") is None


def test_a_file_that_is_written_in_place_is_read_again(path: Path) -> None:
    ring = Keyring(path)
    path.write_text(json.dumps({"keys": [jwk(KEY, "old"), jwk(OTHER_KEY, "new")]}))
    assert ring.get("new") is not None


@pytest.mark.parametrize("content", [None, "", "[]", "{", '{"keys": []}', '{"keys": [7]}', '{"keys": 7}'])
def test_a_file_that_is_no_jwks_any_more_is_said_once_and_what_was_known_stays(
    path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    ring = Keyring(path)
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with caplog.at_level(logging.WARNING, "mandate.agents"):
        assert ring.get("old") is not None
        assert ring.get("old") is not None
    assert len(caplog.records) == 1
    publish(path, "new")
    assert ring.get("new") is not None
    assert ring.get("old") is None


def test_grants_that_name_keys_at_random_make_nobody_read_the_file(path: Path) -> None:
    ring = Keyring(path)
    before = path.stat()
    path.write_text(path.read_text().replace('"old"', '"odd"'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if it were the same: who reads it finds "odd"
    assert [ring.get(f"key-{number}") for number in range(1_000)] == [None] * 1_000
    assert ring.get("odd") is None
    assert ring.get("old") is not None


def test_an_id_that_is_no_text_names_no_key(path: Path) -> None:
    ring = Keyring(path)
    assert [ring.get(kid) for kid in (None, 7, ["old"], {"old": 1})] == [None] * 4


def test_a_file_that_is_no_jwks_at_the_start_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no JWKS"):
        Keyring(tmp_path / "missing.json")
