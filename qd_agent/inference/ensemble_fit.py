"""The size that a Debye model gives, averaged over what may be wrong with the pattern.

Nanocrystals over a liquid: mean diameter, dispersion, lattice scale and B move under Gaussian
priors, the liquid is any of those that training draws (a Gaussian prior too, see `liquids` in the
artifact) with a cubic in Q; where nothing else is wrong, one of few parameters is tried besides
(`liquid_family`). Of the instrument the resolution is known and not fitted, since broadening and
size trade against each other. How much else is wrong is not known beforehand: four hypotheses are
fitted, from a clean pattern to one that is bent and rough, and weighed by their evidence (MacKay,
Neural Comput. 4, 415 (1992)). A clean pattern is so read to near the physical limit, and a rough
one is not believed beyond what it shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from qd_agent.inference.binned_debye import BINNED_Q, BinnedDebye, Dots, slope_of
from qd_agent.inference.ensemble_search import Asked, End, Point, Search
from qd_agent.inference.hypotheses import (
    CLEAN,
    ENSEMBLE,
    HYPOTHESES,
    LEAST_LIQUID,
    LIMITS,
    LIQUID_MISSED,
    LIQUID_SPREAD,
    USUAL_B_LEAD,
    USUAL_B_SULFUR,
    USUAL_DISPERSION,
    USUAL_SCALE,
    Hypothesis,
)
from qd_agent.inference.least_squares import alike_points, level_of, noise_unit
from qd_agent.inference.liquid_family import LiquidFamily, cubic
from qd_agent.inference.weighing import Weighing
from qd_agent.scattering.reflections import PRINCIPAL, family_gains

CUBIC = 0.3
"""Standard deviation of each part of a cubic in Q under the pattern, relative to the liquid: what
the subtraction of a blank leaves. Training draws none, the Cramér–Rao bound has one."""

START_ERROR = 0.002
"""Of the liquid that a search in the family starts from, relative to its mean."""

KEPT = 8
"""Ensembles whose derivatives are kept: each hypothesis, and each liquid, begins where another one
ended."""

LINEARIZED, FEW_ROUNDS, SHORTENED, SETTLED = 8, 3, 0.8, 0.2
"""A liquid of the family is linearized so often at most, with so many steps of the ensemble each;
it goes that part of the way, until χ² changes by less."""

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FittedSize:
    """Averages that were found, nm, and their standard deviations; priors entered.

    `hypothesis` is the index of the most likely of HYPOTHESES; a pattern is clean only where that
    one leaves nothing (see CLEAN).
    """

    diameter: float
    sd: float
    volume: float
    volume_sd: float
    dispersion: float
    hypothesis: int = 0


@dataclass(frozen=True, slots=True)
class _Given:
    """What is fitted, how far its points may be off, and what is known of it by a first fit.

    `background` (bins,), its mean `height`, and what the nanocrystals are in the bins in `use`.
    So many bins are `alike`, see `alike_points`.
    """

    asked: Asked
    use: Bool
    noise: Float
    background: Float
    height: float
    crystals: Float
    alike: int

    def clean(self, end: End) -> bool:
        """Whether that end leaves no more than noise, see CLEAN; of `alike` bins one is new."""
        return end.chi2 * self.alike < 1.0 + (CLEAN - 1.0) * self.alike**0.5

    def weighing(self, hypothesis: Hypothesis, liquids: Float) -> Weighing:
        """Under a hypothesis, with these columns (bins, k) for the liquid."""
        missing = [LIQUID_MISSED * self.background[self.use], hypothesis.missed * self.crystals]
        return Weighing(self.use, self.noise, missing, liquids)


class EnsembleFitter:
    """Fits ensembles of the artifact's clusters over the liquids of its prior."""

    def __init__(self, debye: BinnedDebye, liquids: Float) -> None:
        self._debye = debye
        # What it gives is shared: `columns` takes from it and changes nothing.
        self._derivatives = lru_cache(maxsize=KEPT)(debye.derivatives)
        self._liquids = np.column_stack([liquids, CUBIC / LIQUID_SPREAD * cubic(BINNED_Q)])
        self._family = LiquidFamily(BINNED_Q)
        x = (BINNED_Q - 8.0) / 7.0
        names = ("texture_111", "texture_100", "texture_110")
        self._factors: Mapping[str, Float] = {
            "tilt": np.exp(-(BINNED_Q - 0.99) / 0.3),
            "slope": x,
            "curve": 2.0 * x**2 - 1.0,
            "wave": 4.0 * x**3 - 3.0 * x,
            **dict(zip(names, family_gains(BINNED_Q)[:PRINCIPAL], strict=True)),
        }

    def fit(
        self,
        pattern: Float,
        coverage: Float,
        diameter: float,
        dispersion: float,
        *,
        resolution: float = 0.0,
        step: float = 0.0,
    ) -> FittedSize | None:
        """Fit a binned pattern (1251,) of mean 1 from a first size (nm) and dispersion.

        `coverage` is the covered share of each bin; bins below one half are left out. `resolution`
        is the standard deviation of the instrument's Gaussian, `step` that of a source coarser
        than the bins, 1/Å. None where the pattern has no use for nanocrystals.
        """
        use, alike = coverage > 0.5, alike_points(step)
        measured = np.where(use, pattern, 0.0)
        level = level_of(pattern[use])
        unit = noise_unit(pattern[use], alike)
        noise = np.maximum(unit * np.sqrt(level), 1e-5 * level.mean())
        usual = Dots(
            diameter, USUAL_DISPERSION, USUAL_SCALE, USUAL_B_LEAD, USUAL_B_SULFUR, resolution
        )
        start = replace(usual, dispersion=float(np.clip(dispersion, *LIMITS["dispersion"])))
        asked = Asked(measured, usual, self._debye.contrast(start))
        mean = float(measured[use].mean())
        wide = Weighing(use, noise, [0.003 * level], LIQUID_SPREAD * mean * self._liquids)
        first = Search(self, wide, asked, ("zero",)).run(start, rounds=3)
        if first is None:
            return None
        background = self._background(wide, first, measured, mean)
        height = max(float(background[use].mean()), LEAST_LIQUID * mean)
        crystals = np.abs(first.amplitude * first.plain[use])
        given = _Given(asked, use, noise, background, height, crystals, alike)
        ends, familiar = self._tried(given, first.dots)
        return _averaged(ends, familiar, given) if ends else None

    def _tried(self, given: _Given, dots: Dots) -> tuple[list[End], End | None]:
        """Where each hypothesis ends, and where the clean one does with a liquid of the family."""
        ends: list[End] = []
        familiar: End | None = None
        liquids = LIQUID_SPREAD * given.height * self._liquids
        for hypothesis in HYPOTHESES:
            weighing = given.weighing(hypothesis, liquids)
            search = Search(self, weighing, given.asked, hypothesis.bends)
            found = search.run(dots)
            if found is None:
                continue
            ends.append(search.end(found))
            dots = found.dots
            if hypothesis is HYPOTHESES[0] and given.clean(ends[-1]):
                background = liquids @ search.multiples(found)
                familiar = self._familiar(given, found, background / given.height)
            if hypothesis is HYPOTHESES[1] and given.clean(ends[-1]):
                break  # nothing is left that bends could explain
        return ends, familiar

    def columns(
        self, dots: Dots, bends: tuple[str, ...], fixed: Mapping[str, Float]
    ) -> tuple[Float, dict[str, Float]]:
        """(plain pattern, its changes with everything that moves, per unit), (1251,) each."""
        plain, changes = self._derivatives(dots)
        bent = {
            name: slope_of(plain) if name == "zero" else plain * self._factors[name]
            for name in bends
        }
        return plain, {**{name: changes[name] for name in ENSEMBLE}, **fixed, **bent}

    def averages(self, dots: Dots) -> Float:
        """(number average, volume-weighted average), nm."""
        return np.array(self._debye.averages(dots.size, dots.dispersion))

    def _familiar(self, given: _Given, found: Point, background: Float) -> End | None:
        """Where the clean hypothesis ends with a liquid of the family.

        It starts from the one nearest to `background` (bins,), of mean 1, and its parameters move
        like the ensemble's, by Gauss-Newton; None where that does not settle.
        """
        error = np.full(given.use.shape, np.inf)
        error[given.use] = np.hypot(given.noise / given.height, START_ERROR)
        at, dots, cost = self._family.start(background, error), found.dots, np.inf
        for _ in range(LINEARIZED):
            offset, columns = self._family.around(at)
            apart = replace(given.asked, measured=given.asked.measured - given.height * offset)
            weighing = given.weighing(HYPOTHESES[0], given.height * columns)
            search = Search(self, weighing, apart, HYPOTHESES[0].bends)
            point = search.run(dots, rounds=FEW_ROUNDS)
            if point is None:
                return None
            if abs(cost - point.cost) < SETTLED:
                return search.end(point)
            dots, cost = point.dots, point.cost
            at = self._family.moved(at, search.multiples(point), SHORTENED)
        return None

    def _background(self, weighing: Weighing, at: Point, measured: Float, mean: float) -> Float:
        plain, columns = self.columns(at.dots, ("zero",), {})
        model = at.amplitude * (plain + at.shifts.get("zero", 0.0) * columns["zero"])
        multiples = weighing.background(weighing.whiten(measured - model))
        return np.maximum(LIQUID_SPREAD * mean * self._liquids @ multiples, 0.0)


def _averaged(plain: list[End], familiar: End | None, given: _Given) -> FittedSize:
    """Mean over the hypotheses, each as likely as its evidence says.

    `familiar` is the first one's with a liquid of the family. It tells the size, not how clean the
    pattern is: at few counts a liquid of few parameters is always the likelier.
    """
    ends = plain if familiar is None else [*plain, familiar]
    evidence = np.array([end.evidence for end in ends])
    weights = np.exp(-0.5 * (evidence - evidence.min()))
    weights /= weights.sum()
    averages = np.stack([end.averages for end in ends])
    sds = np.stack([end.sds for end in ends])
    mean = weights @ averages
    sd = np.sqrt(weights @ (sds**2 + (averages - mean) ** 2))
    dispersion = float(weights @ np.array([end.point.dots.dispersion for end in ends]))
    likely = int(np.argmin(evidence[: len(plain)]))
    return FittedSize(
        diameter=float(mean[0]),
        sd=float(sd[0]),
        volume=float(mean[1]),
        volume_sd=float(sd[1]),
        dispersion=dispersion,
        hypothesis=1 if likely == 0 and not given.clean(ends[0]) else likely,
    )
