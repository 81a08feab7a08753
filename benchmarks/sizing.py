"""What a pattern costs on one core: network, fit and answer, against one step that a fit needs.

CPU seconds on one thread, so that other work on the machine does no harm.
"""

from __future__ import annotations

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.timing import Note, Row, cpu_seconds
from qd_agent.inference.artifact import Artifact, read_artifact
from qd_agent.inference.binned_debye import BinnedDebye, Dots
from qd_agent.inference.sizer import NetworkSizer
from training.calibrate import Sample, draw
from training.dataset import PatternSource

PATTERNS = 64
SEED = 99


def rows() -> list[Row | Note]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            return _rows(read_artifact(), draw(PatternSource(SEED), PATTERNS, batch=PATTERNS))
    finally:
        torch.set_num_threads(threads)


def _rows(model: Artifact, sample: Sample) -> list[Row | Note]:
    sizer = NetworkSizer(model)
    debye = BinnedDebye(model.library, model.form_q, model.form_lead, model.form_sulfur)
    usual = Dots(4.0, 0.12, 1.001, 1.32, 1.49)

    def size(chosen: np.ndarray) -> float:
        some = sample.take(chosen)
        arrays = some.intensity, some.coverage, some.resolution
        return cpu_seconds(lambda: sizer.examine(*arrays), warm=True) / max(1, int(chosen.sum()))

    step = cpu_seconds(lambda: debye.derivatives(usual), 25, warm=True)
    floor = "one Debye pattern of 4 nm with its derivatives"
    real = sample.kind == 0
    return [
        Row("a pattern of nanocrystals: read, explained, answered", size(real), floor, step),
        Row("a pattern of anything else", size(~real), floor, step),
        Note(f"{PATTERNS} patterns of the training's priors, {int(real.sum())} of nanocrystals"),
    ]
