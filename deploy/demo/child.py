"""A process of the demo: the command it is told to be, for as long as the demo that started it lives.

It imports while broker and registry still start, and becomes the command when a line on standard input says so. When
standard input ends, the demo is gone, however it ended: the process stops as on SIGTERM.
"""

import importlib
import json
import os
import signal
import sys
import threading
import time

FORCED_AFTER_S = 20.0


def main(module: str, *preload: str) -> int:
    """Waits for a line of JSON with environment and arguments, then runs `module`."""
    for name in preload:
        importlib.import_module(name)
    line = sys.stdin.readline()
    if not line:
        return 0
    told = json.loads(line)
    os.environ.update(told["environment"])
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    from deploy.settings import load_settings

    return int(importlib.import_module(module).run(load_settings(), **told["arguments"]) or 0)


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(FORCED_AFTER_S)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
