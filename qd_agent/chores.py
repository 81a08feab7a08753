"""What a running agent does now and then between two frames."""

from __future__ import annotations

import time

import structlog

from qd_agent.ledger import Ledger
from qd_agent.ledger.settings import LedgerSettings
from qd_agent.reconciliation import Reconciliation

_log = structlog.get_logger(__name__)

PRUNE_EVERY_S = 3600.0


class Chores:
    """Reconciles when that is due, and prunes the ledger once an hour; never waits.

    Args:
        reconciliation: the looks into the books.
        ledger: the books.
        settings: what they keep.
    """

    def __init__(
        self, reconciliation: Reconciliation, ledger: Ledger, settings: LedgerSettings
    ) -> None:
        self._reconciliation, self._ledger, self._settings = reconciliation, ledger, settings
        self._next_pruning = 0.0

    def turn(self) -> None:
        """Do what is due."""
        self._reconciliation.turn()
        if time.monotonic() >= self._next_pruning:
            self._next_pruning = time.monotonic() + PRUNE_EVERY_S
            gone = self._ledger.prune(self._settings)
            if gone:
                _log.info("old runs left the ledger", runs=len(gone), oldest=gone[0])
