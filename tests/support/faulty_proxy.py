"""A proxy before a real server that does to its answers what networks, proxies and log-in pages do."""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Fault:
    """What happens to one answer.

    Attributes:
        status: this status instead of the server's.
        headers: further headers of that answer.
        body: this body instead of the server's, with `content_type`.
        keep_bytes: the body ends after so many bytes and the connection is reset.
        reset: the connection is reset before any answer.
        delay_s: the answer waits.
        change: what becomes of the body on its way.
    """

    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    content_type: str = "text/html"
    keep_bytes: int | None = None
    reset: bool = False
    delay_s: float = 0.0
    change: Callable[[bytes], bytes] | None = None


Plan = Callable[[str, int], Fault | None]
"""From a request's path and how often it was asked before to its fault."""


@dataclass
class FaultyProxy:
    """A running proxy: its port, and what was asked of it."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web"

    def retrieved(self) -> list[str]:
        """Instances that were asked for, in order."""
        return [path.rpartition("/")[2] for path in self.asked if "/instances/" in path]


@contextmanager
def faulty_proxy(server_port: int, plan: Plan, tls: ssl.SSLContext | None = None) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            fault = plan(self.path, proxy.asked.count(self.path)) or Fault()
            proxy.asked.append(self.path)
            proxy.authorizations.add(self.headers.get("Authorization", ""))
            time.sleep(fault.delay_s)
            if fault.reset:
                self._reset()
                return
            if fault.status is not None or fault.body is not None:
                self._answer(
                    fault.status or 200, {"Content-Type": fault.content_type, **dict(fault.headers)}, fault.body or b""
                )
                return
            upstream = http.client.HTTPConnection("127.0.0.1", server_port, timeout=30)
            kept = {name: value for name, value in self.headers.items() if name.lower() in ("accept", "authorization")}
            upstream.request("GET", self.path, headers=kept)
            answer = upstream.getresponse()
            body = answer.read()
            body = fault.change(body) if fault.change else body
            self._answer(answer.status, {"Content-Type": answer.getheader("Content-Type", "")}, body, fault.keep_bytes)

        def _answer(self, status: int, headers: dict[str, str], body: bytes, keep: int | None = None) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if keep is None else body[:keep])
            if keep is not None:
                self.wfile.flush()
                self._reset()

        def _reset(self) -> None:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

        def handle(self) -> None:
            with suppress(OSError, ValueError):
                super().handle()

        def finish(self) -> None:
            with suppress(OSError, ValueError):
                super().finish()

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    if tls is not None:
        listener.socket = tls.wrap_socket(listener.socket, server_side=True)
    proxy.port = listener.server_address[1]
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
