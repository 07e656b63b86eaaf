"""Prefect flows over the graph of dvc.yaml. A file here is a flow, but for deployments.py; a folder here holds what flows are made of.

It is the first that is imported, so this is where the environment is made fit for Prefect and DVC.
"""

import getpass
import os

os.environ["DO_NOT_TRACK"] = "1"  # Prefect would tell its makers of a first import, flow or run in a terminal

try:
    getpass.getuser()
except (KeyError, OSError):  # a user without a name, as in containers; DVC makes the name of a folder of it
    os.environ["USER"] = str(os.getuid())
    os.environ.setdefault("HOME", "/")
