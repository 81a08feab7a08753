"""What stands between the physics and a measured pattern; batches in torch, every draw seeded.

All functions take patterns of shape (batch, points) on `q` (1/Å) and a generator, and give the same
shape. Sizes of the effects come from the reference experiments named beside them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from qd_agent.scattering.reflections import FAMILIES, positions


@dataclass(frozen=True, slots=True)
class Draw:
    """Random numbers of shape (n, 1), from one generator."""

    generator: torch.Generator
    size: int

    @property
    def device(self) -> torch.device:
        """Where the numbers are drawn."""
        return self.generator.device

    def normals(self, *shape: int) -> Tensor:
        """Standard normal numbers, shape (n, *shape)."""
        return torch.randn(self.size, *shape, generator=self.generator, device=self.device)

    def below(self, count: int) -> Tensor:
        """Integers from 0 to `count` - 1, shape (n,)."""
        return torch.randint(count, (self.size,), generator=self.generator, device=self.device)

    def _flat(self) -> Tensor:
        return torch.rand(self.size, 1, generator=self.generator, device=self.device)

    def uniform(self, low: float, high: float) -> Tensor:
        """Uniform in [low, high)."""
        return low + (high - low) * self._flat()

    def log_uniform(self, low: float, high: float) -> Tensor:
        """Uniform in the logarithm."""
        return torch.exp(self.uniform(math.log(low), math.log(high)))

    def normal(self, sd: float) -> Tensor:
        """Normal of mean 0."""
        return sd * self.normals(1)

    def happens(self, probability: float) -> Tensor:
        """1 with a probability, else 0."""
        return (self._flat() < probability).float()


def rows_where(true: Tensor) -> Tensor:
    """Give the indices of the rows of (n,) or (n, 1) that are true."""
    return true.flatten().nonzero()[:, 0]


def peak(q: Tensor, centre: Tensor, width: Tensor) -> Tensor:
    """Bell between a Gaussian and a Lorentzian, height 1."""
    u = ((q - centre) / width) ** 2
    return 0.6 * torch.exp(-0.5 * u) + 0.4 / (1.0 + u)


def _unit(pattern: Tensor) -> Tensor:
    return pattern / pattern.mean(dim=1, keepdim=True)


def liquid(q: Tensor, d: Draw) -> Tensor:
    """Liquid-like: halo at 1.1–1.6 1/Å, weaker maxima at 2–3.3 and 5–5.8, self-scattering."""
    halo = peak(q, d.uniform(1.1, 1.6), d.uniform(0.12, 0.35))
    halo = halo + d.happens(0.4) * d.uniform(0.05, 0.6) * peak(
        q, d.uniform(1.6, 2.3), d.uniform(0.2, 0.5)
    )
    halo = halo + d.uniform(0.03, 0.3) * peak(q, d.uniform(2.6, 3.3), d.uniform(0.25, 0.7))
    halo = halo + d.uniform(0.0, 0.12) * peak(q, d.uniform(4.8, 5.9), d.uniform(0.4, 1.0))
    return _unit(halo + d.log_uniform(0.02, 0.5) * _self_scattering(q, d))


def _self_scattering(q: Tensor, d: Draw) -> Tensor:
    decay = torch.exp(-((q / d.uniform(2.5, 7.0)) ** d.uniform(1.0, 2.0)))
    return decay + d.uniform(0.05, 1.5) * -torch.expm1(-((q / d.uniform(3.0, 8.0)) ** 2)) + 0.02


def capillary(q: Tensor, d: Draw) -> Tensor:
    """Glass or polyimide: broad first peak at 0.9–1.9 1/Å, further ones near 3 and 5.2."""
    glass = peak(q, d.uniform(0.9, 1.9), d.uniform(0.2, 0.6))
    glass = glass + d.uniform(0.05, 0.5) * peak(q, d.uniform(2.6, 3.4), d.uniform(0.4, 0.9))
    glass = glass + d.uniform(0.05, 0.4) * peak(q, d.uniform(4.8, 5.6), d.uniform(0.4, 0.9))
    return _unit(glass + d.uniform(0.05, 0.6) * _self_scattering(q, d))


def air(q: Tensor, d: Draw) -> Tensor:
    """Air and small-angle scattering: falls as a power of Q, or exponentially."""
    power = q ** -d.uniform(0.5, 4.0)
    fall = torch.exp(-q / d.uniform(0.4, 6.0))
    choose = d.happens(0.5)
    return _unit(choose * _unit(power) + (1 - choose) * _unit(fall))


def inelastic(q: Tensor, d: Draw) -> Tensor:
    """Compton scattering (rises and levels off) and fluorescence (flat)."""
    rise = -torch.expm1(-((q / d.uniform(2.0, 9.0)) ** 2))
    return _unit(rise + d.log_uniform(0.05, 3.0))


def background(q: Tensor, d: Draw) -> Tensor:
    """A random mixture of the four; mean 1. Often dominated by one of them."""
    parts = (liquid(q, d), capillary(q, d), air(q, d), inelastic(q, d))
    strengths = [(-torch.log(d.uniform(1e-6, 1.0))) ** 1.5 for _ in parts]
    strengths[0] = 2.0 * strengths[0]
    total = torch.stack(strengths).sum(dim=0)
    mixed = torch.stack([s * p for s, p in zip(strengths, parts, strict=True)]).sum(dim=0)
    return mixed / total


def smooth_error(q: Tensor, d: Draw, sd: float) -> Tensor:
    """Slowly varying factor about 1 (absorption, polarization, flat field): six cosines."""
    x = (q - q.min()) / (q.max() - q.min())
    exponent = torch.zeros(d.size, q.shape[-1], device=q.device)
    amplitude = d.log_uniform(sd / 10, sd * 2)
    for order in range(6):
        exponent = exponent + d.normal(1.0) / (1 + order) * torch.cos(math.pi * order * x)
    return torch.exp(amplitude * exponent)


def ripple(q: Tensor, d: Draw, low: float, high: float, probability: float = 0.5) -> Tensor:
    """Factor about 1 that wanders over 0.15 to 0.8 1/Å, for what no model describes.

    Flat fields, shadows, a shell's own scattering, relaxed surfaces. Its standard deviation is
    log-uniform between `low` and `high`, for one pattern in two.
    """
    nodes = 160
    step = float(q.max() - q.min()) / (nodes - 1)
    wave = 2 * math.pi * torch.fft.rfftfreq(nodes, d=step, device=q.device)
    length = d.log_uniform(0.05, 0.25)
    # The correlation length of a Gaussian filter of this width is three of it.
    filtered = torch.fft.rfft(d.normals(nodes), dim=1)
    coarse = torch.fft.irfft(filtered * torch.exp(-0.5 * (length * wave) ** 2), n=nodes, dim=1)
    coarse = coarse / coarse.std(dim=1, keepdim=True).clamp_min(1e-6)
    fine = functional.interpolate(
        coarse[:, None], size=q.shape[-1], mode="linear", align_corners=True
    )[:, 0]
    return 1.0 + d.happens(probability) * d.log_uniform(low, high) * fine.clamp(-3.0, 3.0)


def polarization(q: Tensor, d: Draw) -> Tensor:
    """(1 + cos² 2θ)/2 of a laboratory tube that nobody corrected, for one pattern in six."""
    sine = (q * d.uniform(0.7, 1.5406) / (4 * math.pi)).clamp(max=0.98)
    factor = 0.5 * (1.0 + torch.cos(2.0 * torch.asin(sine)) ** 2)
    present = d.happens(0.17)
    return present * factor + (1 - present)


def texture(q: Tensor, d: Draw, probability: float = 0.2) -> Tensor:
    """Gain per reflection from preferred orientation, as in dried films on flat holders.

    The logarithm of the gain is normal for each family of directions and runs smoothly between
    reflections, so that it changes heights and leaves widths nearly alone.
    """
    nodes = torch.from_numpy(positions()).float().to(q.device)
    families = torch.tensor([family for _, family in FAMILIES], device=q.device)
    strength = d.happens(probability) * d.log_uniform(0.05, 0.7)
    weaker = torch.tensor([1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5], device=q.device)
    by_family = d.normals(7) * weaker
    chosen = rows_where(strength > 0)
    heights = (strength * by_family)[chosen][:, families]
    # Piecewise linear: level below the first node, back to none 1.5 1/Å after the last.
    ends = torch.tensor([0.0, 20.0], device=q.device)
    stops = torch.cat([ends[:1], nodes, nodes[-1:] + 1.5, ends[1:]])
    values = torch.cat([heights[:, :1], heights, torch.zeros_like(heights[:, :2])], dim=1)
    right = torch.searchsorted(stops, q).clamp(1, len(stops) - 1)
    part = ((q - stops[right - 1]) / (stops[right] - stops[right - 1])).clamp(0.0, 1.0)
    exponent = values[:, right - 1] * (1 - part) + values[:, right] * part
    smooth = torch.nn.functional.avg_pool1d(
        torch.nn.functional.pad(exponent[:, None], (7, 7), mode="replicate"), 15, 1
    )
    gain = torch.ones(d.size, q.shape[-1], device=q.device)
    return gain.index_copy(0, chosen, torch.exp(smooth[:, 0]))


def window(q: Tensor, d: Draw) -> tuple[Tensor, Tensor]:
    """Coverage 0/1, and where it comes from (batch, 1): an index of INSTRUMENTS.

    Full range, detector frames, laboratory range; some miss low Q, some have gaps.
    """
    kind = d.uniform(0.0, 1.0)
    start, end = torch.full_like(kind, 0.9), torch.full_like(kind, 16.0)
    detector, lab = (kind > 0.38) & (kind <= 0.7), kind > 0.7
    start = torch.where(detector, d.uniform(0.9, 1.5), start)
    end = torch.where(detector, d.uniform(6.0, 15.5), end)
    start = torch.where(lab, d.uniform(1.0, 1.5), start)
    end = torch.where(lab, d.uniform(4.9, 7.4), end)
    start = torch.where(d.happens(0.12) > 0, d.uniform(1.2, 2.25), start)
    coverage = ((q >= start) & (q <= end)).float()
    gaps = d.happens(0.3)
    for _ in range(3):
        centre, half = d.uniform(0.9, 15.0), d.log_uniform(0.01, 0.2)
        gap = ((q - centre).abs() < half).float() * gaps * d.happens(0.6)
        coverage = coverage * (1.0 - gap)
    return coverage, detector.long() + 2 * lab.long()


INSTRUMENTS = ("full range", "area detector", "laboratory")
BROADENED = (0.25, 0.7, 0.5)
"""How often each instrument broadens visibly."""
MOST_BROADENING = (0.004, 0.012, 0.005)
"""Largest standard deviation, 1/Å. Full ranges to 15 1/Å come from strip detectors of high
resolution; frames at high energy have pixels of 0.015 to 0.03 1/Å (standard deviation a third of
that), and the sample's length adds to it; tubes have 0.05 to 0.1 degrees (0.0015 to 0.003)."""


def broadening(d: Draw, instrument: Tensor) -> Tensor:
    """Standard deviation of the instrument's Gaussian, (batch, 1), 1/Å."""
    often, most = (torch.tensor(t, device=d.device) for t in (BROADENED, MOST_BROADENING))
    present = (d.uniform(0.0, 1.0) < often[instrument]).float()
    return present * d.uniform(0.0, 1.0) * most[instrument]


def counting_noise(pattern: Tensor, q: Tensor, d: Draw, counts: Tensor) -> Tensor:
    """Poisson noise for `counts` (batch, 1) mean counts per bin of the pattern (mean 1).

    On area detectors the number of pixels in a bin grows with Q, for a third of the patterns.
    A quarter have noise that is correlated over neighbours, as after pixel splitting.
    """
    grows = d.happens(0.35)
    pixels = grows * _unit(q.expand_as(pattern)) + (1 - grows)
    expected = (pattern.clamp_min(0.0) * counts * pixels).clamp_max(1e8)
    noisy = torch.poisson(expected, generator=d.generator) / (counts * pixels)
    noise = noisy - pattern.clamp_min(0.0)
    shared = rows_where(d.happens(0.25))
    spread = torch.nn.functional.avg_pool1d(noise[shared][:, None], 3, 1, padding=1)[:, 0] * 1.5
    return pattern.clamp_min(0.0) + noise.index_copy(0, shared, spread)
