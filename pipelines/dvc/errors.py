"""What DVC refuses, as one sentence."""

import contextlib
import logging
from collections.abc import Iterator

from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.utils.serialize import YAMLFileCorruptedError
from dvc.utils.strictyaml import YAMLValidationError


class GraphError(Exception):
    """Something about the pipeline that DVC refuses. The message is one sentence."""


@contextlib.contextmanager
def refusals(stage: str | None = None) -> Iterator[None]:
    """DVC's errors as one sentence, that names the stage."""
    try:
        yield
    except LockError:
        raise
    except (DvcException, OSError) as error:
        reasons, cause = [str(error)], error.__cause__
        while cause is not None:
            reasons, cause = [*reasons, str(cause)], cause.__cause__
        sentence = ": ".join(dict.fromkeys(" ".join(reason.split()).rstrip(".") for reason in reasons if reason))
        if isinstance(error, YAMLFileCorruptedError | YAMLValidationError) and "dvc.lock" in str(error):  # DVC does not write it atomically
            sentence += ": take the committed one again (git checkout dvc.lock); a training that had ended is not lost (logs/resume)"
        raise GraphError(f"{stage}: {sentence}" if stage else sentence) from error


class FirstReason(logging.Filter):
    """Keeps the first of the errors that DVC logs, each with a traceback, and lets none of them through."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            self.text = self.text or " ".join(str(record.exc_info[1]).split())
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
