"""The training loop: seeded, resumable, one checkpoint file without pickle."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from qd_agent.inference.network import Axis, NetworkConfig, Outputs, SizingNetwork
from training.dataset import Batch, PatternSource

Report = Callable[[int, float], None]
"""Called with (step, running loss) now and then."""

LOG = "training_log.csv"
"""Beside the model: step, running loss, mean error (nm) on patterns kept apart, learning rate."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn."""

    steps: int = 24000
    batch: int = 128
    peak_rate: float = 3e-3
    warm_up: float = 0.05
    decay: float = 0.999
    """Of the running average of weights, which is what is shipped."""
    checkpoint_every: int = 250
    validate_every: int = 500
    validation: int = 512
    """Patterns that the learning curve is measured on; training never draws them."""

    def rate(self, step: int) -> float:
        """Learning rate: linear warm-up, then a cosine to a thousandth of the peak."""
        warm = max(1.0, self.warm_up * self.steps)
        if step < warm:
            return self.peak_rate * (step + 1) / warm
        part = (step - warm) / max(1.0, self.steps - warm)
        return self.peak_rate * max(1e-3, 0.5 * (1.0 + math.cos(math.pi * part)))


ON_GPU = Schedule(
    steps=16000, batch=2048, checkpoint_every=1000, validate_every=1000, validation=2048
)
"""The schedule where a GPU makes and learns from the patterns."""

DRAWN_AT_ONCE = 8192
"""Patterns that a GPU makes at once, in a tenth more memory: making a batch of 2048 is 6 ms of an
H100's work, and 30 ms of Python telling it what to do."""


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


class _Ahead:
    """Draws batches on a thread of its own, one draw ahead; `at_once` batches make a draw.

    `state` is that of the source from which the first batch that was not taken is drawn; of that
    draw, as many batches were taken as the number of all that were leaves over when divided by
    `at_once`. They are what `taken` skips.
    """

    def __init__(
        self, source: PatternSource, size: int, *, at_once: int = 1, taken: int = 0
    ) -> None:
        self._source, self._size, self._at_once = source, size, at_once
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="patterns")
        self._waiting: list[Batch] = []
        self._after = self.state = source.state
        self._next: Future[tuple[Batch, Tensor]] = self._executor.submit(self._draw)
        for _ in range(taken % at_once):
            self.take()

    def _draw(self) -> tuple[Batch, Tensor]:
        drawn = self._source.batch(self._size * self._at_once)
        return drawn, self._source.state

    def take(self) -> Batch:
        """Give the next batch."""
        if not self._waiting:
            drawn, self._after = self._next.result()
            self._waiting = drawn.parts(self._size)
            self._next = self._executor.submit(self._draw)
        batch = self._waiting.pop(0)
        if not self._waiting:
            self.state = self._after
        return batch

    def close(self) -> None:
        """Let the thread end; leaves the source at `state`."""
        self._next.result()
        self._executor.shutdown()
        self._source.restore(self.state)


class Training:
    """A network on its way: weights, their running average, optimizer and random state."""

    def __init__(
        self,
        seed: int,
        schedule: Schedule,
        config: NetworkConfig | None = None,
        source: PatternSource | None = None,
        device: str = "cpu",
    ) -> None:
        torch.manual_seed(seed)
        self.seed, self.schedule, self.device = seed, schedule, device
        self.network = SizingNetwork(config).to(device)
        self.average = copy.deepcopy(self.network).eval()
        self._pairs = _alike(self.average, self.network)
        self._centres = self.network.config.diameter.centres()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), weight_decay=0.01, fused=device == "cuda"
        )
        self.source = source or PatternSource(seed)
        self.step = 0
        self._validation: Batch | None = None

    def run(self, checkpoint: Path, report: Report) -> SizingNetwork:
        """Train to the end of the schedule, with a log beside `checkpoint`; averaged network."""
        self.network.train()
        log = checkpoint.with_name(LOG)
        running: Tensor | None = None
        ahead = _Ahead(
            self.source, self.schedule.batch, at_once=self._drawn_at_once, taken=self.step
        )
        try:
            while self.step < self.schedule.steps:
                loss = self._one_step(ahead.take().to(self.device))
                running = _smoothed(running, loss)
                self.step += 1
                if self.step % 20 == 0:  # no oftener: to know a loss is to wait for the GPU
                    report(self.step, float(running))
                if self.step % self.schedule.checkpoint_every == 0:
                    self.save(checkpoint, ahead.state)
                if self.step % self.schedule.validate_every == 0:
                    self._write_log(log, float(running))
        finally:
            ahead.close()
        return self.average.cpu()

    @property
    def _drawn_at_once(self) -> int:
        """Batches of a draw."""
        return max(1, DRAWN_AT_ONCE // self.schedule.batch) if self.device == "cuda" else 1

    def validate(self) -> float:
        """Mean error of the averaged network, nm, on patterns that training never draws."""
        if self._validation is None:
            apart = self.source.with_seed(self.seed + 3000)
            self._validation = apart.batch(self.schedule.validation).to(self.device)
        batch = self._validation
        with torch.inference_mode():
            outputs = self.average(batch.intensity, batch.coverage)
        mean = outputs.diameter.softmax(dim=1).double().cpu().numpy() @ self._centres
        real = (batch.kind == 0).cpu().numpy()
        return float(np.abs(mean - batch.diameter.cpu().numpy())[real].mean())

    def _write_log(self, path: Path, loss: float) -> None:
        new = not path.exists()
        with path.open("a", encoding="utf-8") as file:
            if new:
                file.write("step,loss,validation_mean_error_nm,rate\n")
            rate = self.schedule.rate(self.step)
            file.write(f"{self.step},{loss:.5f},{self.validate():.5f},{rate:.3e}\n")

    def _one_step(self, batch: Batch) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        outputs = self.network(batch.intensity, batch.coverage)
        loss = loss_of(outputs, batch, self.network.config)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimizer.step()
        keep = min(self.schedule.decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for value, new in self._pairs:
                if value.is_floating_point():
                    value.lerp_(new, 1.0 - keep)
                else:
                    value.copy_(new)
        return loss.detach()

    def save(self, path: Path, random: Tensor | None = None) -> None:
        """Write everything that is needed to go on; replaces the file at once.

        `random` is the state of the source to go on from; its present one when not given.
        """
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        tensors["random"] = self.source.state if random is None else random
        tensors = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
        about = {
            "step": self.step, "seed": self.seed, "steps": self.schedule.steps,
            "batch": self.schedule.batch, "device": self.device,
            "network": self.network.config.as_dict(),
        }  # fmt: skip
        temporary = path.with_suffix(".tmp")
        save_file(tensors, temporary, metadata={"about": json.dumps(about)})
        temporary.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from `save`.

        Raises:
            ValueError: the checkpoint is of another seed, length or network, or is not finished
                and of another kind of device.
        """
        with safe_open(path, framework="pt") as file:  # pyright: ignore[reportUnknownVariableType]  # untyped library
            about = json.loads(file.metadata()["about"])
            tensors: dict[str, Tensor] = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - not a dict
        self._check(path, about)

        def part(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.network.load_state_dict(part("network."))
        self.average.load_state_dict(part("average."))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in part("optimizer.").items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.step = int(about["step"])
        if self.step < self.schedule.steps:
            self.source.restore(tensors["random"])

    def _check(self, path: Path, about: dict[str, object]) -> None:
        """Raise ValueError where a checkpoint is no part of this training."""
        mine = {"seed": self.seed, "steps": self.schedule.steps, "batch": self.schedule.batch}
        wrong = [f"{name} {about.get(name)}" for name in mine if about.get(name) != mine[name]]
        if wrong:
            asked = ", ".join(f"{name} {value}" for name, value in mine.items())
            raise ValueError(
                f"{path} is a checkpoint of {', '.join(wrong)}, not of {asked}; give the same or "
                "start anew"
            )
        if about.get("network") != json.loads(json.dumps(self.network.config.as_dict())):
            raise ValueError(
                f"{path} is a checkpoint of a network of another width; go on "
                "with --wide or without it, as before, or start anew"
            )
        if about["device"] != self.device and about["step"] != self.schedule.steps:
            raise ValueError(
                f"{path} is a checkpoint of a training on {about['device']}, which draws other "
                f"patterns than {self.device}; go on there or start anew"
            )


def _smoothed(before: Tensor | None, loss: Tensor) -> Tensor:
    return loss if before is None else before.lerp(loss, 0.02)


def _alike(one: SizingNetwork, other: SizingNetwork) -> list[tuple[Tensor, Tensor]]:
    """Pair the weights and statistics of two networks."""
    theirs = other.state_dict()
    return [(value, theirs[name]) for name, value in one.state_dict().items()]
