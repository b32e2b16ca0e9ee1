"""What the runner of faults is made of, each by itself: no broker here."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local.ports import pick_free
from deploy.settings import LOOPBACK, load_settings
from tests.faults import table
from tests.faults.__main__ import chosen
from tests.faults.cast import Cast
from tests.faults.injections import FAULTS
from tests.faults.proxy import Proxy
from tests.topology.worker_process import eventually

ROWS = [
    table.Row("the worker is killed", 3, 120, 2.345, 0, 0, 0),
    table.Row("the disk is lost", 1, 0, None, 2, 1, None, rescued=1),
]


@contextmanager
def echo() -> Iterator[int]:
    """A server that answers what it hears; its port."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    heard, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(heard,), daemon=True).start()

        def answer(heard: socket.socket) -> None:
            with heard:
                while data := heard.recv(100):
                    heard.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@pytest.fixture
def proxied() -> Iterator[tuple[Proxy, socket.socket]]:
    with echo() as target:
        proxy = Proxy(pick_free(1)[0], target)
        with socket.create_connection((LOOPBACK, proxy.port), timeout=5) as client:
            yield proxy, client
        proxy.close()


def ask(client: socket.socket) -> bytes:
    client.sendall(b"word")
    return client.recv(100)


def test_a_proxy_forwards_and_is_as_late_as_it_is_told(proxied: tuple[Proxy, socket.socket]) -> None:
    proxy, client = proxied
    assert ask(client) == b"word"
    proxy.delay_s = 0.2
    began = time.monotonic()
    assert ask(client) == b"word"
    assert time.monotonic() - began >= 0.4


def test_a_silent_proxy_keeps_what_it_hears_until_it_is_mended(proxied: tuple[Proxy, socket.socket]) -> None:
    proxy, client = proxied
    assert ask(client) == b"word"
    proxy.is_silent = True
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        ask(client)
    proxy.mend()
    client.settimeout(5)
    assert client.recv(100) == b"word"


def test_a_cut_proxy_ends_connections_and_takes_none(proxied: tuple[Proxy, socket.socket]) -> None:
    proxy, client = proxied
    assert ask(client) == b"word"
    proxy.cut()
    assert client.recv(100) == b""
    with socket.create_connection((LOOPBACK, proxy.port), timeout=5) as another:
        assert another.recv(100) == b""
    proxy.mend()
    with socket.create_connection((LOOPBACK, proxy.port), timeout=5) as another:
        assert ask(another) == b"word"


def test_who_is_killed_is_started_again_unless_it_is_held(tmp_path: Path) -> None:
    cast = Cast(tmp_path)
    try:
        member = cast.enter("server", load_settings(data_dir=tmp_path), "http.server", str(pick_free(1)[0]))
        first = member.process.pid
        member.end(signal.SIGKILL)
        eventually(lambda: member.process.pid != first and member.process.poll() is None, 10)
        with cast.held("server") as held:
            time.sleep(0.6)
            assert held.process.poll() is not None
        eventually(lambda: member.process.poll() is None, 10)
        assert cast.ended() == {"server": 0}
        cast.leave("server")
        assert member.process.poll() is not None
    finally:
        cast.close()


def test_who_ends_by_itself_is_counted(tmp_path: Path) -> None:
    cast = Cast(tmp_path)
    try:
        cast.enter("broken", load_settings(data_dir=tmp_path), "no_such_module_at_all")
        eventually(lambda: cast.ended()["broken"] >= 1, 10)
        cast.leave("broken")
        assert cast.ended()["broken"] >= 1
    finally:
        cast.close()


def test_faults_are_chosen_by_name_and_a_name_that_is_none_is_refused() -> None:
    assert [fault.name for fault in chosen("poison, kill")] == ["kill", "poison"]
    assert chosen(None) == list(FAULTS)
    with pytest.raises(SystemExit, match="no fault killl"):
        chosen("killl")


def test_names_of_faults_are_distinct_and_fit_in_front_of_a_request() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert not any("/" in name or name == "calm" for name in names)


def test_the_table_is_put_between_the_marks_and_nothing_else_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.write(table.markdown(ROWS, {"load": "50 records a second"}), page)
    text = page.read_text()
    assert text.startswith(f"before\n{table.BEGIN}\n")
    assert text.endswith(f"{table.END}\nafter\n")
    assert "old" not in text
    assert "| the worker is killed | 3 | 120 | 2.3 s | 0 | 0 | 0 |" in text
    assert "| the disk is lost (1× state removed by hand) | 1 | 0 | – | 2 | 1 | ? |" in text


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    with pytest.raises(ValueError, match="no marks"):
        table.write("text", page)


def test_the_page_in_the_docs_has_the_marks() -> None:
    text = table.PAGE.read_text(encoding="utf-8")
    assert text.index(table.BEGIN) < text.index(table.END)
