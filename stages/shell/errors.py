"""What a stage says when it cannot go on: one sentence on stderr and exit code 1, with no traceback."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
SAID = "REPRISE_SAID"  # in the environment of a training's processes: a file into which the first writes the sentence as well


class UserError(Exception):
    """Something that the user can fix. The message is one sentence that says what is wrong and what to do."""

    code = 1  # with which a stage leaves


class Stopped(Exception):
    """A signal asked the stage to end, and it has saved its work; `where` it was, and what the next run will do."""

    def __init__(self, signal_number: int, where: str):
        self.code = 128 + signal_number
        super().__init__(f"Stopped by {signal.Signals(signal_number).name} {where}.")


class Interrupted(KeyboardInterrupt):
    """A signal asked the stage to end, wherever it was."""

    def __init__(self, signal_number: int):
        self.number = signal_number
        super().__init__(signal.Signals(signal_number).name)


def heeded_signals() -> list[signal.Signals]:
    """Those that ask a program to end, but for those that its caller made it ignore (as nohup and a shell's background do)."""
    return [number for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """In it a signal that asks the process to end is raised as Interrupted, so that what is half done is cleared away."""

    def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in heeded_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def reason(error: BaseException) -> str:
    """What an error says, to go on from in a sentence: on one line and without a full stop, or its kind where it says nothing."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def first_line(error: BaseException) -> str:
    """Of an error's text, which may go on with a whole graph; else like reason()."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def printable(text: str) -> str:
    """What is not printable as its code: a sentence may name files and cells of strangers, who could otherwise command a terminal."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def tell(line: str) -> None:
    """A line on stderr that does not tear a progress bar."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


def run_stage(stage: Callable[[str], None], *, usage: str) -> NoReturn:
    """Run `stage(name)` for the one argument of the command line and leave with 0, or with 1 and a sentence.

    With REPRISE_DEBUG=1 in the environment the whole traceback is printed as well.
    """
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(f"usage: {usage}", file=sys.stderr)
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    try:
        with interruptible():
            stage(sys.argv[1])
    except (UserError, Stopped) as error:
        leave(error, str(error), error.code)
    except Interrupted as error:
        leave(error, f"Stopped by {error}; earlier results were kept.", 128 + error.number)
    except MemoryError as error:
        leave(error, "The machine ran out of memory: lower train.batch_size, or close other programs, and run the stage again.")
    except OSError as error:
        if error.errno in DISK_FULL:
            what = f"The disk (or a limit on file size) is full{f' while writing {error.filename}' if error.filename else ''}"
            leave(error, f"{what}: free some space and run the stage again; earlier results were kept.")
        if error.filename is None:
            raise
        if isinstance(error, FileNotFoundError):
            leave(error, f"{error.filename} is missing: run dvc repro, which makes what a stage reads, or fix the path.")
        leave(error, f"{error.filename} cannot be used ({error.strerror}): fix the path or its permissions, and run the stage again.")
    sys.exit(0)


def leave(error: BaseException, sentence: str, code: int = 1) -> NoReturn:
    """Print the sentence (after the traceback, where REPRISE_DEBUG=1 asks for it) and exit with `code`."""
    if os.environ.get("REPRISE_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    line = f"error: {printable(' '.join(sentence.split()))}"
    print(line, file=sys.stderr)
    if SAID in os.environ and os.environ.get("RANK") == "0":
        with contextlib.suppress(OSError):  # the reader has gone
            Path(os.environ[SAID]).write_text(line, encoding="utf-8")
    sys.exit(code)
