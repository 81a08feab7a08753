"""Batches in order, and where their source stands."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from training.dataset import Batch, PatternSource
from training.drawing import Ahead, Drawn


def a_source() -> PatternSource:
    return PatternSource(0, max_diameter_nm=3.0, foreign_patterns=4)


def on_a_thread(draw: Callable[[], Batch]) -> Batch:
    """Draw as `Ahead` does: the main thread may cut its sums otherwise, and so round otherwise."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(draw).result()


def test_several_batches_of_one_draw_are_that_draw_in_order():
    source, alone = a_source(), a_source()
    ahead = Ahead(source, 2, at_once=3)
    before = ahead.state
    taken = [ahead.take() for _ in range(2)]
    assert torch.equal(ahead.state, before)
    taken.append(ahead.take())
    whole = on_a_thread(lambda: alone.batch(6))
    for name in whole.__slots__:
        parts = torch.cat([getattr(batch, name) for batch in taken])
        torch.testing.assert_close(parts, getattr(whole, name))
    assert torch.equal(ahead.state, alone.state)
    ahead.close()
    assert torch.equal(source.state, alone.state)


def test_what_is_drawn_ahead_is_what_is_drawn_when_asked():
    ahead, drawn = Ahead(a_source(), 3), Drawn(a_source(), 3)
    for _ in range(2):
        assert torch.equal(ahead.state, drawn.state)
        torch.testing.assert_close(ahead.take().intensity, on_a_thread(drawn.take).intensity)
    ahead.close()
    drawn.close()
