"""What DVC refuses, as one sentence."""

import contextlib
import logging
import re
import sqlite3
from collections.abc import Iterator

from dvc.exceptions import DvcException
from dvc.fs import RemoteMissingDepsError
from dvc.lock import LockError
from dvc.utils.serialize import YAMLFileCorruptedError
from dvc.utils.strictyaml import YAMLValidationError


class GraphError(Exception):
    """Something about the pipeline that DVC refuses. The message is one sentence."""


class Changed(GraphError):
    """Inputs of a stage changed while it ran. The message is one sentence."""


class MissingPackage(GraphError):
    """A DVC remote is of a kind whose package is not installed. The message is one sentence."""


@contextlib.contextmanager
def refusals(stage: str | None = None) -> Iterator[None]:
    """DVC's errors as one sentence, that names the stage."""
    try:
        yield
    except LockError:
        raise
    except (DvcException, OSError, sqlite3.Error) as error:  # sqlite3: DVC notes the state of files in a database
        sentence = as_reason(error)
        if isinstance(error, YAMLFileCorruptedError | YAMLValidationError) and "dvc.lock" in str(error):  # DVC does not write it atomically
            sentence += ": take the committed one again (git checkout dvc.lock); a training that had ended is not lost (logs/resume)"
        raise GraphError(f"{stage}: {sentence}" if stage else sentence) from error


def as_reason(error: BaseException) -> str:
    """What an error says, and what its causes say, as a part of a sentence. One that says nothing is given by its name."""
    reasons, cause = [str(error) or type(error).__name__], error.__cause__
    while cause is not None:
        reasons, cause = [*reasons, str(cause)], cause.__cause__
    return ": ".join(dict.fromkeys(" ".join(reason.split()).rstrip(".") for reason in reasons if reason))


@contextlib.contextmanager
def transfers(stage: str | None = None) -> Iterator[None]:
    """As refusals(), for what goes into DVC's cache, to a remote or from there: DVC itself says no more than how many files failed."""
    logger, logged = logging.getLogger("dvc_data.hashfile.transfer"), list[str]()

    def is_shown(record: logging.LogRecord) -> bool:
        """Not an error, which DVC logs with a traceback."""
        error = record.exc_info and record.exc_info[1]
        if error:
            logged.append(as_reason(error))
        return not error

    logger.addFilter(is_shown)
    try:
        with refusals(stage):
            yield
    except GraphError as error:
        raise GraphError(f"{error}: {logged[0]}" if logged and logged[0] not in str(error) else str(error)) from error
    finally:
        logger.removeFilter(is_shown)


@contextlib.contextmanager
def of_remotes() -> Iterator[None]:
    """As transfers(), where a DVC remote is used: what its plugin and the libraries below that raise is of no common kind."""
    try:
        with transfers():
            yield
    except (GraphError, LockError):
        raise
    except (ImportError, RemoteMissingDepsError) as error:
        # DVC has a plugin for each kind of remote, and names it; a plugin that lacks something itself names that.
        lacking = error.missing_deps if isinstance(error, RemoteMissingDepsError) else re.findall(r"requires '([\w-]+)'", str(error))
        advice = f".venv/bin/pip install {' '.join(lacking)}" if lacking else "install it into .venv"
        why = f"the DVC remote needs a package that is not installed ({as_reason(error)})"
        raise MissingPackage(f"{why}: {advice}, and run again.") from error
    except Exception as error:
        raise GraphError(f"the DVC remote cannot be used: {type(error).__name__}: {as_reason(error)}") from error
