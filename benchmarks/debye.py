"""Debye patterns of one PbS cluster, 5004 points: error, and CPU time on one thread.

Every engine starts from the cluster and gives I(Q) in double precision; nothing but the form
factors of ours, which depend on Q alone, is kept from one run to the next. The lattice engine is
compared with the pair-histogram engine, with DebyeCalculator (`pair_sum="grid"`, its default, in
float64), with ASE's Debye sum and with the plain sum over all pairs in numpy. The last two cost
the same for every Q: some points are timed and the time of all is extrapolated, as their rows
say. CPU seconds are compared, not seconds on the clock, so that other work on the machine does no
harm; run it with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import warnings
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

from benchmarks.timing import Note, Row, cpu_seconds
from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.scattering.ensemble import DIAMETER_STEP_NM
from qd_agent.scattering.form_factors import FormFactors, lead_sulfide
from qd_agent.scattering.forward import debye_waller, intensity
from training.atoms import LEAD, SULFUR, Atoms, cluster_atoms
from training.debye import cluster_library, partial_sums
from training.histogram import interference

DIAMETERS = (2.0, 4.0, 6.0, 8.0, 10.0)
WAVELENGTH = 0.1839
SAMPLED = 4
"""Points of Q at which the plain sum is made."""


def rows() -> list[Row | Note]:
    import torch  # noqa: PLC0415 - DebyeCalculator computes with it

    torch.set_num_threads(1)
    found: list[Row | Note] = [] if os.environ.get("OMP_NUM_THREADS") == "1" else [
        Note("OMP_NUM_THREADS is not 1: CPU seconds of several threads add up")
    ]  # fmt: skip
    q = PUBLISHED_GRID.values()
    form = lead_sulfide(q, WAVELENGTH)
    peers = {name: peer for name, peer in (("DebyeCalculator", _debye_calculator), ("ase", _ase))
             if _installed(name.lower(), found)}  # fmt: skip
    for diameter in DIAMETERS:
        found += _at(round(diameter / DIAMETER_STEP_NM), q, form, peers)
    return found


def _installed(module: str, notes: list[Row | Note]) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    except ImportError as error:
        notes.append(Note(f"{module} left out ({error}): pip install -e '.[bench]'"))
        return False
    return True


def _at(
    shell: int,
    q: np.ndarray,
    form: FormFactors,
    peers: dict[str, Callable[[Atoms, np.ndarray], Row]],
) -> list[Row | Note]:
    """Compare everything for one cluster."""
    atoms = cluster_atoms(shell)

    def lattice() -> np.ndarray:
        return intensity(partial_sums(cluster_library(shell), q), form, q)[0]

    ours = cpu_seconds(lattice, repeats=7, warm=True)
    what = f"{shell * DIAMETER_STEP_NM:.1f} nm, {len(atoms.kind)} sites: lattice engine"
    patterns = {"lattice engine": lattice()}

    def histogram() -> None:
        patterns["pair histogram"] = interference(atoms, q).intensity(WAVELENGTH)

    timed = [Row(what, ours, "our pair-histogram engine", cpu_seconds(histogram))]
    some = np.linspace(0, q.size - 1, SAMPLED).astype(np.int64)
    given = lead_sulfide(q[some], WAVELENGTH)
    exact: list[np.ndarray] = []
    seconds = (
        cpu_seconds(lambda: exact.append(brute_force(atoms, q[some], given))) * q.size / SAMPLED
    )
    timed.append(Row(what, ours, f"plain sum, {SAMPLED} points timed × {q.size}", seconds))
    timed += [
        Row(what, ours, row.against, row.against_seconds)
        for row in (peer(atoms, q) for peer in peers.values())
    ]
    errors = {
        name: np.linalg.norm(pattern[some] - exact[0]) / np.linalg.norm(exact[0])
        for name, pattern in patterns.items()
    }
    told = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    return [*timed, Note(f"relative L2 error against the plain sum at {SAMPLED} points: {told}")]


def brute_force(atoms: Atoms, q: np.ndarray, form: FormFactors) -> np.ndarray:
    """I(Q) by the Debye equation over all pairs of Pb and S sites, shape (nq,), electrons²."""
    factors = np.array(
        [
            (form.lead + form.lead_anomalous) * debye_waller(q, LEAD.b),
            (form.sulfur + form.sulfur_anomalous) * debye_waller(q, SULFUR.b),
        ]
    )
    squared = form.products()
    own = [atoms.occupancy[atoms.kind == kind].sum() for kind in (0, 1)]
    total = own[0] * squared[0] + own[1] * squared[2]
    amplitude = factors[atoms.kind] * atoms.occupancy[:, None]  # (n, nq)
    x, count = atoms.positions, len(atoms.kind)
    rows = max(1, (1 << 20) // count)
    for start in range(0, count, rows):
        stop = min(start + rows, count)
        separation = x[start:stop, None] - x[None, start:]
        r = np.sqrt((separation**2).sum(axis=2))
        r[np.arange(stop - start), np.arange(stop - start)] = 1.0
        later = np.arange(start, count) > np.arange(start, stop)[:, None]
        inverse = np.where(later, 2.0 / r, 0.0)
        for index, one in enumerate(q):
            wave = np.sin(one * r) * inverse / one
            partner = wave @ np.conj(amplitude[start:, index])
            total[index] += (amplitude[start:stop, index] @ partner).real
    return total


def _debye_calculator(atoms: Atoms, q: np.ndarray) -> Row:
    import torch  # noqa: PLC0415
    from debyecalculator import DebyeCalculator  # noqa: PLC0415

    step = PUBLISHED_GRID.step
    elements = [atoms.species[kind].element for kind in atoms.kind]
    positions = torch.from_numpy(atoms.positions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it is told to use the CPU
        calculator = DebyeCalculator(
            qmin=q[0], qmax=q[-1] + 0.5 * step, qstep=step, biso=1.3, device="cpu",
            dtype=torch.float64, pair_sum="grid", num_threads=1,
        )  # fmt: skip
    seconds = cpu_seconds(lambda: calculator.iq((elements, positions)))
    return Row("", 0.0, f"DebyeCalculator {version('DebyeCalculator')}, grid, float64", seconds)


def _ase(atoms: Atoms, q: np.ndarray) -> Row:
    from ase import Atoms as AseAtoms  # noqa: PLC0415
    from ase.utils.xrdebye import XrDebye  # noqa: PLC0415

    points = 1 if len(atoms.kind) > 5000 else 3
    elements = [atoms.species[kind].element for kind in atoms.kind]
    engine = XrDebye(AseAtoms(elements, positions=atoms.positions), wavelength=WAVELENGTH)
    some = q[:: q.size // points][:points]
    with contextlib.redirect_stdout(io.StringIO()):
        seconds = cpu_seconds(lambda: [engine.get(one / (2.0 * np.pi)) for one in some])
    against = f"ASE {version('ase')} XrDebye, {points} of {q.size} points timed"
    return Row("", 0.0, against, seconds * q.size / points)
