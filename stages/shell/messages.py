"""What the converters of other libraries say: silenced where it is advice to nobody, or cut to a sentence's length."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def errors_only(name: str | None) -> Iterator[None]:
    """Silences for the block what the logger of that name (None: the root) warns of."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def first_line(error: Exception) -> str:
    """The first line of an error's text, which may go on with a whole graph, or the error's kind where it has none; without a full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
