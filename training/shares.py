"""A step's patterns in equal shares, each drawn and learned from on a thread of its own.

Two cores are busy all the time so, where one that draws for another that learns would idle half
of it. What is learned does not hang on which thread is first: each share has its own random
numbers, and gradients are added in the order of the shares.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from qd_agent.inference.network import SizingNetwork
from training.drawing import Drawing
from training.loss import loss_of


class Shares:
    """The shares of all steps, over one network.

    Each has a copy of the network with the same weights in memory, and normalizes its patterns by
    themselves; the running statistics of normalization are those of all shares.
    """

    def __init__(
        self, network: SizingNetwork, drawings: Sequence[Drawing], device: str = "cpu"
    ) -> None:
        self._drawings, self._device = drawings, device
        self._networks = [network, *(_copy(network) for _ in drawings[1:])]
        self._parameters = [list(one.parameters()) for one in self._networks]
        self._statistics = [_statistics(one) for one in self._networks]
        self._pool = ThreadPoolExecutor(
            max_workers=max(1, len(drawings) - 1), thread_name_prefix="share",
            # Numbers too small for the processor's fast path are nothing here, on any thread.
            initializer=torch.set_flush_denormal, initargs=(True,),
        )  # fmt: skip

    def learn(self) -> Tensor:
        """Take the next batch: leaves the mean gradient at the network, gives the mean loss."""
        others = [self._pool.submit(self._gradient, i) for i in range(1, len(self._networks))]
        losses = [self._gradient(0), *(other.result() for other in others)]
        if others:
            self._average()
        return torch.stack(losses).mean()

    def states(self) -> Tensor:
        """States of the sources to go on from, (shares, bytes)."""
        return torch.stack([drawing.state for drawing in self._drawings])

    def close(self) -> None:
        """Let the threads end; leaves the sources at `states`."""
        self._pool.shutdown()
        for drawing in self._drawings:
            drawing.close()

    def _gradient(self, share: int) -> Tensor:
        network = self._networks[share]
        batch = self._drawings[share].take().to(self._device)
        loss = loss_of(network(batch.intensity, batch.coverage), batch, network.config)
        for parameter in self._parameters[share]:
            parameter.grad = None
        loss.backward()
        return loss.detach()

    def _average(self) -> None:
        part = 1.0 / len(self._networks)
        with torch.no_grad():
            for alike in zip(*self._parameters, strict=True):
                total = alike[0].grad
                for other in alike[1:]:
                    if total is not None and other.grad is not None:
                        total.add_(other.grad)
                if total is not None:
                    total.mul_(part)
            for alike in zip(*self._statistics, strict=True):
                mean = torch.stack(alike).mean(dim=0)
                for one in alike:
                    one.copy_(mean)


def _copy(network: SizingNetwork) -> SizingNetwork:
    """Give another network over the same weights, with gradients and statistics of its own."""
    other = copy.deepcopy(network)
    for mine, theirs in zip(other.parameters(), network.parameters(), strict=True):
        mine.data = theirs.data
    return other


def _statistics(network: SizingNetwork) -> list[Tensor]:
    return [b for name, b in network.named_buffers() if name.endswith(("_mean", "_var"))]
