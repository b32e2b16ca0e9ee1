"""`mandate decide`: intake and fold over a file of records, with no broker."""

import sys
from contextlib import nullcontext
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.keys import approver_keys, private_key, signing
from deploy.settings import Settings
from processors.authority import Court
from processors.offline import Offline
from processors.policy import PolicyError, load_bundle

BAD_INPUT = 2
DEFAULT_BUNDLE = Path(__file__).parent.parent / "policy" / "default"
# Published on purpose: grants signed with it are worth nothing to an enforcer, whose JWKS does not hold it. It makes
# the output the same on every machine.
OFFLINE_KEY = b"mandate decide: not a secret key"


def run(settings: Settings, file: Path, policy: Path | None) -> int:
    """Prints every output record as a JSON line. Exit code 2 when file or bundle can't be read."""
    try:
        bundle = load_bundle(policy or settings.policy_bundle or DEFAULT_BUNDLE)
        offline = Offline(court_of(settings), bundle, unresolved_wait_s=settings.unresolved_wait_s)
        source = nullcontext(sys.stdin) if str(file) == "-" else file.open(encoding="utf-8", errors="surrogateescape")
        with source as lines:
            for line in offline.run(lines):
                sys.stdout.write(line + "\n")
    except (OSError, PolicyError) as error:
        print(f"mandate decide: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


def court_of(settings: Settings) -> Court:
    """The court of a run: a cluster's own keys when the settings name its signing key, else the published one.

    With a cluster's keys, its exported journal gives its decisions again, byte for byte.
    """
    if settings.model_fields_set & {"signing_key_path", "signing_key"}:
        return Court.from_keys(private_key(signing(settings)), approver_keys(settings))
    key = Ed25519PrivateKey.from_private_bytes(OFFLINE_KEY)
    return Court.from_keys(key, [key.public_key()])
