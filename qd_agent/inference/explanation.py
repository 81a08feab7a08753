"""The Debye pattern that explains a measured one; no network here.

From a first size and dispersion, nanocrystals plus a smooth background are fitted by Gauss-Newton:
size, dispersion, lattice scale, Debye-Waller factors and broadening move (all but the size held by
a prior), the background is a nonnegative spline whose pieces are wider than a peak of nanocrystals.
What remains, and how much of the pattern the nanocrystals are needed for, tells whether the answer
is believable. Which size the pattern has is asked of `ensemble_fit`, whose answer is part of the
fit. All works on the network's bins of 0.0112 1/Å.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from qd_agent.inference.binned_debye import BINNED_Q, BinnedDebye, Dots, slope_of
from qd_agent.inference.ensemble_fit import EnsembleFitter, FittedSize
from qd_agent.inference.hypotheses import LIMITS
from qd_agent.inference.least_squares import (
    PRIOR_SD,
    Data,
    Solution,
    misfit,
    significance,
    solve,
    spline_basis,
)
from qd_agent.inference.network import POINTS
from qd_agent.scattering.forward import ClusterLibrary
from qd_agent.scattering.reflections import PRINCIPAL, family_gains

Float = npt.NDArray[np.float64]

ROUNDS = 10
"""Gauss-Newton steps at most; they end when χ² falls by less than LEAST_GAIN or by 0.02 %."""
LEAST_GAIN = 0.05
LEAST_PROMISE = 0.01
"""A step that would win less by its own account is not tried."""

BENDS = (
    "broadening",
    "zero", "tilt", "slope", "curve", "wave", "texture_111", "texture_100", "texture_110",
)  # fmt: skip
"""What an instrument or a textured sample does to the Debye part."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What the fit found.

    Attributes:
        model, background: shape (1251,), in the unit of the given pattern.
        significance: amplitude of the nanocrystals over its uncertainty.
        misfit: structured residual over the ripple of the Debye part; see `least_squares.misfit`.
        rwp: √(Σ w (y − model)² / Σ w y²), noise included.
        noise: counting noise of a bin of mean height, relative.
        reach: largest Q that was fitted, 1/Å.
        size: of `ensemble_fit`; None where no nanocrystals were found or the size was not free.
    """

    model: Float
    background: Float
    significance: float
    misfit: float
    rwp: float
    noise: float = 0.0
    reach: float = 15.0
    size: FittedSize | None = None


@dataclass(frozen=True, slots=True)
class _Problem:
    """What is fitted, from where the priors are centred, and how the wavelength may change it."""

    data: Data
    usual: Dots
    contrast: dict[str, Float]


@dataclass(frozen=True, slots=True)
class _State:
    """Where the search stands: the ensemble, its plain pattern, the solution for the rest.

    `bends` are the shapes by which instrument and sample may bend the Debye part.
    """

    dots: Dots
    plain: Float
    found: Solution
    bends: tuple[str, ...]


class Explainer:
    """Fits ensembles of the artifact's clusters to binned patterns."""

    def __init__(
        self,
        library: ClusterLibrary,
        form_q: Float,
        form_lead: Float,
        form_sulfur: Float,
        liquids: Float,
    ) -> None:
        self._debye = BinnedDebye(library, form_q, form_lead, form_sulfur)
        self._sizes = EnsembleFitter(self._debye, liquids)
        self._splines = spline_basis(BINNED_Q)
        self._gains = family_gains(BINNED_Q)[:PRINCIPAL]

    def nanocrystals(
        self,
        diameter: float,
        dispersion: float,
        scale: float = 1.0,
        b_lead: float = 1.5,
        b_sulfur: float = 1.8,
    ) -> Float:
        """Nanocrystals alone on the bins, shape (1251,), mean 1; B in Å²."""
        return self._debye.pattern(Dots(diameter, dispersion, scale, b_lead, b_sulfur))

    def fit(
        self,
        pattern: Float,
        coverage: Float,
        diameter: float,
        dispersion: float,
        *,
        free: bool = False,
        resolution: float = 0.0,
        step: float = 0.0,
    ) -> Fit:
        """Explain a binned pattern (1251,) of mean 1 by nanocrystals of that size.

        `coverage` is the covered share of each bin; bins below one half are left out. With `free`
        the size is only the start, else it stays. `resolution` is the standard deviation of the
        instrument's Gaussian, `step` that of a source coarser than the bins, 1/Å.
        """
        data = Data.of(pattern, coverage, self._splines, step)
        sized = None
        if free:
            sized = self._sizes.fit(
                pattern, coverage, diameter, dispersion, resolution=resolution, step=step
            )
        usual = Dots(diameter, 0.15, 1.001, 1.5, 1.8 + 1.9 / max(diameter, 2.0), resolution)
        start = replace(usual, dispersion=dispersion)
        problem = _Problem(data, usual, self._debye.contrast(start))
        state = self._search(problem, start, BENDS, free=free)
        bent = self._bent(problem, state)
        coefficients = np.append(state.found.amplitude, state.found.background)
        design = np.column_stack([data.weigh(bent), data.splines])
        background = self._splines @ coefficients[1:]
        residual = data.target - design @ coefficients
        judged = residual / data.tolerance
        tolerant = design / data.tolerance[:, None]
        return Fit(
            model=coefficients[0] * bent + background,
            background=background,
            significance=significance(tolerant, coefficients, judged),
            misfit=misfit(judged, coefficients[0] * tolerant[:, 0], tolerant[:, 1:]),
            rwp=float(np.linalg.norm(residual) / max(np.linalg.norm(data.target), 1e-12)),
            noise=data.noise,
            reach=float(BINNED_Q[data.use].max(initial=0.0)),
            size=sized if coefficients[0] > 0 else None,
        )

    def _search(
        self, problem: _Problem, start: Dots, bends: tuple[str, ...], *, free: bool
    ) -> _State:
        """Gauss-Newton; a step that does not help is shortened, and the search ends there."""
        data, usual = problem.data, problem.usual
        plain = self._debye.pattern(start)
        amplitude = solve(data, plain, {}, {}, 1.0).amplitude
        if amplitude <= 1e-6:
            nothing = solve(data, 0.0 * plain, {}, {}, 1.0)
            return _State(start, plain, replace(nothing, amplitude=0.0), bends)
        state = self._solved(problem, start, amplitude, bends)
        for _ in range(ROUNDS):
            _, columns = self._debye.derivatives(state.dots)
            if not free:
                del columns["size"]
            behind = {n: getattr(usual, n) - getattr(state.dots, n) for n in columns}
            shapes = columns | self._linear(problem, state.plain, bends)
            wanted = solve(data, state.plain, shapes, behind, amplitude)
            before = state.found.cost
            if before - wanted.cost < LEAST_PROMISE:
                break
            for part in (1.0, 0.4, 0.1):
                moved = _moved(state.dots, {n: wanted.shifts[n] for n in columns}, part)
                tried = self._solved(problem, moved, amplitude, bends)
                if tried.found.cost < before:
                    state = tried
                    break
            gained = before - state.found.cost
            if gained < LEAST_GAIN or gained < 0.0002 * before:
                break
        return state

    def _solved(
        self, problem: _Problem, dots: Dots, amplitude: float, bends: tuple[str, ...]
    ) -> _State:
        """Everything linear for one ensemble; the cost contains what the priors say of it."""
        plain = self._debye.pattern(dots)
        linear = self._linear(problem, plain, bends)
        found = solve(problem.data, plain, linear, {}, amplitude)
        behind = ((getattr(dots, n) - getattr(problem.usual, n)) / PRIOR_SD[n] for n in LIMITS)
        cost = found.cost + sum(b**2 for b in behind)
        return _State(dots, plain, replace(found, cost=cost), bends)

    def _linear(self, problem: _Problem, plain: Float, bends: tuple[str, ...]) -> dict[str, Float]:
        """Shapes in which the Debye part is linear: contrast, and what `bends` names."""
        if not bends:
            return problem.contrast
        x = (BINNED_Q - 8.0) / 7.0
        columns = {
            "broadening": 0.5 * slope_of(slope_of(plain)),
            "zero": slope_of(plain),
            "tilt": plain * np.exp(-(BINNED_Q - 0.99) / 0.3),
            "slope": plain * x,
            "curve": plain * (2.0 * x**2 - 1.0),
            "wave": plain * (4.0 * x**3 - 3.0 * x),
        }
        for family, gain in zip(("111", "100", "110"), self._gains, strict=True):
            columns[f"texture_{family}"] = plain * gain
        return problem.contrast | columns

    def _bent(self, problem: _Problem, state: _State) -> Float:
        shifts = state.found.shifts
        bend = np.zeros(POINTS)
        for name, column in self._linear(problem, state.plain, state.bends).items():
            bend += shifts.get(name, 0.0) * PRIOR_SD[name] * column
        return np.maximum(state.plain + bend, 0.0)


def _moved(dots: Dots, shifts: dict[str, float], part: float) -> Dots:
    """Take a part of a step, two standard deviations at most, and stay within LIMITS."""
    values = asdict(dots)
    for name, shift in shifts.items():
        most = 0.15 * dots.size if name == "size" else 2.0 * PRIOR_SD[name]
        step = float(np.clip(part * shift * PRIOR_SD[name], -most, most))
        values[name] = float(np.clip(values[name] + step, *LIMITS[name]))
    return Dots(**values)
