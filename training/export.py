"""From trained weights to the artifact: calibrate, measure, write the card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qd_agent.inference.artifact import (
    Artifact,
    Calibration,
    Card,
    read_artifact,
    write_artifact,
)
from qd_agent.inference.network import SizingNetwork
from qd_agent.inference.sizer import NetworkSizer
from qd_agent.scattering.form_factors import f0
from training.calibrate import (
    calibrate,
    choose_limits,
    draw,
    examine,
    validation_figures,
    with_card,
)
from training.dataset import PatternSource
from training.debye import build_library
from training.train import Schedule

NAME, VERSION = "pbs", "0.1.0"
DESCRIPTION = (
    "Sizes PbS nanocrystals (rock salt, lognormal ensembles) of 1 to 11 nm from X-ray total "
    "scattering patterns; trained on Debye simulations only."
)
MAX_DIAMETER_NM = 18.6

Progress = Callable[[str, int, int], None]
"""Called with (what, done, of how many)."""


def form_table() -> tuple[
    npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]
]:
    """Q (1/Å) and f0 of Pb and S, fine enough for linear interpolation to 1e-5."""
    q = np.arange(0.8, 15.5, 0.01)
    return q, f0("Pb", q), f0("S", q)


def export(
    network: SizingNetwork,
    folder: Path,
    seed: int,
    schedule: Schedule,
    progress: Progress,
    *,
    patterns: int = 3000,
) -> Card:
    """Calibrate, set limits, measure, write; gives the finished card."""
    library = build_library(MAX_DIAMETER_NM)
    form = form_table()
    source = PatternSource(seed + 1000)
    card = Card(
        name=NAME,
        version=VERSION,
        description=DESCRIPTION,
        network=network.config.as_dict(),
        training={"seed": seed, "schedule": asdict(schedule), "priors": asdict(source.priors)},
    )
    network = network.eval().requires_grad_(requires_grad=False)
    bare = Artifact(card, network, library, *form, sha256="")
    progress("calibrating", 0, 1)
    calibrated = with_card(bare, calibrate(network, draw(source, 5 * patterns)))

    sample = draw(source, patterns)
    evidence = examine(
        NetworkSizer(calibrated), sample, lambda n: progress("setting limits", n, patterns)
    )
    limits = choose_limits(evidence, sample.good)
    limited = with_card(calibrated, calibrated.card.calibration, limits)

    sample = draw(PatternSource(seed + 2000), patterns)
    sizer = NetworkSizer(limited)
    evidence = examine(sizer, sample, lambda n: progress("validating", n, patterns))
    figures = validation_figures(sizer, sample, evidence, limits)
    finished = limited.card.model_copy(update={"evaluation": {"simulated": figures}})
    return write_artifact(folder, finished, network, library, form)


def record(folder: Path, name: str, figures: dict[str, object]) -> Card:
    """Add measured figures to a model's card; changes the card's checksum, so the model's name."""
    artifact = read_artifact(folder)
    evaluation = {**artifact.card.evaluation, name: figures}
    card = artifact.card.model_copy(update={"evaluation": evaluation})
    return write_artifact(
        folder,
        card,
        artifact.network,
        artifact.library,
        (artifact.form_q, artifact.form_lead, artifact.form_sulfur),
    )


__all__ = ["Calibration", "export", "record"]
