"""Training throughput on one core: drawing patterns, and learning from them.

CPU seconds on one thread, so that other work on the machine does no harm.
"""

from __future__ import annotations

import time

import torch

from benchmarks.timing import Note, Row, cpu_seconds
from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.inference.binned_debye import BINNED_Q
from qd_agent.inference.network import BIN, SizingNetwork
from qd_agent.scattering.ensemble import cluster_diameters
from qd_agent.scattering.forward import partial_sums
from training.dataset import PatternSource
from training.debye import build_library
from training.export import MAX_DIAMETER_NM
from training.loss import loss_of
from training.zinc_blende import zinc_blende

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
        _strangers(),
        Note(f"tables of all clusters, once: {tables:.1f} s"),
    ]


def _strangers() -> Row:
    """Tables of zinc blende, which is drawn as something else, against those of PbS."""
    diameters = cluster_diameters(MAX_DIAMETER_NM)
    other = cpu_seconds(lambda: zinc_blende(diameters, BINNED_Q, BIN * PUBLISHED_GRID.step))
    ours = cpu_seconds(lambda: partial_sums(build_library(MAX_DIAMETER_NM), BINNED_Q))
    what = f"tables of zinc blende up to {MAX_DIAMETER_NM} nm, once"
    return Row(what, other, "pairs and partial sums of PbS", ours)
