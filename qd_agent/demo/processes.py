"""The processes of the demo: the simulated beamline, the agent and the live page."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qd_agent.core.errors import Fatal
from qd_agent.embedded import RunningServer, write_private

CONFIG = """\
# Written by `qd-agent demo`; `qd-agent run` takes it as it is.
agent_id: demo
data: agent
source:
  address: {address}
router:
  data_keys: [detector]
frames:
  allowed_roots: [beamline]
reduction:
  poni: beamline/detector.poni
  mask: beamline/mask.npy
  monitor_key: monitor
metadata:
  temperature: event.reactor_temperature
redis:
  url: {redis}
  password_file: redis.secret
tiled:
  uri: {tiled}
  api_key_file: tiled.secret
"""


@dataclass(frozen=True, slots=True)
class Child:
    """A process with its log."""

    name: str
    process: subprocess.Popen[bytes] = field(repr=False)
    log: Path

    def check(self) -> None:
        """Raise Fatal with the log's last line when the process has failed."""
        code = self.process.poll()
        if code:
            raise Fatal(f"the {self.name} ended with code {code}: {self.last_line()}")

    def last_line(self) -> str:
        """Give the last thing it said."""
        lines = [x for x in self.log.read_text(errors="replace").splitlines() if x.strip()]
        return f"{lines[-1][:300] if lines else 'it said nothing'} (see {self.log})"

    def stop(self, patience_s: float = 10.0) -> int:
        """Ask it to end, then make it; give its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


def free_port() -> int:
    """Give a port on loopback that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_beamline(
    folder: Path, arguments: Sequence[str], address: str, tiled: RunningServer
) -> Child:
    """Start `qd-beamline`; it publishes at `address` once an agent listens."""
    output = folder / "beamline"
    command = [
        *("-m", "simulated_beamline", *arguments, "--output", str(output)),
        *("--zmq", address, "--wait-for-subscriber", "120", "--tiled-uri", tiled.url),
    ]
    return _start("beamline", command, folder, {"TILED_API_KEY": tiled.secret})


def start_agent(folder: Path, address: str, redis: RunningServer, tiled: RunningServer) -> Child:
    """Write the agent's configuration to `folder` and start `qd-agent run` with it."""
    config = folder / "agent.yaml"
    config.write_text(CONFIG.format(address=address, redis=redis.url, tiled=tiled.url))
    # Files, so that `qd-agent status` and `check` can be used with this configuration meanwhile.
    write_private(folder / "redis.secret", redis.secret + "\n")
    write_private(folder / "tiled.secret", tiled.secret + "\n")
    return _start("agent", ["-m", "qd_agent", "run", str(config)], folder, {})


def start_dashboard(folder: Path, target: float | None = None) -> tuple[Child, str]:
    """Start `qd-agent dashboard` with the agent's configuration; give it and its address."""
    port = free_port()
    options = ["--port", str(port)] + ([] if target is None else ["--target", str(target)])
    command = ["-m", "qd_agent", "dashboard", str(folder / "agent.yaml"), *options]
    return _start("dashboard", command, folder, {}), f"http://127.0.0.1:{port}/"


def _start(name: str, command: Sequence[str], folder: Path, env: Mapping[str, str]) -> Child:
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules, no shell
            [sys.executable, "-P", *command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops its children
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        )
    return Child(name, process, log)


def wait_for_file(path: Path, child: Child, patience_s: float) -> None:
    """Wait until a child has written `path`.

    Raises:
        Fatal: it failed, or did not write it in time.
    """
    deadline = time.monotonic() + patience_s
    while not path.exists():
        if child.process.poll() is not None:
            raise Fatal(f"the {child.name} ended before it wrote {path}: {child.last_line()}")
        if time.monotonic() > deadline:
            raise Fatal(f"{child.name} did not write {path} within {patience_s:g} s")
        time.sleep(0.05)
