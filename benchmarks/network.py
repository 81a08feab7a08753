"""Forward pass of the sizing network on one core, against the layers of the published one.

CPU seconds on one thread, so that other work on the machine does no harm.
"""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.timing import Note, Row, cpu_seconds
from qd_agent.inference.network import POINTS, WIDE, NetworkConfig, SizingNetwork


def rows() -> list[Row | Note]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _rows()
    finally:
        torch.set_num_threads(threads)


def published() -> nn.Module:
    """Layers as published: five Conv1d of 32 channels, kernel = stride, average, 17 classes."""
    layers: list[nn.Module] = []
    inputs = 1
    for kernel in (10, 5, 4, 3, 2):
        layers += [nn.Conv1d(inputs, 32, kernel, stride=kernel), nn.ReLU()]
        inputs = 32
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 17), nn.Softmax(dim=1)
    )


def _rows() -> list[Row | Note]:
    return [*_compared("wide", WIDE), *_compared("narrow", NetworkConfig())]


def _compared(name: str, config: NetworkConfig) -> list[Row | Note]:
    ours, theirs = SizingNetwork(config).eval(), published().eval()
    found: list[Row | Note] = [
        Note(f"weights: {name} network {_weights(ours):,}, published layers {_weights(theirs):,}")
    ]
    for size in (1, 64):
        pattern, coverage = torch.rand(size, POINTS), torch.ones(size, POINTS)
        whole = torch.rand(size, 1, 4 * POINTS)

        def forward(a: torch.Tensor = pattern, b: torch.Tensor = coverage) -> object:
            with torch.inference_mode():
                return ours(a, b)

        def peer(a: torch.Tensor = whole) -> object:
            with torch.inference_mode():
                return theirs(a)

        mine, other = (cpu_seconds(work, 25, warm=True) / size for work in (forward, peer))
        what = f"a pattern, {size} at a time, {name} network alone, one core"
        found.append(Row(what, mine, "published layers, random weights", other))
    return found


def _weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
