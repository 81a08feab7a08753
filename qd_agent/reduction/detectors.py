"""Several detectors, each with its own geometry: every frame goes to its own reducer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import Frame, FrameKey, FrameReference
from qd_agent.core.pattern import Pattern
from qd_agent.reduction.counting import CountReducer
from qd_agent.reduction.darks import OWN
from qd_agent.reduction.settings import DetectorSettings, ReductionSettings, StripSettings


class Reducers:
    """Implements `core.ports.Reducer` for all detectors.

    Args:
        default: for the detectors that have no settings of their own; None: there are none such.
        detectors: settings by data key.
        tolerance: relative difference up to which a declared wavelength agrees with a geometry's.

    Raises:
        Fatal: PONI, axis, mask or dark cannot be used; the message names it.
    """

    def __init__(
        self,
        default: ReductionSettings | None,
        detectors: Mapping[str, DetectorSettings],
        tolerance: float = 1e-3,
    ) -> None:
        self._tolerance = tolerance
        self._own = {name: _open(settings) for name, settings in detectors.items()}
        self._default = None if default is None else _open(default)

    @property
    def all(self) -> dict[str, CountReducer]:
        """Every reducer by its data key, '' for the others' default."""
        return self._own if self._default is None else {**self._own, "": self._default}

    @property
    def main(self) -> CountReducer:
        """The default, or the first detector's where there is none."""
        return self._default or next(iter(self._own.values()))

    @property
    def files(self) -> tuple[str, ...]:
        """The sha256 of every file that patterns depend on, those of `main` first."""
        poni, mask, dark = self.main.files
        others = [
            ":".join((name, *reducer.files))
            for name, reducer in sorted(self.all.items())
            if reducer is not self.main
        ]
        return (poni, mask, *([dark] if dark else []), *others)

    def reduce(self, frame: Frame) -> Pattern:
        """Integrate one frame with its detector's geometry.

        Raises:
            BadFrame: as the detector's reducer, no geometry is known for it, or the documents
                declare another wavelength than the geometry was made with.
        """
        reducer = self._of(frame.reference.key)
        _check_wavelength(frame.reference, reducer, self._tolerance)
        return reducer.reduce(frame)

    def check_whole(self, frame: Frame, pattern: Pattern, *, dark_announced: bool) -> None:
        """Refuse the pattern of a frame that lacks what its detector's settings demand.

        Raises:
            Lacking: a dark or a monitor is missing, or the dark is stale.
        """
        reference = frame.reference
        reducer = self._of(reference.key)
        reducer.check_whole(reference, pattern, dark_announced=dark_announced)

    def add_dark(self, frame: Frame, role: str = OWN) -> None:
        """Take a dark frame into its run's and detector's mean.

        Raises:
            BadFrame: as the detector's reducer, or no geometry is known for it.
        """
        self._of(frame.reference.key).add_dark(frame, role)

    def add_background(
        self, frames: Iterable[Frame], key: FrameKey, *, dark_announced: bool = False
    ) -> list[str]:
        """Take frames of one detector and run as the background of the runs that name it.

        Args:
            frames: read one after the other; an error while reading goes through.
            key: of one of them.
            dark_announced: whether documents told of a dark of these frames.

        Returns:
            Why some of them are not used, each in a sentence.

        Raises:
            BadFrame: none can be used, or no geometry is known.
        """
        reducer, left_out = self._of(key), list[str]()

        def of_one_wavelength() -> Iterator[Frame]:
            for frame in frames:
                try:
                    _check_wavelength(frame.reference, reducer, self._tolerance)
                except BadFrame as error:
                    left_out.append(f"{frame.reference.key}: {error}")
                else:
                    yield frame

        try:
            reasons = reducer.add_background(of_one_wavelength(), dark_announced=dark_announced)
        except BadFrame as error:
            raise BadFrame(left_out[0] if left_out else str(error)) from error
        return [*left_out, *reasons]

    def wants(self, reference: FrameReference) -> tuple[str, str]:
        """Give the runs whose frames are this frame's dark and its background; '' for none."""
        reducer = self._own.get(reference.key.data_key, self._default)
        return ("", "") if reducer is None else reducer.wants(reference)

    def keeps(self, run_uid: str, data_key: str, role: str) -> bool:
        """Tell whether a run's dark ('own', 'named') or 'background' is held for a detector."""
        reducer = self._own.get(data_key, self._default)
        return reducer is not None and reducer.keeps(run_uid, data_key, role)

    def demands_dark(self, reference: FrameReference) -> bool:
        """Tell whether a frame of which a dark was announced is set aside without it."""
        reducer = self._own.get(reference.key.data_key, self._default)
        return reducer is not None and reducer.demands_dark

    def forget_run(self, run_uid: str) -> None:
        """Let go of a run's darks and backgrounds."""
        for reducer in self.all.values():
            reducer.forget_run(run_uid)

    def made_from(self, reference: FrameReference) -> dict[str, str]:
        """Give the hashes of what a frame is reduced with, by the names of `Provenance`."""
        reducer = self._own.get(reference.key.data_key, self._default)
        if reducer is None:
            return {}
        return {
            "poni_sha256": reducer.poni_sha256,
            "mask_sha256": reducer.mask_sha256,
            "dark_hash": reducer.dark_hash(reference),
            "background_hash": reducer.background_hash(reference),
        }

    def _of(self, key: FrameKey) -> CountReducer:
        reducer = self._own.get(key.data_key, self._default)
        if reducer is None:
            known = ", ".join(self._own)
            raise BadFrame(
                f"the geometry of '{key.data_key}' is not known; describe it under `detectors` "
                f"(there are: {known}), or give a `reduction` for all others"
            )
        return reducer


def _check_wavelength(reference: FrameReference, reducer: CountReducer, tolerance: float) -> None:
    declared, used = reference.declared.values.get("wavelength"), reducer.wavelength
    if declared is None or used is None:
        return
    if max(declared, used) > min(declared, used) * (1.0 + tolerance):
        raise BadFrame(
            f"the wavelength is {declared:.6g} Å in {reference.declared.wavelength_place} but "
            f"{used:.6g} Å in {reducer.wavelength_place}: they differ by more than "
            f"{tolerance:.3g} of it, so no size is given; correct one of them"
        )


def _open(settings: DetectorSettings) -> CountReducer:
    if isinstance(settings, StripSettings):
        from qd_agent.reduction.strip import StripReducer  # noqa: PLC0415 - see below

        return StripReducer(settings)
    from qd_agent.reduction.reducer import AzimuthalReducer  # noqa: PLC0415 - pyFAI is heavy

    return AzimuthalReducer(settings)
