"""qd-train as a user meets it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from qd_agent.core.errors import Mistake
from qd_agent.inference.network import WIDE, NetworkConfig
from training.build_cli import planned
from training.cli import app
from training.train import ON_GPU, Schedule


def test_help_names_the_commands_and_loads_nothing_heavy():
    code = (
        "import sys; from training.cli import app; from typer.testing import CliRunner; "
        "out = CliRunner().invoke(app, ['--help']).output; "
        "assert all(word in out for word in ('build', 'evaluate', 'simulate', 'Examples')), out; "
        "assert not {'torch', 'matplotlib', 'xraydb', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_simulate_writes_a_pattern_and_a_plot(tmp_path: Path):
    output, plot = tmp_path / "dot.xy", tmp_path / "dot.png"
    arguments = ["simulate", "--diameter", "3", "--dispersion", "0.1"]
    arguments += ["--output", str(output), "--plot", str(plot)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "number average 2.999 nm" in result.output
    table = np.loadtxt(output)
    assert table.shape == (5004, 2)
    assert table[:, 1].mean() == pytest.approx(1.0, abs=1e-4)
    assert plot.stat().st_size > 10_000


def test_evaluate_reads_back_what_simulate_wrote(tmp_path: Path):
    output = tmp_path / "dot_4p00nm.xy"
    made = ["simulate", "--diameter", "4", "--dispersion", "0.12", "--output", str(output)]
    assert CliRunner().invoke(app, made).exit_code == 0
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.output)
    (row,) = answer["files"]
    assert row["verdict"] == "sized"
    assert row["diameter_nm"] == pytest.approx(4.0, abs=0.3)


def test_a_missing_file_is_one_clear_line(tmp_path: Path):
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "none.xy")])
    assert result.exit_code == 2
    assert "no such file" in result.output


def test_impossible_numbers_are_refused():
    result = CliRunner().invoke(app, ["simulate", "--diameter", "-1", "--output", "x.xy"])
    assert result.exit_code == 2


def test_a_finished_model_is_not_begun_anew_by_going_on(tmp_path: Path):
    (tmp_path / "card.json").write_text("{}")
    result = CliRunner().invoke(app, ["build", "--output", str(tmp_path), "--resume"])
    assert isinstance(result.exception, Mistake)
    assert "holds a finished model and no checkpoint" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["card.json"]


def test_a_gpu_trains_the_same_network_for_longer():
    assert planned("cuda", None, None, wide=False) == (ON_GPU, NetworkConfig())
    assert planned("cpu", None, None, wide=False) == (Schedule(), NetworkConfig())
    assert ON_GPU.steps * ON_GPU.batch > 10 * Schedule().steps * Schedule().batch


@pytest.mark.parametrize("batch", [2, 7])
def test_a_batch_that_cannot_be_shared_is_refused(batch: int):
    with pytest.raises(Mistake, match=f"--batch {batch}: give a multiple of 2, 4 or more"):
        planned("cpu", None, batch, wide=False)


def test_width_steps_and_batch_may_be_chosen():
    schedule, config = planned("cpu", 7, 4, wide=True)
    assert (schedule.steps, schedule.batch, config) == (7, 4, WIDE)
    assert planned("cuda", None, 512, wide=False) == (
        replace(ON_GPU, batch=512),
        NetworkConfig(),
    )
