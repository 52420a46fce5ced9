"""A proxy before a real service, by which a test knows of every request in time."""

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlparse

Hook = Callable[[int], None]
"""Called with the number of a request for predictions, from 1."""

PASSED_ON = ("Content-Type", "Retry-After")


class GoBetween:
    """Hands requests on to `target`, and hangs up where nobody answers there."""

    def __init__(self, target: str) -> None:
        self.target = target
        """A URL; it may change."""

        self.asked = 0
        """Requests for predictions."""

        self.before: Hook = lambda number: None
        self.after: Hook = lambda number: None
        """Before a request is handed on, and before its answer is handed back."""

        self._counting = threading.Lock()
        handler = _handler(self)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def count(self) -> int:
        with self._counting:
            self.asked += 1
            return self.asked

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def go_between(target: str) -> Iterator[GoBetween]:
    proxy = GoBetween(target)
    try:
        yield proxy
    finally:
        proxy.close()


def _handler(proxy: GoBetween) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            number = proxy.count() if self.path.startswith("/predict") else None
            if number is not None:
                proxy.before(number)
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, headers, answer = self._handed_on(body)
                if number is not None:
                    proxy.after(number)
                self._hand_back(status, headers, answer)
                return
            self.close_connection = True  # without an answer

        do_POST = do_GET  # noqa: N815 - http.server's name

        def _handed_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            target = http.client.HTTPConnection(urlparse(proxy.target).netloc)
            with contextlib.closing(target):
                kind = {"Content-Type": self.headers.get("Content-Type") or ""}
                target.request(self.command, self.path, body, kind)
                answer = target.getresponse()
                headers = {
                    name: value
                    for name in PASSED_ON
                    if (value := answer.getheader(name)) is not None
                }
                return answer.status, headers, answer.read()

        def _hand_back(
            self, status: int, headers: dict[str, str], answer: bytes
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
