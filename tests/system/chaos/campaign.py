"""The campaign: everything around a live agent fails, by a seed, and the books must still agree.

`python -m tests.system.chaos.campaign --seed 7` for one round (minutes), `--minutes 60` for more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers.chaos_agent import POINTS
from tests.helpers.chaos_beamline import Plan
from tests.helpers.chaos_checker import Findings, check, read_journal, read_stores
from tests.helpers.chaos_stores import ROOT, SECRET, RedisStore, TiledStore
from tests.helpers.chaos_wire import Wire
from tests.helpers.rig import free_port

HELPERS = ROOT / "tests" / "helpers"
FULL = ("fsize:24576", "pages:2")
SHUTDOWN_S = 5.0


@dataclass(frozen=True)
class Life:
    """How one agent process ends: what QD_CHAOS asks for, or a signal some time after `ready`."""

    name: str
    chaos: str = ""
    signals: tuple[signal.Signals, ...] = ()
    delay_s: float = 0.0


@dataclass
class Report:
    """What was done, and what came of it."""

    seed: int
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    missing_before: int = 0
    reconciled: str = ""
    asked_by_name: int = 0
    findings: Findings = field(default_factory=Findings)

    @property
    def clean(self) -> bool:
        return self.findings.clean and not self.complaints

    def text(self) -> str:
        lines = [f"campaign with seed {self.seed}: {self.seconds:.0f} s", "", "faults survived"]
        lines += [f"  {count:5d}  {name}" for name, count in sorted(self.faults.items())]
        lines += [f"         not reached: {name}" for name in self.unreached]
        lines += [
            "",
            f"missing before reconcile       {self.missing_before}",
            f"reconcile                      {self.reconciled}",
            f"runs that had to be named      {self.asked_by_name}",
            self.findings.table(),
        ]
        return "\n".join([*lines, *(f"COMPLAINT {line}" for line in self.complaints)])


def lives(rng: random.Random) -> list[Life]:
    """Draw one round: every point once, kills and ends at random moments, a full disk twice."""
    drawn = [Life(f"agent killed: {p}", f"{p}:{_passage(p, rng)}") for p in POINTS]
    drawn += [
        Life("agent killed at a random moment", "", (signal.SIGKILL,), rng.uniform(0.0, 6.0))
        for _ in range(2)
    ]
    drawn += [
        Life("agent ended by SIGTERM", "", (signal.SIGTERM,), rng.uniform(1.0, 6.0)),
        Life("agent ended by SIGTERM, twice", "", (signal.SIGTERM,) * 2, rng.uniform(1.0, 6.0)),
    ]
    drawn += [Life("ledger's disk full", chaos) for chaos in FULL]
    rng.shuffle(drawn)
    return drawn


def _passage(point: str, rng: random.Random) -> int:
    if point in ("run closed in the books", "taking up what was left"):
        return 1
    return rng.randint(1, 3) if point.startswith("Tiled") else rng.randint(1, 12)


class Campaign:
    """One folder, one seed, two stores, one beamline, and one agent after the other."""

    def __init__(self, folder: Path, seed: int, say: Callable[[str], None], **changes: object):
        self.folder, self.report, self._say = folder, Report(seed), say
        self._rng = random.Random(seed)
        self._began = time.monotonic()
        self.logs = folder / "log"
        self.logs.mkdir(parents=True)
        (folder / "beamline").mkdir()
        self.redis = RedisStore(folder / "redis")
        self.tiled = TiledStore(folder / "tiled", folder / "beamline")
        self.publish = f"tcp://127.0.0.1:{free_port()}"
        self.listen = f"tcp://127.0.0.1:{free_port()}"
        self.config = self._write_config(changes)
        self._lives = 0
        self._agent: subprocess.Popen[bytes] | None = None
        self._helpers: list[subprocess.Popen[bytes]] = []

    # -- what takes part -------------------------------------------------------------------

    def _write_config(self, changes: Mapping[str, object]) -> Path:
        tree: dict[str, Any] = {
            "agent_id": "chaos",
            "data": "agent",
            "source": {"address": self.listen},
            "router": {"data_keys": ["detector"], "quiet_s": 10.0},
            "frames": {
                "allowed_roots": ["beamline"],
                "deadline_s": 0.1,
                "retry_delays_s": [0.2, 1.0],
                "tries_after_stop": 3,
            },
            "reduction": {"poni": "beamline/detector.poni", "mask": "beamline/mask.npy"},
            "reconcile": {"find_every_s": 2.0, "look_first_s": 1.0, "look_longest_s": 5.0},
            "redis": {"url": self.redis.url},
            "tiled": {"uri": self.tiled.uri, "batch_seconds": 0.3},
        }
        for name, part in changes.items():
            tree[name] = {**tree.get(name, {}), **part} if isinstance(part, dict) else part
        path = self.folder / "agent.yaml"
        path.write_text(json.dumps(tree))  # JSON is YAML
        return path

    def start_beamline(self, **changes: Any) -> subprocess.Popen[bytes]:
        plan = Plan(
            folder=str(self.folder / "beamline"), address=self.publish, seed=self.report.seed,
            tiled=str(self.tiled.folder), api_key=SECRET,
        )  # fmt: skip
        path = self.folder / "plan.json"
        path.write_text(json.dumps({**vars(plan), **changes}))
        return self._start([str(HELPERS / "chaos_beamline.py"), str(path)], "beamline", {})

    def _start(
        self, command: Sequence[str], log: str, env: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        with (self.logs / f"{log}.log").open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-P", *command], stdin=subprocess.DEVNULL, stdout=file,
                stderr=file, cwd=self.folder,
                env={
                    **os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1",
                    "OMP_NUM_THREADS": "1", "TILED_API_KEY": SECRET, **env,
                },
            )  # fmt: skip
        self._helpers.append(process)
        return process

    def start_agent(self, chaos: str = "") -> tuple[subprocess.Popen[bytes], Path]:
        self._lives += 1
        name = f"agent-{self._lives:03d}"
        env = {"QD_CHAOS": chaos, "QD_CHAOS_DATA": str(self.folder / "agent")}
        agent = self._start([str(HELPERS / "chaos_agent.py"), "run", str(self.config)], name, env)
        self._agent = agent
        return agent, self.logs / f"{name}.log"

    # -- what happens to the agent ---------------------------------------------------------

    def live(self, life: Life) -> None:
        """Start an agent and let it end as `life` says; complain when it does not as promised."""
        agent, log = self.start_agent(life.chaos)
        wait(lambda: "event=ready" in log.read_text() or agent.poll() is not None, 180.0)
        if life.chaos:
            ended = wait(lambda: agent.poll() is not None, 45.0)
            if not ended:
                agent.kill()
            agent.wait()
            self._judge_ordered(life, log, agent.returncode, ended=ended)
            return
        time.sleep(life.delay_s)
        began = time.monotonic()
        for number in life.signals:
            agent.send_signal(number)
            time.sleep(0.3)
        if not wait(lambda: agent.poll() is not None, 30.0):
            agent.kill()
        agent.wait()
        took = time.monotonic() - began - 0.3 * (len(life.signals) - 1)
        if life.signals == (signal.SIGTERM,) and (agent.returncode or took > SHUTDOWN_S):
            self._complain(f"{life.name}: exit code {agent.returncode} after {took:.1f} s", log)
        if signal.SIGTERM in life.signals and "Traceback" in log.read_text():
            self._complain(f"{life.name}: traceback", log)
        self._did(life.name)

    def _judge_ordered(self, life: Life, log: Path, code: int, *, ended: bool) -> None:
        text = log.read_text()
        if life.chaos in FULL:
            if ended and code == 1 and "is full" in text and "Traceback" not in text:
                self._did(f"{life.name} ({life.chaos.partition(':')[0]})")
            elif ended:
                self._complain(f"{life.name}: exit code {code}, not said or with traceback", log)
            else:
                self.report.unreached.append(life.name)
        elif "chaos: killed at" in text:
            self._did(life.name)
        elif ended:
            self._complain(f"{life.name}: ended by itself, exit code {code}", log)
        else:
            self.report.unreached.append(life.name)

    # -- what happens to the stores --------------------------------------------------------

    def store_faults(self, rng: random.Random) -> list[tuple[str, Callable[[], object]]]:
        """Draw one round."""
        redis, tiled = self.redis, self.tiled

        def away(store: Any, how: signal.Signals, seconds: float, wipe: bool = False) -> None:
            store.stop(how)
            if wipe:
                store.wipe()
            time.sleep(seconds)
            store.start()

        def cut(store: Any, seconds: float) -> None:
            store.forwarder.cut()
            time.sleep(seconds)
            store.forwarder.target = store.port()

        term, kill, soon = signal.SIGTERM, signal.SIGKILL, rng.uniform
        drawn: list[tuple[str, Callable[[], object]]] = [
            ("Redis stopped and started", lambda: away(redis, term, soon(1, 8))),
            ("Redis killed and started", lambda: away(redis, kill, soon(1, 8))),
            ("Redis came back empty", lambda: away(redis, term, soon(1, 5), wipe=True)),
            ("Redis emptied while up (FLUSHALL)", redis.empty),
            ("Redis hangs", lambda: redis.freeze(soon(3, 6))),
            ("Redis cut off", lambda: cut(redis, soon(1, 5))),
            ("answer of Redis lost", lambda: redis.lose_answer(b"EVALSHA", 30)),
            ("Tiled stopped and started", lambda: away(tiled, term, soon(1, 6))),
            ("Tiled killed and started", lambda: away(tiled, kill, soon(1, 6))),
            ("Tiled hangs", lambda: tiled.freeze(soon(3, 6))),
            ("Tiled cut off", lambda: cut(tiled, soon(1, 5))),
            ("answer of Tiled lost", lambda: tiled.lose_answer(b"partition", 30)),
        ]
        rng.shuffle(drawn)
        return drawn

    def _store_round(self, rng: random.Random) -> None:
        for name, do in self.store_faults(rng):
            if do() is False:
                self.report.unreached.append(name)
            else:
                self._did(name)
            time.sleep(rng.uniform(2.0, 9.0))

    # -- the whole -------------------------------------------------------------------------

    def run(self, minutes: float = 0.0, **plan: Any) -> Report:
        """Do one round, then more until `minutes` have passed; then look what came of it."""
        wire = Wire(self.publish, self.listen, self._rng.randrange(1 << 30))
        wire.start()
        beamline = self.start_beamline(**plan)
        wait((self.folder / "beamline" / "mask.npy").exists, 60.0)
        while True:
            rng = random.Random(self._rng.randrange(1 << 30))
            stores = threading.Thread(
                target=self._store_round, args=(random.Random(rng.randrange(1 << 30)),)
            )
            stores.start()
            for life in lives(rng):
                self.live(life)
            stores.join()
            if time.monotonic() - self._began > 60.0 * minutes:
                break
        agent, log = self.start_agent()
        (self.folder / "beamline" / "stop").touch()
        if not wait(lambda: beamline.poll() is not None, 180.0) or beamline.returncode:
            self._complain("the beamline did not come to its end", self.logs / "beamline.log")
        wire.close()
        for (what, name), count in wire.faults.items():
            self.report.faults[f"documents {what}: {name}"] += count
        self._conclude()
        agent.send_signal(signal.SIGTERM)
        if not wait(lambda: agent.poll() is not None, 30.0) or agent.returncode:
            self._complain(f"the last agent ended with {agent.returncode}", log)
        self.report.seconds = time.monotonic() - self._began
        (self.folder / "report.txt").write_text(self.report.text() + "\n")
        return self.report

    def _conclude(self) -> None:
        """Let the agent settle, reconcile, and have everything checked by the independent eye."""
        truth = read_journal(self.folder / "beamline" / "journal.jsonl")
        frames = [frame for found in truth.values() for frame in found]
        cut = {f.file for f in frames if f.file.with_suffix(".original").exists()}
        self.report.faults["file cut short"] += len(cut)
        for line in (self.folder / "beamline" / "journal.jsonl").read_text().splitlines():
            fate = json.loads(line).get("fate")
            if fate:
                self.report.faults[f"frame {fate}"] += 1
        self.settle()
        self.report.missing_before = len(frames) - sum(r["seen"] for r in self._runs())
        self.report.reconciled = self._qd("reconcile", str(self.config)).splitlines()[0]
        known = {run["uid"] for run in self._runs()}
        for run in sorted(truth.keys() - known):
            self.report.asked_by_name += 1
            self._qd("reconcile", str(self.config), "--run", run)
        self.settle()
        self.report.findings = self.check(truth)

    def check(self, truth: dict[str, Any]) -> Findings:
        """Compare frames with stores; no code of the agent takes part."""
        from tiled.client import from_uri

        root = from_uri(self.tiled.direct_uri, api_key=SECRET)
        try:
            with self.redis.client() as client:
                stores = read_stores(client, root, list(truth))
        finally:
            root.context.close()
        folder = self.folder / "beamline"
        return check(truth, stores, folder / "detector.poni", folder / "mask.npy")

    def settle(self, patience: float = 60.0) -> None:
        """Wait until the agent has answered and delivered all that it knows of.

        Args:
            patience: seconds without any progress after which it is left as it is.
        """
        before: object = None
        changed = time.monotonic()
        while time.monotonic() - changed < patience:
            runs = self._runs()
            state = [
                (r["uid"], r["seen"], r["open"], *r["delivered"].values(), r["state"]) for r in runs
            ]
            idle = all(not r["open"] and {*r["delivered"].values()} == {r["seen"]} for r in runs)
            if idle and state == before:
                return
            if state != before:
                before, changed = state, time.monotonic()
            time.sleep(2.0)

    def _runs(self) -> list[dict[str, Any]]:
        return json.loads(self._qd("runs", "--json", str(self.config)) or "[]")

    def _qd(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "qd_agent", *arguments], cwd=ROOT, check=False,
            capture_output=True, text=True, env={**os.environ, "TILED_API_KEY": SECRET},
        )  # fmt: skip
        if done.returncode > 1 or "Traceback" in done.stderr:
            self.report.complaints.append(f"qd-agent {arguments[0]}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def _did(self, name: str) -> None:
        self.report.faults[name] += 1
        self._say(f"{time.monotonic() - self._began:6.1f} s  {name}")

    def _complain(self, text: str, log: Path) -> None:
        last = [line for line in log.read_text().splitlines() if line.strip()][-1:]
        self.report.complaints.append(f"{text} [{log.name}] {' '.join(last)[:300]}")
        self._say(f"COMPLAINT {self.report.complaints[-1]}")

    def close(self) -> None:
        for process in self._helpers:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.redis.close()
        self.tiled.close()


def wait(reached: Callable[[], bool], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not reached():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="default: drawn, and printed")
    parser.add_argument("--minutes", type=float, default=0.0, help="go on for so long")
    parser.add_argument("--folder", type=Path, default=None, help="keep everything here")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 20) if arguments.seed is None else arguments.seed
    say(f"seed {seed}")
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    campaign = Campaign(folder.resolve(), seed, say)
    try:
        report = campaign.run(arguments.minutes)
    finally:
        campaign.close()
    say(report.text())
    if arguments.folder is None and report.clean:
        shutil.rmtree(folder)
    else:
        say(f"kept: {folder}")
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
