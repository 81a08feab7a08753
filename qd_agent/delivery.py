"""One turn of the outbox: what the ledger holds for a sink goes there, and is struck when it did.

A crash between delivering and striking repeats the delivery; sinks know a repeat by the frame's
key and do nothing, so every prediction arrives once in effect. A sink that has lost what it once
confirmed (an emptied Redis) is found out by asking it, and gets it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from qd_agent.core.ports import PredictionSink
from qd_agent.core.prediction import Provenance, StoredFrame
from qd_agent.ledger import Ledger


@runtime_checkable
class Audited(Protocol):
    """A sink that can be asked what it holds."""

    def census(self, run_uids: Sequence[str]) -> dict[str, int]:
        """Count what it holds of each run; -1 for a run it does not know."""
        ...

    def held(self, run_uid: str) -> frozenset[StoredFrame]:
        """Give all that it holds of a run."""
        ...


def deliver_once(
    ledger: Ledger, sink: PredictionSink, provenance: Provenance, limit: int = 200
) -> int:
    """Deliver run starts, up to `limit` predictions, and run stops; give how many predictions.

    Raises:
        Unavailable: the sink is away; what it has not confirmed stays in the outbox.
    """
    for run in ledger.runs_to_open(sink.name):
        sink.open_run(run, provenance)
        ledger.run_opened(sink.name, run.run_uid)
    batch = ledger.undelivered(sink.name, limit)
    if batch:
        sink.deliver(batch)
        ledger.delivered(sink.name, batch)
    for run in ledger.runs_to_close(sink.name):
        sink.close_run(run, _account(ledger, sink.name, run.run_uid))
        ledger.run_closed(sink.name, run.run_uid)
    return len(batch)


def _account(ledger: Ledger, sink: str, run_uid: str) -> dict[str, int]:
    """Give the closed books of a run, as a store keeps them."""
    (record,) = ledger.runs(run_uid)
    return {
        "expected": record.expected or 0,
        **record.account.as_counts(),
        "missing": record.missing,
        "delivered": record.account.delivered[sink],
    }


def audit(ledger: Ledger, sink: PredictionSink, run_uids: Sequence[str], *, thorough: bool) -> int:
    """Compare what a sink holds with what it should; owe it the difference.

    Args:
        ledger: the books.
        sink: the sink; one that cannot be asked is trusted.
        run_uids: the runs to ask about.
        thorough: compare frame by frame, not only where the numbers differ.

    Returns:
        How many predictions it gets again.

    Raises:
        Unavailable: the sink is away.
    """
    if not isinstance(sink, Audited):
        return 0
    owed = 0
    for run_uid, count in sink.census(run_uids).items():
        if count < 0:
            ledger.announce_again(sink.name, run_uid)
        if thorough or count < ledger.account(run_uid).delivered[sink.name]:
            held = sink.held(run_uid) if count > 0 else frozenset[StoredFrame]()
            owed += ledger.deliver_again(sink.name, run_uid, held)
    return owed
