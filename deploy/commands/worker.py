"""`mandate worker`: one control worker until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from deploy import keys
from deploy.errors import OperatorError
from deploy.settings import Settings
from processors.authority import Court
from streams import EXIT_BROKEN, Broken, garbage
from streams.access import check_access
from streams.broker_time import check_clock
from streams.clock import make_clock
from streams.kafka import CHECK_BROKERS
from streams.layout import layout_of
from streams.metrics import control, serve
from streams.registry import connect
from streams.slots import take_slot

STOP_WITHIN_S = 8.0
"""A stop that takes longer ends the process as a crash does (70): nothing is lost, what was left is repeated."""
# Who judges shares the interpreter with who lands, and with two more threads; the default of 5 ms is a hop's whole
# budget. With 0.5 ms p99 was 40 ms beside 24 at 1,000 events a second, for as much processor time.
_SWITCH_INTERVAL_S = 0.0001


def run(settings: Settings, log_level: str = "INFO") -> int:
    """Judge the partitions that this worker is given, until told to end. 0: all of it is committed.

    SIGTERM and SIGINT hand the partitions over; SIGHUP keeps them for a restart within the session timeout.

    70: infrastructure failed or entries are missing; start it again, it goes on where its state ends.
    """
    _configure_logging(log_level)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        _run_to_end(_work(settings))
    except OperatorError as error:
        print(f"mandate: {error}", file=sys.stderr)
        _leave(EXIT_BROKEN)
    _leave(0)
    return 0


async def _work(settings: Settings) -> None:
    stop = _on_signals()
    serve(settings, control.REGISTRY)
    check_access(settings)
    # Before anything that may fail for want of a server: what is wrong with a key is told whether one answers or not.
    court = Court.from_keys(keys.private_key(keys.signing(settings)), keys.approver_keys(settings))
    # Others wait for this worker's partitions: it asks all at once, and loads the rest of its program meanwhile.
    ask = asyncio.get_running_loop().run_in_executor
    answers = asyncio.gather(
        ask(None, connect, settings), ask(None, layout_of, settings), ask(None, _check_clock, settings)
    )
    from processors.partition import Partition
    from streams.app import Worker

    codec, layout, _ = await answers
    slot = take_slot(settings.data_dir, settings.state_dir)
    clock = make_clock(settings)
    worker = Worker(settings, slot, layout, codec, clock, lambda number, rows: Partition(number, rows, court))
    garbage.begin()
    control.watch(worker.control.meters, worker.journal_end)
    starting = asyncio.create_task(worker.start())
    await asyncio.wait((starting, asyncio.create_task(stop.wait())), return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        await stop.wait()
    await _end(worker.stop(leave=stop.leave), STOP_WITHIN_S)


def _check_clock(settings: Settings) -> None:
    if settings.clock == "system":
        check_clock(settings)


async def _end(stopping: Coroutine[Any, Any, None], within_s: float) -> None:
    """Raises Broken when a stop takes longer; it is not cancelled, for a cancelled one may take as long again."""
    task = asyncio.create_task(stopping)
    done, _ = await asyncio.wait({task}, timeout=within_s)
    if not done:
        raise Broken(
            f"The worker did not stop within {within_s:g} s: what it judged last may not be committed.",
            f"Nothing is lost: the next owner of its partitions repeats it. {CHECK_BROKERS}",
        )
    task.result()


class _Stop(asyncio.Event):
    """Set when the worker is told to end. leave: whether the others are to go on with its partitions."""

    leave = True

    def told(self, number: signal.Signals) -> None:
        self.leave = number is not signal.SIGHUP
        self.set()


def _on_signals() -> _Stop:
    stop, loop = _Stop(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.told, number)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        loop.add_signal_handler(signal.SIGHUP, stop.told, signal.SIGHUP)
    return stop


def _run_to_end(main: Coroutine[Any, Any, None]) -> None:
    """Runs on uvloop where there is one; other threads' loops (Faust's consumer) follow the same policy."""
    try:
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    except ImportError:
        pass
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(main)


def _configure_logging(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # Ours is "mandate"; modules of streams that extend Faust log under their own names what Faust has to say.
    logging.getLogger("mandate").setLevel(level)


def _leave(code: int) -> None:
    # Faust's threads may hang when they are asked to end; everything that counts is committed or will be read again.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
