"""What a command, and all that it starts, reaches for as the kernel sees it: other machines, names to look up, files that it writes.

By strace(1), which sees native libraries' threads and daemons too. The command runs on a terminal of its own, as at a person's desk: some
libraries report to their makers from there only.
"""

import fcntl
import functools
import ipaddress
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import threading
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    "execve,clone,clone3,fork,vfork,connect,bind,sendto,sendmsg,sendmmsg,open,openat,openat2,creat,"
    "mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mknod,mknodat"
)
ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
LOOK_UP = re.compile(r"sin6?_port=htons\((?:53|853|5353)\)|/run/systemd/resolve/")  # of a resolver, which may itself be on loopback
SOCKET = re.compile(r"<socket:\[\d+\]>")
STARTED = re.compile(r"^(?:clone3?|v?fork)\(.* = (\d+)$")
OPENED = re.compile(r"^(?:open|creat).*(?:O_WRONLY|O_RDWR|O_CREAT|^creat).* = \d+<(/.*?)(?:\(deleted\))?>$")
# The last path of a call that makes or names a folder or file; a relative one is below the current folder, the checkout.
NAMED = re.compile(r'^(?:mkdir|rename|link|symlink|mknod).*?(?:(?:\d+|AT_FDCWD)<([^>]*)>, )?"([^"]*)"(?:, [^"]*)?\) += 0$')
NO_FILES = ("/dev/", "/proc/")  # terminals, semaphores, a process's own settings
DEADLINE_S = 300  # for what takes seconds on a quiet machine


@dataclass
class Seen:
    """`calls`: each with the command lines that led to it, the innermost last. `commands`: all that ran, so too."""

    output: str
    calls: list[tuple[str, str]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    def beyond(self, *folders: Path, within: str = "") -> list[str]:
        """Connections, look-ups, open ports and files that are neither on loopback nor in these folders, of commands with this text."""
        allowed = (*(f"{folder.resolve()}/" for folder in folders), *NO_FILES)
        return sorted(
            {
                f"{command}: {what}"
                for command, what in self.calls
                if within in command and not f"{os.path.realpath(what)}/".startswith(allowed)
            }
        )


@functools.cache
def why_not() -> str:
    """Why nothing can be traced here; empty where it can be."""
    if shutil.which("strace") is None:
        return "there is no strace here (apt-get install strace)"
    tried = ["strace", "-ff", "--seccomp-bpf", "-qq", "-y", "-o", os.devnull, "-e", f"trace={CALLS}", "true"]
    done = subprocess.run(tried, capture_output=True, text=True, check=False)
    return f"strace cannot trace here: {done.stderr.strip()}" if done.returncode else ""


class Traced:
    """A command that runs in the folder `checkout`; beside it are its HOME, its TMPDIR and the trace. Nothing else of the environment
    reaches it: neither CI, in which some libraries are silent, nor what tests are told.
    """

    def __init__(self, *command: str, checkout: Path, **environment: str):
        self.checkout = checkout
        self.home, self.temporary, self.trace = (checkout.with_name(f"{checkout.name}.{name}") for name in ("home", "tmp", "trace"))
        for folder in (self.home, self.temporary):
            folder.mkdir(exist_ok=True)
        shutil.rmtree(self.trace, ignore_errors=True)
        self.trace.mkdir()
        names = {f"GIT_{role}_{what}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        own = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "LANG": "C.UTF-8", "TERM": "xterm"}
        folders = {"HOME": str(self.home), "TMPDIR": str(self.temporary)}
        strace = ["strace", "-ff", "--seccomp-bpf", "-qq", "-y", "-s", "100", "-e", f"trace={CALLS}", "-o", str(self.trace / "thread")]
        self.master, terminal = pty.openpty()
        self.process = subprocess.Popen(
            [*strace, *command],
            cwd=checkout,
            env=own | folders | names | environment,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(terminal)
        self.said, self.news = bytearray(), threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        while True:
            try:
                content = os.read(self.master, 1 << 16)
            except OSError:  # the terminal's last user has gone
                content = b""
            with self.news:
                self.said += content
                self.news.notify_all()
            if not content:
                return

    @property
    def output(self) -> str:
        return self.said.decode(errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Until the command has said so."""
        with self.news:
            self.news.wait_for(lambda: re.search(pattern, self.output) or self.process.poll() is not None, DEADLINE_S)
            match = re.search(pattern, self.output)
        assert match, self.output
        return match

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.write(self.master, b"\x03")

    def end(self, code: int | None = 0) -> Seen:
        """What it has done, when it has ended, with this exit code."""
        try:
            ended = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        finally:
            os.close(self.master)
        assert code in (ended, None), self.output
        return read_trace(self.trace, self.output)


def read_trace(folder: Path, output: str) -> Seen:
    """Of the files `thread.N` that strace -ff has written."""
    lines = {int(file.suffix[1:]): file.read_text(errors="replace").splitlines() for file in folder.iterdir()}
    seen, parents = Seen(output), dict[int, str]()
    # What is sent over a socket that goes beyond says what was looked up.
    far = {match[0] for own in lines.values() for line in own if (match := SOCKET.search(line)) and goes_beyond(line)}
    started = {int(match[1]) for own in lines.values() for line in own if (match := STARTED.match(line))}
    waiting = [thread for thread in lines if thread not in started]
    while waiting:
        thread = waiting.pop()
        parent = command = parents.get(thread, "")
        for line in lines[thread]:
            if line.startswith("execve(") and line.endswith(" = 0"):
                arguments = re.findall(r'"((?:[^"\\]|\\.)*)"', line.partition("[")[2].rpartition("], ")[0])
                command = f"{parent} > {' '.join(arguments)}".removeprefix(" > ")
                seen.commands.append(command)
            elif (match := STARTED.match(line)) and int(match[1]) in lines:
                parents[int(match[1])] = command
                waiting.append(int(match[1]))
            elif line.startswith(("connect(", "bind(", "sendto(", "sendmsg(", "sendmmsg(")):
                if goes_beyond(line) or ((match := SOCKET.search(line)) and match[0] in far):
                    seen.calls.append((command, line))
            elif match := OPENED.match(line):
                seen.calls.append((command, match[1]))
            elif (match := NAMED.match(line)) and (path := Path(match[1] or "") / match[2]).is_absolute():
                seen.calls.append((command, os.path.normpath(path)))
    return seen


def goes_beyond(call: str) -> bool:
    """Whether it is to another machine or a resolver, or opens a port for other machines."""
    return bool(LOOK_UP.search(call)) or not all(ipaddress.ip_address(v4 or v6).is_loopback for v4, v6 in ADDRESS.findall(call))
