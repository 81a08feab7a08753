"""The all-convolutional network: a pattern and its coverage in, distributions out. No I/O.

It looks at a pattern twice: along Q, and along distance r, where a sine and cosine transform (one
fixed convolution over the whole pattern) turns the widths of peaks into how far pairs reach. It
bins the published grid by four, to 0.0112 1/Å: the narrowest feature, the oscillation of an 11 nm
particle, has a period of 0.057 1/Å. Everything it does to a pattern is in `forward`, so training
and serving cannot differ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from qd_agent.core.pattern import PUBLISHED_GRID

BIN = 4
POINTS = 1251
"""The 5004 points of the published grid, binned by four."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Equidistant bin centres of one output distribution."""

    first: float
    step: float
    count: int

    def centres(self) -> npt.NDArray[np.float64]:
        """Bin centres, shape (count,)."""
        return self.first + self.step * np.arange(self.count, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Shape of the network; it travels with the weights in the model card."""

    # Number average: 0.1 nm is a fifth of a published class; a mean over bins resolves finer.
    diameter: Axis = Axis(0.9, 0.1, 112)
    # The volume-weighted average reaches further, (1 + dispersion²)³ times the number average.
    volume: Axis = Axis(1.0, 0.15, 101)
    dispersion: Axis = Axis(0.02, 0.01, 31)
    # Square root of the share, so that 2 % and 5 % fall into different bins.
    root_share: Axis = Axis(0.0, 0.04, 26)
    # Strides 3, 3, 2, 5 bring 1251 points to 14 in few operations; the last layer sees them all,
    # position by position, since a peak's meaning depends on where it is.
    channels: tuple[int, int, int] = (24, 32, 48)
    features: int = 96
    # Distances to 144 Å, beyond the largest particle, in steps that resolve the Q range. The
    # strides 2, 2, 4 bring 240 of them to 15.
    distance: Axis = Axis(0.6, 0.6, 240)
    distance_channels: int = 32
    # Box filter that is applied twice to flatten the background: 0.84 1/Å, wider than the peaks
    # of a 2 nm particle (0.3 1/Å), narrower than a liquid's halo and its surroundings.
    flatten_width: int = 75
    # The root of the pattern less its mean, over its standard deviation, and not as it is: how
    # steep a background is tells nothing of sizes.
    standardized: bool = True

    def as_dict(self) -> dict[str, object]:
        """Plain values for the model card."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, object]) -> NetworkConfig:
        """Read what `as_dict` wrote.

        Raises:
            TypeError, KeyError, ValueError: it is something else.
        """
        axes = {
            name: Axis(**values[name])  # type: ignore[arg-type]  # checked by the call itself
            for name in ("diameter", "volume", "dispersion", "root_share", "distance")
        }
        first, second, third = (int(n) for n in values["channels"])  # type: ignore[attr-defined]
        return NetworkConfig(
            **axes,
            channels=(first, second, third),
            features=int(values["features"]),  # type: ignore[call-overload]
            distance_channels=int(values["distance_channels"]),  # type: ignore[call-overload]
            flatten_width=int(values["flatten_width"]),  # type: ignore[call-overload]
            standardized=bool(values.get("standardized", False)),  # not yet known to older cards
        )


WIDE = NetworkConfig(channels=(32, 48, 64), features=128, distance_channels=48)
"""Twice the weights and a third slower, for the many patterns that a GPU goes through."""


class Outputs(NamedTuple):
    """Logits, each of shape (batch, bins)."""

    diameter: Tensor
    volume: Tensor
    dispersion: Tensor
    root_share: Tensor
    kind: Tensor
    """Three: PbS nanocrystals, nothing crystalline, something else."""


KINDS = ("nanocrystals", "nothing", "foreign")


def bin_patterns(
    intensity: npt.NDArray[np.float64], coverage: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Bin (n, 5004) to (n, 1251): mean over covered points, and the covered share of each bin.

    The result is scaled to mean 1 over what is covered.
    """
    shape = (intensity.shape[0], POINTS, BIN)
    covered = coverage.reshape(shape)
    count = covered.sum(axis=2)
    total = (intensity.reshape(shape) * covered).sum(axis=2)
    binned = total / np.maximum(count, 1e-9)
    mean = total.sum(axis=1, keepdims=True) / np.maximum(count.sum(axis=1, keepdims=True), 1e-9)
    scaled = np.where(count > 0, binned / np.where(mean > 0, mean, 1.0), 0.0)
    return scaled.astype(np.float32), (count / BIN).astype(np.float32)


class _Convolution(nn.Conv1d):
    """One-dimensional, over (batch, channels, 1, points) whose channels lie side by side in memory.

    That layout, which torch has for images only, takes two thirds of the time on a CPU.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that torch gives it
        (stride,), (padding,) = self.stride, self.padding
        kernel = self.weight[:, :, None]
        return functional.conv2d(input, kernel, self.bias, (1, stride), (0, int(padding)))


def _side_by_side(x: Tensor) -> Tensor:
    """Give (batch, channels, points) as `_Convolution` takes it."""
    return x[:, :, None].contiguous(memory_format=torch.channels_last)


def _standardized(x: Tensor, valid: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the points that are valid, 0 elsewhere."""
    count = valid.sum(dim=1, keepdim=True).clamp_min(1.0)
    centred = (x - (x * valid).sum(dim=1, keepdim=True) / count) * valid
    sd = torch.sqrt((centred**2).sum(dim=1, keepdim=True) / count)
    return centred / sd.clamp_min(1e-3)  # a flat line stays flat


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = _Convolution(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + functional.relu(self.norm(self.convolution(x)))


def _block(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        _Convolution(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class _Distances(nn.Module):
    """Two gains of the flattened pattern (batch, 2, 1251) to features (batch, features, 1, 1).

    Each gain is weighted along Q in two ways, which are learned from flat and from proportional to
    Q (as in a pair distribution function), and transformed by sine and by cosine.
    """

    basis: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.distance_channels
        q = PUBLISHED_GRID.values().reshape(POINTS, BIN).mean(axis=1)
        phase = np.outer(q, config.distance.centres())
        basis = np.concatenate([np.sin(phase), np.cos(phase)], axis=1) * np.sqrt(2.0 / POINTS)
        self.count = config.distance.count
        # Made from the configuration, so it does not travel with the weights.
        self.register_buffer("basis", torch.from_numpy(basis).float(), persistent=False)
        slope = torch.from_numpy(q).float() / 5.0
        self.gain = nn.Parameter(torch.stack([torch.ones(POINTS), slope]))
        self.norm = nn.BatchNorm2d(8)
        self.trunk = nn.Sequential(
            _block(8, width, 7, 2), _block(width, width, 5, 2), _Residual(width),
            _block(width, width, 5, 4),
        )  # fmt: skip
        self.whole = _Convolution(width, config.features, self.count // 16, bias=False)

    def forward(self, flat: Tensor) -> Tensor:
        weighted = (flat[:, :, None] * self.gain).flatten(1, 2)
        transformed = (weighted @ self.basis).reshape(len(flat), 8, self.count)
        return self.whole(self.trunk(self.norm(_side_by_side(transformed))))


class SizingNetwork(nn.Module):
    """Patterns (batch, 1251) of mean 1 and coverage (batch, 1251) to `Outputs`."""

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config or NetworkConfig()
        first, second, third = self.config.channels
        self.trunk = nn.Sequential(
            _block(6, first, 9, 3),
            _block(first, second, 7, 3),
            _block(second, third, 5, 2),
            _Residual(third),
            _Residual(third),
            _Residual(third),
            _block(third, third, 5, 5),
        )
        self.whole = _Convolution(third, self.config.features, 14, bias=False)
        self.distances = _Distances(self.config)
        self.joined = nn.Sequential(nn.BatchNorm2d(self.config.features), nn.ReLU())
        sizes = [
            axis.count
            for axis in (
                self.config.diameter,
                self.config.volume,
                self.config.dispersion,
                self.config.root_share,
            )
        ] + [len(KINDS)]
        self.heads = nn.ModuleList(_Convolution(self.config.features, n, 1) for n in sizes)

    def channels(self, intensity: Tensor, coverage: Tensor) -> Tensor:
        """Give what the first layer sees, (batch, 6, 1251).

        Square root (evens out counting noise), the background-flattened pattern at three gains
        (a 2 % share is a ripple of 1 %, a pure powder one of 100 %), coverage and position.
        """
        valid = (coverage > 0).to(intensity.dtype)
        y = intensity * valid
        wide = self._smooth(self._smooth(y) / self._smooth(valid).clamp_min(0.1) * valid)
        wide = wide / self._smooth(valid).clamp_min(0.1)
        flat = (y - wide) / (wide.abs() + 0.02) * valid
        root = torch.sqrt(y.clamp_min(0.0))
        if self.config.standardized:
            root = _standardized(root, valid)
        ramp = torch.linspace(-1.0, 1.0, y.shape[1], dtype=y.dtype, device=y.device)
        return torch.stack(
            [
                root,
                torch.tanh(flat),
                torch.tanh(5.0 * flat),
                torch.tanh(25.0 * flat),
                coverage,
                ramp.expand_as(y),
            ],
            dim=1,
        )

    def _smooth(self, x: Tensor) -> Tensor:
        """Sum over a centred window of `flatten_width` bins, by differences of a running sum."""
        half = self.config.flatten_width // 2
        padded = functional.pad(x.double(), (half + 1, half))
        running = torch.cumsum(padded, dim=1)
        width = 2 * half + 1
        return (running[:, width:] - running[:, :-width]).to(x.dtype)

    def forward(self, intensity: Tensor, coverage: Tensor) -> Outputs:
        """Give the logits; see the class."""
        seen = self.channels(intensity, coverage)
        features = self.joined(
            self.whole(self.trunk(_side_by_side(seen))) + self.distances(seen[:, 1:3])
        )
        return Outputs(*(head(features)[:, :, 0, 0] for head in self.heads))
