"""How far apart a source's points usually are, place by place, and how coarse ones are read.

One step is not enough for a file: small and wide angles are merged, scans begin finely and go on
coarsely. Where the nearest steps all differ from those of the file, they say what is usual.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

NEAR = 15
"""Steps around each that say what is usual there, by their median: seven holes do not change it."""

OTHER = 1.1
"""Times the usual step of the file: where all the nearest steps are wider (or narrower) than that,
the file has another step there. Points that are missing or scattered do not do that."""

EVEN = (0.4, 2.5)
"""Times the usual step of a coarse source: through points so far apart a spline is read, so that
one may be missing. Wider steps are holes."""

COARSE = 1.01
"""Times the grid's step: a source whose usual step is wider is coarser than the grid. A hundredth
is left for rounding, as of angles with three decimals."""

DECISIVE = (1.6, 6.0)
"""1/Å: between lie the reflections from 111 to 440, whose widths carry the size."""


def local_steps(q: Float, grid_step: float) -> Float:
    """Usual step around each step of a source, shape (n - 1,), 1/Å.

    It is that of the decisive range, but where the source surely has another. Takes the source's
    points, shape (n,), 1/Å, increasing, and the step of the grid that they are brought to.
    """
    step = np.diff(q)
    if not (step > COARSE * grid_step).any():
        return step  # nothing to decide: no step is coarse or a hole
    there = _decisive(q)
    file = float(np.median(step[there] if there.sum() > NEAR else step))
    median = _ranked(step, NEAR // 2)
    other = _wider(step, median, OTHER * file) | _wider(-step, -median, -file / OTHER)
    return np.where(other, median, file)


def coarsest(q: Float, usual: Float, grid_step: float) -> float:
    """Widest usual step between DECISIVE, 1/Å; 0 where none there is coarser than the grid.

    Takes the points q (n,) and the usual step around each of their steps (n - 1,), 1/Å.
    """
    there = _decisive(q) & (usual > COARSE * grid_step)
    return float(usual[there].max()) if there.any() else 0.0


def read_between(target: Float, q: Float, values: Float, usual: Float, grid_step: float) -> Float:
    """Read points (q, values) at `target`, all in 1/Å: cubic splines through coarse, even runs.

    Straight lines cut off the tops of peaks and widen them by step/√6 (standard deviation), which
    makes nanocrystals look small; splines do not. Where points are as fine as the grid, far apart
    or crowded (a spline would swing), lines are kept, as between three and more equal points: what
    is cut off stays level. `usual` is the usual step around each step of q, shape (q.size - 1,).
    """
    read = np.interp(target, q, values)
    coarse = usual > COARSE * grid_step
    if not coarse.any():
        return read
    from scipy.interpolate import CubicSpline  # noqa: PLC0415 - only coarse patterns wait for it

    step = np.diff(q)
    level = np.diff(values) == 0
    beside = np.concatenate([[False], level, [False]])
    level &= beside[:-2] | beside[2:]
    odd = np.flatnonzero(~coarse | (step < EVEN[0] * usual) | (step > EVEN[1] * usual) | level)
    # Runs of points without an odd step between them.
    for first, last in zip([0, *(odd + 1)], [*odd, q.size - 1], strict=True):
        if last - first >= 3:
            start, end = np.searchsorted(target, (q[first], q[last]))
            spline = CubicSpline(q[first : last + 1], values[first : last + 1])
            read[start:end] = spline(target[start:end])
    cut_off = (level & (values[1:] == values.max())).any()
    return np.minimum(read, values.max()) if cut_off else read


def _decisive(q: Float) -> npt.NDArray[np.bool_]:
    return (q[1:] > DECISIVE[0]) & (q[:-1] < DECISIVE[1])


def _wider(step: Float, median: Float, than: float) -> npt.NDArray[np.bool_]:
    """Where the running median is wider than that, near NEAR steps that all are."""
    from scipy.ndimage import maximum_filter1d  # noqa: PLC0415 - fine patterns do not wait for it

    sure = _ranked(step, 0) > than
    return np.asarray(maximum_filter1d(sure, NEAR), dtype=np.bool_) & (median > than)


def _ranked(step: Float, rank: int) -> Float:
    """The NEAR steps around each in order, that of this rank; beyond the ends they are mirrored.

    No end counts twice: that could make a hole beside it usual.
    """
    from scipy.ndimage import rank_filter  # noqa: PLC0415 - fine patterns do not wait for it

    return np.asarray(rank_filter(step, rank, NEAR, mode="mirror"), dtype=np.float64)
