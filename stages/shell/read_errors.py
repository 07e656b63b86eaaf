"""Reading files that may be missing, truncated or damaged, gzipped ones above all: what goes wrong becomes one sentence."""

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from stages.shell.errors import UserError, reason


@contextlib.contextmanager
def read_errors_named(path: Path) -> Iterator[None]:
    """Turns an error of reading `path` inside the block into a UserError that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing: check its name in params.yaml, or get it back (dvc checkout, or the stage download)."
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is a truncated or damaged gzip file ({reason(error)}): fetch it again.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): fix or replace it.") from error
