"""The Debye equation over a library of clusters."""

import numpy as np
import pytest

from qd_agent.scattering.form_factors import FormFactors, anomalous, f0, lead_sulfide
from qd_agent.scattering.forward import (
    ClusterLibrary,
    debye_waller,
    ensemble_multiplicities,
    intensity,
    partial_sums,
)

Q = np.linspace(0.9, 15.0, 200)


@pytest.fixture
def pair() -> ClusterLibrary:
    """One Pb and one S at a/2: the smallest molecule that the library can hold."""
    one = np.ones((1, 1))
    return ClusterLibrary(
        diameters=np.array([0.4638]),
        lead=np.array([1.0]),
        sulfur=np.array([1.0]),
        even=np.array([2.0]),
        odd=np.array([1.0]),
        lead_lead=0 * one,
        sulfur_sulfur=0 * one,
        lead_sulfur=one,
    )


def test_a_molecule_scatters_as_the_debye_formula_says(pair: ClusterLibrary):
    form = lead_sulfide(Q, 0.5)
    found = intensity(partial_sums(pair, Q), form, Q, b_lead=1.0, b_sulfur=2.0)[0]
    lead, sulfur = form.lead + form.lead_anomalous, form.sulfur + form.sulfur_anomalous
    r = 5.934 / 2
    damping = np.exp(-(1.0 + 2.0) * (Q / (4 * np.pi)) ** 2)
    cross = 2 * np.real(lead * np.conj(sulfur)) * damping * np.sin(Q * r) / (Q * r)
    np.testing.assert_allclose(found, abs(lead) ** 2 + abs(sulfur) ** 2 + cross, rtol=1e-12)


def test_strain_scales_q(pair: ClusterLibrary):
    stretched = partial_sums(pair, Q, lattice_scale=1.01)
    plain = partial_sums(pair, Q * 1.01)
    np.testing.assert_allclose(stretched.lead_sulfur, plain.lead_sulfur, rtol=1e-12)


def test_mixing_clusters_and_mixing_their_distances_is_the_same():
    from training.debye import build_library

    library = build_library(2.5)
    weights, mean_particle = ensemble_multiplicities(library, 1.6, 0.2)
    mixed = partial_sums(library, Q).mixed(weights)
    at_once = partial_sums(mean_particle, Q)
    np.testing.assert_allclose(mixed.lead_sulfur, at_once.lead_sulfur[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(mixed.lead, at_once.lead[0])


def test_without_interference_only_the_self_terms_remain():
    form = FormFactors(lead=np.full(Q.size, 82.0), sulfur=np.full(Q.size, 16.0))
    assert debye_waller(Q, 0.0) == pytest.approx(1.0)
    lead2, cross, sulfur2 = form.products()
    assert (lead2[0], cross[0], sulfur2[0]) == (82.0**2, 82.0 * 16.0, 16.0**2)


def test_form_factors_are_those_of_the_tables():
    assert f0("Pb", np.array([0.0]))[0] == pytest.approx(82.0, abs=0.1)
    assert f0("S", np.array([0.0]))[0] == pytest.approx(16.0, abs=0.05)
    assert anomalous("Pb", 1.5406) == pytest.approx(-4.1 + 8.5j, abs=0.6)  # Cu Kα
    # Above the L3 edge (0.951 Å) absorption jumps up.
    assert anomalous("Pb", 0.94).imag > 1.5 * anomalous("Pb", 0.96).imag
