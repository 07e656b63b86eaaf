"""Prefect flows over the graph of dvc.yaml. A file here is a flow, but for deployments.py; a folder here holds what flows are made of.

It is imported before Prefect and DVC are, so this is where the environment is made fit for them; what a flow starts inherits it.
"""

import contextlib
import getpass
import os
import sys
from pathlib import Path

# On a terminal Prefect would report its use to its makers.
os.environ["DO_NOT_TRACK"] = "1"

try:
    getpass.getuser()
except (KeyError, OSError):  # a user without a name, as in containers; DVC names a folder after the user
    os.environ["USER"] = str(os.getuid())
    os.environ.setdefault("HOME", "/")

# Prefect writes an id into its home even where it reports nothing: that is in the checkout, as the server's is. Profiles stay the user's.
if sys.argv[:1] == ["-m"] and "PREFECT_HOME" not in os.environ:
    home = Path("logs/prefect").resolve()
    with contextlib.suppress(OSError):  # Prefect makes no folder above its home, and warns
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    # In somebody else's checkout Prefect would fail in its import; the flow says why it cannot run there.
    if os.access(home, os.R_OK | os.W_OK | os.X_OK):
        os.environ["PREFECT_HOME"] = str(home)
        with contextlib.suppress(RuntimeError):  # the user has no home
            os.environ.setdefault("PREFECT_PROFILES_PATH", str(Path("~/.prefect/profiles.toml").expanduser()))
