"""Statuses compare with their names in any letter case, both ways."""

from __future__ import annotations

import pytest

from trigger_celery import BatchStatus, RunStatus, TokenStatus


@pytest.mark.parametrize("kind", [RunStatus, TokenStatus, BatchStatus])
def test_equal_and_unequal_are_opposites(kind: type[RunStatus]) -> None:
    for status in kind:
        for text in (status.value, status.value.lower(), "nothing"):
            assert (status == text) is (text.upper() == status.value)
            assert (status != text) is not (status == text)
        assert kind(status.value.lower()) is status
        assert {status: 1}[status.value] == 1  # type: ignore[index]
