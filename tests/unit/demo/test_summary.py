"""The demo's books: what is lost, what is there twice, and how good the sizes are."""

import json
from pathlib import Path

import pytest

from qd_agent.core.prediction import Estimate, Verdict
from qd_agent.demo.summary import Arrival, Truth, read_truth, summarize
from tests.helpers import records

RUN = "run-1"


def arrival(seq_num: int, diameter: float | None, delay: float = 0.2) -> Arrival:
    estimate = (
        Estimate(verdict=Verdict.NO_NANOCRYSTALS, reason="solvent")
        if diameter is None
        else records.sized(diameter)
    )
    prediction = records.prediction(RUN, seq_num, estimate)
    return Arrival(prediction, stored=prediction.frame_time + delay)


def truth(seq_num: int, diameter: float | None) -> Truth:
    return Truth((RUN, seq_num), diameter, 0.0 if diameter is None else 0.5)


def books(truths: list[Truth], arrivals: list[Arrival], tiled: list[int]):
    frames = [(RUN, n) for n in tiled]
    return summarize(truths, arrivals, frames, redis_url="redis://x", tiled_uri="http://x")


def test_a_complete_run_agrees():
    truths = [truth(1, None), truth(2, 4.0), truth(3, 5.0)]
    summary = books(truths, [arrival(1, None), arrival(2, 4.1), arrival(3, 5.3)], [1, 2, 3])
    assert summary.books_agree
    assert (summary.frames_taken, summary.predictions, summary.lost, summary.duplicates) == (
        3,
        3,
        0,
        0,
    )
    assert (summary.sized, summary.abstained, summary.sized_without_nanocrystals) == (2, 1, 0)
    assert summary.mae_nm == pytest.approx(0.2)
    assert summary.interval_coverage == 0.5
    assert summary.latency_ms is not None
    assert summary.latency_ms.p50 == pytest.approx(200.0, abs=1.0)
    assert summary.run_uids == [RUN]


@pytest.mark.parametrize(
    ("in_redis", "in_tiled", "lost", "duplicates"),
    [
        ([1], [1, 2], 1, 0),
        ([1, 2], [1], 1, 0),
        ([1, 2, 2], [1, 2], 0, 1),
        ([1, 2], [1, 2, 2, 2], 0, 2),
        ([], [], 2, 0),
    ],
)
def test_a_missing_or_repeated_frame_in_either_store_is_counted(
    in_redis: list[int], in_tiled: list[int], lost: int, duplicates: int
):
    summary = books([truth(1, 4.0), truth(2, 4.0)], [arrival(n, 4.0) for n in in_redis], in_tiled)
    assert (summary.lost, summary.duplicates) == (lost, duplicates)
    assert not summary.books_agree


def test_a_size_for_pure_solvent_is_named():
    summary = books([truth(1, None)], [arrival(1, 3.0)], [1])
    assert summary.sized_without_nanocrystals == 1
    assert summary.mae_nm is None


def test_no_frames_at_all_is_no_success():
    assert not books([], [], []).books_agree


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path):
    line = {"run_uid": RUN, "seq_num": 1, "diameter_nm": 4.0, "nanocrystal_fraction": 0.2}
    (tmp_path / "t.jsonl").write_text(json.dumps(line) + "\n" + '{"run_uid": "ru')
    assert read_truth(tmp_path / "t.jsonl") == [Truth((RUN, 1), 4.0, 0.2)]
    assert read_truth(tmp_path / "absent.jsonl") == []


def test_a_diameter_without_nanocrystals_is_no_truth(tmp_path: Path):
    line = {"run_uid": RUN, "seq_num": 1, "diameter_nm": 2.0, "nanocrystal_fraction": 0.0}
    (tmp_path / "t.jsonl").write_text(json.dumps(line) + "\n")
    assert read_truth(tmp_path / "t.jsonl")[0].diameter_nm is None
