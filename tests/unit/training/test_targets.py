"""The table of targets: what is counted, and what is met."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from qd_agent.core.pattern import PUBLISHED_GRID, Pattern
from qd_agent.core.prediction import Estimate, Sized, Verdict
from training.attacks import Attack
from training.evaluation_figures import CLASSES_NM, Scored, nearest_class
from training.reference_rows import (
    cropped,
    debussy_row,
    find_reference,
    foreign_patterns,
    measured_rows,
    stretched,
)
from training.refinement_rows import refinement_row
from training.simulated_rows import (
    attack_rows,
    bands,
    bound_rows,
    calibration_rows,
    class_limit,
    class_row,
    refused_row,
    size_examples,
)
from training.simulated_sets import Example
from training.target_rows import note_of, tally
from training.targets_cli import show

Q = PUBLISHED_GRID.values()
FLAT = Pattern(np.ones_like(Q), np.zeros_like(Q), np.ones_like(Q))
REFUSED = Estimate(verdict=Verdict.OUT_OF_DOMAIN, reason="not PbS")


def silent(_what: str, _done: int) -> None:
    """Report nothing."""


def sized(diameter: float, half: float = 0.1) -> Estimate:
    chosen = nearest_class(diameter)
    return Estimate(
        verdict=Verdict.SIZED,
        diameter_nm=diameter,
        diameter_sd_nm=0.1,
        interval_nm=(diameter - half, diameter + half),
        diameter_volume_nm=diameter,
        dispersion=0.12,
        class_nm=chosen,
        class_probabilities=tuple(float(c == chosen) for c in CLASSES_NM),
    )


@dataclass
class Always:
    """A sizer with one answer; keeps what it was asked."""

    estimate: Estimate

    def size(self, patterns: Sequence[Pattern]) -> list[Sized]:
        return [Sized(self.estimate, p) for p in patterns]


def test_near_abstained_and_covered_are_counted_apart():
    t = tally(
        [
            Scored("near", truth_nm=4.0, estimate=sized(4.2)),
            Scored("covered", truth_nm=4.0, estimate=sized(4.5, half=0.6)),
            Scored("missed", truth_nm=4.0, estimate=sized(3.5)),
            Scored("refused", truth_nm=4.0, estimate=REFUSED),
        ]
    )
    assert (t.patterns, t.near, t.abstained) == (4, 1, 1)
    assert (t.near_or_abstains, t.near_or_covered) == (2, 2)
    assert (t.mean_error_nm, t.largest_error_nm) == pytest.approx((0.4, 0.5))
    assert note_of(t) == (
        "covered: +0.50 nm, interval covers; missed: -0.50 nm, outside its interval; "
        "refused: out_of_domain"
    )
    assert note_of(t, 1).endswith("and 2 more")


def name_of(size: str, wavelength: str) -> str:
    return f"PbS_wl{wavelength}A_{size}nm.xy"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    measured = tmp_path / "patterns_measured"
    measured.mkdir()
    for wavelength, top in (("0p5000", 70.0), ("1p5406", 120.0)):
        angle = np.arange(10.0 if top > 100 else 5.0, top, 0.05)
        for size in ("4p00", "4p10"):
            table = np.column_stack([angle, 1.0 + 1e-3 * angle])
            np.savetxt(measured / name_of(size, wavelength), table)
    debussy = tmp_path / "patterns_debussy"
    debussy.mkdir()
    name = "PbS_Str1.0000_SD10_Avg4.00_SolvHEX_Conc100_noisy30.00.cal"
    np.savetxt(debussy / name, 1.0 + Q)
    return tmp_path


def test_rows_of_the_reference_data_are_met_by_right_answers_only(folder: Path):
    right, wrong = Always(sized(4.02)), Always(sized(5.0))
    assert debussy_row(right, folder).met
    assert not debussy_row(wrong, folder).met
    assert all(row.met for row in measured_rows(right, folder))
    assert not any(row.met for row in measured_rows(wrong, folder))


def test_abstaining_helps_where_it_is_allowed_and_nowhere_else(folder: Path):
    rows = {row.name: row.met for row in measured_rows(Always(REFUSED), folder)}
    assert rows["synchrotron cropped to Q ≥ 2"]
    assert not rows["measured synchrotron, within 0.25 nm of the label"]
    assert not rows["measured laboratory, the same"]
    assert not rows["Q scale +1%"]


def test_rows_without_their_data_say_so(tmp_path: Path):
    rows = [debussy_row(Always(REFUSED), None), *measured_rows(Always(REFUSED), tmp_path)]
    assert all(row.met is None and "reference" in row.note for row in rows)
    assert find_reference(tmp_path / "nowhere") is None
    assert foreign_patterns(None) == []


def test_cropping_and_stretching_do_what_they_say():
    low = cropped(FLAT, 2.0)
    assert Q[low.coverage > 0][0] == pytest.approx(2.0, abs=0.003)
    assert not low.intensity[Q < 2.0].any()
    line = Pattern(np.exp(-(((Q - 5.0) / 0.05) ** 2)), 0 * Q, np.ones_like(Q))
    assert Q[stretched(line, 1.01).intensity.argmax()] == pytest.approx(5.05, abs=0.003)
    assert Q[stretched(line, 0.99).intensity.argmax()] == pytest.approx(4.95, abs=0.003)


def example(size: float, *, share: float = 0.37, good: bool = True, kind: str = "nanocrystals"):
    return Example(FLAT, size, 1.1 * size, 0.1, share, 2142.0, 0.1, good, kind)


def test_ratios_to_the_bound_are_judged_in_every_band():
    # Answered 4.1: truths around it give a known RMSE.
    good = [example(4.1 + d) for d in (0.12, -0.12) * 5]
    faint = [example(4.1 + d, share=0.05) for d in (0.3, -0.3) * 5]
    scored = size_examples(Always(sized(4.1)), [*good, *faint], "set", silent)
    assert len(bands(scored)) == 2
    clear, hard = bound_rows(scored)
    assert clear.met
    assert "worst 1.2" in clear.ours
    assert not hard.met
    assert "worst 3.0" in hard.ours


def test_a_band_without_sizes_is_not_met():
    scored = size_examples(Always(REFUSED), [example(4.0)] * 8, "set", silent)
    clear, _ = bound_rows(scored)
    assert not clear.met
    assert "8/8 refused" in clear.note


def test_refusals_of_good_patterns_are_counted_among_good_ones_only():
    examples = [*[example(4.0)] * 150, *[example(4.0, good=False)] * 50]
    examples += [example(4.0, good=False, kind="nothing")] * 20
    refused = size_examples(Always(REFUSED), examples, "set", silent)
    row = refused_row(refused)
    assert not row.met
    assert row.ours == "100.00% of 150"
    answered = size_examples(Always(sized(4.05)), examples, "set", silent)
    assert refused_row(answered).met
    assert {s.group for s in answered} == {"good", "hardly any signal", "nothing"}
    overall, classes, within = calibration_rows(answered)
    assert not overall.met  # always covered is too often
    assert classes.met
    assert not within.met


def test_a_refused_class_centre_is_a_wrong_class():
    right = [Scored("a", "good", 4.0, bound_nm=0.05, estimate=sized(4.1))] * 98
    refused = [Scored("b", "good", 4.0, bound_nm=0.05, estimate=REFUSED)] * 2
    assert class_row(right).met
    assert not class_row([*right, *refused]).met
    assert class_limit(right) == pytest.approx(1.0, abs=1e-5)
    hard = [Scored("c", "good", 4.0, bound_nm=0.25, estimate=sized(4.1))]
    assert class_limit(hard) == pytest.approx(0.6827, abs=1e-3)
    last = [Scored("d", "good", 10.0, bound_nm=0.25, estimate=sized(10.0))]
    assert class_limit(last) == pytest.approx(0.8413, abs=1e-3)


def test_every_sized_attack_is_named_in_its_family():
    attacks = [Attack("flat", "f", FLAT), Attack("dark", "d", FLAT), Attack("dark", "e", FLAT)]
    total, flat, dark = attack_rows(Always(sized(4.0)), attacks, silent)
    assert (total.ours, flat.ours, dark.ours) == ("3 of 3", "1 of 1", "2 of 2")
    assert "d → 4.00 nm" in dark.note
    assert all(row.met for row in attack_rows(Always(REFUSED), attacks, silent))


def test_what_cannot_be_refined_is_named(folder: Path):
    row = refinement_row(Always(REFUSED), None, folder, silent)  # type: ignore[arg-type]
    assert not row.met
    assert "nothing to compare" in row.note
    assert refinement_row(Always(REFUSED), None, None, silent).met is None  # type: ignore[arg-type]


def test_the_table_is_printed_and_its_rows_are_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    rows = [debussy_row(Always(sized(4.02)), folder), debussy_row(Always(REFUSED), None)]
    show(rows, "pbs [x] 1")
    printed = capsys.readouterr().out
    assert "met" in printed
    assert "skipped" in printed
    assert "1 of 1 rows met" in printed
    assert json.loads(json.dumps([row.as_dict() for row in rows]))[0]["met"] is True
