"""An agent embeds the client alone: neither the engine nor any store comes with it."""

import subprocess
import sys

FORBIDDEN = (
    "faust", "mode", "aiokafka", "rocksdict", "sqlalchemy", "pyiceberg", "pyarrow", "duckdb", "pydantic",
    "deploy", "processors", "sinks", "streams",
)  # fmt: skip
BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {forbidden!r}:
            raise ImportError(name + " must not be imported by an agent")

sys.meta_path.insert(0, Blocker())
{code}
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    script = BLOCKER.format(forbidden=FORBIDDEN, code=code)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)


def test_the_client_imports_without_the_engine_the_stores_and_the_deployment() -> None:
    modules = "agents, agents.sync, agents.aio, agents.verify, agents.tail, agents.states, agents.registry"
    done = run(f"import {modules}")
    assert done.returncode == 0, done.stderr


def test_this_check_refuses_a_forbidden_import() -> None:
    assert "must not be imported" in run("import faust").stderr
