"""How far the rings in one sector of a detector lie from those in the opposite sector, in Q.

A beam centre that is off moves the rings of opposite sectors in opposite directions. Where they lie
apart by 2h, their patterns differ by 2h times the slope of their mean. So may nothing else: what
polarization, absorption and the flat field do is a smooth ratio, stray light a smooth addition, and
texture changes the heights of peaks, which is even about a peak where its slope is odd.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Sector = tuple[Float, Float, Float]
"""Counts, their variance and their normalization in every bin of Q, shape (bins,) each."""

RANGE = (1.6, 6.0)
"""Where they are compared, 1/Å: from the first reflection of PbS (1.83) to its eleventh (5.99).
Beyond, peaks overlap, and a flat detector sees less of a shift."""

COVERED = 0.5
"""Share of `RANGE` that both sectors must see. Less is a corner, or hangs on one or two peaks."""

_STEP = 0.0112
"""Points of the comparison, 1/Å: a fifth of the narrowest peak (10 nm: 2π·0.9/D = 0.057)."""
_RATIO_KNOTS, _ADDED_KNOTS = 0.5, 0.8
"""Knots of ratio and addition, 1/Å; closer ones would follow the slopes of broad peaks (3 nm: 0.19
wide)."""
_BLOCK = 0.4
"""Of points whose residuals count as one, 1/Å: about the distance of two peaks."""
_FARTHEST = 0.45
"""Largest half difference that is looked for, 1/Å."""
_CLEAR = (3.0, 4.0)
"""Standard errors of counting, and times the counting noise in the residuals, up to which the rings
are where they should be, and nothing is looked for farther away."""
_KNOWN = 0.3
"""Share of the slopes' power that must be signal. Slopes of noise shift nothing."""
_NO_NOISE, _NO_SIGNAL = 1e-15, 1e9
"""Variance by the square of the level that no detector reaches, and at which no shift is to be
seen; beyond them squares overflow."""

_SMOOTH = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0
_REACH = 3  # points to either side that a smoothed slope needs
_SLOPE = np.convolve(_SMOOTH, [0.5, 0.0, -0.5])


@dataclass(frozen=True, slots=True)
class Apart:
    """How far the rings of one sector lie beyond those of the other.

    Attributes:
        half: half the difference of their Q, 1/Å.
        error: its standard error, 1/Å: of counting, or more where peaks disagree.
        counting: of counting alone, 1/Å.
        misfit: squared residuals by those of counting noise; 1 where nothing else differs.
    """

    half: float
    error: float
    counting: float = field(compare=False)
    misfit: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Points:
    """What both sectors saw, shape (points,) each; zero where one saw nothing.

    All are in units of the mean level. `mean` is weighed by the normalizations, as counting noise
    wants it: its noise is then independent of that of `difference`, and a false slope no shift.
    """

    seen: npt.NDArray[np.bool_]
    mean: Float
    difference: Float
    noise: Float
    mean_noise: Float


class Opposite:
    """Compares sectors on one set of bins."""

    def __init__(self, q: Float) -> None:
        """Take the bins, shape (bins,), 1/Å, evenly spaced."""
        self._bin = float(q[1] - q[0])
        self._group = max(1, round(_STEP / self._bin))
        self._first = int(np.searchsorted(q, RANGE[0]))
        last = int(np.searchsorted(q, RANGE[1]))
        self._points = (last - self._first) // self._group
        self._end = self._first + self._points * self._group
        room = min(self._first, q.size - self._end)
        self._farthest = max(0, min(room, int(_FARTHEST / self._bin)))
        self._usable = self._group * self._bin < 1.5 * _STEP
        if self._usable:
            points = q[self._first : self._end].reshape(self._points, self._group).mean(axis=1)
            self._ratio = _splines(points, _RATIO_KNOTS)
            self._added = _splines(points, _ADDED_KNOTS)
            self._block = ((points - RANGE[0]) // _BLOCK).astype(np.intp)

    def apart(self, one: Sector, other: Sector) -> Apart | None:
        """Say how far the rings of `one` lie beyond those of `other`.

        None where they do not both cover enough, or hold too little that a shift would show in.
        """
        first = self._at(one, other, 0, COVERED) if self._usable else None
        if first is None:
            return None
        errors, times = _CLEAR
        if abs(first.half) <= errors * first.counting and first.misfit <= times:
            return first
        starts = (0, self._rough(one, other))
        found = [self._follow(one, other, start) for start in starts]
        return min((one for one in found if one is not None), key=_misfit, default=first)

    def _follow(self, one: Sector, other: Sector, start: int) -> Apart | None:
        """Move the rings onto each other, bin by bin, until the slope says the rest."""
        moved, found = start, None
        for _ in range(6):
            rest = self._at(one, other, moved, 0.6 * COVERED)
            if rest is None:
                return found
            half = rest.half + moved * self._bin
            found = Apart(half, rest.error, rest.counting, rest.misfit)
            step = round(min(12.0, max(-12.0, rest.half / self._bin)))
            if step == 0 or abs(moved + step) > self._farthest:
                break
            moved += step
        return found

    def _at(self, one: Sector, other: Sector, moved: int, covered: float) -> Apart | None:
        """Compare them after `one` was moved by so many bins, and `other` the other way."""
        both = self._both(one, other, moved)
        usable = _all_near(both.seen) if both is not None else np.zeros(0, dtype=np.bool_)
        if both is None or usable.mean() < covered:
            return None
        smooth, step = np.convolve(both.mean, _SMOOTH, "same"), self._group * self._bin
        slope = np.gradient(smooth, step)[usable]
        difference = np.convolve(both.difference, _SMOOTH, "same")[usable]
        nuisance = np.hstack([self._ratio * smooth[:, np.newaxis], self._added])[usable]
        weight = 1.0 / both.noise[usable]
        weight *= _trust(_rest(nuisance, slope, difference, weight)[2], weight)
        own, per_slope, residual = _rest(nuisance, slope, difference, weight)
        power = float(weight @ own**2)
        false = float(weight @ both.mean_noise[usable]) * float(_SLOPE @ _SLOPE) / step**2
        known = 1.0 - false / power if power > 0.0 else 0.0
        if known < _KNOWN:
            return None
        pull = np.zeros(self._points)
        pull[usable] = weight * own
        counting = np.sqrt(np.convolve(pull, _SMOOTH, "same") ** 2 @ both.noise)
        blocks = np.bincount(self._block[usable], weights=weight * own * residual)
        among = np.sqrt(blocks @ blocks * blocks.size / max(1, blocks.size - 1))
        # Noise in the slopes makes the shift look smaller, which `known` undoes.
        scale = 1.0 / (2.0 * power * known)
        misfit = float(weight @ residual**2) / usable.sum() / float(_SMOOTH @ _SMOOTH)
        half = -per_slope / (2.0 * known)
        return Apart(half, scale * float(max(counting, among)), scale * float(counting), misfit)

    def _both(self, one: Sector, other: Sector, moved: int) -> _Points | None:
        """Bring both onto the points; None where nothing above zero was counted."""
        a = [part[self._first + moved : self._end + moved] for part in one]
        b = [part[self._first - moved : self._end - moved] for part in other]
        shared = (a[2] > 0.0) & (b[2] > 0.0)
        shape = (self._points, self._group)
        a_sum, a_variance, a_norm, b_sum, b_variance, b_norm = (
            (part * shared).reshape(shape).sum(axis=1) for part in (*a, *b)
        )
        seen = a_norm > 0.0
        a_norm[~seen] = b_norm[~seen] = 1.0
        norm = a_norm + b_norm
        mean = (a_sum + b_sum) / norm
        level = float(mean[seen].mean()) if seen.any() else 0.0
        scatter = np.convolve((a_variance + b_variance) / norm, _SMOOTH, "same")
        least = float(scatter[scatter > 0.0].min(initial=np.inf))
        if not level > 0.0 or not np.isfinite(least):
            return None
        scatter = np.maximum(np.maximum(scatter, least) / level / level, _NO_NOISE)
        if not scatter.max() < _NO_SIGNAL:
            return None
        return _Points(
            seen,
            mean / level,
            (a_sum / a_norm - b_sum / b_norm) / level,
            np.where(seen, scatter * (1.0 / a_norm + 1.0 / b_norm), 0.0),
            scatter / norm,
        )

    def _rough(self, one: Sector, other: Sector) -> int:
        """Guess by how many bins to move them, from the peaks alone: where they fit best."""
        both = self._both(one, other, 0)
        if both is None:
            return 0
        first = both.mean + both.difference / 2.0
        pair = np.stack([first, first - both.difference], axis=1)[both.seen]
        broad = self._ratio[both.seen]
        peaks = np.zeros((self._points, 2))
        peaks[both.seen] = pair - broad @ np.linalg.lstsq(broad, pair, rcond=None)[0]
        a, b = (np.convolve(column, _SMOOTH, "same") for column in peaks.T)
        match = np.correlate(a, b, "full")
        reach = min(self._points - 1, int(2 * self._farthest / self._group))
        best = int(match[self._points - 1 - reach : self._points + reach].argmax()) - reach
        return round(best * self._group / 2)


def _splines(q: Float, knots: float) -> Float:
    """Give cubic B-splines over `RANGE`, shape (points, splines), with knots so far apart, 1/Å."""
    from scipy.interpolate import BSpline  # noqa: PLC0415 - heavy: loaded with a reducer

    low, high = RANGE
    inner = np.linspace(low, high, round((high - low) / knots) + 1)
    at = np.concatenate([[low] * 3, inner, [high] * 3])
    inside = np.clip(q, low, np.nextafter(high, low))
    table: Float = BSpline.design_matrix(inside, at, 3).toarray()
    return table


def _rest(
    nuisance: Float, slope: Float, difference: Float, weight: Float
) -> tuple[Float, float, Float]:
    """Fit the difference by nuisance and slope.

    Returns:
        What of the slope no nuisance explains, the difference per slope, and the residuals.
    """
    weighed = nuisance * weight[:, np.newaxis]
    normal = weighed.T @ nuisance
    normal[np.diag_indices_from(normal)] *= 1.0 + 1e-9
    normal[np.diag_indices_from(normal)] += 1e-12 * float(normal.diagonal().max())
    both = np.stack([slope, difference], axis=1)
    own, rest = (both - nuisance @ np.linalg.solve(normal, weighed.T @ both)).T
    power = float(weight @ own**2)
    per_slope = float((weight * own) @ rest) / power if power > 0.0 else 0.0
    return own, per_slope, rest - per_slope * own


def _trust(residual: Float, weight: Float) -> Float:
    """Weigh down what stands out (Huber): spots of a substrate, hot pixels."""
    pull = np.abs(residual) * np.sqrt(weight)
    limit = 3.0 * 1.4826 * float(np.median(pull))
    return np.minimum(1.0, limit / np.maximum(pull, max(limit, 1e-300)))


def _all_near(seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Tell of which points all neighbours were seen that their smoothed slope needs."""
    near = np.convolve(seen, np.ones(2 * _REACH + 1), "same")
    return near > 2 * _REACH + 0.5


def _misfit(apart: Apart) -> float:
    return apart.misfit
