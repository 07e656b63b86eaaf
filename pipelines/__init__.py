"""Prefect flows over the graph of dvc.yaml. A file here is a flow, but for deployments.py; a folder here holds what flows are made of."""

import contextlib
import os
import sys
from pathlib import Path

# So run, this is read before Prefect is, and what a flow starts inherits it. On a terminal Prefect reports its use to its makers unless
# told not to, and even then writes an id for that into its home. So that is in the checkout, as the server's is; profiles stay the user's.
if sys.argv[:1] == ["-m"]:
    os.environ.setdefault("DO_NOT_TRACK", "1")
    if "PREFECT_HOME" not in os.environ:
        home = Path("logs/prefect").resolve()
        os.environ["PREFECT_HOME"] = str(home)
        with contextlib.suppress(RuntimeError):  # the user has no home
            os.environ.setdefault("PREFECT_PROFILES_PATH", str(Path("~/.prefect/profiles.toml").expanduser()))
        with contextlib.suppress(OSError):  # Prefect makes no folder above its home, and warns
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
