"""What a frame is reduced with besides itself: its run's darks, a dark run, a background run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from qd_agent.core.errors import BadFrame, Unavailable
from qd_agent.core.frame import (
    Frame,
    FrameKey,
    FrameReference,
)
from qd_agent.core.pattern import Pattern
from qd_agent.core.ports import FrameReader, Reducer
from qd_agent.ledger import Ledger
from qd_agent.run_search import RunSearch

_log = structlog.get_logger(__name__)

MOST_FRAMES = 100
"""Of a dark or background run so many are read, the last ones: more add nothing but waiting."""
RUNS_KEPT = 8
"""Runs whose frames the reducer is known to have; fewer than it keeps itself."""


class RunReducer(Reducer, Protocol):
    """A reducer that also keeps the darks and backgrounds of runs."""

    def wants(self, reference: FrameReference) -> tuple[str, str]:
        """Give the runs that are this frame's dark and its background; '' for none."""
        ...

    def check_whole(self, frame: Frame, pattern: Pattern, *, dark_announced: bool) -> None:
        """Refuse (Lacking) the pattern of a frame without what its detector's settings demand."""
        ...

    def add_dark(self, frame: Frame, role: str = ...) -> None:
        """Take a dark frame into its run's mean, for that run ('own') or for others ('named')."""
        ...

    def add_background(
        self, frames: Iterator[Frame], key: FrameKey, *, dark_announced: bool
    ) -> list[str]:
        """Take the frames of one detector and run as a background; say why some are not used."""
        ...

    def made_from(self, reference: FrameReference) -> Mapping[str, str]:
        """Give the hashes of what a frame is reduced with, by the names of `Provenance`."""
        ...

    def keeps(self, run_uid: str, data_key: str, role: str) -> bool:
        """Tell whether it still has what it was given of a run ('own', 'named', 'background')."""
        ...

    def demands_dark(self, reference: FrameReference) -> bool:
        """Tell whether a frame of which a dark was announced is set aside without it."""
        ...

    def forget_run(self, run_uid: str) -> None:
        """Free the run's dark and background."""
        ...


@dataclass(frozen=True, slots=True)
class Away:
    """Something that a frame is to be reduced with, and that may come.

    Attributes:
        reason: one sentence.
        essential: whether the frame is to wait for it as for its own pixels.
    """

    reason: str
    essential: bool = False


@dataclass(slots=True)
class Companions:
    """Sees to it that the reducer has what a frame needs. Use it from one thread at a time.

    Attributes:
        ledger: knows the darks of the agent's runs.
        search: gives the frames of any other run.
        reader: reads them.
        reducer: is given them.
        dark_streams: streams whose frames are darks.
    """

    ledger: Ledger
    search: RunSearch
    reader: FrameReader
    reducer: RunReducer
    dark_streams: frozenset[str]
    _to_read: dict[str, list[FrameReference]] = field(default_factory=dict)
    _left: dict[str, list[FrameReference]] = field(default_factory=dict)
    _had: dict[tuple[str, str], None] = field(default_factory=dict)
    _given: set[tuple[str, str, str]] = field(default_factory=set)
    _announced: set[tuple[str, str]] = field(default_factory=set)
    _in_hand: frozenset[str] = frozenset()

    def hear(self, dark: FrameReference) -> None:
        """Take note of a new dark frame of an open run."""
        if dark.key.run_uid in self._to_read:
            self._expect(dark.key.run_uid, [*self._to_read[dark.key.run_uid], dark])

    def bring(self, reference: FrameReference) -> Away | None:
        """Give the reducer what it lacks for a frame.

        Returns:
            None, or what is away now and may come: try again before going without.
        """
        dark_run, background_run = self.reducer.wants(reference)
        self._in_hand = frozenset({reference.key.run_uid, dark_run, background_run})
        self._notice_losses(reference, dark_run, background_run)
        own = away = self._read_darks(reference.key.run_uid)
        if dark_run:
            away = self._bring_run("dark", dark_run) or away
        if background_run:
            away = self._bring_run("background", background_run) or away
        if away is None:
            return None
        essential = own is not None and self.reducer.demands_dark(reference)
        return Away(f"{away[0]} is away: {away[1]}", essential)

    def _notice_losses(
        self, reference: FrameReference, dark_run: str, background_run: str = ""
    ) -> None:
        """Begin anew with a run of which the reducer has let go, as it keeps but some."""
        key = reference.key
        needed = (
            ("own", key.run_uid), ("named", dark_run), ("background", background_run)
        )  # fmt: skip
        for role, run_uid in needed:
            given = (role, run_uid, key.data_key)
            if given in self._given and not self.reducer.keeps(run_uid, key.data_key, role):
                self._let_go(run_uid)

    def _let_go(self, run_uid: str) -> None:
        """Let the reducer forget a run, and remember that it has nothing of it."""
        self._to_read.pop(run_uid, None)
        self._left.pop(run_uid, None)
        self._had = {pair: None for pair in self._had if pair[1] != run_uid}
        self._given = {given for given in self._given if given[1] != run_uid}
        self._announced = {pair for pair in self._announced if pair[0] != run_uid}
        self.reducer.forget_run(run_uid)

    def check(self, frame: Frame, pattern: Pattern) -> None:
        """Refuse a pattern whose frame has not got the dark or the monitor that it must have.

        Raises:
            Lacking: so it is.
        """
        announced = "dark_missing" in pattern.flags and self._is_dark_announced(frame.reference)
        self.reducer.check_whole(frame, pattern, dark_announced=announced)

    def _is_dark_announced(self, reference: FrameReference) -> bool:
        """Tell whether documents named a dark run, or dark frames of this run and detector."""
        key = reference.key
        own = (key.run_uid, key.data_key) in self._announced
        return own or bool(self.reducer.wants(reference)[0])

    def _expect(self, run_uid: str, darks: list[FrameReference]) -> None:
        """Have these darks of a run read, and remember of which detectors there are some."""
        self._to_read[run_uid] = darks
        self._announced |= {(run_uid, dark.key.data_key) for dark in darks}

    def forget(self, run_uid: str) -> None:
        """Let go of a run that has ended, as far as no later run may name it."""
        if not any(uid == run_uid for _, uid in self._had):
            self._let_go(run_uid)

    def _read_darks(self, run_uid: str) -> tuple[str, str] | None:
        """Take in the darks of a run that are not taken in."""
        if run_uid not in self._to_read:
            self._expect(run_uid, self.ledger.darks(run_uid))
        left: list[FrameReference] = []
        away = None
        for reference in self._to_read[run_uid]:
            try:
                self._add_dark(reference)
            except Unavailable as error:
                left.append(reference)
                away = "a dark of the run", str(error)
        self._to_read[run_uid] = left
        return away

    def _add_dark(self, reference: FrameReference, role: str = "own") -> None:
        try:
            self.reducer.add_dark(self.reader.read(reference), role)
        except BadFrame as error:
            _log.warning("dark frame not used", frame=str(reference.key), reason=str(error))
        else:
            self._given.add((role, reference.key.run_uid, reference.key.data_key))

    def _bring_run(self, role: str, run_uid: str) -> tuple[str, str] | None:
        if (role, run_uid) in self._had:
            return None
        what = f"the {role} run {run_uid}"
        try:
            references = self.search.references(run_uid)
            if role == "dark":
                self._take_darks(run_uid, references)
            else:
                self._take_background(references)
        except Unavailable as error:
            return what, str(error)
        except BadFrame as error:
            self.search.give_up(run_uid, f"{what}: {error}")
            return None
        self._had[role, run_uid] = None
        self._let_old_ones_go()
        return None

    def _let_old_ones_go(self) -> None:
        """Keep to `RUNS_KEPT`; what the frame in hand needs stays, however long it is there."""
        old = [run_uid for _, run_uid in self._had if run_uid not in self._in_hand]
        while len(self._had) > RUNS_KEPT and old:
            self._let_go(old.pop(0))  # its own darks are gone too, and read again

    def _take_darks(self, run_uid: str, references: Sequence[FrameReference]) -> None:
        # Of a run with samples and darks, the darks are meant. None is taken in twice when one of
        # them is away and all of it is tried again.
        darks = [r for r in references if r.key.stream in self.dark_streams] or references
        left = self._left.setdefault(run_uid, list(_last(darks)))
        while left:
            self._add_dark(left[0], "named")
            del left[0]
        del self._left[run_uid]

    def _take_background(self, references: Sequence[FrameReference]) -> None:
        lights = [r for r in references if r.key.stream not in self.dark_streams]
        if not lights:
            raise BadFrame("it has no frames that are no darks")
        for reference in lights:
            self._notice_losses(reference, self.reducer.wants(reference)[0])
        self._own_darks(references)
        for run_uid in {self.reducer.wants(r)[0] for r in lights} - {""}:
            away = self._bring_run("dark", run_uid)
            if away is not None:
                raise Unavailable(": ".join(away))
        by_detector: dict[str, list[FrameReference]] = {}
        for reference in lights:
            by_detector.setdefault(reference.key.data_key, []).append(reference)
        for found in by_detector.values():
            announced = self._is_dark_announced(found[0])
            for reason in self.reducer.add_background(
                self._readable(found), found[0].key, dark_announced=announced
            ):
                _log.warning("background frame not used", reason=reason)
            self._given.add(("background", found[0].key.run_uid, found[0].key.data_key))

    def _readable(self, references: Sequence[FrameReference]) -> Iterator[Frame]:
        for reference in _last(references):
            try:
                # By which monitor would it be divided? Of a dark nothing that is declared is used.
                if reference.declared.conflict:
                    raise BadFrame(reference.declared.conflict)
                frame = self.reader.read(reference)
            except BadFrame as error:
                _log.warning(
                    "background frame not used", frame=str(reference.key), reason=str(error)
                )
            else:
                yield frame

    def _own_darks(self, references: Sequence[FrameReference]) -> None:
        """Take in the darks within a background run, unless that is done or being done."""
        darks = [r for r in references if r.key.stream in self.dark_streams]
        for run_uid in {r.key.run_uid for r in darks} - set(self._to_read):
            self._expect(run_uid, [r for r in darks if r.key.run_uid == run_uid])
        for run_uid in {r.key.run_uid for r in darks}:
            away = self._read_darks(run_uid)
            if away is not None:
                raise Unavailable(": ".join(away))


def _last(references: Sequence[FrameReference]) -> Sequence[FrameReference]:
    return sorted(references, key=lambda r: (r.time, r.key.seq_num, r.key.index))[-MOST_FRAMES:]
