"""The end of the demo: frames taken against predictions stored, sizes against the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field

from qd_agent.core.prediction import Prediction, Verdict

Frame = tuple[str, int]
"""Run uid and seq_num of a frame in the stream 'primary'."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What the simulated beamline knows of one frame."""

    frame: Frame
    diameter_nm: float | None
    nanocrystal_fraction: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """A prediction as Redis holds it; `stored` is the server's clock, UTC epoch s."""

    prediction: Prediction
    stored: float

    @property
    def frame(self) -> Frame:
        """The frame that it answers."""
        return self.prediction.key.run_uid, self.prediction.key.seq_num


class Latency(BaseModel):
    """From the frame's event to its prediction in Redis, ms."""

    p50: float
    p95: float
    p99: float


class Summary(BaseModel):
    """What the demo reports; `lost` and `duplicates` count over Redis and Tiled."""

    frames_taken: int
    predictions: int = Field(description="different frames with a prediction in Redis")
    lost: int = Field(description="frames without a prediction in Redis or without one in Tiled")
    duplicates: int = Field(description="predictions beyond one a frame, in Redis or in Tiled")
    sized: int
    abstained: int
    sized_without_nanocrystals: int = Field(description="solvent-only frames given a size: wrong")
    mae_nm: float | None = Field(description="mean absolute error of the sized frames")
    interval_coverage: float | None = Field(
        description="share of the sized frames whose 90 % interval holds the truth"
    )
    latency_ms: Latency | None
    model: str
    redis_url: str = Field(description="with the password, so that any client gets in")
    tiled_uri: str = Field(description="with the API key, likewise")
    run_uids: list[str]

    @property
    def books_agree(self) -> bool:
        """Every frame is there once, in both stores."""
        return self.frames_taken > 0 and self.lost == 0 and self.duplicates == 0


def read_truth(path: Path) -> list[Truth]:
    """Read the beamline's truth file; a last line that is still being written is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [_truth(json.loads(line)) for line in lines]


def _truth(line: Mapping[str, object]) -> Truth:
    share = float(str(line.get("nanocrystal_fraction") or 0.0))
    diameter = line.get("diameter_nm")
    return Truth(
        frame=(str(line["run_uid"]), int(str(line["seq_num"]))),
        diameter_nm=float(str(diameter)) if diameter is not None and share > 0 else None,
        nanocrystal_fraction=share,
    )


def summarize(
    truths: Sequence[Truth],
    arrivals: Sequence[Arrival],
    in_tiled: Sequence[Frame],
    *,
    redis_url: str,
    tiled_uri: str,
) -> Summary:
    """Compare what the beamline took with what the stores hold."""
    taken = {truth.frame: truth for truth in truths}
    by_frame = {arrival.frame: arrival for arrival in arrivals}
    redis, tiled = set(by_frame), set(in_tiled)
    sized = [a for a in by_frame.values() if a.prediction.verdict is Verdict.SIZED]
    errors, covered = _against_truth(sized, taken)
    phantom = [a for a in sized if a.frame in taken and taken[a.frame].diameter_nm is None]
    delays = [(a.stored - a.prediction.frame_time) * 1e3 for a in by_frame.values()]
    models = {a.prediction.provenance.model_sha256[:12] for a in arrivals}
    names = {
        f"{a.prediction.provenance.model_name} {a.prediction.provenance.model_version}"
        for a in arrivals
    }
    return Summary(
        frames_taken=len(taken),
        predictions=len(redis),
        lost=len(taken.keys() - (redis & tiled)),
        duplicates=len(arrivals) - len(redis) + len(in_tiled) - len(tiled),
        sized=len(sized),
        abstained=len(redis) - len(sized),
        sized_without_nanocrystals=len(phantom),
        mae_nm=float(np.mean(np.abs(errors))) if errors else None,
        interval_coverage=float(np.mean(covered)) if covered else None,
        latency_ms=_latency(delays),
        model=" ".join([*sorted(names), *sorted(models)]),
        redis_url=redis_url,
        tiled_uri=tiled_uri,
        run_uids=sorted({truth.frame[0] for truth in truths}),
    )


def _against_truth(
    sized: Sequence[Arrival], taken: Mapping[Frame, Truth]
) -> tuple[list[float], list[bool]]:
    errors: list[float] = []
    covered: list[bool] = []
    for arrival in sized:
        truth = taken.get(arrival.frame)
        prediction = arrival.prediction
        if truth is None or truth.diameter_nm is None or prediction.diameter_nm is None:
            continue
        errors.append(prediction.diameter_nm - truth.diameter_nm)
        if prediction.interval_nm is not None:
            low, high = prediction.interval_nm
            covered.append(low <= truth.diameter_nm <= high)
    return errors, covered


def _latency(delays_ms: Sequence[float]) -> Latency | None:
    if not delays_ms:
        return None
    p50, p95, p99 = (round(float(v), 1) for v in np.percentile(delays_ms, [50, 95, 99]))
    return Latency(p50=p50, p95=p95, p99=p99)
