"""A wire between a sidecar and its backend that does what wires and peers do when they fail."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 64 * 1024


class Wire:
    """A TCP server that passes bytes on to `127.0.0.1:upstream`, well or badly. Use as a context manager.

    What is set counts for connections that are open too.
    """

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self.bytes_at_once: int | None = None
        """Requests are passed on in pieces of so many bytes, a moment after each other; None is as they come."""
        self.answers_after_s = 0.0
        """Answers wait for so long."""
        self.silent = False
        """Connections are accepted, and that is all: the peer is half open."""
        self.resets_after: int | None = None
        """Connections are reset when so many bytes of requests have gone through."""
        self.connections = 0
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def endpoint(self) -> str:
        """Where to send to."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        # A blocked accept does not notice that its socket is closed.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10.0)

    def cut(self) -> None:
        """Reset every connection there is."""
        with self._lock:
            for each in self._open:
                _reset(each)
            self._open.clear()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream), timeout=5.0)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            for work in ((self._requests, client, server), (self._answers, server, client)):
                thread = threading.Thread(target=work[0], args=work[1:], daemon=True)
                self._threads.append(thread)
                thread.start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        seen = 0
        with contextlib.suppress(OSError):
            for data in self._read(client, server):
                seen += len(data)
                if self.resets_after is not None and seen > self.resets_after:
                    _reset(client)
                    _reset(server)
                    return
                size = self.bytes_at_once or len(data)
                for start in range(0, len(data), size):
                    server.sendall(data[start : start + size])
                    if self.bytes_at_once:
                        self._stopping.wait(0.0005)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for data in self._read(server, client):
                if self.answers_after_s:
                    self._stopping.wait(self.answers_after_s)
                client.sendall(data)

    def _read(self, source: socket.socket, target: socket.socket) -> Iterator[bytes]:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                while self.silent and not self._stopping.is_set():
                    time.sleep(0.01)
                yield data
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    """Close with a RST, as a peer does whose process is gone."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Another thread may read from it: a close alone would wait for that one.
        connection.shutdown(socket.SHUT_RD)
    connection.close()
