"""What the soak concludes from its samples; the soak itself takes an hour (`make soak`)."""

from dataclasses import replace

import pytest

from tests.system.chaos.soak import Sample, growing, summary

FLAT = Sample(0.0, 0, 0, 650.0, 20, 12, 75.0, 8.0, 0.0)


def samples(frames: int = 100_000, **growth: float) -> list[Sample]:
    """A hundred looks; `growth` is what a value gains per frame."""
    looks = []
    for n in range(101):
        published = frames * n // 100
        grown = {name: getattr(FLAT, name) + by * published for name, by in growth.items()}
        looks.append(replace(FLAT, seconds=36.0 * n, published=published, taken=published, **grown))
    return looks


def test_a_flat_soak_is_called_flat():
    assert growing(summary(samples())) == []


@pytest.mark.parametrize(
    ("name", "per_frame"),
    [("rss_mb", 1.5e-4), ("files", 1e-4), ("threads", 2e-5), ("ledger_mb", 3e-4)],
)
def test_what_grows_without_end_is_named(name: str, per_frame: float):
    (line,) = growing(summary(samples(**{name: per_frame})))
    assert line.startswith(f"{name} grows")


def test_a_single_large_step_is_named_though_its_slope_is_small():
    looks = samples()
    looks[-1] = replace(looks[-1], rss_mb=700.0)
    (line,) = growing(summary(looks))
    assert "50.0 above what it was after a quarter" in line


def test_a_short_soak_is_not_judged():
    assert growing(summary(samples(10_000, rss_mb=1.0))) == []
