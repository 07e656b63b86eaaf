"""What DVC refuses, as one sentence."""

import contextlib
import logging
import re
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
    except (DvcException, OSError) as error:
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


class FirstReason(logging.Filter):
    """Keeps the first of the errors that DVC logs, each with a traceback, and lets none of them through."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            self.text = self.text or as_reason(record.exc_info[1])
            return False
        return True


@contextlib.contextmanager
def transfers(stage: str | None = None) -> Iterator[None]:
    """As refusals(), for what goes into DVC's cache, to a remote or from there: DVC itself says no more than how many files failed."""
    logger, first = logging.getLogger("dvc_data.hashfile.transfer"), FirstReason()
    logger.addFilter(first)
    try:
        with refusals(stage):
            yield
    except GraphError as error:
        raise GraphError(f"{error}: {first.text}" if first.text and first.text not in str(error) else str(error)) from error
    finally:
        logger.removeFilter(first)


@contextlib.contextmanager
def of_remotes() -> Iterator[None]:
    """As transfers(), where a DVC remote is used: what its plugin and the libraries below that raise is of no common kind."""
    try:
        with transfers():
            yield
    except (GraphError, LockError):
        raise
    except (ImportError, RemoteMissingDepsError) as error:
        raise MissingPackage(f"the DVC remote needs a package that is not installed ({as_reason(error)}): {advice(error)}.") from error
    except Exception as error:
        raise GraphError(f"the DVC remote cannot be used: {type(error).__name__}: {as_reason(error)}") from error


def advice(error: ImportError | RemoteMissingDepsError) -> str:
    """What to install. DVC has a plugin for each kind of remote, and names it; a plugin that lacks something itself names that."""
    if isinstance(error, RemoteMissingDepsError):
        return f".venv/bin/pip install {' '.join(error.missing_deps)}, and run again"
    named = re.search(r"requires '([\w-]+)'", str(error))
    return f".venv/bin/pip install {named[1]}, and run again" if named else "install it into .venv, and run again"
