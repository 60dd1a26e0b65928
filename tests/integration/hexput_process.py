"""The real server as a process of its own."""

import os
import subprocess
import sys
from contextlib import contextmanager

import psutil

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("JEFE_")}
RUNTIME = [sys.executable, "-m", "jefe.command.serve"]
JEFE = [sys.executable, "-m", "jefe"]


@contextmanager
def running(command, **environment):
    """A running command, and the first line that it prints on stderr; nothing of it is left afterwards."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT | environment,
    )
    try:
        yield process, process.stderr.readline().decode().strip()
    finally:
        left = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
        psutil.wait_procs(left, timeout=10)
        assert not any(child.is_running() for child in left)
