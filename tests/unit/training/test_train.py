"""The loop: it learns, and it goes on where it stopped."""

from pathlib import Path

import pytest
import torch

from qd_agent.inference.network import WIDE, Axis, NetworkConfig
from training.dataset import PatternSource
from training.train import LOG, Schedule, Training, _Ahead, soft_labels

TINY = Schedule(steps=4, batch=8, checkpoint_every=2, validate_every=2, validation=8)


def quiet(step: int, loss: float) -> None:
    del step, loss


def a_source(seed: int = 0) -> PatternSource:
    return PatternSource(seed, max_diameter_nm=3.0, foreign_patterns=4)


def start(
    seed: int = 0, schedule: Schedule = TINY, config: NetworkConfig | None = None
) -> Training:
    return Training(seed, schedule, config, source=a_source(seed))


def test_labels_keep_their_value():
    axis = Axis(1.0, 0.1, 106)
    values = torch.tensor([1.0, 4.234, 11.5, 99.0])
    labels = soft_labels(values, axis)
    centres = torch.from_numpy(axis.centres()).float()
    torch.testing.assert_close(labels @ centres, torch.tensor([1.0, 4.234, 11.5, 11.5]))
    torch.testing.assert_close(labels.sum(1), torch.ones(4))


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_stopped_training_goes_on_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
):
    monkeypatch.setattr(Training, "_drawn_at_once", at_once)
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
    with pytest.raises(ValueError, match="of batch 8, not of seed 0, steps 4, batch 16"):
        start(schedule=other).resume(tmp_path / "c.safetensors")


def test_only_a_finished_training_moves_to_another_device(tmp_path: Path):
    elsewhere = start()
    elsewhere.device, elsewhere.step = "cuda", 3
    elsewhere.save(tmp_path / "c.safetensors", torch.zeros(16, dtype=torch.uint8))
    with pytest.raises(ValueError, match="a training on cuda"):
        start().resume(tmp_path / "c.safetensors")
    elsewhere.step = TINY.steps
    elsewhere.save(tmp_path / "c.safetensors", torch.zeros(16, dtype=torch.uint8))
    finished = start()
    finished.resume(tmp_path / "c.safetensors")
    assert finished.step == TINY.steps


def test_several_batches_of_one_draw_are_that_draw_in_order():
    source, alone = a_source(), a_source()
    ahead = _Ahead(source, 2, at_once=3)
    before = ahead.state
    taken = [ahead.take() for _ in range(2)]
    assert torch.equal(ahead.state, before)
    taken.append(ahead.take())
    whole = alone.batch(6)
    for name in whole.__slots__:
        parts = torch.cat([getattr(batch, name) for batch in taken])
        torch.testing.assert_close(parts, getattr(whole, name))
    assert torch.equal(ahead.state, alone.state)
    ahead.close()
    assert torch.equal(source.state, alone.state)


def test_the_rate_warms_up_and_falls():
    schedule = Schedule(steps=1000)
    assert schedule.rate(0) < 0.05 * schedule.peak_rate
    assert schedule.rate(60) > 0.9 * schedule.peak_rate
    assert schedule.rate(999) < 0.01 * schedule.peak_rate
