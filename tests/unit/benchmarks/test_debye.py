"""The yardsticks of the engine benchmark are right themselves."""

import sys

import numpy as np
import pytest

from benchmarks import debye
from benchmarks.__main__ import main
from benchmarks.timing import Note, Row, cpu_seconds
from qd_agent.scattering.form_factors import lead_sulfide
from qd_agent.scattering.forward import intensity
from training.atoms import cluster_atoms
from training.debye import cluster_library, partial_sums
from training.shapes import Shape


@pytest.mark.parametrize("shape", [Shape.SPHERE, Shape.OCTAHEDRON])
def test_the_plain_sum_and_the_lattice_engine_agree(shape: Shape):
    q = np.array([1.0, 2.1, 7.3, 15.0])
    form = lead_sulfide(q, debye.WAVELENGTH)
    plain = debye.brute_force(cluster_atoms(6, shape), q, form)
    lattice = intensity(partial_sums(cluster_library(6, shape), q), form, q)[0]
    assert np.linalg.norm(plain - lattice) < 1e-12 * np.linalg.norm(plain)


def test_a_peer_that_is_not_installed_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(debye, "DIAMETERS", (0.9,))
    monkeypatch.setitem(sys.modules, "debyecalculator", None)
    monkeypatch.setitem(sys.modules, "ase", None)
    found = debye.rows()
    notes = [row.text for row in found if isinstance(row, Note)]
    assert any("debyecalculator left out" in note and ".[bench]" in note for note in notes)
    assert any("ase left out" in note for note in notes)
    assert [row.against.split(",")[0] for row in found if isinstance(row, Row)] == [
        "our pair-histogram engine",
        "plain sum",
    ]


def test_cpu_time_does_not_count_waiting_and_takes_the_median():
    calls: list[int] = []
    assert cpu_seconds(lambda: calls.append(1), repeats=3, warm=True) < 0.05
    assert len(calls) == 4


def test_an_unknown_benchmark_is_named(capsys: pytest.CaptureFixture[str]):
    assert main(["nonsense"]) == 2
    said = capsys.readouterr().out
    assert "no such benchmark: nonsense" in said
    assert "debye" in said
