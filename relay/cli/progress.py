"""A progress bar on a terminal, where tqdm is installed (the extra `progress`)."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bar(title: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows how many rows are done; without a terminal, or without tqdm, it does nothing."""
    if not sys.stderr.isatty() or importlib.util.find_spec("tqdm") is None:
        yield lambda _done: None
        return
    from tqdm import tqdm  # noqa: PLC0415 -- an extra

    with tqdm(unit=" rows", desc=title, file=sys.stderr) as shown:

        def tell(done: int) -> None:
            shown.update(done - shown.n)

        yield tell
