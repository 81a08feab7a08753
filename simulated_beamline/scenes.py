"""What stands before the detector: a reacting synthesis, recorded patterns or recorded frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from simulated_beamline.layout import Mask, Pixels
from simulated_beamline.projection import Float, count
from simulated_beamline.sample import Sample
from simulated_beamline.synthesis import Kinetics, State, state_at

MONITOR_COUNTS = 1.0e6
"""Counts of the ion chamber in one exposure with a full ring."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One exposure.

    Attributes:
        image: shape and dtype of the scene.
        readings: values of the other instruments during the exposure, by name.
        truth: what only the simulation knows, for the truth file; empty with the shutter closed.
    """

    image: npt.NDArray[np.generic]
    readings: Mapping[str, float]
    truth: Mapping[str, object] = field(default_factory=dict[str, object])


class Projecting(Protocol):
    """Turns patterns into what a detector's pixels, or channels, expect."""

    q: Float

    def image(self, intensity: Float) -> Float:
        """Expected signal, shape of the detector."""
        ...


class Scene(Protocol):
    """Where frames come from; `shape` is (rows, columns), or (channels,) of a strip detector."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def shoot(self, index: int, *, beam: bool) -> Shot:
        """Expose the frame with this index (from 0, separately with and without beam)."""
        ...


@dataclass(frozen=True, slots=True)
class Exposure:
    """How much is counted, and by which run of random numbers.

    Attributes:
        counts: counts of a pixel near the beam where the pattern has its mean value.
        frames: planned number of frames (sets the pace of drift and synthesis).
        seed: of all noise; the same seed gives the same frames.
        flip_rows: store every frame with its rows in reverse order.
    """

    counts: float
    frames: int
    seed: int
    flip_rows: bool = False

    def progress(self, index: int) -> float:
        """Progress of the scan at a frame, 0 to 1 (and 1 beyond the plan)."""
        return min(index / max(self.frames - 1, 1), 1.0)

    def rng(self, index: int, *, beam: bool) -> np.random.Generator:
        """Noise of one frame; SFC64 is numpy's fastest generator."""
        return np.random.Generator(np.random.SFC64([self.seed, index, int(beam)]))


class GrowthScene:
    """A synthesis in a capillary, seen by a counting detector."""

    def __init__(
        self,
        projector: Projecting,
        pixels: Pixels,
        sample: Sample,
        kinetics: Kinetics,
        exposure: Exposure,
    ) -> None:
        self.shape: tuple[int, ...] = pixels.gap.shape
        self.dtype: np.dtype[np.generic] = np.dtype(np.uint32)
        self._projector, self._pixels, self._sample = projector, pixels, sample
        self._kinetics, self._exposure = kinetics, exposure

    def shoot(self, index: int, *, beam: bool) -> Shot:
        """Expose frame `index` of the synthesis."""
        rng = self._exposure.rng(index, beam=beam)
        if not beam:
            image = count(None, self._pixels, rng)
            return Shot(_stored(image, self._exposure), {})
        progress = self._exposure.progress(index)
        state = state_at(progress, self._kinetics)
        flux = ring_current(progress)
        expected = self._projector.image(
            self._sample.intensity(state) * (self._exposure.counts * flux)
        )
        image = count(expected, self._pixels, rng)
        readings = _readings(flux, state, rng)
        return Shot(_stored(image, self._exposure), readings, self._sample.truth(state))


@dataclass(frozen=True, slots=True)
class NamedPattern:
    """A recorded pattern on the projector's Q axis.

    Attributes:
        name: its file's name.
        intensity: shape (axis.size,), not negative, mean 1 over its own range.
        blank: ranges of Q without data, 1/Å: before, after, and holes within.
    """

    name: str
    intensity: Float
    blank: tuple[tuple[float, float], ...]


class PatternScene:
    """Recorded patterns, one after another, as a counting detector would have seen them."""

    def __init__(
        self,
        projector: Projecting,
        pixels: Pixels,
        patterns: Sequence[NamedPattern],
        repeat: int,
        exposure: Exposure,
    ) -> None:
        self.shape: tuple[int, ...] = pixels.gap.shape
        self.dtype: np.dtype[np.generic] = np.dtype(np.uint32)
        self._projector, self._pixels = projector, pixels
        self._patterns, self._repeat, self._exposure = patterns, repeat, exposure

    def shoot(self, index: int, *, beam: bool) -> Shot:
        """Expose frame `index`; every pattern is shown `repeat` times, then the next."""
        rng = self._exposure.rng(index, beam=beam)
        if not beam:
            return Shot(_stored(count(None, self._pixels, rng), self._exposure), {})
        which = index // self._repeat % len(self._patterns)
        pattern = self._patterns[which]
        flux = ring_current(self._exposure.progress(index))
        expected = self._projector.image(pattern.intensity * (self._exposure.counts * flux))
        image = count(expected, self._pixels, rng, no_data=self._blank(pattern))
        readings = {"monitor": _monitor(flux, rng), "pattern_index": float(which)}
        truth = {
            "file": pattern.name,
            "pattern_index": which,
            "diameter_nm": None,
            "diameter_volume_nm": None,
            "dispersion": None,
            "nanocrystal_fraction": None,
            "phase": "pattern",
        }
        return Shot(_stored(image, self._exposure), readings, truth)

    def _blank(self, pattern: NamedPattern) -> Mask:
        q = self._projector.q
        blank: Mask = np.zeros(q.shape, dtype=np.bool_)
        for low, high in pattern.blank:
            blank |= (q > low) & (q < high)
        return blank


class ReplayScene:
    """Recorded frames, shown as they are."""

    def __init__(self, frames: Sequence[npt.NDArray[np.generic]], names: Sequence[str]) -> None:
        rows, columns = frames[0].shape
        self.shape: tuple[int, ...] = (rows, columns)
        self.dtype: np.dtype[np.generic] = frames[0].dtype
        self._frames, self._names = frames, names

    def shoot(self, index: int, *, beam: bool) -> Shot:
        """Show frame `index` (from the first again after the last); no beam, no counts."""
        which = index % len(self._frames)
        if not beam:
            return Shot(np.zeros(self.shape, self.dtype), {})
        truth = {"file": self._names[which], "frame_index": which, "phase": "replay"}
        return Shot(self._frames[which], {"frame_index": float(which)}, truth)


def ring_current(progress: float) -> float:
    """Relative flux: it decays by 8 % towards a top-up at 55 % of the scan, then again."""
    top_up = 0.55
    since, period = (progress, top_up) if progress < top_up else (progress - top_up, top_up)
    return math.exp(math.log(0.92) * since / period)


def _readings(flux: float, state: State, rng: np.random.Generator) -> dict[str, float]:
    return {
        "monitor": _monitor(flux, rng),
        "reactor_temperature": state.temperature_c + float(rng.normal(0.0, 0.1)),
    }


def _monitor(flux: float, rng: np.random.Generator) -> float:
    """Counts of the ion chamber, with its own counting noise."""
    return float(rng.poisson(MONITOR_COUNTS * flux))


def _stored(image: npt.NDArray[np.uint32], exposure: Exposure) -> npt.NDArray[np.uint32]:
    return image[::-1] if exposure.flip_rows else image
