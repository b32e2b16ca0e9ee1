"""The registry's client over TLS: whoever answers must have a certificate from an authority that is trusted."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deploy.schema_registry import RegistryError, SchemaRegistry
from tests.secured import Authority


class NoSubjects(BaseHTTPRequestHandler):
    """A registry that is empty."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.made("ours")


@pytest.fixture
def address(authority: Authority, tmp_path: Path) -> Iterator[str]:
    """Host and port of a registry with a certificate of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.write_broker(tmp_path / "registry.pem"))
    with HTTPServer(("127.0.0.1", 0), NoSubjects) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_a_registry_with_a_certificate_of_the_named_authority_is_asked(
    authority: Authority, address: str, tmp_path: Path
) -> None:
    named = str(authority.write(tmp_path / "authority.pem"))
    with SchemaRegistry({"url": f"https://{address}", "ssl.ca.location": named}) as registry:
        assert registry.subjects() == []


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_a_registry_that_nobody_vouches_for_is_refused(scheme: str, address: str) -> None:
    with (
        SchemaRegistry({"url": f"{scheme}://{address}"}) as registry,
        pytest.raises(RegistryError, match=r"does not answer .*certificate"),
    ):
        registry.subjects()
