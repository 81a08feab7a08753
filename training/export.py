"""From trained weights to the artifact: calibrate, measure, write the card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qd_agent.inference.artifact import (
    Artifact,
    Card,
    read_artifact,
    write_artifact,
)
from qd_agent.inference.network import SizingNetwork
from qd_agent.inference.sizer import NetworkSizer
from qd_agent.scattering.form_factors import f0
from training.calibrate import (
    Sample,
    choose_limits,
    draw,
    is_sized,
    temperatures,
    weigh_fits,
    with_card,
)
from training.dataset import PatternSource
from training.debye import build_library
from training.examining import examine
from training.liquids import liquid_prior
from training.scaling import scale_uncertainties, sharpen_classes
from training.train import Schedule
from training.validate import figures

NAME, VERSION = "pbs", "0.7.0"
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
    patterns: int = 4000,
    solvents: Sequence[npt.NDArray[np.float32]] = (),
    workers: int = 1,
    device: str = "cpu",
) -> Card:
    """Calibrate, set limits, measure, write; gives the finished card.

    Twice `patterns` simulations calibrate, `patterns` of another seed measure. So many `workers`
    (processes) explain them. `device` is what the network was trained on, for the card.
    """
    library = build_library(MAX_DIAMETER_NM)
    form = form_table()
    source = PatternSource(seed + 1000, solvents=solvents)
    liquids = liquid_prior(source.with_seed(seed + 4000))
    card = Card(
        name=NAME,
        version=VERSION,
        description=DESCRIPTION,
        network=network.config.as_dict(),
        training={
            "seed": seed,
            "schedule": asdict(schedule),
            "device": device,
            "priors": asdict(source.priors),
            "own_solvents": len(solvents),
        },
    )
    network = network.eval().requires_grad_(requires_grad=False)
    bare = Artifact(card, network, library, *form, liquids, sha256="")
    limited = calibrated(
        bare, draw(source, 2 * patterns), draw(source, 3 * patterns), progress, workers=workers
    )

    sample = draw(PatternSource(seed + 2000, solvents=solvents), patterns)
    found = examine(
        limited, sample, lambda n: progress("validating", n, len(sample.kind)), workers=workers
    )
    measured = figures(found, sample, is_sized(found, limited.card.thresholds))
    finished = limited.card.model_copy(update={"evaluation": {"simulated": measured}})
    return write_artifact(folder, finished, network, library, form, liquids=liquids)


def calibrated(
    bare: Artifact, sample: Sample, more: Sample, progress: Progress, *, workers: int = 1
) -> Artifact:
    """Give the model with calibration and limits from a sample; `more` serves the network alone."""
    tempered = with_card(bare, temperatures(bare.network, more))
    found = examine(
        tempered, sample, lambda n: progress("calibrating", n, len(sample.kind)), workers=workers
    )
    weighed = with_card(tempered, weigh_fits(tempered.card.calibration, found, sample))
    for _ in range(2):  # limits decide what is scaled, and scaled uncertainties what the limits are
        sizer = NetworkSizer(weighed)
        found = [sizer.answer(one.reading, one.fit) for one in found]
        limits = choose_limits([one.evidence for one in found], sample.good)
        sized = is_sized(found, limits)
        scaled = scale_uncertainties(weighed.card.calibration, found, sample, sized)
        weighed = with_card(weighed, scaled, limits)
    sized = is_sized(found, weighed.card.thresholds)
    return with_card(weighed, sharpen_classes(weighed.card.calibration, found, sample, sized))


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
        liquids=artifact.liquids,
    )
