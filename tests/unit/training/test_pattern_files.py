"""Reading evaluation files and the truth in their names."""

from pathlib import Path

import numpy as np
import pytest

from qd_agent.core.errors import BadFrame
from training.evaluate import exact_averages, pattern_files
from training.pattern_files import Truth, read_pattern, truth_of


def test_names_tell_the_truth():
    simulated = truth_of(Path("PbS_Str1.0021_SD10_Avg4.50_SolvTOL_Conc37_noisy30.00.cal"))
    assert simulated == Truth(4.5, 0.10, 0.37, counts=pytest.approx(2142.0))
    measured = truth_of(Path("PbS_synchr_wl0p565483A_4p48nm.xye"))
    assert measured == Truth(label_nm=4.48, wavelength=0.565483)
    assert truth_of(Path("PbS_lab_wl1p5406_3p17nm_1.xy")).wavelength == 1.5406
    assert truth_of(Path("Hexane.xye")) == Truth()


def test_the_exact_average_differs_from_the_nominal_one_where_the_grid_is_coarse():
    narrow, _ = exact_averages(Truth(2.5, 0.05))
    assert narrow == pytest.approx(2.5, abs=0.1)
    assert narrow != pytest.approx(2.5, abs=1e-3)
    number, volume = exact_averages(Truth(8.0, 0.15))
    assert number == pytest.approx(8.0, abs=1e-3)
    assert volume == pytest.approx(8.0 * 1.0225**3, abs=0.02)
    assert exact_averages(Truth(4.48)) == (4.48, 4.48)


def test_one_column_is_the_published_grid(tmp_path: Path):
    path = tmp_path / "a.cal"
    np.savetxt(path, np.arange(5004.0))
    assert read_pattern(path).intensity[-1] == 5003
    np.savetxt(path, np.arange(100.0))
    with pytest.raises(BadFrame, match="5004"):
        read_pattern(path)


def test_columns_with_headers_are_read(tmp_path: Path):
    path = tmp_path / "PbS_wl1p5406_3p17nm.xy"
    angle = np.arange(15.0, 120.0, 0.02)
    lines = ["Sample: PbS", "angle intensity"]
    lines += [f"{a:.3f} {100 + a:.2f}" for a in angle]
    path.write_text("\n".join(lines), encoding="latin-1")
    pattern = read_pattern(path)
    covered = pattern.q[pattern.coverage > 0]
    assert covered[0] == pytest.approx(1.065, abs=0.01)
    assert covered[-1] == pytest.approx(7.06, abs=0.02)


def test_text_without_numbers_is_named(tmp_path: Path):
    path = tmp_path / "a.xy"
    path.write_text("hello\n", encoding="utf-8")
    with pytest.raises(BadFrame, match=r"a\.xy"):
        read_pattern(path)
    assert pattern_files([tmp_path]) == [path]


def test_two_theta_without_a_wavelength_is_not_taken_for_q(tmp_path: Path) -> None:
    path = tmp_path / "solvent.xy"
    path.write_text("10 1\n60 2\n120 1\n")
    with pytest.raises(BadFrame, match="--wavelength"):
        read_pattern(path)
    assert read_pattern(path, 0.5).coverage.any()
