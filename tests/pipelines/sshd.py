"""A real sshd on loopback, for this user alone, with a key of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pipelines.serving.server import free_port, is_taken

SFTP_ONLY = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
"""


@contextlib.contextmanager
def running_sshd(folder):
    """Its address, and the file with the user's key. Skips the test where there is no sshd."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("there is no sshd here (on Debian: apt-get install openssh-server)")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    port = free_port()
    (folder / "config").write_text(SFTP_ONLY.format(port=port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd of root wants to go
    command = [program, "-D", "-E", str(folder / "log"), "-f", str(folder / "config")]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        until = time.monotonic() + 30
        while not is_taken(port):
            assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.02)
        yield f"ssh://127.0.0.1:{port}", folder / "user"
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # connections, which have processes of their own, would outlive it
        process.wait()
