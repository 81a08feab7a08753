"""Evaluating files by their names and by manifests; the pictures and tables that come of it."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import PUBLISHED_GRID, Pattern
from qd_agent.core.prediction import Estimate, Sized, Verdict
from training import evaluate_cli
from training.cli import app
from training.evaluate import evaluate, summary
from training.evaluation_figures import CLASSES_NM, Scored, nearest_class
from training.evaluation_plots import confusion, draw_all, draw_learning, read_log

Q = PUBLISHED_GRID.values()


class Brightness:
    """A sizer that reads the size off the first point: 4 where it is 4."""

    def size(self, patterns: Sequence[Pattern]) -> list[Sized]:
        return [Sized(answer(float(p.intensity[0])), p) for p in patterns]


def answer(size: float) -> Estimate:
    if size < 1.0:
        return Estimate(verdict=Verdict.NO_NANOCRYSTALS, reason="nothing there")
    chosen = nearest_class(size)
    return Estimate(
        verdict=Verdict.SIZED,
        diameter_nm=size,
        diameter_sd_nm=0.1,
        interval_nm=(size - 0.2, size + 0.2),
        diameter_volume_nm=size,
        dispersion=0.1,
        nanocrystal_fraction=1.0,
        misfit=0.01,
        class_nm=chosen,
        class_probabilities=tuple(float(c == chosen) for c in CLASSES_NM),
    )


def write(path: Path, value: float) -> None:
    np.savetxt(path, np.column_stack([Q, np.full(Q.size, value)]), fmt="%.5f")


def test_a_manifest_tells_the_truth_of_files_whose_names_do_not(tmp_path: Path):
    write(tmp_path / "one.xy", 4.1)
    write(tmp_path / "two.xy", 5.0)
    write(tmp_path / "three.xy", 0.5)
    (tmp_path / "manifest.csv").write_text(
        "file,diameter_nm,dispersion,group,split\n"
        "one.xy,4,0.1,mine,test\ntwo.xy,5.3,0.1,mine,training\nthree.xy,,,empty,test\n"
        "gone.xy,3,,mine,test\n"
    )
    outcomes = evaluate(Brightness(), [tmp_path])
    assert [o.difference for o in outcomes] == pytest.approx([0.1, -0.3, None, None])
    assert "gone.xy" in outcomes[-1].error
    figures = summary(outcomes)
    assert (figures["mine"]["files"], figures["mine"]["sized"]) == (3, 2)
    assert figures["empty"] == {"files": 1, "patterns": 1, "sized": 0}
    held = evaluate(Brightness(), [tmp_path / "manifest.csv"], split="test")
    assert [o.path.name for o in held] == ["one.xy", "three.xy", "gone.xy"]


def test_a_broken_manifest_is_named(tmp_path: Path):
    (tmp_path / "manifest.csv").write_text("nothing of use\n1\n")
    with pytest.raises(BadFrame, match=r"manifest\.csv"):
        evaluate(Brightness(), [tmp_path])


def scored(count: int = 40) -> list[Scored]:
    rng = np.random.default_rng(0)
    truth = rng.uniform(2.0, 10.0, count)
    guess = truth + rng.normal(0.0, 0.15, count)
    return [
        Scored(str(i), "set", float(t), share=0.5, bound_nm=0.1, estimate=answer(float(g)))
        for i, (t, g) in enumerate(zip(truth, guess, strict=True))
    ]


def test_every_figure_is_drawn(tmp_path: Path):
    written = draw_all(tmp_path / "figures", scored(), "a set")
    names = {"confusion.png", "reliability.png", "error_vs_size.png", "error_over_bound.png"}
    assert {p.name for p in written} == names
    assert all(p.read_bytes().startswith(b"\x89PNG") and p.stat().st_size > 8000 for p in written)
    assert draw_all(tmp_path / "none", [Scored("a")], "nothing known") == []
    assert not (tmp_path / "none").exists()


def test_the_confusion_counts_every_pattern_once():
    table = confusion([*scored(), Scored("refused", truth_nm=3.0, estimate=answer(0.0))])
    assert table.sum() == 40
    assert np.trace(table) > 20


def test_learning_curves_come_from_the_log_beside_the_model(tmp_path: Path):
    log = tmp_path / "training_log.csv"
    log.write_text(
        "step,loss,validation_mean_error_nm,rate\n20,5.1,,0.001\n40,4.0,0.5,0.002\n60,3.5,,0.001\n"
    )
    table = read_log(log)
    assert np.isnan(table["validation_mean_error_nm"]).tolist() == [True, False, True]
    assert draw_learning(tmp_path / "plots" / "learning.png", log).stat().st_size > 8000
    log.write_text("step,loss\n1,2\n")
    with pytest.raises(BadFrame, match="training_log"):
        read_log(log)
    log.write_text("step,loss,validation_mean_error_nm,rate\n1,high,,\n")
    with pytest.raises(BadFrame, match="training_log"):
        read_log(log)


@pytest.fixture
def brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    import qd_agent.inference

    monkeypatch.setattr(qd_agent.inference, "open_sizer", lambda _: Brightness())


@pytest.mark.usefixtures("brightness")
def test_the_command_prints_tables_or_json_and_draws(tmp_path: Path):
    for size in (3.0, 4.0, 5.0):
        write(tmp_path / f"dots_{size:.1f}nm.xy".replace(".", "p", 1), size + 0.1)
    arguments = ["evaluate", str(tmp_path)]
    text = CliRunner().invoke(app, [*arguments, "--plots", str(tmp_path / "figures")])
    assert text.exit_code == 0, text.output
    assert "mean error" in text.output
    assert (tmp_path / "figures" / "confusion.png").exists()
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert found["summary"]["synchrotron"]["sized"] == 3
    assert found["sets"]["files"]["all"]["bias_nm"] == pytest.approx(0.1)
    assert len(found["files"]) == 3


@pytest.mark.usefixtures("brightness")
def test_nothing_to_evaluate_is_said():
    result = CliRunner().invoke(app, ["evaluate"])
    assert result.exit_code == 2
    assert "--simulated" in result.output


def test_the_table_of_bounds_has_sizes_down_and_shares_across(
    capsys: pytest.CaptureFixture[str],
):
    rows = [
        Scored(str(i), "good", 4.0, share=s, counts=214.0, bound_nm=0.1, estimate=answer(4.2))
        for i, s in enumerate((0.02, 0.05, 0.15, 0.37, 1.0))
    ]
    evaluate_cli._show_bound(rows)
    assert capsys.readouterr().out.count("2.00 (0.100)") == 5
