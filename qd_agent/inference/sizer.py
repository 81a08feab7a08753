"""The sizer: patterns in, estimates with verdicts out; never raises for odd data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import (
    AREA,
    PUBLISHED_GRID,
    Pattern,
    RawPattern,
    normalize_area,
    resample,
)
from qd_agent.core.prediction import Estimate, Explanation, Sized, Verdict
from qd_agent.inference import distribution
from qd_agent.inference.artifact import Artifact, read_artifact
from qd_agent.inference.distribution import CLASSES_NM, softmax
from qd_agent.inference.domain import Evidence, Refusal, check_data, check_window, judge
from qd_agent.inference.explanation import BINNED_Q, Explainer, Fit
from qd_agent.inference.network import bin_patterns
from qd_agent.inference.settings import SizerSettings

Float = npt.NDArray[np.float64]

CHUNK = 64
"""Patterns that go through the network at once; bounds memory, not accuracy."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The network's calibrated answer to one pattern; every length in nm."""

    diameter: float
    sd: float
    interval: tuple[float, float]
    volume: float
    interval_volume: tuple[float, float]
    dispersion: float
    fraction: float
    nothing: float
    foreign: float
    classes: tuple[float, ...]


class NetworkSizer:
    """Implements `core.ports.Sizer` with a loaded model."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._explainer = Explainer(
            artifact.library, artifact.form_q, artifact.form_lead, artifact.form_sulfur
        )
        self.model_name = artifact.card.name
        self.model_version = artifact.card.version
        self.model_sha256 = artifact.sha256

    @classmethod
    def open(cls, settings: SizerSettings) -> NetworkSizer:
        """Load a model from disk; see `open_sizer`."""
        torch.set_num_threads(settings.threads)
        return cls(read_artifact(settings.model))

    def size(self, patterns: Sequence[Pattern]) -> list[Sized]:
        """Size patterns, normalized or not, in order."""
        answers: list[Sized | None] = [None] * len(patterns)
        usable: list[tuple[int, Pattern]] = []
        for index, pattern in enumerate(patterns):
            cleaned = prepare(pattern)
            if isinstance(cleaned, Refusal):
                answers[index] = _refused(cleaned, pattern)
            else:
                usable.append((index, cleaned))
        for start in range(0, len(usable), CHUNK):
            chunk = usable[start : start + CHUNK]
            for (index, _), answer in zip(chunk, self._answer([p for _, p in chunk]), strict=True):
                answers[index] = answer
        return [answer for answer in answers if answer is not None]

    def read(
        self, intensity: npt.NDArray[np.float32], coverage: npt.NDArray[np.float32]
    ) -> list[Reading]:
        """Let the network read binned patterns (n, 1251) of mean 1."""
        network, config = self._artifact.network, self._artifact.network.config
        with torch.inference_mode():
            raw = network(torch.from_numpy(intensity), torch.from_numpy(coverage))
        diameter, volume, dispersion, share, kind = (t.double().numpy() for t in raw)
        calibration = self._artifact.card.calibration
        sizes = softmax(diameter, calibration.temperature)
        volumes = softmax(volume, calibration.volume_temperature)
        centres, volume_centres = config.diameter.centres(), config.volume.centres()
        mean, sd = distribution.moments(sizes, centres)
        root = softmax(share) @ config.root_share.centres()
        fraction = np.clip(root**2, 0.0, 1.0)
        group = distribution.share_group(fraction)
        low, high = distribution.interval(sizes, centres, np.array(calibration.widen)[group])
        volume_mean, _ = distribution.moments(volumes, volume_centres)
        volume_low, volume_high = distribution.interval(
            volumes, volume_centres, np.array(calibration.volume_widen)[group]
        )
        spread = softmax(dispersion) @ config.dispersion.centres()
        kinds = softmax(kind)
        classes = distribution.class_probabilities(sizes, centres)
        return [
            Reading(
                diameter=float(mean[i]),
                sd=float(sd[i]),
                interval=(float(low[i]), float(high[i])),
                volume=float(volume_mean[i]),
                interval_volume=(float(volume_low[i]), float(volume_high[i])),
                dispersion=float(spread[i]),
                fraction=float(fraction[i]),
                nothing=float(kinds[i, 1]),
                foreign=float(kinds[i, 2]),
                classes=tuple(float(p) for p in classes[i]),
            )
            for i in range(len(mean))
        ]

    def examine(
        self, intensity: npt.NDArray[np.float32], coverage: npt.NDArray[np.float32]
    ) -> list[tuple[Reading, Fit, Evidence]]:
        """Read and explain binned patterns: all that the verdict is made from."""
        examined: list[tuple[Reading, Fit, Evidence]] = []
        for row, reading in enumerate(self.read(intensity, coverage)):
            fit = self._explainer.fit(
                intensity[row].astype(np.float64),
                coverage[row].astype(np.float64),
                reading.diameter,
                reading.dispersion,
            )
            evidence = Evidence(
                nothing=reading.nothing,
                foreign=reading.foreign,
                significance=fit.significance,
                misfit=fit.misfit,
                diameter=reading.diameter,
                sd=reading.sd,
                fraction=reading.fraction,
            )
            examined.append((reading, fit, evidence))
        return examined

    def _answer(self, patterns: list[Pattern]) -> list[Sized]:
        intensity, coverage = bin_patterns(
            np.stack([p.intensity for p in patterns]), np.stack([p.coverage for p in patterns])
        )
        answers: list[Sized] = []
        for pattern, (reading, fit, evidence) in zip(
            patterns, self.examine(intensity, coverage), strict=True
        ):
            refusal = judge(evidence, self._artifact.card.thresholds)
            if refusal is None:
                answers.append(
                    Sized(
                        _sized(reading, fit, pattern, self._artifact.card.calibration.systematic),
                        pattern,
                        _explanation(fit, pattern),
                    )
                )
            else:
                answers.append(_refused(refusal, pattern, reading, fit))
        return answers


def prepare(pattern: Pattern) -> Pattern | Refusal:
    """Bring any pattern onto the published grid, clean and normalized, or say what is wrong."""
    arrays = [np.asarray(a, dtype=np.float64) for a in (pattern.intensity, pattern.coverage)]
    intensity, coverage = arrays
    if intensity.shape != (pattern.grid.size,) or coverage.shape != intensity.shape:
        return Refusal(
            Verdict.BAD_FRAME,
            f"intensities of shape {intensity.shape} on a grid of {pattern.grid.size} points",
        )
    coverage = np.where(np.isfinite(coverage) & (coverage > 0), 1.0, 0.0)
    refusal = check_data(intensity, coverage)
    if refusal is not None:
        return refusal
    finite = np.isfinite(intensity) & (coverage > 0)
    sigma = np.asarray(pattern.sigma, dtype=np.float64)
    if sigma.shape != intensity.shape:
        sigma = np.zeros_like(intensity)
    cleaned = replace(
        pattern,
        # Scaled by the largest first, so that no sum of huge numbers overflows.
        intensity=np.where(finite, intensity, 0.0) / np.abs(intensity[finite]).max(),
        sigma=np.where(finite & np.isfinite(sigma), sigma, 0.0) / np.abs(intensity[finite]).max(),
        coverage=finite.astype(np.float64),
    )
    try:
        if pattern.grid != PUBLISHED_GRID:
            used = cleaned.coverage > 0
            cleaned = replace(
                resample(RawPattern(cleaned.q[used], cleaned.intensity[used], cleaned.sigma[used])),
                flags=pattern.flags,
            )
        window = check_window(cleaned.coverage)
        return window if window is not None else normalize_area(cleaned)
    except BadFrame as error:
        return Refusal(Verdict.BAD_FRAME, str(error))


def _sized(reading: Reading, fit: Fit, pattern: Pattern, systematic: float) -> Estimate:
    flags = pattern.flags
    sd, interval = distribution.with_systematic(
        reading.diameter, reading.sd, reading.interval, systematic
    )
    _, interval_volume = distribution.with_systematic(
        reading.volume, 0.0, reading.interval_volume, systematic
    )
    if not CLASSES_NM[0] - 0.25 <= reading.diameter <= CLASSES_NM[-1] + 0.25:
        flags = (*flags, "outside_classes")
    return Estimate(
        verdict=Verdict.SIZED,
        diameter_nm=reading.diameter,
        diameter_sd_nm=sd,
        interval_nm=interval,
        diameter_volume_nm=reading.volume,
        interval_volume_nm=interval_volume,
        dispersion=reading.dispersion,
        nanocrystal_fraction=reading.fraction,
        class_nm=float(CLASSES_NM[int(np.argmax(reading.classes))]),
        class_probabilities=reading.classes,
        misfit=fit.misfit,
        flags=flags,
    )


def _refused(
    refusal: Refusal, pattern: Pattern, reading: Reading | None = None, fit: Fit | None = None
) -> Sized:
    share = None
    if refusal.verdict is Verdict.NO_NANOCRYSTALS and reading is not None:
        share = reading.fraction
    estimate = Estimate(
        verdict=refusal.verdict,
        reason=refusal.reason,
        nanocrystal_fraction=share,
        misfit=None if fit is None else min(fit.misfit, 1e6),
        flags=pattern.flags,
    )
    return Sized(estimate, pattern)


def _explanation(fit: Fit, pattern: Pattern) -> Explanation:
    """Bring the fit from bins onto the pattern's grid and unit."""
    unit = AREA / PUBLISHED_GRID.span
    q = pattern.q
    return Explanation(
        model=np.interp(q, BINNED_Q, fit.model) * unit,
        background=np.interp(q, BINNED_Q, fit.background) * unit,
    )
