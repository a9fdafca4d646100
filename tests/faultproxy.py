"""A proxy between a client and the server that loses replies, in a thread."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
from typing import Self

from trigger_celery.dev.directories import private_directory


def reply_end(data: bytes | bytearray, start: int) -> int | None:
    """Return where the RESP2 reply that begins at *start* ends, or None: it is not all there."""
    line_end = data.find(b"\r\n", start)
    if line_end < 0:
        return None
    after = line_end + 2
    kind = data[start : start + 1]
    if kind in (b"+", b"-", b":"):
        return after
    count = int(data[start + 1 : line_end])
    if kind == b"$":
        end = after + (count + 2 if count >= 0 else 0)
        return end if end <= len(data) else None
    assert kind == b"*", f"not RESP2: {bytes(data[start : start + 20])!r}"
    for _ in range(max(count, 0)):
        found = reply_end(data, after)
        if found is None:
            return None
        after = found
    return after


class FaultProxy:
    """Forwards bytes. `lose(n)`: the n-th reply from now on is dropped, and its connection closed.

    The server has done the work by then: exactly what a client cannot know.
    """

    def __init__(self, server_socket: str) -> None:
        self._server_socket = server_socket
        self._directory = private_directory()
        self.path = str(self._directory / "proxy.sock")
        self.url = f"unix://{self.path}?db=0"
        self.replies = 0
        self.lost = False
        self._lose_at = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closing = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._listener.bind(self.path)
        self._listener.listen(64)
        self._spawn(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._closing = True
            left = [self._listener, *self._open]
        for one in left:
            _close(one)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive(), "a thread of the proxy does not end"
        shutil.rmtree(self._directory)

    def lose(self, number: int) -> None:
        """Lose the reply with this number, counted from 1; 0 loses none."""
        with self._lock:
            self.replies = 0
            self.lost = False
            self._lose_at = number

    def _spawn(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server_socket)
            with self._lock:
                if self._closing:
                    _close(client)
                    _close(server)
                    return
                self._open |= {client, server}
            self._spawn(self._requests, client, server)
            self._spawn(self._replies, client, server)

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        self._end(client, server)

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        data = bytearray()
        with contextlib.suppress(OSError):
            while more := server.recv(65536):
                data += more
                while data and (end := reply_end(data, 0)) is not None:
                    if self._is_to_be_lost():
                        self._end(client, server)
                        return
                    client.sendall(data[:end])
                    del data[:end]
        self._end(client, server)

    def _is_to_be_lost(self) -> bool:
        with self._lock:
            self.replies += 1
            if self.replies != self._lose_at:
                return False
            self.lost = True
            return True

    def _end(self, *sockets: socket.socket) -> None:
        with self._lock:
            self._open.difference_update(sockets)
        for one in sockets:
            _close(one)


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)  # ends a recv or accept in another thread
    one.close()
