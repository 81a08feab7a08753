"""The sizer: patterns in, estimates with verdicts out; never raises for odd data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import (
    AREA,
    PUBLISHED_GRID,
    Pattern,
    RawPattern,
    measured_range,
    normalize_area,
    resample,
)
from qd_agent.core.prediction import Estimate, Explanation, Sized, Verdict
from qd_agent.inference import distribution
from qd_agent.inference.artifact import Artifact, read_artifact
from qd_agent.inference.binned_debye import BINNED_Q
from qd_agent.inference.combination import Answer, Marginal, Reading, combine
from qd_agent.inference.distribution import CLASSES_NM, softmax
from qd_agent.inference.domain import Evidence, Refusal, check_data, check_step, check_window, judge
from qd_agent.inference.explanation import Explainer, Fit
from qd_agent.inference.hypotheses import PRIOR_SD, USUAL_DISPERSION
from qd_agent.inference.network import bin_patterns
from qd_agent.inference.settings import SizerSettings

Float = npt.NDArray[np.float64]

CHUNK = 64
"""Patterns that go through the network at once; bounds memory, not accuracy."""

WIDE = USUAL_DISPERSION + PRIOR_SD["dispersion"]
"""A dispersion above it, 18 %, is a standard deviation more than usual. Rods, plates, two sizes at
once and foreign phases look like that, and their number average is not that of a lognormal."""


@dataclass(frozen=True, slots=True)
class Examined:
    """One pattern, read, explained and answered; the verdict comes from `evidence`."""

    reading: Reading
    fit: Fit
    answer: Answer
    evidence: Evidence


class NetworkSizer:
    """Implements `core.ports.Sizer` with a loaded model."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._explainer = Explainer(
            artifact.library,
            artifact.form_q,
            artifact.form_lead,
            artifact.form_sulfur,
            artifact.liquids,
        )
        self.model_name = artifact.card.name
        self.model_version = artifact.card.version
        self.model_sha256 = artifact.sha256

    @classmethod
    def open(cls, settings: SizerSettings) -> NetworkSizer:
        """Load a model from disk; see `open_sizer`."""
        torch.set_num_threads(settings.threads)
        # The fit's matrices are small; more threads than that cost ten times what they save.
        threadpool_limits(settings.threads, user_api="blas")
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
        numbers = _marginals(sizes, config.diameter.centres())
        weighted = _marginals(volumes, config.volume.centres())
        spread = softmax(dispersion) @ config.dispersion.centres()
        fraction = np.clip((softmax(share) @ config.root_share.centres()) ** 2, 0.0, 1.0)
        kinds = softmax(kind)
        return [
            Reading(
                diameter=numbers[i],
                volume=weighted[i],
                dispersion=float(spread[i]),
                fraction=float(fraction[i]),
                nothing=float(kinds[i, 1]),
                foreign=float(kinds[i, 2]),
            )
            for i in range(len(sizes))
        ]

    def examine(
        self,
        intensity: npt.NDArray[np.float32],
        coverage: npt.NDArray[np.float32],
        resolution: Float | None = None,
        step: Float | None = None,
    ) -> list[Examined]:
        """Read and explain binned patterns: all that the verdict is made from.

        `resolution` (n,) is the standard deviation of each instrument's Gaussian, `step` (n,) that
        of each source which is coarser than the bins, 1/Å.
        """
        none = np.zeros(len(intensity))
        sharpness, steps = (none if v is None else v for v in (resolution, step))
        read = self.read(intensity, coverage)
        rows = zip(read, intensity, coverage, sharpness, steps, strict=True)
        return [
            self.answer(reading, self._explained(reading, i, c, float(r), float(s)), _blur(r, s))
            for reading, i, c, r, s in rows
        ]

    def answer(self, reading: Reading, fit: Fit, blur: float = 0.0) -> Examined:
        """Combine what the network and the fit say, by this model's calibration; see `combine`."""
        answer = combine(reading, fit, self._artifact.card.calibration, blur)
        evidence = Evidence(
            nothing=reading.nothing,
            foreign=reading.foreign,
            significance=fit.significance,
            misfit=fit.misfit,
            diameter=answer.diameter,
            sd=answer.sd,
            fraction=reading.fraction,
        )
        return Examined(reading, fit, answer, evidence)

    def _explained(
        self,
        reading: Reading,
        intensity: npt.NDArray[np.float32],
        coverage: npt.NDArray[np.float32],
        resolution: float,
        step: float,
    ) -> Fit:
        return self._explainer.fit(
            intensity.astype(np.float64),
            coverage.astype(np.float64),
            reading.diameter.mean,
            reading.dispersion,
            free=True,
            resolution=resolution,
            step=step,
        )

    def _answer(self, patterns: list[Pattern]) -> list[Sized]:
        intensity, coverage = bin_patterns(
            np.stack([p.intensity for p in patterns]), np.stack([p.coverage for p in patterns])
        )
        answers: list[Sized] = []
        broadening = np.array([p.broadening for p in patterns])
        steps = np.array([p.step for p in patterns])
        examined = self.examine(intensity, coverage, broadening, steps)
        for pattern, found in zip(patterns, examined, strict=True):
            refusal = judge(found.evidence, self._artifact.card.thresholds)
            if refusal is None:
                refusal = check_step(found.answer.diameter, pattern.step)
            if refusal is None:
                explanation = _explanation(found.fit, pattern)
                answers.append(Sized(_sized(found, pattern), pattern, explanation))
            else:
                answers.append(_refused(refusal, pattern, found))
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
            read = resample(
                RawPattern(cleaned.q[used], cleaned.intensity[used], cleaned.sigma[used])
            )
            cleaned = replace(
                read,
                step=max(read.step, pattern.step),
                flags=pattern.flags,
                resolution=pattern.resolution,
                quality=pattern.quality,
            )
        window = check_window(cleaned.coverage)
        return window if window is not None else normalize_area(cleaned)
    except BadFrame as error:
        return Refusal(Verdict.BAD_FRAME, str(error))


def _blur(resolution: float, step: float) -> float:
    """Standard deviation, 1/Å, by which means over the step widen, if no more is known than that.

    Whether a source's points are means or samples nobody tells; a calibrant's resolution does.
    """
    means = step / math.sqrt(12.0)
    return means if resolution <= means else 0.0


def _marginals(probabilities: Float, centres: Float) -> list[Marginal]:
    mean, sd = distribution.moments(probabilities, centres)
    low, high = (distribution.quantile(probabilities, centres, level) for level in (0.05, 0.95))
    rows = np.stack([mean, sd, low, high], axis=1)
    return [Marginal(*(float(value) for value in row)) for row in rows]


def _sized(found: Examined, pattern: Pattern) -> Estimate:
    answer, flags = found.answer, pattern.flags
    if not CLASSES_NM[0] - 0.25 <= answer.diameter <= CLASSES_NM[-1] + 0.25:
        flags = (*flags, "outside_classes")
    if answer.dispersion > WIDE:
        flags = (*flags, "wide_dispersion")
    return Estimate(
        verdict=Verdict.SIZED,
        diameter_nm=answer.diameter,
        diameter_sd_nm=answer.sd,
        interval_nm=answer.interval,
        diameter_volume_nm=answer.volume,
        interval_volume_nm=answer.interval_volume,
        dispersion=answer.dispersion,
        nanocrystal_fraction=found.reading.fraction,
        class_nm=float(CLASSES_NM[int(np.argmax(answer.classes))]),
        class_probabilities=answer.classes,
        misfit=found.fit.misfit,
        flags=flags,
        quality=_quality(found, pattern),
    )


def _refused(refusal: Refusal, pattern: Pattern, found: Examined | None = None) -> Sized:
    share = None
    if refusal.verdict is Verdict.NO_NANOCRYSTALS and found is not None:
        share = found.reading.fraction
    estimate = Estimate(
        verdict=refusal.verdict,
        reason=refusal.reason,
        nanocrystal_fraction=share,
        misfit=None if found is None else min(found.fit.misfit, 1e6),
        flags=pattern.flags,
        quality={} if found is None else _quality(found, pattern),
    )
    return Sized(estimate, pattern)


def _quality(found: Examined, pattern: Pattern) -> dict[str, float]:
    """Give what a user may judge the answer by, with what the reduction says."""
    likeness = 1.0 - found.reading.nothing - found.reading.foreign
    score = min(max(likeness, 0.0), 1.0)
    return {**pattern.quality, **measured_range(pattern), "domain_score": score}


def _explanation(fit: Fit, pattern: Pattern) -> Explanation:
    """Bring the fit from bins onto the pattern's grid and unit."""
    unit = AREA / PUBLISHED_GRID.span
    q = pattern.q
    return Explanation(
        model=np.interp(q, BINNED_Q, fit.model) * unit,
        background=np.interp(q, BINNED_Q, fit.background) * unit,
    )
