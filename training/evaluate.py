"""Sizes pattern files whose truth is in their names or in a manifest, and judges the answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qd_agent.core.errors import BadFrame
from qd_agent.core.ports import Sizer
from qd_agent.core.prediction import Estimate
from qd_agent.scattering.ensemble import averages, cluster_diameters, lognormal_weights
from training.evaluation_figures import Scored, by_group
from training.manifest import MANIFEST_NAME, Entry, EntryReader, is_manifest, read_manifest
from training.pattern_files import Truth, read_pattern, truth_of

SUFFIXES = (".cal", ".xy", ".xye", ".dat", ".txt", ".chi")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One file: what is known and what was said; `error` when it could not be read.

    `truth_nm` and `truth_volume_nm` are the exact averages over the cluster grid for simulations;
    for measurements both are the label, which does not say which average it is.
    """

    path: Path
    truth: Truth
    truth_nm: float | None
    truth_volume_nm: float | None
    estimate: Estimate | None
    error: str = ""

    @property
    def difference(self) -> float | None:
        """Prediction minus truth, nm; None without one of them."""
        return self.scored.error_nm

    @property
    def group(self) -> str:
        """Kind of data, from the manifest or the name."""
        if self.truth.group:
            return self.truth.group
        if self.truth.dispersion is not None:
            return "simulated"
        if self.truth.label_nm is None:
            return "without_nanocrystals"
        return "laboratory" if (self.truth.wavelength or 0.0) > 1.0 else "synchrotron"

    @property
    def scored(self) -> Scored:
        """The same as a row of figures."""
        return Scored(
            name=self.path.name,
            group=self.group,
            truth_nm=self.truth_nm,
            volume_nm=self.truth_volume_nm,
            label_nm=self.truth.label_nm,
            dispersion=self.truth.dispersion,
            share=self.truth.share,
            counts=self.truth.counts,
            estimate=self.estimate,
        )


def exact_averages(truth: Truth) -> tuple[float | None, float | None]:
    """(number, volume-weighted) average over the cluster grid, nm, for a simulation's truth."""
    if truth.label_nm is None or truth.dispersion is None:
        return truth.label_nm, truth.label_nm
    grid = cluster_diameters(25.0)
    number, volume = averages(grid, lognormal_weights(grid, truth.label_nm, truth.dispersion))
    return float(number), float(volume)


def pattern_files(paths: Iterable[Path]) -> list[Path]:
    """Give the files, and those in the folders, that look like text patterns; sorted."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [p for p in inside if p.is_file() and (p == path or p.suffix in SUFFIXES)]
    return found


def evaluate(
    sizer: Sizer, paths: Iterable[Path], wavelength: float | None = None, split: str = ""
) -> list[Outcome]:
    """Size every file, every entry of a manifest, everything in a folder (by its manifest, if any).

    `wavelength` (Å) is for files that do not tell one; `split` keeps the entries of one split.

    Raises:
        BadFrame: a manifest that cannot be read.
    """
    outcomes: list[Outcome] = []
    for path in paths:
        manifest = path / MANIFEST_NAME if path.is_dir() else path
        if is_manifest(manifest):
            entries = [e for e in read_manifest(manifest) if split in ("", e.split)]
            reader = EntryReader()
            outcomes += [_sized_entry(sizer, reader, entry, wavelength) for entry in entries]
        else:
            outcomes += [_sized_file(sizer, p, wavelength) for p in pattern_files([path])]
    return outcomes


def _sized_file(sizer: Sizer, path: Path, wavelength: float | None) -> Outcome:
    truth = truth_of(path)
    try:
        pattern = read_pattern(path, truth.wavelength or wavelength)
    except (BadFrame, OSError) as error:
        return Outcome(path, truth, *exact_averages(truth), None, str(error))
    return Outcome(path, truth, *exact_averages(truth), sizer.size([pattern])[0].estimate)


def _sized_entry(
    sizer: Sizer, reader: EntryReader, entry: Entry, wavelength: float | None
) -> Outcome:
    volume = entry.volume_nm if entry.volume_nm is not None else entry.truth.label_nm
    known = (entry.truth.label_nm, volume)
    try:
        pattern = reader.read(entry, wavelength)
    except (BadFrame, OSError) as error:
        return Outcome(entry.shown, entry.truth, *known, None, str(error))
    return Outcome(entry.shown, entry.truth, *known, sizer.size([pattern])[0].estimate)


def summary(outcomes: list[Outcome]) -> dict[str, dict[str, float | int]]:
    """Figures per group: how many, sized, in the right 0.5 nm class, errors, coverage."""
    groups = by_group([o.scored for o in outcomes])
    return {name: {"files": row["patterns"], **row} for name, row in groups.items()}
