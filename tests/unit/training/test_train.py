"""The loop: it learns, and it goes on where it stopped."""

from pathlib import Path

import pytest
import torch

from qd_agent.inference.network import Axis
from training.dataset import PatternSource
from training.train import LOG, Schedule, Training, soft_labels

TINY = Schedule(steps=4, batch=8, checkpoint_every=2, validate_every=2, validation=8)


def quiet(step: int, loss: float) -> None:
    del step, loss


def start(seed: int = 0, schedule: Schedule = TINY) -> Training:
    source = PatternSource(seed, max_diameter_nm=3.0, foreign_patterns=4)
    return Training(seed, schedule, source=source)


def test_labels_keep_their_value():
    axis = Axis(1.0, 0.1, 106)
    values = torch.tensor([1.0, 4.234, 11.5, 99.0])
    labels = soft_labels(values, axis)
    centres = torch.from_numpy(axis.centres()).float()
    torch.testing.assert_close(labels @ centres, torch.tensor([1.0, 4.234, 11.5, 11.5]))
    torch.testing.assert_close(labels.sum(1), torch.ones(4))


def test_a_stopped_training_goes_on_to_the_same_end(tmp_path: Path):
    through = start().run(tmp_path / "a.safetensors", quiet)
    stopped = start()

    class Interrupted(Exception):  # noqa: N818
        pass

    original = stopped._one_step

    def fails_at_third(batch: object) -> float:
        if stopped.step == 2:
            raise Interrupted
        return original(batch)  # type: ignore[arg-type]

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


def test_the_rate_warms_up_and_falls():
    schedule = Schedule(steps=1000)
    assert schedule.rate(0) < 0.05 * schedule.peak_rate
    assert schedule.rate(60) > 0.9 * schedule.peak_rate
    assert schedule.rate(999) < 0.01 * schedule.peak_rate
