"""What the commands on the books do and print."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from qd_agent.config import SINKS, Config, load_config
from qd_agent.core.errors import Fatal, Mistake
from qd_agent.core.frame import Declared
from qd_agent.documents import judge_again
from qd_agent.ledger import Books, Look, RunRecord


def print_runs(
    config: Path | None, data: Path | None, run_uid: str | None, *, as_json: bool
) -> bool:
    """Print the account of every run; True when no closed run lacks a frame."""
    with _books(_folder(config, data)) as books:
        uid = None if run_uid is None else _full_uid(books, run_uid)
        records, looks = books.runs(uid), books.agenda.all()
    if as_json:
        _say(json.dumps([_plain(record, looks) for record in records], indent=2))
    elif not records and not looks:
        _say("no run is known")
    else:
        _say("\n".join(_table(records, looks, others=uid is None)))
    return not any(record.missing for record in records)


def print_set_aside(
    config: Path | None, data: Path | None, run_uid: str | None, *, as_json: bool
) -> None:
    """Print the set-aside frames, each with its reason."""
    with _books(_folder(config, data)) as books:
        uid = None if run_uid is None else _full_uid(books, run_uid)
        frames = books.set_aside(uid)
    if as_json:
        _say(json.dumps([asdict(frame) for frame in frames], indent=2))
    elif not frames:
        _say("no frame is set aside")
    for frame in frames if not as_json else []:
        name = f"{frame.run_uid} {frame.stream}/{frame.data_key} frame {frame.seq_num}"
        index = f" index {frame.index}" if frame.index else ""
        _say(f"{name}{index}: {frame.reason}")


def retry_set_aside(
    config: Path | None, data: Path | None, run_uid: str | None, seq_num: int | None
) -> None:
    """Open set-aside frames again, and say who takes them up.

    With a configuration, wavelengths that contradicted each other are judged by it.
    """
    folder = _folder(config, data)
    # Without one, what was declared stays as it was found.
    judge = {} if config is None else {"judge": _judge_by(load_config(config))}
    with _books(folder) as books:
        uid = None if run_uid is None else _full_uid(books, run_uid)
        count = books.retry(uid, seq_num, **judge)
    if not count:
        _say("no such frame is set aside")
        return
    who = "the running agent takes them up" if _in_use(folder) else "the next start takes them up"
    _say(f"{count} frames are to be tried anew; {who}")


def print_what_waits(config: Path | None, data: Path | None) -> bool:
    """Print what the books say while nobody else can; False when there are none here."""
    folder = _folder(config, data)
    if not (folder / "ledger.sqlite").is_file():
        return False
    with _books(folder) as books:
        account = books.account()
    works = "an agent works" if _in_use(folder) else "no agent works"
    _say(f"by the books in {folder}, where {works}")
    _say(
        f"  frames     {account.seen} seen: {account.sized} sized, {account.abstained} abstained, "
        f"{account.set_aside} set aside, {account.open} open"
    )
    answered = account.seen - account.open
    for sink, delivered in account.delivered.items():
        _say(f"  {sink:<10} {answered - delivered} predictions waiting")
    return True


def _judge_by(config: Config) -> Callable[[Declared], Declared]:
    return lambda declared: judge_again(declared, config.metadata)


def reconcile_books(config: Path, run_uid: str | None, wait_s: float) -> bool:
    """Have the books compared with the world, and print what came of it.

    Returns:
        False when a running agent has not answered in `wait_s` seconds.
    """
    settings = load_config(config)
    settings.data.mkdir(parents=True, exist_ok=True)
    running = _in_use(settings.data)
    books = Books(settings.data / "ledger.sqlite", SINKS, migrate=not running)
    try:
        uid = None if run_uid is None else _full_uid(books, run_uid, must_exist=False)
        request = books.ask(uid)
        if running:
            answer = _wait_for(lambda: books.answer_to(request), wait_s)
        else:
            answer = _do_it_here(settings, books, request)
        _say(answer or f"the agent has not answered within {wait_s:g} s; it will do it still")
        if answer is not None:
            _say("\n".join(_table(books.runs(uid), books.agenda.all(), others=uid is None)))
    finally:
        books.close()
    return answer is not None


def _do_it_here(settings: Config, books: Books, request: int) -> str | None:
    from qd_agent.daemon import run_once  # noqa: PLC0415 - torch, pyFAI, Tiled

    run_once(settings)
    return books.answer_to(request)


def _wait_for(ask: Callable[[], str | None], wait_s: float) -> str | None:
    deadline = time.monotonic() + wait_s
    while (answer := ask()) is None and time.monotonic() < deadline:
        time.sleep(0.2)
    return answer


def _folder(config: Path | None, data: Path | None) -> Path:
    if data is not None:
        return data
    return Path("qd-data") if config is None else load_config(config).data


@contextmanager
def _books(folder: Path) -> Generator[Books]:
    """Open the books beside whoever uses them.

    Raises:
        Mistake: there are none.
    """
    path = folder / "ledger.sqlite"
    if not path.is_file():
        raise Mistake(
            f"no ledger in {folder}: give the agent's configuration, or its data folder with --data"
        )
    books = Books(path, SINKS, migrate=not _in_use(folder))
    try:
        yield books
    finally:
        books.close()


def _in_use(folder: Path) -> bool:
    """Tell whether an agent works in a data folder."""
    from qd_agent.daemon_lock import alone_in  # noqa: PLC0415 - with the others of its kind

    try:
        with alone_in(folder, patience_s=0.0):
            return False
    except Fatal:
        return True


def _full_uid(books: Books, start: str, *, must_exist: bool = True) -> str:
    """Give the run that `start` is the beginning of.

    Raises:
        Mistake: several runs begin so, or (with `must_exist`) none.
    """
    known = books.run_uids()
    if start in known:
        return start
    found = [uid for uid in known if uid.startswith(start)]
    if len(found) > 1:
        raise Mistake(f"{len(found)} runs begin with {start!r}; give more of the uid")
    if not found and must_exist:
        raise Mistake(f"no run {start!r} is in the books; `qd-agent runs` lists them")
    return found[0] if found else start


def _plain(record: RunRecord, looks: Mapping[str, Look]) -> dict[str, object]:
    look = looks.get(record.uid)
    return {
        "uid": record.uid,
        "time": record.time,
        "state": "open" if record.exit_status is None else "closed",
        "exit_status": record.exit_status,
        "expected": record.expected,
        **record.account.as_counts(),
        "missing": record.missing,
        "delivered": dict(record.account.delivered),
        "note": record.note,
        "checked": record.checked or None,
        "looks": 0 if look is None else look.tries,
        "next_look": None if look is None else look.due,
    }


def _table(
    records: list[RunRecord], looks: Mapping[str, Look], *, others: bool = False
) -> list[str]:
    """Give a line a run, what is known of it below, and (with `others`) the unread runs."""
    head = f"{'run':<36}  {'started':<16}  {'state':<8} {'expected':>8} {'seen':>6} {'sized':>6}"
    lines = [f"{head} {'abst.':>6} {'aside':>6} {'open':>6} {'missing':>7}  delivered"]
    for record in records:
        account, state = record.account, record.exit_status or "open"
        expected = "?" if record.expected is None else str(record.expected)
        delivered = ", ".join(f"{name} {count}" for name, count in account.delivered.items())
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.time))
        lines.append(
            f"{record.uid[:36]:<36}  {when:<16}  {state:<8} {expected:>8} {account.seen:>6} "
            f"{account.sized:>6} {account.abstained:>6} {account.set_aside:>6} "
            f"{account.open:>6} {record.missing:>7}  {delivered}"
        )
        if record.note:
            lines.append(f"  {record.note}")
        if record.uid in looks and not record.whole:
            lines.append(f"  {_next_look(looks[record.uid])}")
    known = {record.uid for record in records}
    unread = [look for look in looks.values() if others and look.run_uid not in known]
    for look in unread:
        lines.append(f"{look.run_uid[:36]:<36}  found in Tiled, not read yet")
        lines += [f"  {text}" for text in (look.reason, _next_look(look)) if text]
    return lines


def _next_look(look: Look) -> str:
    so_far = f"looks into Tiled in vain: {look.tries}"
    if look.due is None:
        return f"{so_far}, no more: given up (`qd-agent reconcile` looks once more)"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(look.due))
    return f"{so_far}, next at {when}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
