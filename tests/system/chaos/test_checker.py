"""The auditor of the campaigns finds what it is there to find: a blind one would prove nothing."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from tests.helpers.chaos_checker import (
    DATASET,
    Findings,
    Frame,
    Stores,
    check_run,
    integrate,
    pixel_bins,
    read_journal,
)

SHAPE, FRAMES = (65, 61), 8
PONI = """poni_version: 2.1
Detector: Detector
Detector_config: {"pixel1": 0.002752, "pixel2": 0.002752, "max_shape": [65, 61], "orientation": 3}
Distance: 0.4
Poni1: 0.0302
Poni2: 0.0297
Wavelength: 1.839e-11
"""


class Whole(SimpleNamespace):
    """A run with nothing wrong; tests break one thing in it."""

    frames: list[Frame]
    stores: Stores
    bins: np.ndarray

    def check(self) -> Findings:
        findings = Findings()
        check_run(findings, "run", self.frames, self.stores, self.bins)
        return findings


@pytest.fixture
def whole(tmp_path: Path) -> Whole:
    poni, path = tmp_path / "a.poni", tmp_path / "a.h5"
    poni.write_text(PONI)
    bins = pixel_bins(poni, np.zeros(SHAPE, np.uint8))
    images = np.random.default_rng(0).poisson(200, (FRAMES, *SHAPE)).astype("<u4")
    with h5py.File(path, "w") as file:
        file[DATASET] = images
    frames = [Frame("run", "primary", n + 1, path, n) for n in range(FRAMES)]
    answers: list[dict[str, Any]] = [
        {
            "key": {"run_uid": "run", "stream": "primary", "seq_num": n + 1},
            "verdict": "sized",
            "reason": "",
            "diameter_nm": 4.0 + n,
        }
        for n in range(FRAMES)
    ]
    rows = [
        {
            "stream": "primary",
            "seq_num": n + 1,
            "row": n,
            "verdict": "sized",
            "diameter_nm": 4.0 + n,
        }
        for n in range(FRAMES)
    ]
    account = {"expected": FRAMES, "missing": 0}
    held = {"predictions": str(FRAMES), "state": "closed", "account": json.dumps(account)}
    patterns = np.nan_to_num(np.stack([integrate(image, bins) for image in images]))
    stores = Stores(answers, copy.deepcopy(answers), held, rows, patterns)
    return Whole(frames=frames, stores=stores, bins=bins, path=path)


def only(findings: Findings, kind: str) -> list[str]:
    """Give the findings of a kind; there must be no others."""
    found = {"lost": findings.lost, "duplicates": findings.duplicates}
    found["unexplained"] = findings.unexplained
    assert all(not what for name, what in found.items() if name != kind), findings.table()
    return found[kind]


def test_a_run_with_nothing_wrong_is_clean(whole: Whole):
    findings = whole.check()
    assert findings.clean, findings.table()
    assert findings.patterns == findings.redis == findings.tiled == findings.frames == FRAMES


def test_a_frame_lost_in_redis_is_found(whole: Whole):
    del whole.stores.redis[3]
    whole.stores.account["predictions"] = str(FRAMES - 1)
    assert only(whole.check(), "lost") == ["run primary/4 is not in Redis"]


def test_a_frame_lost_in_the_stream_of_all_runs_is_found(whole: Whole):
    del whole.stores.everywhere[0]
    assert only(whole.check(), "lost") == ["run primary/1 is not in Redis (all)"]


def test_a_frame_lost_in_tiled_is_found(whole: Whole):
    whole.stores.rows.pop()
    assert only(whole.check(), "lost") == ["run primary/8 is not in Tiled"]


def test_a_run_that_no_store_knows_is_lost_with_every_frame(whole: Whole):
    whole.stores = Stores([], [], {}, None, None)
    assert len(whole.check().lost) == 3 * FRAMES


def test_a_duplicate_in_redis_is_found(whole: Whole):
    whole.stores.redis.append(whole.stores.redis[2])
    assert only(whole.check(), "duplicates") == ["run primary/3 is 2 times in Redis"]


def test_a_duplicate_in_tiled_is_found(whole: Whole):
    whole.stores.rows.append({**whole.stores.rows[5], "row": FRAMES})
    whole.stores.patterns = np.vstack([whole.stores.patterns, whole.stores.patterns[5]])
    assert only(whole.check(), "duplicates") == ["run primary/6 is 2 times in Tiled"]


def test_a_row_number_that_is_given_twice_is_found(whole: Whole):
    whole.stores.rows[5]["row"] = 4
    assert any("row numbers" in line for line in only(whole.check(), "unexplained"))


def test_an_answer_for_a_frame_that_nobody_took_is_found(whole: Whole):
    whole.frames.pop()
    whole.stores.account["account"] = json.dumps({"expected": FRAMES - 1, "missing": 0})
    assert all("primary/8" in line and "never taken" in line
               for line in only(whole.check(), "unexplained"))  # fmt: skip


def test_patterns_of_two_frames_that_are_swapped_are_found(whole: Whole):
    whole.stores.patterns[[1, 2]] = whole.stores.patterns[[2, 1]]
    first, second = only(whole.check(), "unexplained")
    assert "run primary/2: its pattern in Tiled is not of its frame" in first
    assert "most like 3" in first
    assert "most like 2" in second


def left_with(whole: Whole, numbers: list[int]) -> None:
    """Let the file be cut, so that only some frames were answered, by another integration."""
    whole.stores.patterns *= 1.0 + 0.3 * np.sin(np.arange(whole.stores.patterns.shape[1]))
    whole.path.with_suffix(".original").write_bytes(whole.path.read_bytes())
    with whole.path.open("r+b") as file:
        file.truncate(5000)
    for place in (*whole.stores.redis, *whole.stores.rows):
        number = place["seq_num"] if "seq_num" in place else place["key"]["seq_num"]
        if number not in numbers:
            place |= {"verdict": "bad_frame", "diameter_nm": None, "reason": "the file is cut"}


@pytest.mark.parametrize("numbers", [[4, 5], [4]], ids=["two frames", "a single frame"])
def test_few_answered_frames_of_a_run_are_told_apart_too(whole: Whole, numbers: list[int]):
    left_with(whole, numbers)
    findings = whole.check()
    assert findings.clean, findings.table()
    assert findings.patterns == len(numbers)
    whole.stores.patterns[[3, 4]] = whole.stores.patterns[[4, 3]]
    found = only(whole.check(), "unexplained")
    assert len(found) == len(numbers)
    assert "run primary/4: its pattern in Tiled is not of its frame" in found[0]


def test_an_answer_that_differs_between_the_stores_is_found(whole: Whole):
    whole.stores.rows[0]["diameter_nm"] += 0.01
    assert "tell different things" in only(whole.check(), "unexplained")[0]


def test_a_readable_frame_that_was_set_aside_is_found(whole: Whole):
    for place in (whole.stores.redis[0], whole.stores.rows[0]):
        place |= {"verdict": "bad_frame", "diameter_nm": None, "reason": "tired"}
    assert "set aside though it can be read (tired)" in only(whole.check(), "unexplained")[0]


def test_a_size_for_an_empty_frame_is_found(whole: Whole):
    with h5py.File(whole.path, "r+") as file:
        file[DATASET][6] = 0
    assert any("answered though nothing" in line for line in whole.check().unexplained)


def test_a_file_that_was_cut_later_explains_both_answers(whole: Whole):
    whole.path.with_suffix(".original").write_bytes(whole.path.read_bytes())
    with whole.path.open("r+b") as file:
        file.truncate(5000)
    for place in (whole.stores.redis[7], whole.stores.rows[7]):
        place |= {"verdict": "bad_frame", "diameter_nm": None, "reason": "the file is cut"}
    findings = whole.check()
    assert findings.clean, findings.table()
    assert findings.cut_after == FRAMES - 1


def test_a_refusal_without_a_reason_is_found(whole: Whole):
    for place in (whole.stores.redis[0], whole.stores.rows[0]):
        place |= {"verdict": "out_of_domain", "diameter_nm": None}
    assert "does not fit" in only(whole.check(), "unexplained")[0]


def test_books_that_were_never_closed_are_found(whole: Whole):
    whole.stores.account["state"] = "open"
    assert "Redis says open" in only(whole.check(), "unexplained")[0]


def test_an_account_that_counts_wrongly_is_found(whole: Whole):
    whole.stores.account["predictions"] = "9"
    assert "does not count" in only(whole.check(), "unexplained")[0]


def test_the_journal_names_frames_by_run(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    lines = [
        {"what": "frame", "run": "a", "stream": "primary", "seq_num": 1, "file": "/x", "row": 0},
        {"what": "stop", "run": "a"},
        {"what": "frame", "run": "b", "stream": "primary", "seq_num": 1, "file": "/y", "row": 0},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert {run: len(frames) for run, frames in read_journal(path).items()} == {"a": 1, "b": 1}
