"""``/healthz``, ``/readyz`` and ``/metrics`` of a service, served beside its loop by threads of their own.

The server never waits for the loop: a loop that hangs is what ``/healthz`` is there to tell. ``healthy`` and
``ready`` are called on the server's threads, so they only read values that the loop has put there.
"""

from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Probe = Callable[[], str | None]
"""Says what is wrong, in one line, or ``None`` if nothing is."""

TEXT = "text/plain; charset=utf-8"
POLL_S = 0.05
"""How often the server looks whether to stop: a process that leaves waits for that."""
CLIENT_TIMEOUT_S = 5


class Endpoints:
    """The HTTP server of one process.

    ``port`` 0 takes any free one; after the constructor ``.port`` is the one in use. A probe's reason is
    answered with status 503, ``None`` with 200. Raises ``OSError`` if the port is taken.
    """

    def __init__(self, port: int, registry: CollectorRegistry, healthy: Probe, ready: Probe, host: str = "") -> None:
        def answer(path: str) -> tuple[int, str, bytes]:
            if path == "/healthz":
                return _probed(healthy)
            if path == "/readyz":
                return _probed(ready)
            if path == "/metrics":
                return 200, CONTENT_TYPE_LATEST, generate_latest(registry)
            return 404, TEXT, b"there are /healthz, /readyz and /metrics\n"

        self._server = _Server((host, port), _handler(answer))
        self._thread = Thread(target=self._server.serve_forever, args=(POLL_S,), name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer. Returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and free the port. Does nothing the second time."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    # A client that keeps its connection open must not keep the process from leaving.
    daemon_threads = True
    block_on_close = False


def _probed(probe: Probe) -> tuple[int, str, bytes]:
    problem = probe()
    if problem is None:
        return 200, TEXT, b"ok\n"
    return 503, TEXT, f"{problem}\n".encode()


def _handler(answer: Callable[[str], tuple[int, str, bytes]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = CLIENT_TIMEOUT_S

        def do_GET(self) -> None:
            self._reply(with_body=True)

        def do_HEAD(self) -> None:
            self._reply(with_body=False)

        def _reply(self, *, with_body: bool) -> None:
            status, content_type, body = answer(self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                with suppress(ConnectionError):  # who asked may be gone
                    self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes come every few seconds: they are no news."""

    return Handler
