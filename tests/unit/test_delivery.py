"""One turn of the outbox: in order, nothing struck before the sink has confirmed it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from qd_agent.core.errors import Unavailable
from qd_agent.core.frame import RunClosed, RunOpened
from qd_agent.core.prediction import Provenance
from qd_agent.delivery import deliver_once
from qd_agent.ledger import Delivery, Ledger
from tests.helpers import records


class Sink:
    name = "redis"

    def __init__(self):
        self.heard: list[object] = []
        self.away = False

    def _hear(self, what: object) -> None:
        if self.away:
            raise Unavailable("redis is away")
        self.heard.append(what)

    def open_run(self, run: RunOpened, provenance: Provenance) -> None:
        self._hear(("opened", run.run_uid))

    def deliver(self, batch: Sequence[Delivery]) -> None:
        self._hear([d.prediction.key.seq_num for d in batch])

    def close_run(self, run: RunClosed, account: Mapping[str, int]) -> None:
        self._hear(("closed", run.run_uid, dict(account)))

    def close(self) -> None: ...


@pytest.fixture
def ledger(tmp_path: Path):
    book = Ledger(tmp_path / "ledger.sqlite", "pbs-1", ["redis"])
    book.open_run(RunOpened("run-1", 1.0, {}))
    for n in (1, 2, 3):
        book.see(records.reference(seq_num=n))
        book.predict(records.prediction(seq_num=n), None, None)
    book.close_run(RunClosed("run-1", 2.0, "success", "", {"primary": 3, "dark": 2}))
    yield book
    book.close()


def test_start_frames_and_stop_arrive_in_order_once(ledger: Ledger):
    sink = Sink()
    assert deliver_once(ledger, sink, records.provenance(), limit=2) == 2
    assert deliver_once(ledger, sink, records.provenance(), limit=2) == 1
    assert deliver_once(ledger, sink, records.provenance(), limit=2) == 0
    counts = {"seen": 3, "sized": 3, "abstained": 0, "set_aside": 0, "open": 0}
    counts |= {"missing": 2, "delivered": 3}
    assert sink.heard == [
        ("opened", "run-1"),
        [1, 2],
        [3],
        ("closed", "run-1", {"expected": 5, **counts}),
    ]


def test_a_sink_that_is_away_loses_nothing(ledger: Ledger):
    sink = Sink()
    sink.away = True
    with pytest.raises(Unavailable):
        deliver_once(ledger, sink, records.provenance())
    assert ledger.backlog("redis") == 3
    sink.away = False
    deliver_once(ledger, sink, records.provenance())
    assert [1, 2, 3] in sink.heard
