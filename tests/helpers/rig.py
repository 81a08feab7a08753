"""Agent and beamline as real processes for system tests, and their stores read with plain clients.

Nothing of the agent is imported to read its results: what a test sees is what any other program
would see.
"""

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import redis

from qd_agent.embedded import write_private
from simulated_beamline.layout import pilatus_1m, pixels_of, write_calibration
from tests.helpers import nursery
from tests.helpers.servers import shared_tiled

Process = subprocess.Popen[str] | nursery.Forked

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 180.0
"""For a line of a log."""
SUBSCRIBER_S = 300.0
"""How long a beamline waits for the agent, whose start takes a minute on a slow machine."""

# Below those that Linux gives to whoever connects: one of these, picked as free and not bound yet,
# may be taken by any connection meanwhile, also by one that tries that very port and so meets
# itself. No port is given twice by one process.
_ports = itertools.count(random.SystemRandom().randrange(10_000))


def free_port() -> int:
    """Give a port on loopback that nobody uses, to be bound later."""
    while True:
        port = 20_000 + next(_ports) % 12_000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def refusing_port() -> Iterator[int]:
    """Give a port on loopback where nobody listens, and nobody can as long as the block lasts."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


class Rig:
    """One folder, one ZMQ address, one agent and one beamline at a time.

    Attributes:
        forks: whether processes that need no environment of their own come from the nursery.
        own_tiled: whether the agent starts its own Tiled, as it does its own Redis; else it is
            told of one that other tests use as well, in which it has its runs to itself.
    """

    def __init__(self, folder: Path):
        self.forks, self.own_tiled = True, False
        self.folder = folder
        self.beamline_folder = folder / "beamline"
        self.beamline_folder.mkdir()
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.processes: list[Process] = []

    # -- processes -------------------------------------------------------------------------

    def config(self, **changes: object) -> Path:
        """Write the agent's configuration; the stores are ours unless `changes` say otherwise."""
        tree: dict[str, object] = {
            "agent_id": "test-agent",
            "data": "agent",
            "source": {"address": self.address},
            "router": {"data_keys": ["detector"]},
            "frames": {
                "allowed_roots": ["beamline"],
                "deadline_s": 5.0,
                "retry_delays_s": [0.2, 1.0],
                "tries_after_stop": 3,
            },
            "reduction": {
                "poni": "beamline/detector.poni",
                "mask": "beamline/mask.npy",
                "monitor_key": "monitor",
            },
            **({} if self.own_tiled or "tiled" in changes else {"tiled": self._shared_tiled()}),
            **changes,
        }
        path = self.folder / "agent.yaml"
        path.write_text(json.dumps(tree))  # JSON is YAML
        return path

    def _shared_tiled(self) -> dict[str, str]:
        server = shared_tiled()
        write_private(self.folder / "tiled.key", server.secret)
        return {"uri": server.url, "api_key_file": "tiled.key"}

    def start_agent(self, config: Path | None = None, env: Mapping[str, str] | None = None):
        """Start `qd-agent run`; its log is lines on stderr."""
        return self._start(["-m", "qd_agent", "run", str(config or self.config())], env)

    def wait_until_ready(self, agent: Process) -> list[str]:
        """Read the agent's log until it says that it is ready."""
        return read_until(agent, lambda line: "event=ready" in line)

    def start_beamline(self, *arguments: str, env: Mapping[str, str] | None = None):
        """Start `qd-beamline`; it waits for the agent's subscription before it scans."""
        command = ["-m", "simulated_beamline", *arguments]
        options = ["--output", str(self.beamline_folder), "--zmq", self.address]
        return self._start([*command, *options, "--wait-for-subscriber", f"{SUBSCRIBER_S}"], env)

    def start_both(self, *arguments: str, **changes: object):
        """Start the beamline first, because it writes the PONI that the agent needs."""
        self._poni.unlink(missing_ok=True)  # that of an earlier beamline
        beamline = self.start_beamline(*arguments)
        self.wait_for_calibration(beamline)
        agent = self.start_agent(self.config(**changes))
        self.wait_until_ready(agent)
        return agent, beamline

    @property
    def _poni(self) -> Path:
        return self.beamline_folder / "detector.poni"

    def wait_for_calibration(self, beamline: Process) -> None:
        """Wait until the beamline has written PONI and mask; the PONI comes last, and whole."""
        deadline = time.monotonic() + 120
        while True:
            ended = beamline.poll() is not None  # asked first: it may write, and end, in between
            if self._poni.exists():
                return
            assert not ended, beamline.communicate()[1]
            assert time.monotonic() < deadline, "the beamline has written no PONI"
            time.sleep(0.05)

    def calibrate(self, binning: int = 4) -> tuple[int, int]:
        """Write PONI and mask as a beamline does; give the detector's shape."""
        detector = pilatus_1m(binning)
        masked = pixels_of(detector, seed=1).masked
        write_calibration(self.beamline_folder, detector.poni(), masked)
        rows, columns = detector.shape
        return rows, columns

    def _start(self, command: Sequence[str], env: Mapping[str, str] | None) -> Process:
        if self.forks and env is None:
            kind = "agent" if command[1] == "qd_agent" else "beamline"
            process = nursery.start(
                kind, command, env=os.environ, stderr=subprocess.PIPE, text=True
            )
        else:
            process = subprocess.Popen(
                [sys.executable, "-P", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", **(env or {})},
            )
        self.processes.append(process)
        return process

    def terminate(self, process: Process, patience: float = 60.0) -> str:
        """Send SIGTERM; give what was still said on stderr. The exit code is in `returncode`."""
        process.send_signal(signal.SIGTERM)
        return process.communicate(timeout=patience)[1]

    def terminate_quietly(self, process: Process, patience: float = 60.0) -> None:
        """Send SIGTERM where somebody else reads what it says."""
        process.send_signal(signal.SIGTERM)
        process.wait(patience)

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()

    # -- stores ----------------------------------------------------------------------------

    def _endpoint(self, server: str) -> dict[str, str]:
        return json.loads((self.folder / "agent" / server / "connection.json").read_text())

    def redis(self) -> redis.Redis:
        """Give a plain client of the agent's embedded Redis."""
        found = self._endpoint("redis")
        return redis.Redis.from_url(found["url"], password=found["secret"], decode_responses=True)

    def tiled(self):
        """Give a plain client of the agent's Tiled."""
        from tiled.client import from_uri  # takes a second

        if not self.own_tiled:
            return from_uri(shared_tiled().url, api_key=shared_tiled().secret)
        found = self._endpoint("tiled")
        return from_uri(found["url"], api_key=found["secret"])

    def truth(self) -> list[dict[str, object]]:
        """Give the beamline's truth, a record a frame."""
        text = (self.beamline_folder / "truth.jsonl").read_text()
        whole = text[: text.rfind("\n") + 1]  # the beamline may be writing the next line
        return [json.loads(line) for line in whole.splitlines()]

    def wait_for_truth(self, count: int, patience: float = 60.0) -> None:
        """Wait until the beamline has taken `count` frames."""
        deadline = time.monotonic() + patience
        while len(self.truth()) < count:
            assert time.monotonic() < deadline, f"the beamline has not taken {count} frames"
            time.sleep(0.05)

    def predictions(self, count: int, patience: float = 120.0) -> list[dict[str, object]]:
        """Read the stream of all predictions until it holds `count`, blocking on Redis itself."""
        client = self.redis()
        found: list[dict[str, object]] = []
        last, deadline = "0-0", time.monotonic() + patience
        while len(found) < count and time.monotonic() < deadline:
            for _, entries in _streams(client.xread({"qd:predictions": last}, block=500)):
                for last, fields in entries:  # noqa: B007 - the last id is where to go on
                    found.append(json.loads(fields["prediction"]))
        client.close()
        return found

    def tiled_rows(self, run_uid: str, count: int, patience: float = 120.0):
        """Read the table of a run from Tiled until it has `count` rows."""
        client = self.tiled()
        deadline = time.monotonic() + patience
        try:
            while True:
                rows = _rows_so_far(client, run_uid, give_up=time.monotonic() > deadline)
                if (rows is not None and len(rows) >= count) or time.monotonic() > deadline:
                    return rows
                time.sleep(0.2)
        finally:
            client.context.close()


def _rows_so_far(client, run_uid: str, *, give_up: bool):
    """Read the table of a run; None while it is not there, or being written."""
    try:
        return _table(client["qd_agent"][run_uid]["predictions"])
    except KeyError:
        return None
    except httpx.HTTPStatusError as error:
        # 404: the table of a run of which a frame is tried anew is taken away and made again.
        # 500: a Tiled that is asked while rows are added to it may say so.
        if give_up or error.response.status_code not in {404, 500}:
            raise
        return None


def _table(node):
    """Read a table in one request.

    The client's own `read` may take the connection of another client that has read the same table,
    which is closed by now: dask keeps equal expressions until they are collected.
    """
    import pyarrow as pa

    arrow = {"Accept": "application/vnd.apache.arrow.file"}
    answer = node.context.http_client.get(node.item["links"]["full"], headers=arrow)
    answer.raise_for_status()
    with pa.ipc.open_file(pa.BufferReader(answer.read())) as file:
        return file.read_pandas()


def _streams(answer: object) -> list[tuple[str, list[tuple[str, dict[str, str]]]]]:
    if isinstance(answer, dict):
        return [(name, [e for batch in batches for e in batch]) for name, batches in answer.items()]
    return answer or []  # type: ignore[return-value]


class Log:
    """Reads what a process says, so that it never waits for a reader."""

    def __init__(self, process: Process):
        self.lines: list[str] = []
        self._process = process
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        self.lines += self._process.stderr

    def text(self) -> str:
        self._thread.join(60)
        return "".join(self.lines)


def read_until(
    process: Process, wanted: Callable[[str], bool], patience: float = PATIENCE_S
) -> list[str]:
    """Read stderr line by line until one is wanted; give them all.

    Fails, with all that was said, when the process ends before; it is killed after `patience`, s.
    """
    lines: list[str] = []
    assert process.stderr is not None
    guard = threading.Timer(patience, process.kill)
    guard.start()
    try:
        for line in process.stderr:
            lines.append(line.rstrip())
            if wanted(line):
                return lines
    finally:
        guard.cancel()
        guard.join()
    text = "\n".join(lines)
    raise AssertionError(f"it ended, or was killed after {patience} s, before it said so:\n{text}")
