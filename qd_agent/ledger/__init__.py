"""The ledger: what was seen, predicted and delivered. The only durable state of the agent."""

from qd_agent.ledger.agenda import Agenda, Look
from qd_agent.ledger.books import DARK, SAMPLE, Books
from qd_agent.ledger.records import Account, Delivery, Request, RunRecord, SetAside, Todo
from qd_agent.ledger.store import Ledger

__all__ = [
    "DARK",
    "SAMPLE",
    "Account",
    "Agenda",
    "Books",
    "Delivery",
    "Ledger",
    "Look",
    "Request",
    "RunRecord",
    "SetAside",
    "Todo",
]
