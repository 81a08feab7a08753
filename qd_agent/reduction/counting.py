"""What all detectors share: counts less their dark, by their monitor, less a background."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame, Lacking
from qd_agent.core.frame import Frame, FrameReference
from qd_agent.core.pattern import Pattern, RawPattern, normalize_area, resample
from qd_agent.reduction.backgrounds import Background, Backgrounds, Gathered, subtract
from qd_agent.reduction.centring import TOO_FAR, reason
from qd_agent.reduction.corrections import monitor_of
from qd_agent.reduction.counts import Counts, Integrated
from qd_agent.reduction.darks import OWN, Darks, check_dark
from qd_agent.reduction.masking import Bool
from qd_agent.reduction.settings import CountSettings

Float = npt.NDArray[np.float64]

BACKGROUND = "background"
"""What a run may be for others, beside the roles of their darks."""


class CountReducer(ABC):
    """Turns frames into patterns, whatever the detector. Use it from one thread at a time.

    Attributes:
        poni_sha256: of the file that holds the geometry.
        mask_sha256: of the mask file, '' without one.
        wavelength: Å, as used; None where none is needed.
        wavelength_place: where that stands, for messages.
    """

    poni_sha256: str
    mask_sha256: str
    wavelength: float | None
    wavelength_place: str
    _WHAT = "unmasked pixels"

    def __init__(self, settings: CountSettings, darks: Darks) -> None:
        self._counting = settings
        self._darks = darks
        self._backgrounds = Backgrounds()

    def reduce(self, frame: Frame) -> Pattern:
        """Bring one frame onto the published grid, area-normalized.

        Sigma is the standard uncertainty from counting statistics: variance = raw counts + that
        of dark and background, summed over each bin. Without pixel splitting (default) the points
        are independent; with it, sigma is still right for each point on its own, but neighbours
        share counts. Flags: dark_missing, dark_stale, monitor_missing, saturated_pixels,
        off_centre, background_missing, background_stale, background_not_subtracted.

        Raises:
            BadFrame: wrong shape or dtype, no counts, mostly invalid, saturated, monitor not
                positive, or no more than its dark.
        """
        counts = self._prepare(frame)
        whole = self._integrate(counts)
        raw, flags, quality = self._less_background(
            whole.raw, frame.reference, by_monitor=counts.has_monitor
        )
        return replace(
            normalize_area(resample(raw)),
            flags=(*counts.flags, *whole.flags, *flags),
            quality={**counts.quality, **whole.quality, **quality},
            resolution=self._counting.resolution,
        )

    def check_whole(
        self, reference: FrameReference, pattern: Pattern, *, dark_announced: bool
    ) -> None:
        """Refuse a pattern that lacks what the settings say it must have.

        Args:
            reference: of the frame.
            pattern: as `reduce` gave it.
            dark_announced: whether documents told of a dark of this frame.

        Raises:
            Lacking: a dark or a monitor is missing, or the dark is stale, or the beam centre is
                far off, that must not be (`set_aside`); it carries the pattern's flags.
        """
        self._check_lack(reference, pattern.flags, pattern.quality, dark_announced=dark_announced)

    def _check_lack(
        self,
        reference: FrameReference,
        found: tuple[str, ...],
        quality: Mapping[str, float],
        *,
        dark_announced: bool,
    ) -> None:
        flags = (*found, *reference.declared.flags)
        for flag in flags:
            named = flag
            if flag == "dark_missing" and not dark_announced:
                named = "dark_unannounced"
            if flag == "monitor_missing" and not reference.readings:
                continue  # a fly scan, or a lost event: nothing was read with this frame at all
            if flag == "off_centre" and quality["centre_shift"] <= TOO_FAR:
                continue
            if named in self._counting.set_aside:
                lack = self._lack(named, quality)
                raise Lacking(f"{lack}, or take {named} out of reduction.set_aside", flags)

    def _lack(self, name: str, quality: Mapping[str, float]) -> str:
        """Say what an entry of `set_aside` means for this frame, and what to do."""
        settings = self._counting
        if name == "dark_missing":
            return "its dark cannot be had: bring it back and retry"
        if name == "dark_unannounced":
            return "no document told of a dark: take one, set reduction.dark"
        if name == "dark_stale":
            age, limit = quality["dark_age_s"], settings.dark_max_age_s
            return (
                f"its dark is {age:.0f} s old and reduction.dark_max_age_s allows {limit:.0f}: "
                "take darks more often, allow more"
            )
        if name == "off_centre":
            return reason(quality["centre_shift"])
        monitor = f"'{settings.monitor_key}'" if settings.monitor_key else "at its declared path"
        return f"the monitor {monitor} has no reading: see that it is recorded"

    def wants(self, reference: FrameReference) -> tuple[str, str]:
        """Give the runs whose frames are this frame's dark and its background; '' for none."""
        declared, background = reference.declared, self._counting.background == "run"
        return (
            declared.dark_run if self._darks.wanted else "",
            declared.background_run if background else "",
        )

    def add_dark(self, frame: Frame, role: str = OWN) -> None:
        """Add a dark frame to the running mean of its run, which later frames subtract.

        With the role `named`, what subtracts them are the runs that name this one as their dark
        run. Dark frames are taken to have the exposure time of the frames. With `dark: none` or
        a dark file this does nothing.

        Raises:
            BadFrame: wrong shape or dtype.
        """
        if self._darks.wanted:
            counts, invalid = self._counts(frame)
            self._darks.add(frame.reference, counts, invalid, role)

    def add_background(self, frames: Iterable[Frame], *, dark_announced: bool = False) -> list[str]:
        """Take frames of one run as the background of the runs that name it.

        Each has its own run's dark subtracted; the sum of all is divided by the sum of their
        monitors. What sets a frame aside leaves it out of a background: without its dark that
        would be another one, and nobody would see it in the answers.

        Args:
            frames: of one detector and run.
            dark_announced: whether documents told of a dark of these frames.

        Returns:
            Why some of them are not used, each in a sentence.

        Raises:
            BadFrame: none can be used.
        """
        read, blind, left_out = Gathered(), Gathered(), list[str]()
        for frame in frames:
            try:
                counts, reference = self._prepare(frame), frame.reference
                self._check_lack(
                    reference, counts.flags, counts.quality, dark_announced=dark_announced
                )
                gathered = read if counts.has_monitor else blind
                gathered.add(reference, counts.values, counts.invalid, counts.dark, counts.monitor)
            except BadFrame as error:
                left_out.append(f"{frame.reference.key}: {error}")
        gathered = read if read.name else blind
        if not gathered.name:
            raise BadFrame(left_out[0] if left_out else "it holds no frame of this detector")
        if read.name and blind.name:  # by what would these be divided?
            left_out.append(f"{blind.frames} frames have no monitor, others have")
        total, invalid, dark, monitor = gathered.whole()
        raw = self._integrate(Counts(total, invalid, dark, monitor)).raw
        background = Background.of(raw, gathered.latest, by_monitor=gathered is read)
        self._backgrounds.keep(gathered.name, background)
        return left_out

    def keeps(self, run_uid: str, data_key: str, role: str) -> bool:
        """Tell whether a run's dark ('own', 'named') or 'background' is held; only some are."""
        if role == BACKGROUND:
            return self._backgrounds.keeps(run_uid, data_key)
        return self._darks.keeps(run_uid, data_key, role)

    @property
    def demands_dark(self) -> bool:
        """Whether frames are set aside of which a dark was announced and cannot be had."""
        return self._darks.wanted and "dark_missing" in self._counting.set_aside

    def forget_run(self, run_uid: str) -> None:
        """Let go of a run's dark and background; unknown runs are fine."""
        self._darks.forget(run_uid)
        self._backgrounds.forget(run_uid)

    @property
    def files(self) -> tuple[str, str, str]:
        """The sha256 of geometry, mask and dark file, '' for those that are not given."""
        return self.poni_sha256, self.mask_sha256, self._darks.file_sha256

    def dark_hash(self, reference: FrameReference) -> str:
        """Give the sha256 of the dark that this frame has subtracted; '' for none."""
        return self._darks.hash_of(reference)

    def background_hash(self, reference: FrameReference) -> str:
        """Give the sha256 of the background that this frame has subtracted; '' for none."""
        background = self._backgrounds.of(self.wants(reference)[1], reference)
        return "" if background is None else background.sha256

    @abstractmethod
    def _counts(self, frame: Frame) -> tuple[Float, Bool]:
        """Give the image as float64, a copy of ours, and where it has no count."""

    @abstractmethod
    def _used(self, counts: Float) -> Bool:
        """Give the pixels that count in images of this shape."""

    @abstractmethod
    def _integrate(self, counts: Counts) -> Integrated:
        """Sum the counts up. Raises BadFrame when they do not rise above their dark."""

    def _prepare(self, frame: Frame) -> Counts:
        """Check a frame and bring together what is needed to integrate it."""
        values, invalid = self._counts(frame)
        reference, used = frame.reference, self._used(values)
        flags, dark = self._darks.flags(reference), self._darks.of(reference)
        quality: dict[str, float] = {}
        age = self._darks.age(reference)
        if age is not None:
            quality["dark_age_s"] = age
        if dark is not None:
            check_dark(dark, values)
            invalid = invalid | dark.left_out
        saturated = self._saturated(frame, invalid, used)
        if self._counting.saturation is not None:
            quality["saturated_share"] = 0.0 if saturated is None else _share(saturated, used)
        if saturated is not None:
            invalid = invalid | saturated
            flags.append("saturated_pixels")
        self._check_invalid(frame, _share(invalid & used, used))
        declared = reference.declared.values.get("monitor")
        monitor = monitor_of(reference.readings, self._counting.monitor_key, declared)
        if monitor is not None:
            quality["monitor"] = monitor
        elif self._counting.monitor_key is not None:
            flags.append("monitor_missing")
        return Counts(
            values, invalid, dark, 1.0 if monitor is None else monitor, tuple(flags), quality
        )

    def _saturated(self, frame: Frame, invalid: Bool, used: Bool) -> Bool | None:
        """Give the saturated pixels that matter, or None when there are none.

        The largest value of an unsigned dtype means 'no data', unless the limit is that value.
        """
        limit = self._counting.saturation
        if limit is None:
            return None
        image: npt.NDArray[Any] = frame.image
        largest = image.dtype.kind == "u" and limit == np.iinfo(image.dtype).max
        over = (image >= limit) & used
        saturated: Bool = over if largest else over & ~invalid
        share = _share(saturated, used)
        if share > self._counting.max_saturated_fraction:
            raise BadFrame(
                f"{share:.1%} of the {self._WHAT} are saturated (at or above {limit:g} counts); "
                f"{self._counting.max_saturated_fraction:.1%} are allowed: shorten the exposure"
            )
        return saturated if share else None

    def _check_invalid(self, frame: Frame, share: float) -> None:
        if share > self._counting.max_invalid_fraction:
            raise BadFrame(
                f"{share:.1%} of the {self._WHAT} hold no count "
                f"({_MEANING[frame.image.dtype.kind]}, saturated, or without a dark); the frame or "
                "its dark is broken"
            )

    def _less_background(
        self, raw: RawPattern, reference: FrameReference, *, by_monitor: bool
    ) -> tuple[RawPattern, tuple[str, ...], dict[str, float]]:
        """Subtract the background where there is one; give the flags and the quality with it.

        Where only one of the two was divided by a monitor, nothing says how much is to be taken.
        """
        run_uid = self.wants(reference)[1]
        if not run_uid:
            return raw, (), {}
        background = self._backgrounds.of(run_uid, reference)
        if background is None:
            return raw, ("background_missing",), {}
        age = abs(reference.time - background.time)
        limit = self._counting.background_max_age_s
        stale = ("background_stale",) if limit is not None and age > limit else ()
        left = None
        if background.by_monitor == by_monitor:
            left = subtract(raw, background, self._counting.background_scale)
        not_subtracted = () if left is not None else ("background_not_subtracted",)
        return (
            raw if left is None else left,
            (*stale, *not_subtracted),
            {"background_age_s": age},
        )


def _share(some: Bool, used: Bool) -> float:
    """Give the share that some of the used pixels have of all used ones."""
    return float(np.count_nonzero(some) / np.count_nonzero(used))


_MEANING = {
    "u": "the largest value of their dtype",
    "i": "negative",
    "f": "NaN or infinite",
}
