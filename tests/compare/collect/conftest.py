"""A scripted HTTP server, for clients at the wire."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Reply = tuple[int, dict[str, str], bytes]
Script = Callable[[str, int], Reply]


class Wire:
    """A server that answers as a script says; it counts what it was asked."""

    def __init__(self, script: Script) -> None:
        self.asked: list[str] = []
        self.bodies: list[bytes] = []
        wire = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                wire.bodies.append(self.rfile.read(size))
                wire.asked.append(self.path)
                status, headers, body = script(self.path, len(wire.asked))
                if status == 0:  # hang up without an answer
                    self.connection.close()
                    return
                self.send_response(status)
                for name, value in {
                    "Content-Length": str(len(body)),
                    **headers,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def start() -> Iterator[Callable[[Script], Wire]]:
    wires: list[Wire] = []

    def start_one(script: Script) -> Wire:
        wires.append(Wire(script))
        return wires[-1]

    yield start_one
    for wire in wires:
        wire.close()
