"""Packets that are kept outside of Redis, and what stands there in their place: a reference."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from typing import Final
from urllib.parse import unquote, urlsplit

from trigger_celery.model.packet import MAX_INLINE, STORE, Packet, dump_json

_NAME: Final = re.compile(r"([a-z]+_[0-9a-v]{26})/[0-9a-f]{64}").fullmatch
_EXAMPLES: Final = "for example file:///var/lib/shop/payloads or s3://bucket/payloads"


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a packet is kept, and how to tell that it is the one."""

    name: str
    """Its owner (a run or a token) and its digest: an object of this name never changes."""
    type: str
    size: int
    """In bytes."""
    sha256: str

    @property
    def owner(self) -> str:
        """The run or token whose end is the end of the object."""
        return self.name.partition("/")[0]

    def packet(self) -> Packet:
        """Return what is stored in Redis instead of the packet itself."""
        fields = {"name": self.name, "type": self.type, "size": self.size, "sha256": self.sha256}
        return Packet(dump_json(fields), STORE)


def refer(owner: str, mime: str, data: bytes) -> Reference:
    """Return the reference to an object that is to be written for *owner*."""
    digest = sha256(data).hexdigest()
    return Reference(f"{owner}/{digest}", mime, len(data), digest)


def read_reference(packet: Packet) -> Reference:
    """Return the reference in a packet of the type application/store. Raises ValueError."""
    fields = json.loads(packet.data)
    try:
        found = Reference(fields["name"], fields["type"], fields["size"], fields["sha256"])
        if _NAME(found.name) is None or not isinstance(found.type, str):
            raise ValueError(packet.data)
    except (TypeError, KeyError, ValueError) as problem:
        raise ValueError(f"no reference to a stored packet: {packet.data[:200]!r}") from problem
    return found


def is_large(packet: Packet) -> bool:
    """Say whether a packet is over 128 KB: it is kept in the payload store, where there is one."""
    data = packet.data
    if len(data) * 4 <= MAX_INLINE:
        return False
    return (len(data) if data.isascii() else len(data.encode())) > MAX_INLINE


def directory_of(url: str) -> str | None:
    """Return the directory that a file URL names, None for other URLs."""
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme == "file" else None


def check_payload_store(value: object) -> str | None:
    """Return the URL of a payload store; none means in Redis. Raises ValueError.

    What is needed to use it must be installed.
    """
    if value is None or value in ("", "none"):
        return None
    if not isinstance(value, str) or "://" not in value:
        raise ValueError(f"expects a URL, {_EXAMPLES}; or none to keep everything in Redis")
    parts = urlsplit(value.strip())
    if parts.scheme == "file":
        if parts.netloc or len(parts.path) < 2:
            raise ValueError(f"expects file:// and an absolute path, {_EXAMPLES}")
    elif parts.scheme in ("s3", "s3a"):
        if not parts.netloc:
            raise ValueError(f"names no bucket; {_EXAMPLES}")
        _require("s3fs", "s3", parts.scheme)
    else:
        _require("fsspec", "payloads", parts.scheme)
    return value.strip()


def _require(package: str, extra: str, scheme: str) -> None:
    if find_spec(package) is None:
        raise ValueError(
            f"{scheme}:// needs the package {package}: pip install 'trigger-celery[{extra}]', "
            "where runs are triggered, where they are executed, and where they are read"
        )
