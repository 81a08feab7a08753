"""What the network is taught: cross-entropies of its distributions with the truth."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from qd_agent.inference.network import Axis, NetworkConfig, Outputs
from training.dataset import Batch


def soft_labels(values: Tensor, axis: Axis) -> Tensor:
    """Put each value on its two neighbouring bins so that their mean is the value; (n, bins)."""
    position = ((values - axis.first) / axis.step).clamp(0.0, axis.count - 1.0)
    low = position.floor().long().clamp(max=axis.count - 2)
    part = (position - low)[:, None]
    return functional.one_hot(low, axis.count) * (1 - part) + part * functional.one_hot(
        low + 1, axis.count
    )


def loss_of(outputs: Outputs, batch: Batch, config: NetworkConfig) -> Tensor:
    """Weighted cross-entropies; a size counts where there are nanocrystals."""
    real = (batch.kind == 0).float()
    known_share = (batch.kind < 2).float()

    def term(logits: Tensor, values: Tensor, axis: Axis, mask: Tensor) -> Tensor:
        losses = functional.cross_entropy(logits, soft_labels(values, axis), reduction="none")
        return (losses * mask).sum() / mask.sum().clamp_min(1.0)

    return (
        term(outputs.diameter, batch.diameter, config.diameter, real)
        + 0.5 * term(outputs.volume, batch.volume, config.volume, real)
        + 0.3 * term(outputs.dispersion, batch.dispersion, config.dispersion, real)
        + 0.3 * term(outputs.root_share, batch.fraction.sqrt(), config.root_share, known_share)
        + 0.5 * functional.cross_entropy(outputs.kind, batch.kind)
    )
