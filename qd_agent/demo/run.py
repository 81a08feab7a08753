"""The demo itself, from the servers to the summary."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from qd_agent.core.errors import Fatal, Mistake, Unavailable
from qd_agent.demo import DemoOptions
from qd_agent.demo.processes import (
    Child,
    free_port,
    start_agent,
    start_beamline,
    start_dashboard,
    wait_for_file,
)
from qd_agent.demo.screen import Screen, open_screen
from qd_agent.demo.summary import Arrival, Frame, Summary, Truth, read_truth, summarize
from qd_agent.embedded import RunningServer, start_redis, start_tiled, write_private
from qd_agent.figures import Moment, draw_growth
from qd_agent.sinks import RedisConnection, TiledConnection
from qd_agent.sinks.reading import PredictionReader, stored_frames

START_S, DRAIN_S = 120.0, 60.0
"""Patience for the start (the first import of torch is slow) and for the last frames."""
_ENDS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class _Stage:
    """Everything that runs during the demo."""

    folder: Path
    redis: RunningServer
    tiled: RunningServer
    agent: Child
    beamline: Child
    page: str

    def check(self) -> None:
        self.beamline.check()
        code = self.agent.process.poll()
        if code is not None:
            raise Fatal(f"the agent ended with code {code}: {self.agent.last_line()}")


def run(options: DemoOptions) -> bool:
    """Run the demo; True when the books agree.

    Raises:
        Fatal: a part could not be started or has failed.
    """
    if options.json_file is not None and not options.json_file.absolute().parent.is_dir():
        raise Mistake(f"{options.json_file} cannot be written: its folder does not exist")
    folder = _folder(options)
    with ExitStack() as stack:
        stack.enter_context(_sigterm_as_interrupt())
        with open_screen(options.frames, headless=options.headless) as screen:
            stage = _start(options, folder, screen, stack)
            arrivals = _follow(stage, screen)
            screen.say("waiting for Tiled")
            truths = read_truth(folder / "beamline" / "truth.jsonl")
            in_tiled = _stored_in_tiled(stage, truths)
            screen.say("done")
        summary = summarize(
            truths,
            arrivals,
            in_tiled,
            redis_url=stage.redis.url.replace("://", f"://:{stage.redis.secret}@", 1),
            tiled_uri=f"{stage.tiled.url}?api_key={stage.tiled.secret}",
        )
        _print(summary, folder, _plot(folder, truths, arrivals))
        _write(options, summary)
        if options.keep:
            _wait_for_interrupt(stage)
    return summary.books_agree


def _folder(options: DemoOptions) -> Path:
    if options.output is None:
        return Path(tempfile.mkdtemp(prefix="qd-demo-"))
    folder = options.output.resolve()
    # Frames, books and plots of an earlier demo stay; each demo has a folder of its own.
    number = 1 + sum(1 for _ in folder.glob("run-*"))
    chosen = folder / f"run-{number:03d}"
    try:
        chosen.mkdir(parents=True)
    except OSError as error:
        raise Fatal(f"the folder {chosen} cannot be made: {error.strerror}") from error
    return chosen


def _start(options: DemoOptions, folder: Path, screen: Screen, stack: ExitStack) -> _Stage:
    (folder / "beamline").mkdir()
    screen.say("starting Redis and Tiled")
    redis = start_redis(folder / "redis")
    stack.callback(redis.stop)
    tiled = start_tiled(folder / "tiled", [folder / "beamline"])
    stack.callback(tiled.stop)
    address = f"tcp://127.0.0.1:{free_port()}"
    screen.say("starting beamline and agent")
    growth = ["growth", "--frames", str(options.frames), "--rate", str(options.rate)]
    arguments = [*growth, "--seed", str(options.seed)]
    beamline = start_beamline(folder, arguments, address, tiled)
    stack.callback(beamline.stop)
    # The mask is there by then: the PONI is written last, and whole.
    wait_for_file(folder / "beamline" / "detector.poni", beamline, START_S)
    agent = start_agent(folder, address, redis, tiled)
    stack.callback(agent.stop)
    page = ""
    if options.dashboard and find_spec("fastapi") is not None:
        dashboard, page = start_dashboard(folder)
        stack.callback(dashboard.stop)
        screen.say(f"live page at {page}")
    # The first to run at the end: a second Ctrl-C must not leave a process behind.
    stack.callback(_end_undisturbed)
    return _Stage(folder, redis, tiled, agent, beamline, page)


def _follow(stage: _Stage, screen: Screen) -> list[Arrival]:
    """Show predictions as they come, until the beamline is done and each frame has one."""
    reader = PredictionReader(RedisConnection(stage.redis.url, stage.redis.secret))
    truth_file = stage.folder / "beamline" / "truth.jsonl"
    arrivals: list[Arrival] = []
    deadline = time.monotonic() + START_S
    truths: dict[Frame, Truth] = {}
    announced = False
    while time.monotonic() < deadline:
        stage.check()
        new = [Arrival(p, stored) for p, stored in reader.read_new(block_s=0.3)]
        truths = {truth.frame: truth for truth in read_truth(truth_file)}
        if truths and not announced:
            at = f", live page at {stage.page}" if stage.page else ""
            screen.say(f"synthesis is running{at}")
            announced = True
        for arrival in new:
            screen.show(arrival, truths)
        arrivals += new
        done = stage.beamline.process.poll() is not None
        if done and truths.keys() <= {arrival.frame for arrival in arrivals}:
            break
        if not done or new:
            deadline = time.monotonic() + (DRAIN_S if truths else START_S)
    reader.close()
    return arrivals


def _stored_in_tiled(stage: _Stage, truths: list[Truth]) -> list[Frame]:
    """Give the frames whose predictions Tiled holds, once all are there or patience ends."""
    connection = TiledConnection(stage.tiled.url, stage.tiled.secret)
    deadline = time.monotonic() + DRAIN_S
    found: list[Frame] = []
    while time.monotonic() < deadline:
        stage.check()
        with contextlib.suppress(Unavailable):
            found = [
                (key.run_uid, key.seq_num)
                for run_uid in {truth.frame[0] for truth in truths}
                for key in stored_frames(connection, run_uid)
            ]
        if {truth.frame for truth in truths} <= set(found):
            break
        time.sleep(0.3)
    return found


def _plot(folder: Path, truths: list[Truth], arrivals: list[Arrival]) -> Path:
    known = {truth.frame: truth for truth in truths}
    ordered = sorted(arrivals, key=lambda a: a.prediction.frame_time)
    begin = ordered[0].prediction.frame_time if ordered else 0.0
    moments = [
        Moment(
            a.prediction.frame_time - begin,
            a.prediction,
            known[a.frame].diameter_nm if a.frame in known else None,
        )
        for a in ordered
    ]
    path = folder / "growth.png"
    draw_growth(moments, "Simulated in-situ synthesis of PbS nanocrystals", path)
    return path


def _write(options: DemoOptions, summary: Summary) -> None:
    if options.json_file is None:
        return
    text = summary.model_dump_json(indent=2) + "\n"
    try:
        if options.json_file.exists() and not options.json_file.is_file():
            options.json_file.write_text(text)  # a pipe, say
        else:
            write_private(options.json_file, text)  # its addresses let anybody in
    except OSError as error:
        raise Fatal(f"{options.json_file} cannot be written: {error.strerror}") from error


def _print(summary: Summary, folder: Path, plot: Path) -> None:
    mae = "-" if summary.mae_nm is None else f"{summary.mae_nm:.3f} nm"
    coverage = summary.interval_coverage
    inside = "-" if coverage is None else f"{coverage:.0%} of the 90 % intervals"
    latency = summary.latency_ms
    delay = "-" if latency is None else f"{latency.p50:.0f} / {latency.p95:.0f} / {latency.p99:.0f}"
    verdict = "every frame is accounted for" if summary.books_agree else "BOOKS DO NOT AGREE"
    lines = (
        "",
        f"frames taken          {summary.frames_taken}",
        f"predictions           {summary.predictions}",
        f"lost, duplicates      {summary.lost}, {summary.duplicates}   ({verdict})",
        f"sized, abstained      {summary.sized}, {summary.abstained}",
        f"solvent given a size  {summary.sized_without_nanocrystals}",
        f"mean absolute error   {mae}",
        f"truth inside          {inside}",
        f"latency p50/p95/p99   {delay} ms, from event to Redis",
        f"model                 {summary.model}",
        f"everything is in      {folder}",
        f"size against time     {plot}",
    )
    sys.stdout.write("\n".join(lines) + "\n")


@contextmanager
def _sigterm_as_interrupt() -> Generator[None]:
    """Turn SIGTERM into the same orderly end as Ctrl-C; a second one does not disturb it."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        _end_undisturbed()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_undisturbed() -> None:
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)


def _wait_for_interrupt(stage: _Stage) -> None:
    config = stage.folder / "agent.yaml"
    page = f"\nlive page: {stage.page}" if stage.page else ""
    sys.stdout.write(f"{page}\nstill running: qd-agent status {config}   (Ctrl-C ends it)\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
