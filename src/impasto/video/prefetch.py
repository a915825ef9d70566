"""`prefetch`: work that is done while somebody else is busy."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def prefetch(items: Iterator[T], depth: int) -> Generator[T]:
    """Runs an iterator in a thread of its own, ahead of whoever takes its items.

    An exception of the iterator is raised where its item would have come. When the generator that
    this returns is closed, the iterator comes to its next item and no further.

    Args:
        items: the iterator.
        depth: so many items at most are ready and not taken.

    Yields:
        The items.
    """
    end: Any = object()
    with ThreadPoolExecutor(1) as worker:
        ahead = deque(worker.submit(next, items, end) for _ in range(depth))
        try:
            while (item := ahead.popleft().result()) is not end:
                ahead.append(worker.submit(next, items, end))
                yield item
        finally:
            for future in ahead:
                future.cancel()
