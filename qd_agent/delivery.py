"""One turn of the outbox: what the ledger holds for a sink goes there, and is struck when it did.

A crash between delivering and striking repeats the delivery; sinks know a repeat by the frame's
key and do nothing, so every prediction arrives once in effect.
"""

from __future__ import annotations

from qd_agent.core.ports import PredictionSink
from qd_agent.core.prediction import Provenance
from qd_agent.ledger import Ledger


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
        account = ledger.account(run.run_uid)
        expected = sum(run.expected.values())
        sink.close_run(run, {"expected": expected, **account.as_counts()})
        ledger.run_closed(sink.name, run.run_uid)
    return len(batch)
