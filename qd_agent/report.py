"""What the commands `size` and `status` print."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from qd_agent.books_report import print_what_waits
from qd_agent.core.errors import Mistake, Unavailable
from qd_agent.core.prediction import Estimate, Verdict
from qd_agent.figures import draw_patterns, draw_refinements, headline
from qd_agent.refining import (
    RefinedFile,
    RefineRequest,
    read_solvent,
    refine_answer,
    refined_headline,
    refined_lines,
)
from qd_agent.sizing import FileAnswer, Unit, size_files
from qd_agent.whereabouts import where_redis_is


def print_answers(
    files: Sequence[Path],
    unit: Unit,
    wavelength: float | None,
    *,
    as_json: bool,
    plot: Path | None,
    model: Path | None,
    resolution: float = 0.0,
) -> int:
    """Size files and print an answer for each as soon as it is known.

    Returns:
        How many of the files could not be read as patterns.
    """
    from qd_agent.inference import SizerSettings, open_sizer  # noqa: PLC0415 - torch

    sizer = open_sizer(SizerSettings(model=model))
    answers: list[FileAnswer] = []
    for answer in size_files(files, sizer, unit, wavelength, resolution):
        answers.append(answer)
        _print(answer, as_json=as_json)
    if plot is not None:
        drawn = [(a.path.name, a.sized) for a in answers if a.sized is not None]
        if not drawn:
            raise Mistake(f"nothing to draw in {plot}: no file could be read")
        draw_patterns(drawn, plot)
    return sum(answer.sized is None for answer in answers)


def print_refinements(
    files: Sequence[Path],
    unit: Unit,
    wavelength: float | None,
    request: RefineRequest,
    *,
    as_json: bool,
    plot: Path | None,
    model: Path | None,
    resolution: float = 0.0,
) -> int:
    """Size files, refine each from its answer, and print both as soon as they are known.

    Returns:
        How many of the files could not be read, or gave no refinement although one was tried.
    """
    from qd_agent.inference import (  # noqa: PLC0415 - torch
        SizerSettings,
        open_refiner,
        open_sizer,
    )

    solvent = None if request.solvent is None else read_solvent(request.solvent, unit, wavelength)
    settings = SizerSettings(model=model)
    sizer, refiner = open_sizer(settings), open_refiner(settings)
    done: list[RefinedFile] = []
    for answer in size_files(files, sizer, unit, wavelength, resolution):
        refined = refine_answer(refiner, answer, request, solvent)
        done.append(refined)
        _print_refined(refined, as_json=as_json)
    if plot is not None:
        drawn = [
            (d.answer.path.name, refined_headline(d.refinement), d.refinement)
            for d in done
            if d.refinement is not None
        ]
        if not drawn:
            raise Mistake(f"nothing to draw in {plot}: no file was refined")
        draw_refinements(drawn, plot)
    return sum(d.answer.sized is None or d.failed for d in done)


def _print_refined(refined: RefinedFile, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(refined.record()) + "\n")
    else:
        _print(refined.answer, as_json=False)
        sys.stdout.writelines(f"  {line}\n" for line in refined_lines(refined))
    sys.stdout.flush()


def _print(answer: FileAnswer, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(answer.record()) + "\n")
    elif answer.sized is None:
        reason = answer.estimate.reason.removeprefix(f"{answer.path}: ")
        sys.stderr.write(f"{answer.path}: {reason}\n")
    else:
        sys.stdout.write(f"{answer.path.name}: {headline(answer.estimate)}{_extra(answer)}\n")
    sys.stdout.flush()


def _extra(answer: FileAnswer) -> str:
    estimate: Estimate = answer.estimate
    if estimate.verdict is not Verdict.SIZED or estimate.diameter_volume_nm is None:
        return ""
    return f", volume-weighted {estimate.diameter_volume_nm:.2f} nm"


def print_status(config: Path | None, data: Path | None, *, as_json: bool) -> bool:
    """Print the heartbeat of every agent in Redis; True when one is alive.

    While Redis is away, what the books of an agent on this machine say is printed instead.

    Args:
        config: the agent's configuration, or None.
        data: data folder of an agent with embedded servers, when there is no configuration.
        as_json: print one JSON array instead of text.

    Raises:
        Mistake: nothing says where Redis is.
        Unavailable: Redis is away.
    """
    from qd_agent.sinks.checks import read_status  # noqa: PLC0415 - the Redis client

    try:
        agents = read_status(*where_redis_is(config, data))
    except Unavailable as error:
        if as_json or not print_what_waits(config, data):
            raise
        sys.stderr.write(f"qd-agent: {error}\n")
        return False
    if as_json:
        sys.stdout.write(json.dumps(agents, indent=2) + "\n")
    elif not agents:
        sys.stdout.write("no agent is alive (none has reported to this Redis lately)\n")
    else:
        sys.stdout.write(
            "\n\n".join("\n".join(health_lines(agent, time.time())) for agent in agents) + "\n"
        )
    return bool(agents)


def health_lines(agent: Mapping[str, str], now: float) -> list[str]:
    """Say in plain lines how an agent does, what waits in it, and what each store lacks.

    Args:
        agent: the fields of its heartbeat.
        now: UTC epoch s.
    """
    ago = _seconds_since(agent.get("last_frame", ""), now)
    sinks = [name.removeprefix("sink_") for name in agent if name.startswith("sink_")]
    return [
        f"{agent.get('agent_id', '?')}: {agent.get('state', '?')} on {agent.get('host', '?')}, "
        f"pid {agent.get('pid', '?')}, version {agent.get('version', '?')}",
        f"  source     {agent.get('source', '?')}: {agent.get('source_state', '?')}",
        f"  documents  {agent.get('queued_documents', '?')} waiting, "
        f"{agent.get('refused', '?')} refused",
        f"  model      {agent.get('model', '?')}",
        f"  frames     {agent.get('seen', '?')} seen: {agent.get('sized', '?')} sized, "
        f"{agent.get('abstained', '?')} abstained, {agent.get('set_aside', '?')} set aside, "
        f"{agent.get('open', '?')} open",
        f"  behind     {_seconds(agent.get('behind_s'))}, "
        f"{agent.get('away', '?')} of the open frames cannot be read now",
        f"  last frame {ago}",
        *(_sink_line(agent, sink) for sink in sinks),
    ]


def _seconds_since(text: str, now: float) -> str:
    try:
        return f"{now - float(text):.0f} s ago" if text else "none yet"
    except ValueError:
        return "?"


def _sink_line(agent: Mapping[str, str], sink: str) -> str:
    waiting = agent.get(f"backlog_{sink}", "?")
    line = f"  {sink:<10} {agent[f'sink_{sink}']}, {waiting} predictions waiting"
    return line if waiting == "0" else f"{line}, for {_seconds(agent.get(f'lag_{sink}_s'))}"


def _seconds(text: str | None) -> str:
    try:
        return f"{float(text or ''):.0f} s"
    except ValueError:  # of another version, or not written by an agent at all
        return "?"
