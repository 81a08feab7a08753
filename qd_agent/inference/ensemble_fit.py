"""The size that a Debye model gives, averaged over what may be wrong with the pattern.

Nanocrystals over a liquid: mean diameter, dispersion, lattice scale and B move under Gaussian
priors, the liquid is any of those that training draws (a Gaussian prior too, see `liquids` in the
artifact). Of the instrument the resolution is known and not fitted, since broadening and size trade
against each other. How much else is wrong is not known beforehand: four hypotheses are fitted, from
a clean pattern to one that is bent and rough, and weighed by their evidence (MacKay, Neural Comput.
4, 415 (1992)). A clean pattern is so read to near the physical limit, and a rough one is not
believed beyond what it shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from qd_agent.inference import least_squares
from qd_agent.inference.binned_debye import BINNED_Q, BinnedDebye, Dots
from qd_agent.inference.least_squares import inflation, level_of, noise_unit
from qd_agent.inference.weighing import Weighing
from qd_agent.scattering.reflections import PRINCIPAL, family_gains

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

ENSEMBLE = ("size", "dispersion", "scale", "b_lead", "b_sulfur")
"""What makes the pattern and is no factor in it."""

USUAL_DISPERSION, USUAL_SCALE, USUAL_B_LEAD, USUAL_B_SULFUR = 0.12, 1.001, 1.32, 1.49
"""Centres of the priors; B in Å² as of the published clusters."""

PRIOR_SD: Mapping[str, float] = MappingProxyType(
    {**least_squares.PRIOR_SD, "dispersion": 0.06, "b_lead": 0.3, "b_sulfur": 0.6}
)
"""Standard deviations (nm, Å² for B, 1/Å for the zero shift, else relative). Dispersion and B are
those that the Cramér–Rao bound is taken with; the others are as in `least_squares`."""

LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "size": (0.7, 14.0),
        "dispersion": (0.02, 0.4),
        "scale": (0.98, 1.02),
        "b_lead": (0.3, 4.0),
        "b_sulfur": (0.3, 7.0),
    }
)

LIQUID_MISSED = 0.001
"""Of the background: what the liquids of the prior do not follow."""

LIQUID_SPREAD, LEAST_LIQUID = 1.5, 0.02
"""The prior of the background is this times wider than training's, and never below this share."""

ROUNDS, LEAST_GAIN = 10, 0.05
"""Gauss-Newton steps at most; they end when χ² falls by less."""

SHORTER = (1.0, 0.4, 0.1, 0.03)
"""Parts of a step that are tried."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What may be wrong: factors that bend the Debye part, and what it misses, relative to it."""

    bends: tuple[str, ...]
    missed: float


_BENDS = ("zero", "tilt", "slope", "curve", "wave", "texture_111", "texture_100", "texture_110")

HYPOTHESES = (
    Hypothesis(("zero",), 0.002),
    Hypothesis(("zero",), 0.01),
    Hypothesis(_BENDS, 0.01),
    Hypothesis(_BENDS, 0.03),
)
"""Clean; uneven by a percent; bent by instrument or texture; bent and rough."""


CLEAN = 1.08
"""χ² per bin below which a pattern is not bent: two standard deviations above 1 for 1251 bins."""


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
class _Point:
    """Where a search stands: products of plain, columns and target, and the best factors."""

    dots: Dots
    plain: Float
    names: tuple[str, ...]
    products: Float
    amplitude: float
    shifts: Mapping[str, float]
    cost: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is fitted: the pattern, where the priors are centred, what the wavelength may change."""

    measured: Float
    usual: Dots
    contrast: Mapping[str, Float]


@dataclass(frozen=True, slots=True)
class _End:
    """What one hypothesis says: minus twice the log evidence, averages, standard deviations."""

    point: _Point
    evidence: float
    averages: Float
    sds: Float
    chi2: float
    """Per bin."""


class EnsembleFitter:
    """Fits ensembles of the artifact's clusters over the liquids of its prior."""

    def __init__(self, debye: BinnedDebye, liquids: Float) -> None:
        self._debye, self._liquids = debye, liquids
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
        resolution: float = 0.0,
    ) -> FittedSize | None:
        """Fit a binned pattern (1251,) of mean 1 from a first size (nm) and dispersion.

        `coverage` is the covered share of each bin; bins below one half are left out. `resolution`
        is the standard deviation of the instrument's Gaussian, 1/Å. None where the pattern has no
        use for nanocrystals.
        """
        use = coverage > 0.5
        measured = np.where(use, pattern, 0.0)
        level = level_of(pattern[use])
        noise = np.maximum(noise_unit(pattern[use]) * np.sqrt(level), 1e-5 * level.mean())
        usual = Dots(
            diameter, USUAL_DISPERSION, USUAL_SCALE, USUAL_B_LEAD, USUAL_B_SULFUR, resolution
        )
        start = replace(usual, dispersion=float(np.clip(dispersion, *LIMITS["dispersion"])))
        asked = _Asked(measured, usual, self._debye.contrast(start))
        mean = float(measured[use].mean())
        wide = Weighing(use, noise, [0.003 * level], LIQUID_SPREAD * mean * self._liquids)
        first = _Search(self, wide, asked, ("zero",)).run(start, rounds=3)
        if first is None:
            return None
        background = self._background(wide, first, measured, mean)
        height = max(float(background[use].mean()), LEAST_LIQUID * mean)
        liquids = LIQUID_SPREAD * height * self._liquids
        crystals = np.abs(first.amplitude * first.plain[use])
        ends: list[_End] = []
        dots = first.dots
        for hypothesis in HYPOTHESES:
            missing = [LIQUID_MISSED * background[use], hypothesis.missed * crystals]
            weighing = Weighing(use, noise, missing, liquids)
            search = _Search(self, weighing, asked, hypothesis.bends)
            found = search.run(dots)
            if found is None:
                continue
            ends.append(search.end(found))
            dots = found.dots
            if hypothesis is HYPOTHESES[1] and ends[-1].chi2 < CLEAN:
                break  # nothing is left that bends could explain
        return _averaged(ends) if ends else None

    def columns(
        self, dots: Dots, bends: tuple[str, ...], fixed: Mapping[str, Float]
    ) -> tuple[Float, dict[str, Float]]:
        """(plain pattern, its changes with everything that moves, per unit), (1251,) each."""
        plain, changes = self._debye.derivatives(dots)
        bent = {
            name: np.gradient(plain, BINNED_Q) if name == "zero" else plain * self._factors[name]
            for name in bends
        }
        return plain, {**{name: changes[name] for name in ENSEMBLE}, **fixed, **bent}

    def averages(self, dots: Dots) -> Float:
        """(number average, volume-weighted average), nm."""
        return np.array(self._debye.averages(dots.size, dots.dispersion))

    def _background(self, weighing: Weighing, at: _Point, measured: Float, mean: float) -> Float:
        plain, columns = self.columns(at.dots, ("zero",), {})
        model = at.amplitude * (plain + at.shifts.get("zero", 0.0) * columns["zero"])
        multiples = weighing.background(weighing.whiten(measured - model))
        return np.maximum(LIQUID_SPREAD * mean * self._liquids @ multiples, 0.0)


class _Search:
    """Gauss-Newton for one pattern under one hypothesis."""

    def __init__(
        self,
        fitter: EnsembleFitter,
        weighing: Weighing,
        asked: _Asked,
        bends: tuple[str, ...],
    ) -> None:
        self._fitter, self._weighing, self._usual = fitter, weighing, asked.usual
        self._fixed, self._bends = asked.contrast, bends
        self._target = weighing.whiten(asked.measured)
        self._amplitude = 1.0

    def run(self, start: Dots, rounds: int = ROUNDS) -> _Point | None:
        """Search from `start`; None where nanocrystals do not help there."""
        point = self._at(start)
        alone = point.products[0, -1] / max(float(point.products[0, 0]), 1e-30)
        if alone <= 1e-6:
            return None
        self._amplitude = float(alone)
        point = self._solved(point)
        for _ in range(rounds):
            moved = self._step(point)
            if moved is None:
                break
            gained, point = point.cost - moved.cost, moved
            if gained < LEAST_GAIN:
                break
        return point if point.amplitude > 1e-6 else None

    def end(self, point: _Point) -> _End:
        """Evidence and averages at the optimum, by Laplace's approximation."""
        normal = self._normal(point, list(range(1, 1 + len(point.names))))
        # Shapes in units of their prior at the amplitude that was found.
        scale = np.array([1.0, *([point.amplitude] * len(point.names))])
        prior = np.diag([0.0, *([1.0] * len(point.names))])
        normal = normal * np.outer(scale, scale) + prior
        inverse = np.linalg.inv(normal)
        unit = np.array([PRIOR_SD["size"], PRIOR_SD["dispersion"]])
        spread = inverse[1:3, 1:3] * np.outer(unit, unit)
        here, step = self._fitter.averages(point.dots), (0.01, 0.002)
        moved = (
            replace(point.dots, size=point.dots.size + step[0]),
            replace(point.dots, dispersion=point.dots.dispersion + step[1]),
        )
        slopes = np.stack([(self._fitter.averages(m) - here) / s
                           for m, s in zip(moved, step, strict=True)])  # fmt: skip
        variances = np.einsum("ij,ik,kj->j", slopes, spread, slopes)
        variances *= max(1.0, inflation(self._residual(point)))
        evidence = point.cost + float(np.linalg.slogdet(normal)[1])
        return _End(
            point,
            evidence + self._weighing.log_determinant,
            here,
            np.sqrt(np.maximum(variances, 0.0)),
            point.cost / self._target.size,
        )

    def _residual(self, point: _Point) -> Float:
        """What is left, in units of the uncertainty; alike in neighbours where noise is."""
        _, columns = self._fitter.columns(point.dots, self._bends, self._fixed)
        model = point.plain + sum(point.shifts[n] * columns[n] for n in point.shifts)
        rest = self._target - self._weighing.whiten(point.amplitude * model)
        return rest - self._weighing.liquid(self._weighing.background(rest))

    def _at(self, dots: Dots) -> _Point:
        plain, columns = self._fitter.columns(dots, self._bends, self._fixed)
        names = tuple(columns)
        shapes = [PRIOR_SD[n] * columns[n] for n in names]
        whitened = self._weighing.whiten(np.column_stack([plain, *shapes]))
        products = self._weighing.products(np.column_stack([whitened, self._target]))
        return _Point(dots, plain, names, products, 0.0, {}, np.inf)

    def _solved(self, point: _Point) -> _Point:
        """Best amplitude and factors for the ensemble as it is, and the cost with all priors."""
        linear = [i for i, n in enumerate(point.names, start=1) if n not in ENSEMBLE]
        normal = self._normal(point, linear) + self._prior(len(linear))
        right = point.products[[0, *linear], -1]
        answer = np.linalg.solve(normal, right)
        behind = self._behind(point.dots)
        cost = float(point.products[-1, -1] - right @ answer + (behind**2).sum())
        amplitude = float(answer[0])
        shifts = {
            point.names[i - 1]: float(v / amplitude) * PRIOR_SD[point.names[i - 1]]
            for i, v in zip(linear, answer[1:], strict=True)
        }
        return replace(point, amplitude=amplitude, shifts=shifts, cost=cost)

    def _step(self, point: _Point) -> _Point | None:
        """Give a better point, or None when no part of the Gauss-Newton step is."""
        every = list(range(1, 1 + len(point.names)))
        normal = self._normal(point, every) + self._prior(len(every))
        right = point.products[[0, *every], -1].copy()
        right[1 : 1 + len(ENSEMBLE)] += self._behind(point.dots) / self._amplitude
        answer = np.linalg.solve(normal, right)
        if answer[0] <= 1e-9:
            return None
        found = answer[1 : 1 + len(ENSEMBLE)] / answer[0]
        shifts: dict[str, float] = dict(zip(ENSEMBLE, found.tolist(), strict=True))
        for part in SHORTER:
            tried = self._solved(self._at(_moved(point.dots, shifts, part)))
            if tried.amplitude > 1e-6 and tried.cost < point.cost:
                return tried
        return None

    def _normal(self, point: _Point, chosen: list[int]) -> Float:
        which = [0, *chosen]
        return point.products[np.ix_(which, which)]

    def _prior(self, count: int) -> Float:
        return np.diag([0.0, *([self._amplitude**-2] * count)])

    def _behind(self, dots: Dots) -> Float:
        """How far the priors' centres lie from where the ensemble is, in their sd."""
        return np.array(
            [(getattr(self._usual, n) - getattr(dots, n)) / PRIOR_SD[n] for n in ENSEMBLE]
        )


def _moved(dots: Dots, shifts: Mapping[str, float], part: float) -> Dots:
    """Take a part of a step, two standard deviations at most, and stay within LIMITS."""
    values = asdict(dots)
    for name, shift in shifts.items():
        most = 0.15 * dots.size if name == "size" else 2.0 * PRIOR_SD[name]
        step = float(np.clip(part * shift * PRIOR_SD[name], -most, most))
        values[name] = float(np.clip(values[name] + step, *LIMITS[name]))
    return Dots(**values)


def _averaged(ends: list[_End]) -> FittedSize:
    """Mean over the hypotheses, each as likely as its evidence says."""
    evidence = np.array([end.evidence for end in ends])
    weights = np.exp(-0.5 * (evidence - evidence.min()))
    weights /= weights.sum()
    averages = np.stack([end.averages for end in ends])
    sds = np.stack([end.sds for end in ends])
    mean = weights @ averages
    sd = np.sqrt(weights @ (sds**2 + (averages - mean) ** 2))
    dispersion = float(weights @ np.array([end.point.dots.dispersion for end in ends]))
    likely = int(np.argmax(weights))
    return FittedSize(
        diameter=float(mean[0]),
        sd=float(sd[0]),
        volume=float(mean[1]),
        volume_sd=float(sd[1]),
        dispersion=dispersion,
        hypothesis=1 if likely == 0 and ends[0].chi2 > CLEAN else likely,
    )
