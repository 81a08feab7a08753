"""qd-train simulate as a user meets it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from qd_agent.core.errors import Mistake
from training.cli import app


def simulate(output: Path, *arguments: str) -> np.ndarray:
    command = ["simulate", "--diameter", "3", "--output", str(output), *arguments]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return np.loadtxt(output)


def refusal(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code != 0
    assert isinstance(result.exception, Mistake | SystemExit), result.exception
    return str(result.exception) if isinstance(result.exception, Mistake) else result.output


def test_shape_strain_and_elongation_each_change_the_pattern_and_are_named(tmp_path: Path):
    plain = simulate(tmp_path / "plain.xy")
    assert plain.shape == (5004, 2)
    for arguments in (
        ("--shape", "octahedron"),
        ("--strain", "0.004"),
        ("--elongation", "0.007"),
        ("--b-sulfur", "3"),
    ):
        output = tmp_path / "changed.xy"
        changed = simulate(output, *arguments)
        assert changed[:, 1].mean() == pytest.approx(1.0, abs=1e-4)
        assert np.abs(changed[:, 1] - plain[:, 1]).max() > 0.02
        assert arguments[1] in output.read_text("utf-8").splitlines()[0]


def test_positive_strain_moves_peaks_to_lower_q(tmp_path: Path):
    plain = simulate(tmp_path / "plain.xy")
    stretched = simulate(tmp_path / "stretched.xy", "--strain", "0.02")
    window = (plain[:, 0] > 3.2) & (plain[:, 0] < 3.9)
    peak = plain[window, 0][plain[window, 1].argmax()]
    assert plain[window, 0][stretched[window, 1].argmax()] == pytest.approx(peak / 1.02, abs=0.01)


def test_a_liquid_and_noise_are_random_but_seeded(tmp_path: Path):
    weak = ("--share", "0.2", "--counts", "50")
    first = simulate(tmp_path / "a.xy", *weak, "--seed", "1")
    again = simulate(tmp_path / "b.xy", *weak, "--seed", "1")
    other = simulate(tmp_path / "c.xy", *weak, "--seed", "2")
    np.testing.assert_array_equal(first, again)
    assert np.abs(first[:, 1] - other[:, 1]).max() > 0.1
    np.testing.assert_allclose(first[:, 1] * 50, np.rint(first[:, 1] * 50), atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--diameter", "4", "--output", "none/here/x.xy"], "there is no folder"),
        (["--diameter", "4", "--output", "."], "cannot be written"),
        (["--diameter", "4", "--output", "x.xy", "--plot", "x.foo"], "cannot be drawn"),
        (["--diameter", "4", "--output", "x.xy", "--shape", "ball"], "ball"),
        (["--diameter", "4", "--output", "x.xy", "--elongation", "0.5"], "0.05"),
        (["--diameter", "4", "--output", "x.xy", "--strain", "nan"], "--strain"),
        (["--diameter", "4", "--output", "x.xy", "--counts", "0"], "0.1"),
        (["--diameter", "nan", "--output", "x.xy"], "--diameter"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert said in refusal(*arguments)


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path):
    code = "from training.cli import main; main()"
    output = str(tmp_path / "none" / "x.xy")
    arguments = [sys.executable, "-c", code, "simulate", "--diameter", "4", "--output", output]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "make it first" in ended.stderr
