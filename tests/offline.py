"""A fresh process to which Python refuses every connection."""

import os
import subprocess
import sys
from pathlib import Path

REFUSE = """
import socket


def refuse(*arguments, **options):
    raise AssertionError("a connection was tried")


socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""


def run(script: str, home: Path) -> tuple[str, str]:
    """What a script prints, and its stderr, with `home` as an empty cache."""
    environment = {
        key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"
    }
    environment["HF_HOME"] = str(home)
    done = subprocess.run(
        [sys.executable, "-c", REFUSE + script],
        capture_output=True,
        text=True,
        env=environment,
    )
    return done.stdout, done.stderr
