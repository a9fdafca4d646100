"""The items of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trigger_celery.errors import BatchTooLargeError, InputError, InvalidOptionError
from trigger_celery.model.task_options import MAX_BATCH


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One run of a batch: its payload and its options, those of `trigger`."""

    payload: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)


def check_size(items: Iterable[Any]) -> list[Any]:
    """Return the items as a list. Raises BatchTooLargeError over 1,000 of them."""
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise InvalidOptionError(
            "batch_trigger takes a list of items such as [{'payload': {...}}, ...], not "
            f"{type(items).__name__}"
        )
    found = list(items)
    if len(found) > MAX_BATCH:
        raise BatchTooLargeError(
            f"a batch has at most {MAX_BATCH:,} items, this one has {len(found):,}: split it, for "
            "example with itertools.batched"
        )
    return found


def batch_items(items: Iterable[Any]) -> list[BatchItem]:
    """Return the items as BatchItems. Raises BatchTooLargeError over 1,000 items."""
    return [_item(item, index) for index, item in enumerate(check_size(items))]


def _item(item: Any, index: int) -> BatchItem:
    if isinstance(item, BatchItem):
        return item
    if isinstance(item, Mapping) and "payload" in item and set(item) <= {"payload", "options"}:
        options = item.get("options") or {}
        if isinstance(options, Mapping):
            return BatchItem(item["payload"], options)
    raise InvalidOptionError(
        f"batch item {index} is not {{'payload': …, 'options': {{…}}}} nor a BatchItem: {item!r:.80}"
    )


def at_index(error: InputError, index: int) -> InputError:
    """Return the same kind of error, naming the item of the batch."""
    return type(error)(f"batch item {index}: {error}")
