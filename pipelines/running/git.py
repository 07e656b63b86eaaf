"""git, run for what it says."""

import os
import subprocess
from pathlib import Path

HERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # set where a git hook has started us


class GitError(Exception):
    """The message is one sentence."""


def git(*arguments: str, folder: Path, environment: dict[str, str] | None = None, stdin: str = "", strip: bool = True) -> str:
    """Runs git in `folder`; what it writes to stdout, without the line's end if `strip`. Raises GitError with git's reason."""
    # In English, since its reason becomes a part of a sentence; and it may not ask for a password, which nobody would see.
    ours = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"} | (environment or {})
    clean = {name: value for name, value in os.environ.items() if name not in HERE} | ours
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False, env=clean)
    except FileNotFoundError as error:
        raise GitError("git is not installed, or not on PATH.") from error
    if done.returncode:
        raise GitError(f"git {arguments[0]}: {as_reason(done.stderr or done.stdout)}")
    return done.stdout.strip("\n") if strip else done.stdout


def as_reason(said: str) -> str:
    """What git said, without its prefixes and hints, as the end of a sentence."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("hint:")]
    named = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "!"))]
    reason = "; ".join(line.removeprefix("fatal: ").removeprefix("error: ").rstrip(".") for line in named or lines[-1:])
    # What a git leaves that was killed, or whose machine was.
    return f"{reason}; if no other git is at work, remove that file." if reason.endswith(".lock': File exists") else f"{reason}."
