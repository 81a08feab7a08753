"""The loop: it learns, and it goes on where it stopped."""

from pathlib import Path

import pytest
import torch

from qd_agent.inference.network import WIDE, NetworkConfig
from training.dataset import PatternSource
from training.drawing import Ahead, Drawing
from training.shares import Shares
from training.train import LOG, Schedule, Training

TINY = Schedule(steps=4, batch=8, checkpoint_every=2, validate_every=2, validation=8)


def quiet(step: int, loss: float) -> None:
    del step, loss


def a_source(seed: int = 0) -> PatternSource:
    return PatternSource(seed, max_diameter_nm=3.0, foreign_patterns=4)


def start(
    seed: int = 0, schedule: Schedule = TINY, config: NetworkConfig | None = None
) -> Training:
    return Training(seed, schedule, config, source=a_source(seed))


def ahead(self: Training, source: PatternSource) -> Drawing:
    """As on a GPU: three batches are drawn at once, on a thread of their own."""
    return Ahead(source, 4, at_once=3, taken=self.step)


@pytest.mark.parametrize("drawing", [Training._drawing, ahead])
def test_a_stopped_training_goes_on_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawing: object
):
    monkeypatch.setattr(Training, "_drawing", drawing)
    through = start().run(tmp_path / "a.safetensors", quiet)
    stopped = start()

    class Interrupted(Exception):  # noqa: N818
        pass

    original = stopped._one_step

    def fails_at_third(shares: Shares) -> torch.Tensor:
        if stopped.step == 2:
            raise Interrupted
        return original(shares)

    stopped._one_step = fails_at_third  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        stopped.run(tmp_path / "b.safetensors", quiet)
    resumed = start()
    resumed.resume(tmp_path / "b.safetensors")
    assert resumed.step == 2
    network = resumed.run(tmp_path / "b.safetensors", quiet)
    for one, other in zip(through.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_the_learning_curve_stands_beside_the_checkpoint(tmp_path: Path):
    start().run(tmp_path / "a.safetensors", quiet)
    header, *rows = (tmp_path / LOG).read_text(encoding="utf-8").splitlines()
    assert header == "step,loss,validation_mean_error_nm,rate"
    assert [row.split(",")[0] for row in rows] == ["2", "4"]
    assert all(float(value) > 0 for row in rows for value in row.split(","))


def test_a_checkpoint_of_another_seed_is_refused(tmp_path: Path):
    training = start()
    training.save(tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match="seed 0"):
        start(seed=1).resume(tmp_path / "c.safetensors")


def test_a_checkpoint_of_another_width_is_refused(tmp_path: Path):
    start(config=WIDE).save(tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match="with --wide or without"):
        start().resume(tmp_path / "c.safetensors")
    resumed = start(config=WIDE)
    resumed.resume(tmp_path / "c.safetensors")
    assert resumed.network.config == WIDE


def test_a_checkpoint_of_another_batch_is_refused(tmp_path: Path):
    start().save(tmp_path / "c.safetensors")
    other = Schedule(steps=TINY.steps, batch=16)
    with pytest.raises(ValueError, match="of batch 8, not of seed 0, steps 4, batch 16, shares 2"):
        start(schedule=other).resume(tmp_path / "c.safetensors")


def test_a_checkpoint_of_another_number_of_shares_is_refused(tmp_path: Path):
    start().save(tmp_path / "c.safetensors")
    whole = Schedule(steps=TINY.steps, batch=TINY.batch, shares=1)
    with pytest.raises(ValueError, match="of shares 2, not of seed 0"):
        start(schedule=whole).resume(tmp_path / "c.safetensors")


def test_only_a_finished_training_moves_to_another_device(tmp_path: Path):
    elsewhere = start()
    elsewhere.device, elsewhere.step = "cuda", 3
    elsewhere.save(tmp_path / "c.safetensors", torch.zeros(1, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match="a training on cuda"):
        start().resume(tmp_path / "c.safetensors")
    elsewhere.step = TINY.steps
    elsewhere.save(tmp_path / "c.safetensors", torch.zeros(1, 16, dtype=torch.uint8))
    finished = start()
    finished.resume(tmp_path / "c.safetensors")
    assert finished.step == TINY.steps


def test_the_rate_warms_up_and_falls():
    schedule = Schedule(steps=1000)
    assert schedule.rate(0) < 0.05 * schedule.peak_rate
    assert schedule.rate(60) > 0.9 * schedule.peak_rate
    assert schedule.rate(999) < 0.01 * schedule.peak_rate
