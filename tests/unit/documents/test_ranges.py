"""Ranges behave like a set of whole numbers."""

from hypothesis import given
from hypothesis import strategies as st

from qd_agent.documents.ranges import Ranges

SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=12)


@given(SPANS, st.integers(0, 40), st.integers(0, 40))
def test_ranges_know_what_a_set_knows(spans, start, stop):
    ranges, reference = Ranges(), set()
    for first, length in spans:
        numbers = set(range(first, first + length))
        new = {n for a, b in ranges.add(first, first + length) for n in range(a, b)}
        assert new == numbers - reference
        reference |= numbers
    assert {n for n in range(50) if n in ranges} == reference
    assert ranges.stop == max(reference, default=-1) + 1
    missing = {n for a, b in ranges.missing(start, stop) for n in range(a, b)}
    assert missing == set(range(start, stop)) - reference
    gap = 0
    while start - gap - 1 >= 1 and start - gap - 1 not in reference:
        gap += 1
    assert ranges.gap_below(start, 1) == gap


def test_neighbours_melt_into_one_range():
    ranges = Ranges()
    for start in (0, 2, 1, 5, 3, 4):
        ranges.add(start, start + 1)
    assert ranges.missing(0, 8) == [(6, 8)]
    assert len(ranges._starts) == 1
