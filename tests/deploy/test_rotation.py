"""Keys change while grants are about: what the real enforcers take at each step, and that no key is ever told."""

from __future__ import annotations

import base64
import json
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agents.feed import MAX_GRANT_LIFETIME_US, RevocationFeed
from agents.verify import Grant, GrantVerifier, Refusal
from deploy import keys, rotation
from deploy.commands import decide, policy_activate
from deploy.commands import keys as command
from deploy.commands import settings as settings_command
from deploy.rotation import OVERLAP_S, RotationError
from deploy.settings import PACKAGED_POLICY, Settings, SettingsError, load_settings
from processors.authority import Court
from processors.policy import load_bundle
from schemas.records import ReasonCode
from sinks.crm_judge import Bench, judge
from tests.sinks.support import NOON, PARTITIONS, SECOND, Control, heartbeat, policies

FIELDS = {"meeting_at": "2026-05-28T15:00Z"}
NOW_S = NOON // SECOND
ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = load_settings(data_dir=tmp_path)
    keys.ensure_keys(settings)
    return settings


def control(settings: Settings) -> Control:
    """Control as a worker that starts now is."""
    return Control(keys.private_key(keys.signing(settings)))


def takes(settings: Settings, grant: str, *, at_s: int = NOW_S) -> bool:
    """Whether both enforcers that start now, an agent's and the CRM sink, take a grant of NOON; they must agree."""
    agents = GrantVerifier(keys.jwks(settings), feed=None, lease_us=5 * SECOND)
    by_agent = agents.check(
        grant, action="update_crm", lead_id="lead-1", agent_id="agent-1", now=NOON, crm_fields=FIELDS, use=False
    )
    feed = RevocationFeed(PARTITIONS)
    for number in range(PARTITIONS):
        feed.observe(heartbeat(number, NOON), number)
    bench = Bench(GrantVerifier(keys.jwks(settings), feed=None, lease_us=5 * SECOND), feed, 5 * SECOND, policies())
    by_sink = judge(Control().update(FIELDS, grant=grant), bench, at_s * SECOND)
    assert isinstance(by_agent, Grant) == isinstance(by_sink, Grant)
    if isinstance(by_agent, Refusal):
        assert by_agent.code is ReasonCode.GRANT_INVALID
        assert "is not in the JWKS" in by_agent.message
    return isinstance(by_agent, Grant)


def test_grants_of_the_old_key_verify_until_it_is_retired_and_those_of_the_new_one_from_its_first(
    settings: Settings,
) -> None:
    ring = keys.signing(settings)
    old = control(settings).grant(FIELDS, lead="lead-1")
    rotation.prepare(ring)
    still = control(settings).grant(FIELDS, lead="lead-1")
    assert takes(settings, old)
    assert takes(settings, still)
    before = keys.jwks(settings)  # what an enforcer has that started before the rotation
    rotation.rotate(ring, NOW_S)
    new = control(settings).grant(FIELDS, lead="lead-1")
    assert new != old
    assert takes(settings, old)
    assert takes(settings, new)
    verifier = GrantVerifier(before, feed=None, lease_us=5 * SECOND)
    assert verifier.check(
        new, action="update_crm", lead_id="lead-1", agent_id="agent-1", now=NOON, crm_fields=FIELDS, use=False
    )
    assert rotation.retire(ring, NOW_S + OVERLAP_S - 1) == []
    assert takes(settings, old)
    assert len(rotation.retire(ring, NOW_S + OVERLAP_S)) == 1
    assert not takes(settings, old)
    assert takes(settings, new)


def test_the_overlap_is_longer_than_any_grant_that_a_verifier_takes() -> None:
    assert OVERLAP_S * SECOND > MAX_GRANT_LIFETIME_US


def test_enforcers_that_run_take_a_new_key_and_drop_a_retired_one_with_its_file(settings: Settings) -> None:
    """Those that were given the file, as `mandate sink crm` is and agents may be: nobody restarts them."""
    ring, source = keys.signing(settings), keys.signers(settings)
    running = GrantVerifier(source, feed=None, lease_us=5 * SECOND)
    started_once = GrantVerifier(keys.jwks(settings), feed=None, lease_us=5 * SECOND)

    def takes(verifier: GrantVerifier, grant: str) -> bool:
        return bool(
            verifier.check(
                grant, action="update_crm", lead_id="lead-1", agent_id="agent-1", now=NOON, crm_fields=FIELDS, use=False
            )
        )

    old = control(settings).grant(FIELDS, lead="lead-1")
    assert takes(running, old)
    rotation.prepare(ring)
    rotation.rotate(ring, NOW_S)
    new = control(settings).grant(FIELDS, lead="lead-1")
    assert takes(running, new)
    assert takes(running, old)
    assert not takes(started_once, new), "keys that were given as such stay what they are"
    assert len(rotation.retire(ring, NOW_S + OVERLAP_S)) == 1
    assert takes(running, new)
    assert not takes(running, old)


def test_a_machine_without_the_published_file_verifies_with_the_key_that_signs(settings: Settings) -> None:
    assert keys.signers(settings) == settings.jwks_path
    published = keys.jwks(settings)
    settings.jwks_path.unlink()
    assert keys.signers(settings) == published


def test_a_key_that_others_hold_is_retired_at_once(settings: Settings) -> None:
    ring = keys.signing(settings)
    stolen = control(settings).grant(FIELDS, lead="lead-1")
    rotation.prepare(ring)
    old, _ = rotation.rotate(ring, NOW_S)
    assert rotation.retire(ring, NOW_S, old) == [old]
    assert not takes(settings, stolen)


def test_the_old_private_key_is_gone_and_the_new_one_is_its_owners_alone(settings: Settings) -> None:
    ring = keys.signing(settings)
    old = ring.private.read_bytes()
    rotation.prepare(ring)
    assert stat.S_IMODE(rotation.next_path(ring).stat().st_mode) == 0o600
    rotation.rotate(ring, NOW_S)
    assert stat.S_IMODE(ring.private.stat().st_mode) == 0o600
    assert {path.name for path in ring.private.parent.iterdir()} == {
        "signing.pem", "approver.pem", "jwks.json", "approvers.json",
    }  # fmt: skip
    assert ring.private.read_bytes() != old


def test_each_step_may_be_repeated_and_a_kill_between_its_writes_loses_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = keys.signing(settings)
    assert rotation.prepare(ring) == rotation.prepare(ring)
    old = control(settings).grant(FIELDS, lead="lead-1")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        patch.setattr(keys.os, "replace", os.rename)  # the JWKS file is written, the private key not yet moved
        patch.setattr(rotation.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            rotation.rotate(ring, NOW_S)
    assert takes(settings, old)
    assert takes(settings, control(settings).grant(FIELDS, lead="lead-1"))
    keys.ensure_keys(settings)
    assert rotation.retire(ring, NOW_S + 2 * OVERLAP_S) == []
    first, second = rotation.rotate(ring, NOW_S)
    assert [key["kid"] for key in keys.jwks(settings)["keys"]] == [second, first]
    assert takes(settings, old)


def test_a_rotation_needs_a_next_key_and_never_retires_one_in_use(settings: Settings) -> None:
    ring = keys.signing(settings)
    with pytest.raises(RotationError, match="mandate keys new"):
        rotation.rotate(ring, NOW_S)
    (current,) = (key["kid"] for key in keys.jwks(settings)["keys"])
    coming = rotation.prepare(ring)
    for kid in (current, coming):
        with pytest.raises(RotationError, match="is in use"):
            rotation.retire(ring, NOW_S, kid)
    with pytest.raises(RotationError, match="holds no key nobody"):
        rotation.retire(ring, NOW_S, "nobody")


def test_policies_of_the_old_approver_count_until_a_person_retires_its_key(settings: Settings) -> None:
    ring, bundle = keys.approving(settings), load_bundle(PACKAGED_POLICY)
    before = policy_activate.sign(settings, bundle, 1, "", "ann")
    rotation.prepare(ring)
    old, _ = rotation.rotate(ring, NOW_S)
    after = policy_activate.sign(settings, bundle, 2, "", "ann")

    def court() -> Court:
        return Court.from_keys(keys.private_key(keys.signing(settings)), keys.approver_keys(settings))

    assert court().approved(before)
    assert court().approved(after)
    assert rotation.retire(ring, NOW_S + 100 * OVERLAP_S) == []
    rotation.retire(ring, NOW_S, old)
    assert not court().approved(before)
    assert court().approved(after)


def test_the_list_says_which_key_does_what(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    ring = keys.signing(settings)
    assert [held.state for held in rotation.overview(ring, NOW_S)] == ["signs"]
    rotation.prepare(ring)
    assert [held.state for held in rotation.overview(ring, NOW_S)] == ["signs", "next"]
    rotation.rotate(ring, NOW_S)
    assert [(held.state, held.until) for held in rotation.overview(ring, NOW_S)] == [
        ("signs", None),
        ("verifies", NOW_S + OVERLAP_S),
    ]
    assert rotation.overview(ring, NOW_S + OVERLAP_S)[1].state == "may be retired"
    command.run(settings, command="list", as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["part"] for row in rows] == ["control", "control", "approver"]
    ring.private.unlink()
    assert [held.state for held in rotation.overview(ring, NOW_S)] == ["verifies", "verifies"]


def test_the_command_goes_through_a_rotation_and_says_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings(data_dir=tmp_path)

    def said(**arguments: Any) -> str:
        assert command.run(settings, **arguments) == 0
        return capsys.readouterr().out

    assert "enforcer" in said(command="new")
    assert "Nothing signs with it yet" in said(command="new")
    assert "restart the workers" in said(command="rotate")
    assert "No key's time is over" in said(command="retire")
    assert said(command="new", part="approver").startswith("approver ")
    assert said(command="list").count("\n") == 3


def pem_of(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize("written", [lambda pem: pem, lambda pem: pem.replace("\n", "\\n"), lambda pem: f"  {pem}\n\n"])
def test_a_key_from_the_environment_wins_over_the_file(
    settings: Settings, written: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Ed25519PrivateKey.generate()
    monkeypatch.setenv("MANDATE_SIGNING_KEY", written(pem_of(own)))
    found = load_settings(data_dir=settings.data_dir)
    ring = keys.signing(found)
    assert keys.key_id(keys.private_key(ring)) == keys.key_id(own)
    for step in (lambda: rotation.prepare(ring), lambda: rotation.rotate(ring, NOW_S)):
        with pytest.raises(RotationError, match="MANDATE_SIGNING_KEY"):
            step()
    keys.ensure_keys(found)
    assert keys.jwks(found)["keys"][0]["kid"] == keys.key_id(own)
    assert rotation.overview(ring, NOW_S)[0].file == "MANDATE_SIGNING_KEY"


def test_a_worker_needs_the_approvers_public_half_alone(settings: Settings) -> None:
    settings.approver_key_path.unlink()
    assert [keys.public_jwk(key)["kid"] for key in keys.approver_keys(settings)] == [
        key["kid"] for key in keys.approvers(settings)["keys"]
    ]
    source = (ROOT / "deploy" / "commands" / "worker.py").read_text()
    assert "approver_keys" in source
    assert "approver_key_path" not in source
    court = decide.court_of(load_settings(data_dir=settings.data_dir, signing_key_path=settings.signing_key_path))
    assert len(court.approvers) == 1
    settings.approvers_path.unlink()
    with pytest.raises(SettingsError, match=r"no public keys in .*approvers\.json"):
        keys.approver_keys(settings)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"keys": 1}', '{"keys": [{}]}', '{"keys": [{"x": "AAAA", "kid": "k"}]}', "\ud800"],
)
def test_what_is_no_jwks_is_refused_by_its_name(settings: Settings, content: str) -> None:
    settings.jwks_path.write_text(content, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(SettingsError, match=r"jwks\.json is not a JWKS"):
        keys.jwks(settings)


def test_a_jwks_whose_kid_is_another_keys_is_refused(settings: Settings) -> None:
    published = keys.jwks(settings)
    published["keys"][0]["kid"] = keys.approvers(settings)["keys"][0]["kid"]
    settings.jwks_path.write_text(json.dumps(published))
    with pytest.raises(SettingsError, match="is not a JWKS"):
        keys.jwks(settings)


# -- never told -----------------------------------------------------------------------------------------------------


def secrets_in(settings: Settings) -> list[str]:
    """The private keys of these settings, as they might be written: the body of the PEM, the bytes in some forms."""
    found = []
    for ring in (keys.signing(settings), keys.approving(settings)):
        key = keys.private_key(ring)
        raw = key.private_bytes_raw()
        found += [pem_of(key).splitlines()[1], raw.hex(), base64.b64encode(raw).decode(), repr(raw)]
        found.append(base64.urlsafe_b64encode(raw).rstrip(b"=").decode())
    return found


def tells(text: str, secrets: list[str]) -> bool:
    return any(secret in text for secret in secrets)


def test_a_text_with_a_key_in_it_is_found(settings: Settings) -> None:
    secrets = secrets_in(settings)
    assert tells(settings.signing_key_path.read_text(), secrets)
    assert not tells(settings.jwks_path.read_text(), secrets)


def broken(pem: str) -> list[str]:
    """Ways in which a key is written wrong and still is one for whoever reads the error."""
    body = pem.splitlines()[1]
    return [body, pem.replace("PRIVATE", "PUBLIC"), pem[:-30], pem.replace(body, body[:-8]), body[:-1] + "!"]


def test_no_error_text_repr_or_log_of_any_step_holds_a_private_key(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = secrets_in(settings)
    pems = [settings.signing_key_path.read_text(), settings.approver_key_path.read_text()]
    given = load_settings(data_dir=tmp_path, signing_key=pems[0], approver_key=pems[1])
    told = [repr(given), str(given), repr(keys.signing(given)), repr(keys.approving(given)), given.model_dump_json()]
    settings_command.run(given)
    told += [repr(control(given).signer), repr(Court.from_keys(keys.private_key(keys.signing(given)), []))]
    for pem in pems:
        for wrong in broken(pem):
            file = tmp_path / "wrong.pem"
            file.write_text(wrong)
            for attempt in (
                lambda wrong=wrong: keys.private_key(keys.signing(load_settings(signing_key=wrong))),
                lambda wrong=wrong: keys.private_key(keys.approving(load_settings(approver_key=wrong))),
                lambda file=file: keys.load_private_key(file),
                lambda wrong=wrong: load_settings(data_dir=tmp_path, signing_key=[wrong]),
                lambda wrong=wrong: load_settings(data_dir=tmp_path, approver_key={"pem": wrong}),
            ):
                with pytest.raises(SettingsError) as refused:
                    attempt()
                told += [str(refused.value), repr(refused.value)]
    for step in ("new", "new", "list", "rotate", "list", "retire"):
        command.run(settings, command=step)
    secrets += secrets_in(settings)
    with pytest.raises(RotationError) as refused_step:
        rotation.rotate(keys.signing(given), NOW_S)
    told += [str(refused_step.value), capsys.readouterr().out, capsys.readouterr().err, caplog.text]
    assert len(told) > 80
    assert [text for text in told if tells(text, secrets)] == []


@pytest.mark.parametrize("words", [("worker",), ("policy", "activate", str(PACKAGED_POLICY)), ("settings",)])
def test_no_process_that_is_given_a_key_tells_it_when_it_ends(
    settings: Settings, tmp_path: Path, words: tuple[str, ...]
) -> None:
    pem = settings.signing_key_path.read_text()
    wrong = pem.replace("PRIVATE", "PUBLIC")
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", *words],
        cwd=ROOT,
        env={
            **os.environ, "MANDATE_DATA_DIR": str(tmp_path / "other"), "MANDATE_CLOCK": "driven",
            "MANDATE_KAFKA_BOOTSTRAP": "127.0.0.1:1", "MANDATE_REGISTRY_URL": "http://127.0.0.1:1",
            "MANDATE_SIGNING_KEY": wrong, "MANDATE_APPROVER_KEY": wrong,
        },
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == (0 if words == ("settings",) else 2)
    assert not tells(done.stdout + done.stderr, secrets_in(settings))
    assert "Traceback" not in done.stderr
