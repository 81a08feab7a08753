"""Shares of a step: the gradient is that of both, whichever thread comes first."""

import copy
import threading

import pytest
import torch

from qd_agent.inference.network import SizingNetwork
from training.dataset import Batch, PatternSource
from training.drawing import Drawn
from training.loss import loss_of
from training.shares import Shares


@pytest.fixture(scope="module")
def source() -> PatternSource:
    return PatternSource(0, max_diameter_nm=3.0, foreign_patterns=4)


def a_network() -> SizingNetwork:
    torch.manual_seed(0)
    return SizingNetwork().train()


def drawings(source: PatternSource, *seeds: int) -> list[Drawn]:
    return [Drawn(source.with_seed(seed), 4) for seed in seeds]


def alone(network: SizingNetwork, batch: Batch) -> SizingNetwork:
    """Learn from one share by itself."""
    other = copy.deepcopy(network)
    loss_of(other(batch.intensity, batch.coverage), batch, other.config).backward()
    return other


def test_the_gradient_and_the_statistics_are_the_mean_of_those_of_the_shares(
    source: PatternSource,
):
    network = a_network()
    parts = [alone(network, source.with_seed(seed).batch(4)) for seed in (1, 2)]
    shares = Shares(network, drawings(source, 1, 2))
    shares.learn()
    shares.close()
    for mine, one, other in zip(*(n.parameters() for n in (network, *parts)), strict=True):
        torch.testing.assert_close(mine.grad, (one.grad + other.grad) / 2)
    for name, mean in network.named_buffers():
        if "running" in name:
            one, other = (part.get_buffer(name) for part in parts)
            torch.testing.assert_close(mean, (one + other) / 2)


def test_what_is_learned_does_not_hang_on_which_share_is_first(
    source: PatternSource, monkeypatch: pytest.MonkeyPatch
):
    def learned(first: str) -> list[torch.Tensor]:
        done = threading.Event()
        original = Shares._gradient

        def held(self: Shares, share: int) -> torch.Tensor:
            mine = "main" if share == 0 else "other"
            if mine != first:
                assert done.wait(60)
            loss = original(self, share)
            if mine == first:
                done.set()
            return loss

        network = a_network()
        shares = Shares(network, drawings(source, 1, 2))
        with monkeypatch.context() as patch:
            patch.setattr(Shares, "_gradient", held)
            shares.learn()
        shares.close()
        return [p.grad for p in network.parameters() if p.grad is not None]

    for one, other in zip(learned("main"), learned("other"), strict=True):
        assert torch.equal(one, other)


def test_a_step_of_the_optimizer_moves_the_weights_of_every_share(source: PatternSource):
    network = a_network()
    shares = Shares(network, drawings(source, 1, 2))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, fused=True)
    before = shares._networks[1].whole.weight.clone()
    shares.learn()
    optimizer.step()
    shares.close()
    assert not torch.equal(before, network.whole.weight)
    assert torch.equal(network.whole.weight, shares._networks[1].whole.weight)


def test_the_states_are_those_to_go_on_from(source: PatternSource):
    shares = Shares(a_network(), drawings(source, 1, 2))
    shares.learn()
    other = drawings(source, 1, 2)
    for drawing in other:
        drawing.take()
    assert torch.equal(shares.states(), torch.stack([drawing.state for drawing in other]))
    shares.close()


def test_a_share_that_fails_ends_the_step(source: PatternSource):
    class Broken(Drawn):
        def take(self) -> Batch:
            raise ValueError("no tables")

    shares = Shares(a_network(), [*drawings(source, 1), Broken(source, 4)])
    with pytest.raises(ValueError, match="no tables"):
        shares.learn()
    shares.close()
