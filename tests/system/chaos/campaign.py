"""The campaign: everything around a live agent fails, by a seed, and the books must still agree.

`python -m tests.system.chaos.campaign --seed 7` for one round (minutes), `--minutes 60` for more.

Faults are placed by progress, not by the clock: the beamline takes as many frames as it is allowed
to, and is allowed more until what was wanted has happened. A slow machine needs longer, and meets
the same faults. Nobody tells the agent of any run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from tests.helpers import nursery
from tests.helpers.chaos_beamline import Plan
from tests.helpers.chaos_checker import Findings, check, read_journal, read_stores
from tests.helpers.chaos_stores import ROOT, SECRET, RedisStore, Store, TiledStore
from tests.helpers.chaos_wire import Wire
from tests.helpers.commands import ended
from tests.helpers.rig import free_port
from tests.system.chaos.scenes import FULL, Scene, draw

Process = subprocess.Popen[bytes] | nursery.Forked
HELPERS = ROOT / "tests" / "helpers"
SHUTDOWN_S = 5.0
GRANT = 12
"""Frames that a scene may have at first, and each time more when they did not bring its end."""
DEADLINE_S = 300.0
"""Longest wait for anything that must come; a hundred times what it takes on an idle machine."""
FAULT_S = 15.0
"""Longest that a store is away when the agent, which may be busy otherwise, does not notice."""
STILL_S = 2.0
"""With all frames taken that are allowed, and nothing happening for so long, more are allowed."""


@dataclass
class Report:
    """What was done, and what came of it."""

    seed: int
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    found: int = 0
    missing_before: int = 0
    reconciled: str = ""
    findings: Findings = field(default_factory=Findings)

    @property
    def clean(self) -> bool:
        return self.findings.clean and not self.complaints and not self.missing_before

    @property
    def survived(self) -> int:
        return sum(self.faults.values())

    def text(self) -> str:
        lines = [f"campaign with seed {self.seed}: {self.seconds:.0f} s", "", "faults survived"]
        lines += [f"  {count:5d}  {name}" for name, count in sorted(self.faults.items())]
        lines += [
            f"  {self.survived:5d}  in all",
            "",
            f"runs found in the catalog      {self.found}, of which nothing had been heard",
            "runs named to the agent        0",
            f"missing before reconcile       {self.missing_before}",
            f"reconcile                      {self.reconciled}",
            self.findings.table(),
        ]
        return "\n".join([*lines, *(f"COMPLAINT {line}" for line in self.complaints)])


class Campaign:
    """One folder, one seed, two stores, one beamline, and one agent after the other.

    Args:
        folder: of everything.
        seed: of everything that is drawn.
        say: told of every fault.
        forks: whether agents are forked from a process that has imported what they need.
        changes: of the agent's configuration.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        say: Callable[[str], None],
        *,
        forks: bool = True,
        **changes: object,
    ):
        self.folder, self.report, self._say, self._forks = folder, Report(seed), say, forks
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
        self._lives = self._allowed = self._taken = 0
        self._journal: TextIO | None = None
        self._counting = threading.Lock()
        self._agent: Process | None = None
        self._helpers: list[Process] = []

    # -- what takes part -------------------------------------------------------------------

    def _write_config(self, changes: Mapping[str, object]) -> Path:
        tree: dict[str, Any] = {
            "agent_id": "chaos",
            "data": "agent",
            "source": {"address": self.listen},
            "router": {"data_keys": ["detector"], "quiet_s": 5.0},
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

    def start_beamline(self, **changes: Any) -> Process:
        plan = Plan(
            folder=str(self.folder / "beamline"), address=self.publish, seed=self.report.seed,
            tiled=str(self.tiled.folder), api_key=SECRET,
        )  # fmt: skip
        path = self.folder / "plan.json"
        path.write_text(json.dumps({**vars(plan), **changes}))
        return self._start("beamline", [str(HELPERS / "chaos_beamline.py"), str(path)])

    def _start(self, kind: str, command: Sequence[str], log: str = "", **more: str) -> Process:
        env = {
            **os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1",
            "TILED_API_KEY": SECRET, **more,
        }  # fmt: skip
        with (self.logs / f"{log or kind}.log").open("wb") as file:
            if self._forks:
                process = nursery.start(
                    kind, command, stdout=file, stderr=file, cwd=self.folder, env=env
                )
            else:
                process = subprocess.Popen(
                    [sys.executable, "-P", *command], stdin=subprocess.DEVNULL, stdout=file,
                    stderr=file, cwd=self.folder, env=env,
                )  # fmt: skip
        self._helpers.append(process)
        return process

    def start_agent(self, chaos: str = "") -> tuple[Process, Path]:
        self._lives += 1
        name = f"agent-{self._lives:03d}"
        env = {"QD_CHAOS": chaos, "QD_CHAOS_DATA": str(self.folder / "agent")}
        command = [str(HELPERS / "chaos_agent.py"), "run", str(self.config)]
        agent = self._start("agent", command, name, **env)
        self._agent = agent
        return agent, self.logs / f"{name}.log"

    # -- progress --------------------------------------------------------------------------

    def allow(self, frames: int) -> None:
        """Let the beamline take so many frames in all."""
        path = self.folder / "beamline" / "allowed"
        path.with_suffix(".new").write_text(str(frames))
        path.with_suffix(".new").replace(path)
        self._allowed = frames

    def taken(self) -> int:
        """Count the frames that were taken."""
        with self._counting:
            self._taken += sum('"frame"' in line for line in self._journal or ())
            return self._taken

    def answered(self) -> int:
        """Count the frames that the agent has answered, by its ledger; 0 while there is none."""
        path = self.folder / "agent" / "ledger.sqlite"
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)) as ledger:
                query = "SELECT COUNT(*) FROM frames WHERE verdict IS NOT NULL AND role = 'sample'"
                return int(ledger.execute(query).fetchone()[0])
        except sqlite3.Error:  # not there yet, or about to be written
            return 0

    def coax(self, reached: Callable[[], bool]) -> bool:
        """Have frames taken, some more and some more, until something is reached."""
        deadline = time.monotonic() + DEADLINE_S
        while not reached():
            if time.monotonic() > deadline:
                return False
            taken = self.taken()
            moved = wait(lambda: reached() or self.taken() > taken, STILL_S)  # noqa: B023 - called here
            if not moved and taken >= self._allowed:
                self.allow(self._allowed + GRANT)
        return True

    # -- what happens to the agent ---------------------------------------------------------

    def play(self, scene: Scene) -> None:
        """Let an agent live and end as `scene` says; complain when it does not as promised."""
        if scene.unheard:
            self.allow(self.taken() + scene.unheard)
            wait(lambda: self.taken() >= self._allowed, DEADLINE_S)
        agent, log = self.start_agent(scene.chaos)
        wait(lambda: "event=ready" in log.read_text() or agent.poll() is not None, DEADLINE_S)
        fault = threading.Thread(target=self._trouble, args=(scene.store, agent, log))
        fault.start()
        self.allow(self.taken() + GRANT)
        if scene.chaos:
            ended = self.coax(lambda: agent.poll() is not None)
            if not ended:
                agent.kill()
            agent.wait()
            fault.join()
            self._judge_ordered(scene, log, agent.returncode, ended=ended)
        else:
            enough = self.answered() + scene.answers
            if not self.coax(lambda: not fault.is_alive() and self.answered() >= enough):
                self._complain(f"{scene.name}: frames are not answered", log)
            self._end(scene, agent, log)

    def _end(self, scene: Scene, agent: Process, log: Path) -> None:
        """End an agent by signals; a second one is sent when the first was heard."""
        began = time.monotonic()
        agent.send_signal(scene.signals[0])
        for number in scene.signals[1:]:
            wait(lambda: agent.poll() is not None, 0.3)
            agent.send_signal(number)
        if not wait(lambda: agent.poll() is not None, DEADLINE_S):
            agent.kill()
        agent.wait()
        took = time.monotonic() - began
        if scene.signals == (signal.SIGTERM,) and (agent.returncode or took > self._patience):
            self._complain(f"{scene.name}: exit code {agent.returncode} after {took:.1f} s", log)
        if signal.SIGTERM in scene.signals and "Traceback" in log.read_text():
            self._complain(f"{scene.name}: traceback", log)
        self._did(scene.name)

    @property
    def _patience(self) -> float:
        """Longest shutdown: the promised one on a free processor, longer on one that is shared."""
        return SHUTDOWN_S * max(1.0, os.getloadavg()[0])

    def _judge_ordered(self, scene: Scene, log: Path, code: int, *, ended: bool) -> None:
        text = log.read_text()
        if not ended:
            self._complain(f"{scene.name}: not reached", log)
        elif scene.chaos in FULL and (code != 1 or "is full" not in text or "Traceback" in text):
            self._complain(f"{scene.name}: exit code {code}, not said or with traceback", log)
        elif scene.chaos not in FULL and "chaos: killed at" not in text:
            self._complain(f"{scene.name}: ended by itself, exit code {code}", log)
        else:
            self._did(scene.name)

    # -- what happens to the stores --------------------------------------------------------

    def _trouble(self, name: str, agent: Process, log: Path) -> None:
        """Do to a store what `name` says, and undo it when the agent has noticed."""
        if not name:
            return
        store: Store = self.redis if "Redis" in name else self.tiled
        said, taken = log.read_text().count("sink is away"), self.taken()

        def noticed() -> bool:
            told = log.read_text().count("sink is away") > said
            return agent.poll() is not None or (told and self.taken() > taken)

        done = True
        if "FLUSHALL" in name:
            self.redis.empty()
        elif "answer" in name:
            to = b"EVALSHA" if store is self.redis else b"partition"
            done = store.lose_answer(to, DEADLINE_S)
        elif "hangs" in name:
            store.hang()
            wait(noticed, FAULT_S)
            store.go_on()
        elif "cut off" in name:
            store.forwarder.cut()
            wait(noticed, FAULT_S)
            store.forwarder.target = store.port()
        else:
            store.stop(signal.SIGKILL if "killed" in name else signal.SIGTERM)
            if "empty" in name:
                self.redis.wipe()
            wait(noticed, FAULT_S)
            store.start()
        if done:
            self._did(name)
        else:
            self._complain(f"{name}: not reached", log)

    # -- the whole -------------------------------------------------------------------------

    def run(self, minutes: float = 0.0, **plan: Any) -> Report:
        """Do one round, then more until `minutes` have passed; then look what came of it."""
        wire = Wire(self.publish, self.listen, self._rng.randrange(1 << 30))
        wire.start()
        self.allow(0)
        beamline = self.start_beamline(**plan)
        journal = self.folder / "beamline" / "journal.jsonl"
        wait(lambda: journal.exists() and (journal.parent / "mask.npy").exists(), DEADLINE_S)
        with journal.open() as self._journal:
            while True:
                for scene in draw(random.Random(self._rng.randrange(1 << 30))):
                    self.play(scene)
                if time.monotonic() - self._began > 60.0 * minutes:
                    break
        self._journal = None
        self._last_life(beamline, wire)
        self.report.seconds = time.monotonic() - self._began
        (self.folder / "report.txt").write_text(self.report.text() + "\n")
        return self.report

    def _last_life(self, beamline: Process, wire: Wire) -> None:
        """Let the last runs end, and an agent that nobody harms put the books right."""
        agent, log = self.start_agent()
        (self.folder / "beamline" / "stop").touch()
        if not wait(lambda: beamline.poll() is not None, DEADLINE_S) or beamline.returncode:
            self._complain("the beamline did not come to its end", self.logs / "beamline.log")
        wire.close()
        for (what, name), count in wire.faults.items():
            self.report.faults[f"documents {what}: {name}"] += count
        self._conclude()
        agent.send_signal(signal.SIGTERM)
        if not wait(lambda: agent.poll() is not None, DEADLINE_S) or agent.returncode:
            self._complain(f"the last agent ended with {agent.returncode}", log)

    def _conclude(self) -> None:
        """Let the agent settle, reconcile, and have everything checked by the independent eye."""
        journal = self.folder / "beamline" / "journal.jsonl"
        truth = read_journal(journal)
        frames = [frame for found in truth.values() for frame in found]
        cut = {f.file for f in frames if f.file.with_suffix(".original").exists()}
        self.report.faults["file cut short"] += len(cut)
        for line in journal.read_text().splitlines():
            fate = json.loads(line).get("fate")
            if fate:
                self.report.faults[f"frame {fate}"] += 1
        self.settle(truth)
        self.report.missing_before = len(frames) - sum(r["seen"] for r in self._runs())
        self.report.reconciled = self._qd(
            "reconcile", str(self.config), "--wait", "1800"
        ).splitlines()[0]
        self.settle(truth)
        for log in self.logs.glob("agent-*.log"):
            lines = [x for x in log.read_text().splitlines() if "nothing was heard" in x]
            numbers = [re.search(r"runs=(\d+)", line) for line in lines]
            self.report.found += sum(int(found[1]) for found in numbers if found)
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

    def settle(self, truth: Mapping[str, Sequence[object]], patience: float = 120.0) -> None:
        """Wait until the agent has answered and delivered all frames of `truth`.

        Args:
            truth: the frames by run.
            patience: seconds without any progress after which it is left as it is.
        """
        before: object = None
        changed = time.monotonic()
        while time.monotonic() - changed < patience:
            runs = {run["uid"]: run for run in self._runs()}
            state = [
                (r["uid"], r["seen"], r["open"], *r["delivered"].values(), r["state"])
                for r in runs.values()
            ]
            if truth.keys() <= runs.keys() and all(map(_is_whole, runs.values())):
                return
            if state != before:
                before, changed = state, time.monotonic()
            time.sleep(1.0)

    def _runs(self) -> list[dict[str, Any]]:
        # Asked every second: by a command of this process.
        done = ended("runs", "--json", self.config, env={"TILED_API_KEY": SECRET})
        if done.returncode > 1:
            self.report.complaints.append(f"qd-agent runs: {done.stderr.strip()[-300:]}")
        return json.loads(done.stdout or "[]")

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


def _is_whole(run: Mapping[str, Any]) -> bool:
    delivered = {*run["delivered"].values()} == {run["seen"]}
    return run["state"] == "closed" and delivered and not run["open"] and not run["missing"]


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
