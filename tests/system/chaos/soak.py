"""The soak: one agent, many frames, and a look at its memory, open files and disk all the while.

`python -m tests.system.chaos.soak --frames 100000` for the whole; fewer for a look.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.helpers.chaos_checker import Findings, read_journal
from tests.helpers.chaos_wire import Wire
from tests.system.chaos.campaign import Campaign, say, wait

KEEP_GIB = 0.02
"""Small, so that old runs leave the ledger within the soak; pruned each minute, not each hour."""
EVERY_S = 5.0
MOST_WAITING = 1000
"""The beamline waits while more frames than this wait for their answer."""
SETTLED = 0.25
"""The first quarter is warming up: allocator arenas, caches of files and runs, first pruning."""
FEWEST = 20_000
"""Frames below which slopes tell nothing, and growth is not judged."""
WATCHED = ("rss_mb", "files", "threads", "ledger_mb", "log_mb")
GROWTH = {
    # name: (most per 10,000 frames, most above what it was after the first quarter)
    "rss_mb": (1.0, 30.0),
    "files": (0.5, 10.0),
    "threads": (0.1, 2.0),
    "ledger_mb": (2.0, 60.0),
}
"""What is called flat; memory may step once."""


@dataclass(frozen=True)
class Sample:
    """One look at the agent.

    Attributes:
        seconds: since the first frame.
        taken: frames on the detector's disk.
        published: predictions in Redis.
        rss_mb: resident memory, MB.
        files: open file descriptors.
        threads: of the process.
        ledger_mb: the ledger's files on disk, MB.
        log_mb: of that, SQLite's log and the index of it, MB.
        cpu_s: processor time so far.
    """

    seconds: float
    taken: int
    published: int
    rss_mb: float
    files: int
    threads: int
    ledger_mb: float
    log_mb: float
    cpu_s: float


def soak(
    campaign: Campaign, frames: int, rate_hz: float, fit_every: int, trace_s: float = 0.0
) -> tuple[list[Sample], Findings]:
    """Take `frames` frames, watch the agent, and have the books checked.

    Runs are fly scans, of which one stream_datum names several frames.
    """
    wire = Wire(campaign.publish, campaign.listen, 0, harmless=True)
    wire.start()
    beamline = campaign.start_beamline(
        rate_hz=rate_hz, kinds=["fly"], together=1, frames=[450, 550], bad=0.0, tiled=""
    )
    wait((campaign.folder / "beamline" / "detector.poni").exists, 60.0)  # the last of it
    agent, log = campaign.start_agent(
        f"prune:60;fit:{fit_every}" + (f";trace:{trace_s}" if trace_s else "")
    )
    journal = campaign.folder / "beamline" / "journal.jsonl"
    wait(lambda: journal.exists() and journal.stat().st_size > 0, 120.0)
    samples, taken, began = [], _Tally(journal), time.monotonic()
    with campaign.redis.client() as client:
        while True:
            assert agent.poll() is None, log.read_text()[-2000:]
            published = int(client.xlen("qd:predictions"))
            count = taken.count()
            samples.append(_sample(campaign, agent.pid, time.monotonic() - began, count, published))
            if len(samples) % 60 == 0:
                say(f"{samples[-1].seconds:7.0f} s  {samples[-1]}")
            if count >= frames:
                (campaign.folder / "beamline" / "stop").touch()
            campaign.allow(published + MOST_WAITING)
            if beamline.poll() is not None and published >= count:
                break
            time.sleep(EVERY_S)
    wire.close()
    truth = read_journal(journal)
    campaign.settle({})  # old runs have left the books
    findings = campaign.check(truth)
    agent.send_signal(signal.SIGTERM)
    agent.wait(30)
    return samples, findings


class _Tally:
    """Counts the frames in a journal that grows."""

    def __init__(self, path: Path):
        self._file, self._count = path.open(), 0

    def count(self) -> int:
        self._count += sum('"frame"' in line for line in self._file)
        return self._count


def _sample(campaign: Campaign, pid: int, seconds: float, taken: int, published: int) -> Sample:
    process = psutil.Process(pid)
    sizes = {}
    for path in (campaign.folder / "agent").glob("ledger.sqlite*"):
        with contextlib.suppress(FileNotFoundError):
            sizes[path.name] = path.stat().st_size / 1e6
    whole = sum(sizes.values())
    with process.oneshot():
        times = process.cpu_times()
        return Sample(
            seconds, taken, published, process.memory_info().rss / 1e6, process.num_fds(),
            process.num_threads(), whole, whole - sizes.get("ledger.sqlite", 0.0),
            times.user + times.system,
        )  # fmt: skip


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Give what the samples say, after the first quarter: range and slope per 10,000 frames."""
    published = np.array([s.published for s in samples], float)
    late = published >= SETTLED * published[-1]
    told: dict[str, Any] = {
        "frames": int(published[-1]),
        "minutes": round(samples[-1].seconds / 60, 1),
        "frames_per_s": round(published[-1] / samples[-1].seconds, 1),
        "cpu_ms_per_frame": round(1e3 * samples[-1].cpu_s / published[-1], 1),
        "largest_backlog": max(s.taken - s.published for s in samples),
    }
    for name in WATCHED:
        values = np.array([getattr(s, name) for s in samples], float)
        slope = np.polyfit(published[late] / 1e4, values[late], 1)[0]
        told[name] = {
            "at_a_quarter": round(float(values[late][0]), 1),
            "at_the_end": round(float(values[-1]), 1),
            "lowest": round(float(values[late].min()), 1),
            "highest": round(float(values[late].max()), 1),
            "per_10000_frames": round(float(slope), 2),
        }
    return told


def growing(told: dict[str, Any]) -> list[str]:
    """Say in a line each what is not flat; empty for a soak too short to tell."""
    if told["frames"] < FEWEST:
        return []
    lines: list[str] = []
    for name, (slope, step) in GROWTH.items():
        row = told[name]
        above = row["highest"] - row["at_a_quarter"]
        if row["per_10000_frames"] > slope or above > step:
            lines.append(
                f"{name} grows: {row['per_10000_frames']} per 10,000 frames (at most {slope}), "
                f"{above:.1f} above what it was after a quarter (at most {step})"
            )
    return lines


def table(told: dict[str, Any]) -> str:
    """Give the summary as text."""
    lines = [
        f"{told['frames']} frames in {told['minutes']} min, {told['frames_per_s']} frames/s, "
        f"{told['cpu_ms_per_frame']} ms of CPU a frame, backlog at most {told['largest_backlog']}",
        f"{'':12}{'at 25 %':>10}{'end':>10}{'lowest':>10}{'highest':>10}{'per 10,000':>12}",
    ]
    for name in WATCHED:
        row = told[name]
        lines.append(f"{name:12}" + "".join(f"{row[key]:>10}" for key in list(row)[:4])
                     + f"{row['per_10000_frames']:>12}")  # fmt: skip
    return "\n".join(lines)


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Draw memory, open files and disk against frames."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 6.5), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    frames = [s.published for s in samples]
    shown = (("rss_mb", "memory (RSS), MB"), ("files", "open files"), ("ledger_mb", "ledger, MB"))
    for ax, (name, label) in zip(axes, shown, strict=True):
        ax.plot(frames, [getattr(s, name) for s in samples], color="C0", lw=1.2)
        if name == "ledger_mb":
            ax.plot(frames, [s.log_mb for s in samples], color="C1", lw=1.0, label="of it, the log")
            ax.legend(loc="lower right")
        ax.set_ylabel(label)
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
    axes[-1].set_xlabel("frames answered")
    figure.suptitle("One agent process, from its start")
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=50.0, help="frames per second")
    parser.add_argument(
        "--trace", type=float, default=0.0, metavar="SECONDS",
        help="write so often what the agent's Python memory grew by; twice as slow",
    )  # fmt: skip
    parser.add_argument(
        "--fit-every", type=int, default=10,
        help="make the explaining fit, most of the cost, for every so many frames",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=None, help="table, samples and plot go here")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    campaign = Campaign(
        folder, 1, say, forks=False, ledger={"keep_gib": KEEP_GIB}, log_level="warning",
        redis={"max_patterns_per_run": 100}, reconcile={"find_every_s": 10.0},
    )  # fmt: skip
    try:
        samples, findings = soak(
            campaign, arguments.frames, arguments.rate, arguments.fit_every, arguments.trace
        )
    finally:
        campaign.close()
    told = summary(samples)
    say(table(told))
    say(findings.table())
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "soak.json").write_text(json.dumps(told, indent=2) + "\n")
        with (arguments.output / "soak.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(asdict(samples[0])))
            writer.writeheader()
            writer.writerows(map(asdict, samples))
        draw(samples, arguments.output / "soak.png")
    shutil.rmtree(folder)
    grown = growing(told)
    for line in grown:
        say(line)
    return 0 if findings.clean and not grown else 1


if __name__ == "__main__":
    raise SystemExit(main())
