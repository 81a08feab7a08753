"""The ledger: what was seen, predicted and delivered. The only durable state of the agent."""

from qd_agent.ledger.records import Account, Delivery
from qd_agent.ledger.store import DARK, SAMPLE, Ledger

__all__ = ["DARK", "SAMPLE", "Account", "Delivery", "Ledger"]
