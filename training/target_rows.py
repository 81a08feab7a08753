"""One row of the table of targets: what is asked, what was measured, and whether it is met."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from training.evaluation_figures import Scored

WITHIN_NM = 0.25


@dataclass(frozen=True, slots=True)
class Row:
    """A row; `met` is None where it could not be measured, and `note` says why or which missed."""

    name: str
    published: str
    target: str
    ours: str
    met: bool | None
    note: str = ""
    figures: dict[str, object] = field(default_factory=dict[str, object])

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


def skipped(name: str, published: str, target: str, reason: str) -> Row:
    """Give a row that could not be measured."""
    return Row(name, published, target, "–", None, reason)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over patterns of known size; an abstention is neither near nor covered."""

    patterns: int
    near: int
    near_or_abstains: int
    near_or_covered: int
    abstained: int
    mean_error_nm: float
    largest_error_nm: float
    bias_nm: float
    not_near: tuple[str, ...]

    @property
    def text(self) -> str:
        """One line for the table."""
        refused = f", {self.abstained} abstained" if self.abstained else ""
        return (
            f"{self.near}/{self.patterns}{refused} · mean {self.mean_error_nm:.3f} · "
            f"worst {self.largest_error_nm:.2f} · bias {self.bias_nm:+.3f} nm"
        )


def tally(scored: Sequence[Scored]) -> Tally:
    """Count patterns within a quarter nanometre, abstentions, misses that the interval holds."""
    errors = [s.error_nm for s in scored if s.error_nm is not None]
    near = [s.error_nm is not None and abs(s.error_nm) <= WITHIN_NM for s in scored]
    return Tally(
        patterns=len(scored),
        near=sum(near),
        near_or_abstains=sum(n or not s.sized for n, s in zip(near, scored, strict=True)),
        near_or_covered=sum(n or s.covered for n, s in zip(near, scored, strict=True)),
        abstained=sum(not s.sized for s in scored),
        mean_error_nm=sum(map(abs, errors)) / len(errors) if errors else math.nan,
        largest_error_nm=max(map(abs, errors), default=math.nan),
        bias_nm=sum(errors) / len(errors) if errors else math.nan,
        not_near=tuple(_miss(s) for s, n in zip(scored, near, strict=True) if not n),
    )


def _miss(s: Scored) -> str:
    if s.error_nm is None:
        verdict = "unreadable" if s.estimate is None else str(s.estimate.verdict)
        return f"{s.name}: {verdict}"
    held = "interval covers" if s.covered else "outside its interval"
    return f"{s.name}: {s.error_nm:+.2f} nm, {held}"


def note_of(t: Tally, limit: int = 6) -> str:
    """Name the misses, the first few of them."""
    more = len(t.not_near) - limit
    return "; ".join(t.not_near[:limit]) + (f"; and {more} more" if more > 0 else "")
