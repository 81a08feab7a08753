"""Measured claims. Each module gives `rows()`, a list of rows and notes.

`python -m benchmarks [NAME ...]` prints them.

A row compares our work with a peer or a floor timed in the same run, so that the ratio means the
same on every machine.
"""
