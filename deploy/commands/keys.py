"""`mandate keys`: make, show, rotate and retire keys. A private half is never printed."""

from __future__ import annotations

import json
import time

from deploy import keys, rotation
from deploy.keys import Part, Ring
from deploy.settings import Settings
from schemas.jsonio import iso

_SECOND_US = 1_000_000
_BRING = {
    "control": "Bring {path} to every enforcer: where it replaces the old file it counts at once",
    "approver": "Bring {path} to the workers and the CRM sink and restart them",
}
_FOLLOWS = {
    "control": "then restart the workers: they sign with it from then on.",
    "approver": "then activate a policy: it is signed with it.",
}


def run(
    settings: Settings, *, command: str, part: Part = "control", kid: str | None = None, as_json: bool = False
) -> int:
    """Do one step and say what comes next."""
    ring = keys.signing(settings) if part == "control" else keys.approving(settings)
    now_s = int(time.time())
    if command == "list":
        return _list([keys.signing(settings), keys.approving(settings)], now_s, as_json)
    if command == "new":
        made = rotation.prepare(ring)
        print(f"{part} {made}")
        if rotation.next_path(ring).exists():
            print(f"Nothing signs with it yet. {_bring(ring)}, then `mandate keys rotate`.")
        else:
            print(f"{_bring(ring)}.")
        return 0
    if command == "rotate":
        return _rotate(ring, now_s)
    gone = rotation.retire(ring, now_s, kid)
    print("\n".join(f"{part} {each} retired" for each in gone) or "No key's time is over.")
    if gone:
        print(f"{_bring(ring)}: until then it takes them.")
    return 0


def _bring(ring: Ring) -> str:
    return _BRING[ring.part].format(path=ring.published)


def _rotate(ring: Ring, now_s: int) -> int:
    old, new = rotation.rotate(ring, now_s)
    print(f"{ring.part} {old} -> {new}\n{_bring(ring)}, {_FOLLOWS[ring.part]}")
    if ring.part == "control":
        end = iso((now_s + rotation.OVERLAP_S) * _SECOND_US)
        print(f"The old one verifies until {end}; after that `mandate keys retire`.")
    else:
        print("The old one verifies until `mandate keys retire --for approver --kid` takes it out.")
    return 0


def _list(rings: list[Ring], now_s: int, as_json: bool) -> int:
    held = [key for ring in rings for key in rotation.overview(ring, now_s)]
    if as_json:
        print(json.dumps([key._asdict() for key in held], indent=2))
        return 0
    for key in held:
        until = "" if key.until is None else f"until {iso(key.until * _SECOND_US)}"
        print(f"{key.part:8}  {key.kid}  {key.state:14}  {until}{key.file}".rstrip())
    return 0
