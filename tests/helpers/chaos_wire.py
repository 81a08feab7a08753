"""The wire between beamline and agent: drops, doubles and shuffles documents, by a seed."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Mapping

import zmq

from simulated_beamline.wire import decode

NAMING = ("start", "descriptor", "stream_resource", "stop")
"""Documents that name their run; of a run that has none of them nothing is known."""
UNHEARD_EVERY = 5
"""Of every fifth run none of these passes, so that its events name a descriptor nobody knows."""
RATES: Mapping[str, float] = {"dropped": 0.02, "doubled": 0.02, "late": 0.02}
"""Share of the documents of every kind."""
DROPPED: Mapping[str, float] = {
    "start": 0.25, "descriptor": 0.12, "stream_resource": 0.12, "stop": 0.25,
}  # fmt: skip
"""Those of which a run has one or two are lost more often, so that every campaign sees it."""


class Wire(threading.Thread):
    """Takes documents from `source` and gives them on at `target`, not all, not once, not in order.

    Attributes:
        faults: what was done to how many documents, by (what, name).
        passed: documents that came in.
        unheard: runs of which no document passed that names them.
    """

    def __init__(self, source: str, target: str, seed: int, *, harmless: bool = False):
        super().__init__(name="wire", daemon=True)
        self._rng = random.Random(seed)
        self._harmless = harmless
        self.faults: Counter[tuple[str, str]] = Counter()
        self.passed = 0
        self.unheard: set[str] = set()
        self._starts = 0
        self._context = zmq.Context()
        self._in = self._context.socket(zmq.SUB)
        self._in.set_hwm(0)
        self._in.setsockopt(zmq.SUBSCRIBE, b"")
        self._out = self._context.socket(zmq.XPUB)
        self._out.set_hwm(0)
        self._out.bind(target)
        self._source = source
        self._stopping = threading.Event()
        self._held: list[tuple[int, bytes]] = []

    def run(self) -> None:
        # The beamline waits for us. Where nothing is to be lost, we wait for the first agent.
        while self._harmless and not (self._out.poll(200) or self._stopping.is_set()):
            pass
        self._in.connect(self._source)
        while not self._stopping.is_set():
            if not self._in.poll(200):
                self._release(everything=True)
                continue
            self.take(self._in.recv())
        self._release(everything=True)
        self._in.close()
        self._out.close(linger=1000)
        self._context.term()

    def take(self, message: bytes) -> None:
        """Decide what becomes of one message."""
        self.passed += 1
        _, head, body = message.split(b" ", 2)
        name = head.decode()
        if not self._harmless and name in NAMING and self._is_unheard(name, decode(body)):
            self.faults["dropped (run unheard)", name] += 1
            return
        fate = "" if self._harmless else self._draw(name)
        if fate:
            self.faults[fate, name] += 1
        if fate == "late":
            self._held.append((self._rng.randint(1, 6), message))
            return
        if fate != "dropped":
            self._out.send(message)
        if fate == "doubled":
            self._out.send(message)
        self._release()

    def _is_unheard(self, name: str, doc: Mapping[str, object]) -> bool:
        if name == "start":
            self._starts += 1
            if self._starts % UNHEARD_EVERY == 3:
                self.unheard.add(str(doc["uid"]))
        return str(doc.get("run_start", doc["uid"])) in self.unheard

    def _draw(self, name: str) -> str:
        value = self._rng.random()
        dropped = DROPPED.get(name, RATES["dropped"])
        if value < dropped:
            return "dropped"
        if value < dropped + RATES["doubled"]:
            return "doubled"
        return "late" if value < dropped + RATES["doubled"] + RATES["late"] else ""

    def _release(self, *, everything: bool = False) -> None:
        left: list[tuple[int, bytes]] = []
        for wait, message in self._held:
            if everything or wait <= 1:
                self._out.send(message)
            else:
                left.append((wait - 1, message))
        self._held = left

    def close(self) -> None:
        self._stopping.set()
        self.join(60)
