"""Growth of PbS nanocrystals in a hot-injection synthesis, with the exact truth at every moment.

Progress runs from 0 (first frame) to 1 (last frame). Until `induction` there is solvent only.
Nuclei then appear over a window, and all grow by the diffusion-limited law of a supersaturation
S that the growth itself consumes:

    dr/dt = (k / r) S,   S = (r_p² - r²) / (r_p² - r_0²)

which has the closed solution r² = r_p² - (r_p² - r_0²) exp(-t/τ), with plateau radius r_p, radius
of the nuclei r_0 and τ = (r_p² - r_0²) / 2k. Under a 1/r law r·δr stays constant, so the relative
dispersion focuses as 1/r² (Sugimoto, Adv. Colloid Interface Sci. 28, 65 (1987)), here towards a
floor. The conversion is the number of nuclei times the volume of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from simulated_beamline.errors import BeamlineError

SMALLEST_PLATEAU_NM = 2.5
LARGEST_PLATEAU_NM = 10.0


@dataclass(frozen=True, slots=True)
class Kinetics:
    """What happens in the reactor.

    Attributes:
        plateau_diameter_nm: number-average diameter that growth tends to, nm.
        plateau_share: share of the scattering that nanocrystals tend to, 0 to 1.
        nucleus_diameter_nm: number-average diameter of fresh nuclei, nm.
        induction: progress at which the first nuclei appear.
        nucleation: length of the window in which they appear, in progress.
        growth_time: τ of the growth law, in progress.
        dispersion_start: relative standard deviation of the nuclei's diameters.
        dispersion_floor: what focusing cannot go below.
    """

    plateau_diameter_nm: float = 6.0
    plateau_share: float = 0.65
    nucleus_diameter_nm: float = 2.0
    induction: float = 0.12
    nucleation: float = 0.12
    growth_time: float = 0.28
    dispersion_start: float = 0.22
    dispersion_floor: float = 0.11

    def __post_init__(self) -> None:
        if not SMALLEST_PLATEAU_NM <= self.plateau_diameter_nm <= LARGEST_PLATEAU_NM:
            raise BeamlineError(
                f"plateau diameter {self.plateau_diameter_nm:g} nm is outside "
                f"{SMALLEST_PLATEAU_NM:g} to {LARGEST_PLATEAU_NM:g} nm"
            )
        if not 0.0 < self.plateau_share <= 1.0:
            raise BeamlineError(
                f"nanocrystal share {self.plateau_share:g} is outside 0 to 1 (0.65 means 65 %)"
            )


@dataclass(frozen=True, slots=True)
class State:
    """The reactor at one moment.

    Attributes:
        phase: 'induction', 'nucleation', 'growth' or 'plateau'.
        diameter_nm: mean of the lognormal of diameters, nm; None while there is none.
        dispersion: its relative standard deviation; None likewise.
        share: nanocrystals' share of the scattered area, 0 to 1.
        temperature_c: temperature of the solution, °C.
    """

    phase: str
    diameter_nm: float | None
    dispersion: float | None
    share: float
    temperature_c: float


def state_at(progress: float, kinetics: Kinetics) -> State:
    """Give the reactor's state at `progress` (0 to 1)."""
    since = progress - kinetics.induction
    temperature = _temperature(since)
    if since < 0.0:
        return State("induction", None, None, 0.0, temperature)
    diameter = _diameter(since, kinetics)
    focus = (kinetics.nucleus_diameter_nm / diameter) ** 2
    spread = kinetics.dispersion_start**2 - kinetics.dispersion_floor**2
    dispersion = math.sqrt(kinetics.dispersion_floor**2 + spread * focus**2)
    nuclei = _smooth_step(since / kinetics.nucleation)
    conversion = nuclei * (diameter / kinetics.plateau_diameter_nm) ** 3
    return State(
        phase=_phase(since, conversion, kinetics),
        diameter_nm=diameter,
        dispersion=dispersion,
        share=kinetics.plateau_share * conversion,
        temperature_c=temperature,
    )


def _diameter(since: float, kinetics: Kinetics) -> float:
    plateau, nucleus = kinetics.plateau_diameter_nm, kinetics.nucleus_diameter_nm
    left = math.exp(-since / kinetics.growth_time)
    return math.sqrt(plateau**2 - (plateau**2 - nucleus**2) * left)


def _phase(since: float, conversion: float, kinetics: Kinetics) -> str:
    if since < kinetics.nucleation:
        return "nucleation"
    return "growth" if conversion < 0.95 else "plateau"


def _temperature(since: float) -> float:
    """120 °C, a dip of 15 °C when the cold precursor comes in, and recovery."""
    return 120.0 if since < 0.0 else 120.0 - 15.0 * math.exp(-since / 0.08)


def _smooth_step(x: float) -> float:
    x = min(max(x, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)
