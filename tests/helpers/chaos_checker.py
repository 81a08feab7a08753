"""An auditor of endurance tests that knows nothing of the agent.

It reads the beamline's journal and files (h5py), Redis (redis) and Tiled (its client) and compares:
every frame that was taken has one answer in each store, no more, and each answer is explained by
its frame. It imports nothing of `qd_agent`; even the pattern of a frame is integrated here anew,
from the PONI file's text, with numpy.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import redis

DATASET = "/entry/data/data"
Q_MIN, Q_STEP, Q_POINTS = 0.99, 0.0028, 5004
"""The published grid."""
SAME = 0.9
"""Correlation above which a stored pattern is that of a frame; other frames of a run are at 0."""

Name = tuple[str, int]
"""Stream and sequence number of a frame within its run; there is one detector."""


@dataclass
class Findings:
    """What was compared, and everything that is wrong with it, a sentence each."""

    frames: int = 0
    runs: int = 0
    redis: int = 0
    tiled: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    patterns: int = 0
    cut_after: int = 0
    lost: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicates or self.unexplained)

    def table(self) -> str:
        verdicts = ", ".join(f"{name} {count}" for name, count in sorted(self.verdicts.items()))
        lines = [
            f"runs, detector frames          {self.runs}, {self.frames}",
            f"answers in Redis, in Tiled     {self.redis}, {self.tiled}",
            f"verdicts                       {verdicts}",
            f"patterns that are their frame's {self.patterns}",
            f"lost                           {len(self.lost)}",
            f"duplicates                     {len(self.duplicates)}",
            f"unexplained                    {len(self.unexplained)}",
        ]
        wrong = [*self.lost[:10], *self.duplicates[:10], *self.unexplained[:10]]
        return "\n".join([*lines, *(f"  {line}" for line in wrong)])


@dataclass(frozen=True)
class Frame:
    """One detector frame as the beamline's journal names it."""

    run: str
    stream: str
    seq_num: int
    file: Path
    row: int

    @property
    def name(self) -> Name:
        return self.stream, self.seq_num

    def __str__(self) -> str:
        return f"{self.run} {self.stream}/{self.seq_num}"


@dataclass
class Stores:
    """What the stores hold of one run.

    Attributes:
        redis: predictions of the run's own stream, as they are.
        everywhere: predictions of this run in the stream of all runs.
        account: the run's hash.
        rows: rows of the table in Tiled, None when there is no table.
        patterns: the array in Tiled, (rows, Q).
    """

    redis: list[dict[str, Any]]
    everywhere: list[dict[str, Any]]
    account: dict[str, str]
    rows: list[dict[str, Any]] | None
    patterns: np.ndarray | None


# -- the truth -----------------------------------------------------------------------------


def read_journal(path: Path) -> dict[str, list[Frame]]:
    """Give the frames of every run, in order, of the complete lines of the journal."""
    runs: dict[str, list[Frame]] = {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        if entry["what"] == "frame":
            frame = Frame(
                entry["run"], entry["stream"], entry["seq_num"], Path(entry["file"]), entry["row"]
            )
            runs.setdefault(frame.run, []).append(frame)
    return runs


def read_images(frames: Sequence[Frame], *, original: bool) -> dict[Name, np.ndarray]:
    """Give the images that can be read; of cut files as they were (`original`) or as they are."""
    images: dict[Name, np.ndarray] = {}
    for path in dict.fromkeys(frame.file for frame in frames):
        kept = path.with_suffix(".original")
        with (
            contextlib.suppress(OSError),
            _opened(kept if original and kept.exists() else path) as (data),
        ):
            for frame in frames:
                if frame.file == path and frame.row < data.shape[0]:
                    with contextlib.suppress(OSError):
                        images[frame.name] = data[frame.row]
    return images


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with h5py.File(path, "r") as file:
        yield file[DATASET]


def pixel_bins(poni: Path, mask: np.ndarray) -> np.ndarray:
    """Give each pixel's bin on the published grid, -1 outside of it or masked.

    Q = 4π sin(θ) / λ of pixel centres of a flat detector without rotations, from the PONI's text.
    """
    fields = dict(line.split(": ", 1) for line in poni.read_text().splitlines() if ": " in line)
    config = json.loads(fields["Detector_config"])
    rows, columns = np.indices(mask.shape)
    y = (rows + 0.5) * config["pixel1"] - float(fields["Poni1"])
    x = (columns + 0.5) * config["pixel2"] - float(fields["Poni2"])
    theta = np.arctan(np.hypot(x, y) / float(fields["Distance"])) / 2
    q = 4 * np.pi * np.sin(theta) / (float(fields["Wavelength"]) * 1e10)
    bins = np.floor((q - Q_MIN) / Q_STEP + 0.5).astype(int)
    bins[(bins < 0) | (bins >= Q_POINTS) | (mask != 0)] = -1
    return bins


def integrate(image: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Give the mean counts of each bin, NaN where no pixel lies or all are without data."""
    good = (bins >= 0) & (image < np.iinfo(image.dtype).max)
    total = np.bincount(bins[good], image[good].astype(float), Q_POINTS)
    pixels = np.bincount(bins[good], minlength=Q_POINTS)
    return np.where(pixels > 0, total / np.maximum(pixels, 1), np.nan)


# -- the stores ----------------------------------------------------------------------------


def read_stores(
    client: redis.Redis, root: Any, runs: Sequence[str], prefix: str = "qd"
) -> dict[str, Stores]:
    """Read everything that the stores hold of `runs`, and of runs that nobody took."""
    everywhere: dict[str, list[dict[str, Any]]] = {}
    for _, entry in client.xrange(f"{prefix}:predictions"):
        prediction = json.loads(entry["prediction"])
        everywhere.setdefault(prediction["key"]["run_uid"], []).append(prediction)
    container = root.get("qd_agent", {})
    known = (
        set(runs) | set(everywhere) | set(container) | set(client.zrange(f"{prefix}:runs", 0, -1))
    )
    found: dict[str, Stores] = {}
    for run in sorted(known):
        entries = client.xrange(f"{prefix}:run:{run}:predictions")
        rows = patterns = None
        if run in container and "predictions" in container[run]:
            node = container[run]
            rows = node["predictions"].read().to_dict(orient="records")
            patterns = node["patterns"].read() if "patterns" in node else None
        found[run] = Stores(
            redis=[json.loads(fields["prediction"]) for _, fields in entries],
            everywhere=everywhere.get(run, []),
            account=client.hgetall(f"{prefix}:run:{run}"),
            rows=rows,
            patterns=patterns,
        )
    return found


# -- the comparison ------------------------------------------------------------------------


def check(
    truth: Mapping[str, Sequence[Frame]], stores: Mapping[str, Stores], poni: Path, mask: Path
) -> Findings:
    """Compare all runs."""
    findings = Findings()
    bins = pixel_bins(poni, np.load(mask))
    for run in sorted({*truth, *stores}):
        held = stores.get(run, Stores([], [], {}, None, None))
        check_run(findings, run, truth.get(run, ()), held, bins)
    return findings


def check_run(
    findings: Findings, run: str, frames: Sequence[Frame], held: Stores, bins: np.ndarray
) -> None:
    """Compare one run."""
    findings.runs += 1
    findings.frames += len(frames)
    rows = held.rows or []
    findings.redis += len(held.redis)
    findings.tiled += len(rows)
    in_redis = [(p["key"]["stream"], p["key"]["seq_num"]) for p in held.redis]
    in_all = [(p["key"]["stream"], p["key"]["seq_num"]) for p in held.everywhere]
    in_tiled = [(str(row["stream"]), int(row["seq_num"])) for row in rows]
    wanted = [frame.name for frame in frames]
    for store, names in (("Redis", in_redis), ("Redis (all)", in_all), ("Tiled", in_tiled)):
        _count(findings, run, store, wanted, names)
    numbers = sorted(int(row["row"]) for row in rows)
    if numbers != list(range(len(rows))):
        findings.unexplained.append(f"{run}: row numbers in Tiled are not 0, 1, 2 ...")
    if int(held.account.get("predictions", 0)) != len(set(in_redis)):
        findings.unexplained.append(f"{run}: Redis's account does not count its predictions")
    _check_account(findings, run, len(frames), held.account)
    by_redis = dict(zip(in_redis, held.redis, strict=True))
    by_tiled = dict(zip(in_tiled, rows, strict=True))
    now = read_images(frames, original=False)
    once = read_images(frames, original=True)
    for frame in frames:
        answer, row = by_redis.get(frame.name), by_tiled.get(frame.name)
        if answer is not None:
            findings.verdicts[answer["verdict"]] += 1
            _explain(findings, frame, answer, now.get(frame.name), once.get(frame.name))
        if answer is not None and row is not None and not _same(answer, row):
            findings.unexplained.append(f"{frame}: Redis and Tiled tell different things")
    stored = _stored_patterns(findings, run, by_tiled, held.patterns)
    _check_patterns(findings, run, stored, once, bins)


def _check_account(findings: Findings, run: str, frames: int, account: Mapping[str, str]) -> None:
    """See that the run is closed and that its books say what was taken."""
    if not frames:
        return
    books = json.loads(account.get("account", "{}"))
    if account.get("state") != "closed" or books.get("expected") != frames or books.get("missing"):
        findings.unexplained.append(
            f"{run}: {frames} frames, but Redis says {account.get('state', 'nothing')}, {books}"
        )


def _count(
    findings: Findings, run: str, store: str, wanted: Sequence[Name], found: Sequence[Name]
) -> None:
    counts = Counter(found)
    for stream, seq in wanted:
        if (stream, seq) not in counts:
            findings.lost.append(f"{run} {stream}/{seq} is not in {store}")
    for (stream, seq), count in counts.items():
        if count > 1:
            findings.duplicates.append(f"{run} {stream}/{seq} is {count} times in {store}")
        if (stream, seq) not in wanted:
            findings.unexplained.append(f"{run} {stream}/{seq} in {store} was never taken")


def _explain(
    findings: Findings,
    frame: Frame,
    answer: Mapping[str, Any],
    now: np.ndarray | None,
    once: np.ndarray | None,
) -> None:
    """Say whether the frame's pixels explain its verdict."""
    verdict, sized = answer["verdict"], answer["diameter_nm"] is not None
    if sized != (verdict == "sized") or (not sized and not answer["reason"]):
        findings.unexplained.append(f"{frame}: verdict {verdict} does not fit its size or reason")
    readable = now is not None and bool((now[now < np.iinfo(now.dtype).max] > 0).any())
    was_readable = once is not None and bool((once[once < np.iinfo(once.dtype).max] > 0).any())
    if verdict == "bad_frame" and readable:
        findings.unexplained.append(
            f"{frame}: set aside though it can be read ({answer['reason'][:100]})"
        )
    if verdict != "bad_frame" and not was_readable:
        findings.unexplained.append(f"{frame}: answered though nothing in it can be read")
    findings.cut_after += verdict != "bad_frame" and not readable and was_readable


def _same(answer: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    in_tiled = row["diameter_nm"]
    missing = in_tiled is None or math.isnan(in_tiled)
    if answer["verdict"] != row["verdict"] or missing != (answer["diameter_nm"] is None):
        return False
    return missing or math.isclose(answer["diameter_nm"], in_tiled, rel_tol=1e-9)


def _stored_patterns(
    findings: Findings,
    run: str,
    rows: Mapping[Name, Mapping[str, Any]],
    patterns: np.ndarray | None,
) -> dict[Name, np.ndarray]:
    """Give the pattern in Tiled of each frame that was not set aside."""
    if rows and (patterns is None or len(patterns) < len(rows)):
        findings.unexplained.append(f"{run}: the array in Tiled is shorter than its table")
        return {}
    answered = {name: row for name, row in rows.items() if row["verdict"] != "bad_frame"}
    return {name: patterns[int(row["row"])] for name, row in answered.items()}


def _check_patterns(
    findings: Findings,
    run: str,
    patterns: Mapping[Name, np.ndarray],
    images: Mapping[Name, np.ndarray],
    bins: np.ndarray,
) -> None:
    """See that each stored pattern has the very noise of its frame.

    What the agent's integration does otherwise than ours is the same in all frames of a run, and
    leaves with their mean. Of a single frame it cannot: then no other of the run may be more alike.
    """
    names = [name for name in patterns if name in images]
    if not names:
        return
    stored = np.stack([patterns[name] for name in names]).astype(float)
    several = len(names) > 1
    others = names if several else [*names, *(name for name in images if name not in names)]
    own = np.stack([integrate(images[name], bins) for name in others])
    steps, own_steps = _steps(stored, own), _steps(own, own)
    mean = own_steps.mean(axis=0) if len(others) > 1 else 0.0
    likeness = _correlations(steps - (steps.mean(axis=0) if several else mean), own_steps - mean)
    for i, name in enumerate(names):
        best = int(np.argmax(likeness[i]))
        if best != i or (several and likeness[i, i] < SAME):
            findings.unexplained.append(
                f"{run} {name[0]}/{name[1]}: its pattern in Tiled is not of its frame "
                f"(correlation {likeness[i, i]:.2f}; most like {others[best][1]})"
            )
        else:
            findings.patterns += 1


def _steps(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Give the differences of neighbouring bins: what two frames share in them is their mean."""
    known = np.isfinite(where).all(axis=0)
    total = np.nansum(values[:, known], axis=1, keepdims=True)
    scaled = values[:, known] / np.where(total > 0.0, total, 1.0)
    return np.nan_to_num(np.diff(scaled, axis=1))


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    def unit(values: np.ndarray) -> np.ndarray:
        return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-30)

    return unit(a) @ unit(b).T
