"""An agent with stages of its own, in memory but for its ledger."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from qd_agent.agent import Agent, DocumentRouter
from qd_agent.answers import Patience, Stages
from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import Frame, FrameReference, Happening
from qd_agent.core.pattern import Pattern
from qd_agent.core.prediction import Prediction, Sized
from qd_agent.ledger import Ledger
from tests.helpers import records


class Script:
    """A router whose documents say themselves what happened."""

    def route(self, name: str, doc: Mapping[str, object]) -> list[Happening]:
        if name == "malformed":
            raise BadFrame("no such document")
        return doc["happenings"]  # type: ignore[return-value]

    def waiting_darks(self) -> list[Happening]:
        return []

    def remember(self, taken: object) -> None: ...


class Reader:
    def __init__(self):
        self.problems: dict[int, list[BaseException]] = {}

    def read(self, reference: FrameReference) -> Frame:
        problems = self.problems.get(reference.key.seq_num)
        if problems:
            raise problems.pop(0)
        return Frame(reference, np.full(reference.shape, reference.key.seq_num))

    def close(self) -> None: ...


class Reducer:
    def __init__(self):
        self.darks: dict[str, int] = {}

    def reduce(self, frame: Frame) -> Pattern:
        ones = np.full(5004, float(frame.image.flat[0]))
        return Pattern(ones, np.zeros(5004), np.ones(5004), flags=("monitor_missing",))

    def check_whole(self, frame: Frame, pattern: Pattern, *, dark_announced: bool) -> None: ...

    def keeps(self, run_uid, data_key, role) -> bool:
        return True

    def demands_dark(self, reference) -> bool:
        return False

    def wants(self, reference):
        return "", ""

    def add_dark(self, frame: Frame, role: str = "own") -> None:
        run = frame.reference.key.run_uid
        self.darks[run] = self.darks.get(run, 0) + 1

    def made_from(self, reference):
        return {"dark_hash": f"{self.darks.get(reference.key.run_uid, 0)} darks"}

    def forget_run(self, run_uid: str) -> None:
        self.darks.pop(run_uid, None)


class Sizer:
    def size(self, patterns: Sequence[Pattern]) -> list[Sized]:
        return [Sized(records.sized(float(p.intensity[0])), p) for p in patterns]


class Rig:
    def __init__(
        self,
        path: Path,
        router: DocumentRouter | None = None,
        model: str = "pbs-1",
        **options: object,
    ):
        self.reader, self.reducer = Reader(), Reducer()
        options = {"newest_first": False, "patience": Patience((1.0, 5.0), 3), **options}
        self.ledger = Ledger(path, model, ["redis"])
        self.answers = 0
        self.agent = Agent(
            router or Script(),
            Stages(self.reader, self.reducer, Sizer()),
            self.ledger,
            provenance=records.provenance(),
            streams=frozenset({"primary"}),
            dark_streams=frozenset({"dark"}),
            on_answer=self._count,
            **options,  # type: ignore[arg-type]
        )

    def _count(self, _: Prediction) -> None:
        self.answers += 1

    def take(self, *happenings: Happening) -> None:
        self.agent.step("any", {"happenings": list(happenings)})

    def retry(self, times: int = 1) -> None:
        """Try what is away again, however long that would take."""
        for _ in range(times):
            self.agent.work(now=float("inf"))

    @property
    def away(self) -> int:
        return self.ledger.waiting()[1]

    def predictions(self):
        return [d.prediction for d in self.ledger.undelivered("redis", 100)]


@pytest.fixture
def rig(tmp_path: Path):
    made = Rig(tmp_path / "ledger.sqlite")
    yield made
    made.ledger.close()
