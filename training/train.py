"""The training loop: seeded, resumable, one checkpoint file without pickle."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from qd_agent.inference.network import NetworkConfig, SizingNetwork
from training.dataset import Batch, PatternSource
from training.drawing import Ahead, Drawing, Drawn
from training.shares import Shares

Report = Callable[[int, float], None]
"""Called with (step, running loss) now and then."""

LOG = "training_log.csv"
"""Beside the model: step, running loss, mean error (nm) on patterns kept apart, learning rate."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn."""

    steps: int = 14000
    batch: int = 128
    peak_rate: float = 3e-3
    warm_up: float = 0.05
    decay: float = 0.999
    """Of the running average of weights, which is what is shipped."""
    checkpoint_every: int = 250
    validate_every: int = 500
    shares: int = 2
    """Parts of a batch that are drawn and learned from at once, each normalized by itself. They
    are part of what is learned, not a matter of how many cores there are."""
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
    steps=16000, batch=2048, shares=1, checkpoint_every=1000, validate_every=1000, validation=2048
)
"""The schedule where a GPU makes and learns from the patterns."""

DRAWN_AT_ONCE = 8192
"""Patterns that a GPU makes at once, in a tenth more memory: making a batch of 2048 is 6 ms of an
H100's work, and 30 ms of Python telling it what to do."""


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
        self.optimizer = torch.optim.AdamW(self.network.parameters(), weight_decay=0.01, fused=True)
        self.source = source or PatternSource(seed)
        others = (self.source.with_seed(seed + 5000 + i) for i in range(1, schedule.shares))
        self.sources = (self.source, *others)
        self.step = 0
        self._validation: Batch | None = None

    def run(self, checkpoint: Path, report: Report) -> SizingNetwork:
        """Train to the end of the schedule, with a log beside `checkpoint`; averaged network."""
        self.network.train()
        log = checkpoint.with_name(LOG)
        running: Tensor | None = None
        shares = Shares(self.network, [self._drawing(one) for one in self.sources], self.device)
        try:
            while self.step < self.schedule.steps:
                loss = self._one_step(shares)
                running = _smoothed(running, loss)
                self.step += 1
                if self.step % 20 == 0:  # no oftener: to know a loss is to wait for the GPU
                    report(self.step, float(running))
                if self.step % self.schedule.checkpoint_every == 0:
                    self.save(checkpoint, shares.states())
                if self.step % self.schedule.validate_every == 0:
                    self._write_log(log, float(running))
        finally:
            shares.close()
        return self.average.cpu()

    def _drawing(self, source: PatternSource) -> Drawing:
        """Patterns of one share; a GPU's are made ahead while it learns."""
        size = self.schedule.batch // self.schedule.shares
        if self.device != "cuda":
            return Drawn(source, size)
        return Ahead(source, size, at_once=max(1, DRAWN_AT_ONCE // size), taken=self.step)

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

    def _one_step(self, shares: Shares) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        loss = shares.learn()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimizer.step()
        keep = min(self.schedule.decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for value, new in self._pairs:
                if value.is_floating_point():
                    value.lerp_(new, 1.0 - keep)
                else:
                    value.copy_(new)
        return loss

    def save(self, path: Path, random: Tensor | None = None) -> None:
        """Write everything that is needed to go on; replaces the file at once.

        `random` are the states of the sources to go on from; their present ones when not given.
        """
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        states = torch.stack([one.state for one in self.sources]) if random is None else random
        tensors["random"] = states
        tensors = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
        about = {
            "step": self.step, "seed": self.seed, "steps": self.schedule.steps,
            "batch": self.schedule.batch, "shares": self.schedule.shares, "device": self.device,
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
            for source, stands in zip(self.sources, tensors["random"], strict=True):
                source.restore(stands)

    def _check(self, path: Path, about: dict[str, object]) -> None:
        """Raise ValueError where a checkpoint is no part of this training."""
        plan = self.schedule
        mine = {"seed": self.seed, "steps": plan.steps, "batch": plan.batch, "shares": plan.shares}
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
