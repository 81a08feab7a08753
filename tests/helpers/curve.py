"""A publisher that encrypts, in a process of its own, and the keys for it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.rig import ROOT

PUBLISH = """
import sys, threading
from pathlib import Path
from simulated_beamline.publish import Curve, ZmqPublisher
address, key, clients = sys.argv[1:4]
curve = Curve(Path(key), Path(clients) if clients else None) if key else None
with ZmqPublisher(address, b"raw", curve) as publisher:
    publisher._socket.setsockopt(17, 0)  # LINGER
    print(publisher.address, flush=True)
    stopping = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stopping.set()), daemon=True).start()
    while not stopping.wait(0.02):
        publisher("start", {"uid": "run-1", "time": 1.0})
"""
"""Sends the same start document fifty times a second, until its standard input is closed."""


@contextmanager
def publishing_process(
    key: Path | None, clients: Path | None = None, address: str = "tcp://127.0.0.1:0"
) -> Iterator[str]:
    """Give the address of a publisher that runs for as long as the block."""
    arguments = [address, str(key or ""), str(clients or "")]
    process = subprocess.Popen(
        [sys.executable, "-c", PUBLISH, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate(timeout=30)
