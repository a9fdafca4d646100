"""The payload store: large packets outside of Redis, as files or as objects of a bucket.

An object is named by the run or token it belongs to and by its digest. So writing it again changes
nothing, nobody reads half of one, and what a run left goes with its folder.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from trigger_celery.errors import PayloadLostError, PayloadStoreError
from trigger_celery.model.ids import is_run_id, is_token_id
from trigger_celery.model.packet import Packet
from trigger_celery.model.stored_packet import (
    Reference,
    directory_of,
    is_large,
    read_reference,
    refer,
)
from trigger_celery.store.connection import mask

T = TypeVar("T")
U = TypeVar("U")

AT_ONCE: Final = 8
"""Objects of one call that are written, read or deleted at the same time."""
_REFUSALS: Final = (PermissionError, NotADirectoryError, IsADirectoryError, ImportError, ValueError)
"""What another try does not help."""


class Place(Protocol):
    """Where objects are. Their names have slashes, and any thread may call."""

    def write(self, name: str, data: bytes) -> None:
        """Write an object; one of this name is replaced, and readers see the whole of either."""
        ...

    def read(self, name: str) -> bytes:
        """Return an object. Raises FileNotFoundError."""
        ...

    def delete(self, folder: str) -> None:
        """Delete everything under a folder; none is no error."""
        ...


class PayloadStore:
    """Keeps packets of one environment at a URL. Blocks; safe in threads and over a fork."""

    def __init__(self, url: str, folder: str, *, retry_for: float) -> None:
        self.shown = f"{mask(url).rstrip('/')}/{folder}"
        self._folder = folder
        self._retry_for = retry_for
        directory = directory_of(url)
        self._place: Place = Bucket(url) if directory is None else Directory(Path(directory))

    def keep(self, items: Sequence[tuple[str, Packet]]) -> list[Packet]:
        """Write the packets of their owners, those over 128 KB, and return what stands for them.

        Raises PayloadStoreError when one cannot be written.
        """
        return _at_once(self._keep, items)

    def load(self, packets: Sequence[Packet]) -> list[Packet]:
        """Return the packets that references stand for.

        Raises PayloadLostError for one that is gone or not what was stored, PayloadStoreError when
        it cannot be read now.
        """
        return _at_once(self._load, packets)

    def delete(self, owners: Sequence[str]) -> None:
        """Delete everything that belongs to runs and tokens. Raises PayloadStoreError."""
        _at_once(self._delete, owners)

    def try_out(self) -> None:
        """Write a small object, read it and delete it. Raises PayloadStoreError."""
        folder, data = f"check-{secrets.token_hex(8)}", b"trigger_celery was here"
        name = f"{folder}/object"
        try:
            self._patiently("written", name, lambda path: self._place.write(path, data))
            if self._patiently("read", name, self._place.read) != data:
                raise PayloadStoreError(
                    f"the payload store {self.shown} gave back something else than was written"
                )
        except FileNotFoundError as problem:
            raise PayloadStoreError(
                f"the payload store {self.shown} does not have what was just written to it"
            ) from problem
        finally:
            with suppress(PayloadStoreError):
                self._patiently("deleted", folder, self._place.delete)

    def _keep(self, item: tuple[str, Packet]) -> Packet:
        owner, packet = item
        if not is_large(packet):
            return packet
        data = packet.data.encode()
        reference = refer(_checked(owner), packet.type, data)
        self._patiently("written", reference.name, lambda name: self._place.write(name, data))
        return reference.packet()

    def _load(self, packet: Packet) -> Packet:
        try:
            reference = read_reference(packet)
        except ValueError as problem:
            raise PayloadLostError(str(problem)) from problem
        try:
            data = self._patiently("read", reference.name, self._place.read)
        except FileNotFoundError as problem:
            raise PayloadLostError(
                f"{reference.name} ({reference.size:,} bytes) is not in the payload store "
                f"{self.shown}: it was deleted there, or this process has another payload_store "
                "than the one that wrote it"
            ) from problem
        return Packet(self._verified(reference, data), reference.type)

    def _verified(self, reference: Reference, data: bytes) -> str:
        digest = sha256(data).hexdigest()
        if digest != reference.sha256 or len(data) != reference.size:
            raise PayloadLostError(
                f"{reference.name} in the payload store {self.shown} is not what was stored: it has "
                f"{len(data):,} bytes with the SHA-256 {digest}, and should have "
                f"{reference.size:,} with {reference.sha256}"
            )
        return data.decode()

    def _delete(self, owner: str) -> None:
        self._patiently("deleted", _checked(owner), self._place.delete)

    def _patiently(self, done: str, name: str, action: Callable[[str], U]) -> U:
        """Do it, again and again while the place is away, as long as calls of Redis are repeated."""
        deadline = time.monotonic() + self._retry_for
        pause = 0.05
        while True:
            try:
                return action(f"{self._folder}/{name}")
            except Exception as problem:
                if done == "read" and isinstance(problem, FileNotFoundError):
                    raise
                refused = isinstance(problem, _REFUSALS)
                if refused or time.monotonic() + pause > deadline:
                    raise PayloadStoreError(
                        f"{name} could not be {done} in the payload store {self.shown}: {problem!r}"
                    ) from problem
            time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - jitter
            pause = min(pause * 2, 1.0)


def _checked(owner: str) -> str:
    """Return the name of a folder: nothing else than an id may become one."""
    if not (is_run_id(owner) or is_token_id(owner)):
        raise ValueError(f"{owner!r} is no run or token")
    return owner


def _at_once(action: Callable[[T], U], items: Sequence[T]) -> list[U]:
    """Do it with all of them, some at the same time; raises the first error after the last is over."""
    if len(items) < 2:
        return list(map(action, items))
    with ThreadPoolExecutor(min(AT_ONCE, len(items)), "trigger-payloads") as threads:
        return list(_cancelling(threads, threads.map(action, items)))


def _cancelling(threads: ThreadPoolExecutor, results: Iterable[U]) -> Iterable[U]:
    try:
        yield from results
    except BaseException:
        threads.shutdown(wait=True, cancel_futures=True)
        raise


class Directory:
    """Objects as files, for one machine or a shared file system. Only the user may read them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, name: str, data: bytes) -> None:
        """Write a file beside its place, see it to the disk, and move it there."""
        path = self._root / name
        self._make(path.parent)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".")  # with the mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(beside).replace(path)
            _see_to_disk(path.parent)
        except BaseException:
            with suppress(OSError):
                Path(beside).unlink()
            raise

    def read(self, name: str) -> bytes:
        """Return a file."""
        return (self._root / name).read_bytes()

    def delete(self, folder: str) -> None:
        """Delete a directory."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._root / folder)

    def _make(self, folder: Path) -> None:
        """Make a directory and those above it that are missing, all with the mode 0700."""
        if folder.is_dir():
            return
        if folder.parent != folder:
            self._make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _see_to_disk(folder: Path) -> None:
    """Let the names in a directory survive a loss of power, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Bucket:
    """Objects of any file system that fsspec knows by the scheme of its URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened: tuple[int, Any, str] = (0, None, "")

    def write(self, name: str, data: bytes) -> None:
        """Write an object, in one piece where the file system has objects."""
        system, root = self._open()
        path = f"{root}/{name}"
        try:
            system.pipe_file(path, data)
        except FileNotFoundError:
            if not system.isdir(root):  # a bucket that nobody made is a mistake
                raise
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            system.pipe_file(path, data)

    def read(self, name: str) -> bytes:
        """Return an object."""
        system, root = self._open()
        return bytes(system.cat_file(f"{root}/{name}"))

    def delete(self, folder: str) -> None:
        """Delete all objects whose names begin so."""
        system, root = self._open()
        with suppress(FileNotFoundError):
            system.rm(f"{root}/{folder}", recursive=True)

    def _open(self) -> tuple[Any, str]:
        """Return the file system and where in it we are; a fork opens its own."""
        pid, system, root = self._opened
        if pid != os.getpid():  # no lock, which a fork could inherit: twice is no harm
            from fsspec.core import url_to_fs  # an extra, loaded only where it is used

            system, root = url_to_fs(self._url, use_listings_cache=False)
            root = root.rstrip("/")
            self._opened = (os.getpid(), system, root)
        return system, root
