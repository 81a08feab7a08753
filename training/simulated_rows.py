"""Rows of the table of targets that are measured on simulations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from qd_agent.core.pattern import Pattern
from qd_agent.core.ports import Sizer
from qd_agent.core.prediction import Verdict
from training.attacks import Attack
from training.evaluation_figures import CLASSES_NM, Scored, by_band, figures
from training.simulated_sets import SIZES_NM, Example
from training.target_rows import Row

CHUNK = 64

Progress = Callable[[str, int], None]
"""Called with (what, how many are done)."""


def size_examples(
    sizer: Sizer, examples: Iterable[Example], what: str, progress: Progress
) -> list[Scored]:
    """Size simulated patterns; only a few are in memory at once. The group is the kind."""
    found: list[Scored] = []
    waiting: list[Example] = []

    def flush() -> None:
        answers = sizer.size([e.pattern for e in waiting])
        for e, answer in zip(waiting, answers, strict=True):
            real = e.kind == "nanocrystals"
            found.append(
                Scored(
                    name=f"{what} {len(found)}",
                    group="good" if e.good else (e.kind if not real else "hardly any signal"),
                    truth_nm=e.diameter_nm if real else None,
                    volume_nm=e.volume_nm if real else None,
                    dispersion=e.dispersion if real else None,
                    share=e.share,
                    counts=e.counts,
                    bound_nm=e.bound_nm,
                    estimate=answer.estimate,
                )
            )
        waiting.clear()
        progress(what, len(found))

    for example in examples:
        waiting.append(example)
        if len(waiting) == CHUNK:
            flush()
    if waiting:
        flush()
    return found


def class_row(scored: Sequence[Scored]) -> Row:
    """Class accuracy on the class centres; a pattern without a size counts as wrong."""
    f = figures(scored)
    right = int(f.get("right_class", 0)) / max(1, len(scored))
    refused = len(scored) - int(f["sized"])
    possible = class_limit(scored)
    return Row(
        "simulated class centres, dispersion ≤ 20 %, share ≥ 15 %: right class",
        "> 97 %",
        "≥ 99 %",
        f"{right:.2%} of {len(scored)} · mean {f.get('mean_error_nm', float('nan')):.4f} nm",
        right >= 0.99,
        f"the Cramér–Rao bound allows {possible:.2%}; {refused} refused; bias "
        f"{f.get('bias_nm', 0.0):+.4f} nm, interval covers {f.get('interval_coverage', 0.0):.1%}",
        {**f, "class_accuracy_at_the_bound": round(possible, 5)},
    )


def class_limit(scored: Sequence[Scored]) -> float:
    """Class accuracy of a method whose errors are normal with the bound's standard deviation.

    The outermost classes are left on one side only.
    """
    right: list[float] = []
    for s in scored:
        if s.truth_nm is None or s.bound_nm is None or s.true_class_nm is None:
            continue
        low, high = s.true_class_nm - 0.25 - s.truth_nm, s.true_class_nm + 0.25 - s.truth_nm
        below = 0.0 if s.true_class_nm == CLASSES_NM[0] else _normal(low / s.bound_nm)
        above = 1.0 if s.true_class_nm == CLASSES_NM[-1] else _normal(high / s.bound_nm)
        right.append(above - below)
    return sum(right) / max(1, len(right))


def _normal(x: float) -> float:
    return 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))


Band = tuple[tuple[float, float], float, float]
"""Size from–to (nm), share, counts per point."""

LEAST_SIZED = 5
"""With fewer sized patterns in a band its ratio means nothing."""


def bands(scored: Sequence[Scored]) -> dict[Band, list[Scored]]:
    """Sort the continuous set into its bands."""
    found: dict[Band, list[Scored]] = {}
    for s in scored:
        if s.truth_nm is None or s.share is None or s.counts is None:
            continue
        size = next((r for r in SIZES_NM if r[0] <= s.truth_nm <= r[1] + 1e-9), SIZES_NM[-1])
        found.setdefault((size, s.share, s.counts), []).append(s)
    return found


def bound_rows(scored: Sequence[Scored]) -> list[Row]:
    """RMSE over the bound, for shares up to 5 % and above; the worst band decides."""
    table = {band: figures(members) for band, members in bands(scored).items()}
    faint = {b: f for b, f in table.items() if b[1] <= 0.05}
    clear = {b: f for b, f in table.items() if b[1] > 0.05}
    return [
        _bound_row("share above 5 %", clear, 1.5),
        _bound_row("share 2–5 %", faint, 2.0),
    ]


def _bound_row(which: str, table: dict[Band, dict[str, float | int]], limit: float) -> Row:
    enough = {b: f for b, f in table.items() if f["sized"] >= LEAST_SIZED}
    ratio = {b: float(f["rmse_over_bound"]) for b, f in enough.items()}
    refused = sum(int(f["patterns"]) - int(f["sized"]) for f in table.values())
    total = sum(int(f["patterns"]) for f in table.values())
    good = sum(r <= limit for r in ratio.values())
    name = f"continuous sizes: RMSE over the Cramér–Rao bound, {which}"
    target = f"≤ {limit:g} in every band"
    figures_of = {band_name(b): dict(f) for b, f in table.items()}
    if not ratio:
        return Row(name, "–", target, "no band with sizes", False, f"{refused}/{total} refused",
                   {"bands": figures_of})  # fmt: skip
    worst = max(ratio, key=lambda b: ratio[b])
    middle = float(np.median(list(ratio.values())))
    return Row(
        name,
        "–",
        target,
        f"{good}/{len(table)} bands · median {middle:.2f} · worst {ratio[worst]:.1f}",
        good == len(table),
        f"worst at {band_name(worst)}; {refused}/{total} refused; by chance a ratio strays by "
        f"{1 / math.sqrt(2 * total / len(table)):.0%}",
        {"bands": figures_of},
    )


def band_name(band: Band) -> str:
    """Name of a band as it is shown."""
    (low, high), share, counts = band
    return f"{low:g}–{high:g} nm, {share:.0%}, {counts:g} counts"


def refused_row(scored: Sequence[Scored]) -> Row:
    """Good patterns of the training's priors that get no size."""
    good = [s for s in scored if s.group == "good"]
    refused = [s for s in good if not s.sized]
    share = len(refused) / max(1, len(good))
    why: dict[str, int] = {}
    for s in refused:
        verdict = "unreadable" if s.estimate is None else str(s.estimate.verdict)
        why[verdict] = why.get(verdict, 0) + 1
    return Row(
        "good simulated patterns (training priors) refused",
        "–",
        "≤ 1 %",
        f"{share:.2%} of {len(good)}",
        share <= 0.01,
        ", ".join(f"{v}: {n}" for v, n in sorted(why.items())),
        {"good": len(good), "refused": len(refused), "verdicts": why},
    )


def calibration_rows(scored: Sequence[Scored]) -> list[Row]:
    """Coverage of the 90 % interval overall and class calibration, on the training's priors."""
    good = [s for s in scored if s.group == "good"]
    f = figures(good)
    coverage = float(f.get("interval_coverage", 0.0))
    error = float(f.get("class_calibration_error", 1.0))
    return [
        Row(
            "90 % intervals cover, good simulated patterns", "–", "88–92 % overall",
            f"{coverage:.1%} of {f['sized']}", 0.88 <= coverage <= 0.92, "", dict(f),
        ),
        Row(
            "expected calibration error of the classes", "–", "≤ 0.02", f"{error:.4f}",
            error <= 0.02, "", {"class_calibration_error": error},
        ),
        _band_coverage(good),
    ]  # fmt: skip


ENOUGH = 60
"""Sized patterns that a band needs; by chance alone its coverage then strays by 4 %."""

CALIBRATED = ("diameter (nm)", "nanocrystal share", "counts per point")


def _band_coverage(good: Sequence[Scored]) -> Row:
    """Coverage within every band of size, share and noise."""
    covered: dict[str, float] = {}
    for quantity, members in by_band(good).items():
        for band, f in members.items() if quantity in CALIBRATED else ():
            if f["sized"] >= ENOUGH:
                covered[f"{quantity} {band}"] = float(f["interval_coverage"])
    outside = {band: c for band, c in covered.items() if not 0.85 <= c <= 0.95}
    low, high = min(covered.values(), default=0.0), max(covered.values(), default=0.0)
    return Row(
        "90 % intervals cover, within every band of size, share and noise",
        "–",
        "85–95 %",
        f"{low:.1%} to {high:.1%} in {len(covered)} bands",
        bool(covered) and not outside,
        "; ".join(f"{band}: {c:.1%}" for band, c in outside.items()),
        {"bands": covered},
    )


def attack_rows(sizer: Sizer, attacks: Sequence[Attack], progress: Progress) -> list[Row]:
    """How many patterns that must get no size got one: all, and a row per family."""
    got: dict[str, list[str]] = {}
    total: dict[str, int] = {}
    for start in range(0, len(attacks), CHUNK):
        part = attacks[start : start + CHUNK]
        for attack, answer in zip(part, sizer.size([a.pattern for a in part]), strict=True):
            total[attack.family] = total.get(attack.family, 0) + 1
            names = got.setdefault(attack.family, [])
            e = answer.estimate
            if e.verdict is Verdict.SIZED:
                names.append(f"{attack.name} → {e.diameter_nm:.2f} nm")
        progress("attacking", start + len(part))
    sized = sum(map(len, got.values()))
    rows = [
        Row(
            "foreign patterns given a size", "all", "none",
            f"{sized} of {len(attacks)}", sized == 0, "", {"sized": sized, "of": len(attacks)},
        )
    ]  # fmt: skip
    for family, count in total.items():
        names = got[family]
        more = f"; and {len(names) - 3} more" if len(names) > 3 else ""
        rows.append(
            Row(
                f"  {family}", "all", "none", f"{len(names)} of {count}", not names,
                "; ".join(names[:3]) + more, {"sized": names, "of": count},
            )
        )  # fmt: skip
    return rows


def as_attacks(measured: Sequence[tuple[str, str, Pattern]]) -> list[Attack]:
    """Measured foreign patterns among the attacks."""
    return [Attack(family, name, pattern) for family, name, pattern in measured]
