"""The examples of docs/agents.md run as they stand there, against the real topics."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.keys import jwks_path
from deploy.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = re.compile(r"<!-- tested: (\w+) -->\n```python\n(.*?)```", re.DOTALL)
EXAMPLES = dict(EXAMPLE.findall((ROOT / "docs" / "agents.md").read_text(encoding="utf-8")))


def with_addresses_of(settings: Settings, code: str) -> str:
    """The example with the three places it names replaced; each must be there."""
    places = {
        "127.0.0.1:19092": settings.bootstrap_servers,
        "http://127.0.0.1:18081/apis/ccompat/v7": settings.schema_registry_url,
        "var/keys/jwks.json": str(jwks_path(settings)),
    }
    for documented, actual in places.items():
        assert documented in code
        code = code.replace(documented, actual)
    return code


@pytest.mark.broker
@pytest.mark.parametrize(
    ("name", "prints"),
    [("sync", ["saying the price"]), ("asyncio", [f"asking lead-{number}" for number in range(20)])],
)
def test_the_example_runs(control: Settings, name: str, prints: list[str]) -> None:
    code = with_addresses_of(control, EXAMPLES[name])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(prints)


def test_the_first_example_is_no_longer_than_it_says() -> None:
    lines = [line for line in EXAMPLES["sync"].splitlines() if line and "import" not in line]
    assert len(lines) <= 10
