"""Reads text patterns for evaluation: one column on the published grid, or angle and intensity.

File names of the reference sets carry the truth; `truth_of` reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import (
    PUBLISHED_GRID,
    Float,
    Pattern,
    RawPattern,
    q_from_two_theta,
    resample,
)


@dataclass(frozen=True, slots=True)
class Truth:
    """What a name or a manifest says; None where it does not.

    Attributes:
        label_nm: diameter, nm: of a simulation the mean of its lognormal, of a measurement the
            label. A manifest's is taken as the exact number average.
        dispersion: relative standard deviation of the lognormal.
        share: nanocrystals' share of the area.
        wavelength: Å.
        counts: mean counts per point of the grid.
        group: kind of data, when it is told.
    """

    label_nm: float | None = None
    dispersion: float | None = None
    share: float | None = None
    wavelength: float | None = None
    counts: float | None = None
    group: str = ""


PUBLISHED_MEAN = 71.4
"""Mean of a pattern of area 1000; its noise was drawn at this times the scale in its name."""


def truth_of(path: Path) -> Truth:
    """Truth in a file name: `…SD15_Avg3.00…Conc65…`, or `…wl0p565483A_4p48nm…`."""
    name = path.name
    if simulated := re.search(r"SD(\d+)_Avg([\d.]+?)_.*Conc(\d+)", name):
        deviation, average, share = (float(g) for g in simulated.groups())
        noisy = re.search(r"noisy([\d.]+\d)", name)
        counts = PUBLISHED_MEAN * float(noisy[1]) if noisy else None
        return Truth(average, deviation / 100.0, share / 100.0, counts=counts)
    wavelength = re.search(r"wl(\d+)p(\d+)", name)
    size = re.search(r"(\d+)p(\d+)nm", name)
    return Truth(
        label_nm=float(f"{size[1]}.{size[2]}") if size else None,
        wavelength=float(f"{wavelength[1]}.{wavelength[2]}") if wavelength else None,
    )


def numbers_in(path: Path) -> Float:
    """Every line that is all numbers, shape (rows, columns); headers are passed over.

    Raises:
        BadFrame: no such lines, or lines of different lengths.
    """
    rows: list[list[float]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = [float(word) for word in line.replace(",", " ").split()]
        except ValueError:
            continue
        if row:
            rows.append(row)
    width = max((len(row) for row in rows), default=0)
    rows = [row for row in rows if len(row) == width]
    if len(rows) < 2:
        raise BadFrame(f"{path}: no columns of numbers found")
    return np.array(rows, dtype=np.float64)


HIGHEST_Q = 40.0
"""No X-ray pattern of interest goes further, 1/Å; a column that does holds 2θ in degrees."""


def read_pattern(path: Path, wavelength: float | None = None) -> Pattern:
    """Read a file onto the published grid.

    A single column of 5004 numbers is on the grid already; otherwise the columns are 2θ in degrees
    (or Q in 1/Å when no wavelength is known), intensity, and perhaps its uncertainty.

    Raises:
        BadFrame: it is neither.
    """
    table = numbers_in(path)
    if table.shape[1] == 1:
        if table.shape[0] != PUBLISHED_GRID.size:
            raise BadFrame(f"{path}: one column of {table.shape[0]} numbers, not 5004")
        values = table[:, 0]
        zero = np.zeros_like(values)
        return Pattern(intensity=values, sigma=zero, coverage=np.ones_like(values))
    wavelength = wavelength or truth_of(path).wavelength
    if wavelength is None and table[:, 0].max() > HIGHEST_Q:
        raise BadFrame(
            f"{path}: the first column goes to {table[:, 0].max():g}, which is 2θ and not Q; "
            "give --wavelength"
        )
    q = table[:, 0] if wavelength is None else q_from_two_theta(table[:, 0], wavelength)
    q, first = np.unique(q, return_index=True)
    keep = q > 0
    sigma = table[first, 2][keep] if table.shape[1] > 2 else None
    return resample(RawPattern(q[keep], table[first, 1][keep], sigma))
