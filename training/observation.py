"""From the ideal pattern of nanocrystals to the one that an instrument sees; batches in torch."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training import augmentation
from training.augmentation import Draw, rows_where

MARGIN_MIN, MARGIN_MAX = 0.83, 15.40
"""Simulated Q range, 1/Å: the grid and what strain, scale and zero errors can pull into it."""

FINE_STEP = 0.0056
"""Spacing of the simulated range, 1/Å. Linear interpolation on it blurs by 0.002 1/Å, a tenth of
what pixels do."""


def fine_grid() -> npt.NDArray[np.float64]:
    """Q of the simulated range, 1/Å."""
    count = round((MARGIN_MAX - MARGIN_MIN) / FINE_STEP)
    return MARGIN_MIN + FINE_STEP * np.arange(count, dtype=np.float64)


def broadened(pattern: Tensor, sd: Tensor) -> Tensor:
    """Convolve (n, fine points) with a Gaussian of `sd` (n, 1), 1/Å: pixels, beam, sample."""
    wave = 2 * math.pi * torch.fft.rfftfreq(pattern.shape[1], d=FINE_STEP, device=pattern.device)
    chosen = rows_where(sd > 0)
    if not len(chosen):
        return pattern  # the transform of no rows is an error
    transform = torch.fft.rfft(pattern[chosen], dim=1) * torch.exp(-0.5 * (sd[chosen] * wave) ** 2)
    smooth = torch.fft.irfft(transform, n=pattern.shape[1], dim=1)
    return pattern.index_copy(0, chosen, smooth)


def observe(pattern: Tensor, q: Tensor, strain: Tensor, d: Draw) -> Tensor:
    """Read the fine pattern at the Q (points,) where it really is; shape (n, points).

    Strain, an error of the Q scale (one in twelve up to 1.2 %: a distance that nobody refined) and
    of its zero. A quarter are a mixture of two lattice scales up to 0.3 % apart: uneven strain, or
    the Kα doublet (0.25 %). Low Q gets a random tilt, for the contrast of the shell; some have
    preferred orientation; heights are wrong by a few percent, as those of any model are.
    """
    scale = strain * (1.0 + d.uniform(-0.003, 0.003) * d.happens(0.6))
    scale = scale * (1.0 + d.uniform(-0.012, 0.012) * d.happens(0.08))
    zero = d.uniform(-0.006, 0.006) * d.happens(0.5)
    split = d.uniform(-0.003, 0.003) * d.uniform(0.0, 1.0) * d.happens(0.25)
    minor = d.uniform(0.1, 0.5)
    mixed = interpolated(pattern, q * scale + zero)
    chosen = rows_where(split != 0)
    part = minor[chosen]
    other = q * scale[chosen] * (1.0 + split[chosen]) + zero[chosen]
    second = interpolated(pattern[chosen], other)
    mixed[chosen] = (1 - part) * mixed[chosen] + part * second
    tilt = 1.0 + d.uniform(-0.35, 0.25) * d.happens(0.6) * torch.exp(
        -(q - 0.99) / d.uniform(0.15, 0.5)
    )
    return mixed * tilt * augmentation.texture(q, d) * augmentation.ripple(q, d, 0.001, 0.04)


def interpolated(pattern: Tensor, at: Tensor) -> Tensor:
    """Linear interpolation of (n, fine points) at the Q `at` (n, points), 1/Å."""
    position = ((at - MARGIN_MIN) / FINE_STEP).clamp(0.0, pattern.shape[1] - 1.001)
    index = position.long()
    part = position - index
    low, high = torch.gather(pattern, 1, index), torch.gather(pattern, 1, index + 1)
    return low + part * (high - low)
