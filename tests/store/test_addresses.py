"""Where the server is: the forms of an address, and what is said of one that does not parse."""

from __future__ import annotations

import pytest

from trigger_celery.errors import ConfigurationError
from trigger_celery.store.connection import async_factory, mask, parse_address, sync_factory


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis://localhost", {"host": "localhost", "db": 0}),
        ("redis://host:7000/3", {"host": "host", "port": 7000, "db": 3}),
        ("redis://bob:s%40fe@host", {"username": "bob", "password": "s@fe"}),
        ("redis://:secret@host", {"password": "secret"}),
        ("valkey://host:7000", {"host": "host", "port": 7000}),
        ("unix:///run/a.sock?db=2", {"path": "/run/a.sock", "db": 2}),
        ("redis+socket:///run/a.sock?db=2", {"path": "/run/a.sock", "db": 2}),
        ("unix://bob:pw@/run/a.sock", {"path": "/run/a.sock", "username": "bob"}),
        ("redis://host?socket_keepalive=yes", {"socket_keepalive": True}),
        ("REDIS://host", {"host": "host"}),
    ],
)
def test_forms(url: str, wanted: dict[str, object]) -> None:
    options = parse_address(url).options
    assert {name: options.get(name) for name in wanted} == wanted
    for factory in (sync_factory, async_factory):
        assert factory(parse_address(url), 1.0)() is not None


@pytest.mark.parametrize("url", ["rediss://host:7000", "valkeys://host:7000"])
def test_tls(url: str) -> None:
    made = sync_factory(parse_address(url), 1.0)()
    assert type(made).__name__ == "SSLConnection"
    assert type(async_factory(parse_address(url), 1.0)()).__name__ == "SSLConnection"


@pytest.mark.parametrize("spelling", ["none", "CERT_NONE", "optional", "CERT_REQUIRED"])
def test_tls_requirements_in_the_spelling_of_celery(spelling: str) -> None:
    address = parse_address(f"rediss://host:7000/0?ssl_cert_reqs={spelling}")
    for factory in (sync_factory, async_factory):
        assert factory(address, 1.0)() is not None


@pytest.mark.parametrize(
    ("url", "hosts", "service", "db"),
    [
        ("sentinel://a", (("a", 26379),), None, 0),
        ("sentinel://a:1,b:2,c/mymaster?db=3", (("a", 1), ("b", 2), ("c", 26379)), "mymaster", 3),
        ("sentinel://bob:pw@a:1/mymaster", (("a", 1),), "mymaster", 0),
        ("sentinel://a?master_name=main", (("a", 26379),), "main", 0),
    ],
)
def test_sentinel(
    url: str, hosts: tuple[tuple[str, int], ...], service: str | None, db: int
) -> None:
    if service is None:
        with pytest.raises(ConfigurationError, match="the service name"):
            parse_address(url)
        return
    address = parse_address(url)
    assert (address.sentinels, address.service, address.options["db"]) == (hosts, service, db)
    for factory in (sync_factory, async_factory):
        assert "Sentinel" in type(factory(address, 1.0)()).__name__


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "no known scheme"),
        ("localhost:6379", "no known scheme"),
        ("http://host", "no known scheme"),
        ("reddis://host", "Did you mean 'redis'"),
        ("amqp://bob:secret@host", "no known scheme"),
        ("redis://host:port", "does not parse"),
        ("redis://host:99999999", "does not parse"),
        ("redis://bob:secret@host:port", "does not parse"),
        ("redis://host?socket_timeout=soon", "does not parse"),
        ("redis://host?db=one", "does not parse"),
        ("redis://[::1", "does not parse"),
        ("sentinel://bob:secret@[::1/mymaster", "at least one host"),
        ("sentinel:///mymaster", "at least one host"),
        ("sentinel://bob:secret@a:x/mymaster", "at least one host"),
        ("sentinel://a/mymaster?db=one", "at least one host"),
    ],
)
def test_an_address_that_does_not_parse_is_named_without_its_password(
    url: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as raised:
        parse_address(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://bob:secret@host:1/0", "redis://bob:***@host:1/0"),
        ("redis://:secret@host", "redis://:***@host"),
        ("redis://bob@host", "redis://bob@host"),
        ("unix://bob:se:c@ret@/run/a.sock", "unix://bob:***@/run/a.sock"),
        ("redis://host?password=secret&db=1", "redis://host?password=***&db=1"),
        ("redis://host", "redis://host"),
        ("redis://[::1", "***"),
        ("", ""),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert mask(url) == shown


def test_an_address_never_shows_its_password() -> None:
    address = parse_address("redis://bob:secret@host/0")
    assert "secret" not in repr(address)
    assert address.shown == "redis://bob:***@host/0"
