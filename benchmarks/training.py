"""Training throughput on one core: drawing patterns, and learning from them.

CPU seconds on one thread, so that other work on the machine does no harm.
"""

from __future__ import annotations

import time

import torch

from benchmarks.timing import Note, Row, cpu_seconds
from qd_agent.inference.network import SizingNetwork
from training.dataset import PatternSource
from training.loss import loss_of

BATCH = 128


def rows() -> list[Row | Note]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _rows()
    finally:
        torch.set_num_threads(threads)


def _rows() -> list[Row | Note]:
    start = time.process_time()
    source = PatternSource(0)
    tables = time.process_time() - start
    network = SizingNetwork().train()
    optimizer = torch.optim.AdamW(network.parameters())
    batch = source.batch(BATCH)

    def step() -> None:
        outputs = network(batch.intensity, batch.coverage)
        loss = loss_of(outputs, batch, network.config)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    draw = cpu_seconds(lambda: source.batch(BATCH), 9, warm=True)
    learn = cpu_seconds(step, 9, warm=True)
    return [
        Row(f"draw {BATCH} patterns", draw, f"one training step on {BATCH}", learn),
        Note(f"drawn {BATCH / draw:.0f} patterns/s, learnt from {BATCH / learn:.0f} patterns/s"),
        Note(f"tables of all clusters, once: {tables:.1f} s"),
    ]
