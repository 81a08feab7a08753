"""`python -m qd_agent` is `qd-agent`."""

from qd_agent.cli import main

main()
