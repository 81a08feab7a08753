"""One frame as the page knows it: a prediction without what only a close look needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

from pydantic import ValidationError

from qd_agent.core.prediction import Prediction, Verdict

_LONGEST_REASON = 400


@dataclass(frozen=True, slots=True)
class FrameRow:
    """A frame and its answer.

    Attributes:
        key: 'stream/data_key/seq_num/index', the frame within its run.
        entry: id of the entry in the run's Redis stream ('1700000000000-0'), or 'row-N' in Tiled.
        seq_num, data_key: as in the frame's key.
        time: UTC epoch s of the frame's event.
        stored: UTC epoch s at which the store had the answer.
        verdict: 'sized', or why there is no size.
        diameter, sd, low, high: nm; the 90 % interval is low to high. None without a size.
        volume: volume-weighted diameter, nm.
        dispersion, share, misfit: as in the prediction.
        temperature: of the event's readings, or None.
        temperature_unit: its unit, or '' where nobody has stated it.
        flags: short words for what a user should know.
        reason: why there is no size, in words.
    """

    key: str
    entry: str
    seq_num: int
    data_key: str
    time: float
    stored: float
    verdict: str
    diameter: float | None
    sd: float | None
    low: float | None
    high: float | None
    volume: float | None
    dispersion: float | None
    share: float | None
    misfit: float | None
    temperature: float | None
    temperature_unit: str
    flags: tuple[str, ...]
    reason: str

    @property
    def sized(self) -> bool:
        """Whether there is a size."""
        return self.verdict == Verdict.SIZED.value

    def as_list(self) -> list[object]:
        """Give the values in the order of `COLUMNS`, floats shortened to what can be read."""
        return [_short(value) for value in astuple(self)]


@dataclass(frozen=True, slots=True)
class Thermometer:
    """Which reading is the temperature, and in which unit.

    Attributes:
        key: the reading; None for what the configuration's `metadata.temperature` declares, else
            the first whose name holds 'temp'.
        unit: of a reading that is not so declared; '' when nobody has stated it.
    """

    key: str | None = None
    unit: str = ""

    def read(self, readings: Mapping[str, float]) -> tuple[float | None, str]:
        """Give an event's temperature and its unit; no temperature has none."""
        name = self.key or self._found(readings)
        if name is None or name not in readings:
            return None, ""
        return readings[name], "°C" if name == _IN_CELSIUS else self.unit

    def _found(self, readings: Mapping[str, float]) -> str | None:
        if _IN_CELSIUS in readings:
            return _IN_CELSIUS
        return next((name for name in sorted(readings) if "temp" in name.lower()), None)


_IN_CELSIUS = "temperature_celsius"
"""The reading that a declared temperature becomes, whatever unit its documents have."""

FIRST_NAMED = Thermometer()
"""The declared temperature, else the first reading that is named so; its unit is not known then."""

COLUMNS = tuple(field.name for field in fields(FrameRow))
"""Names of what `FrameRow.as_list` gives."""


def row_from_json(entry: str, text: str | bytes, thermometer: Thermometer) -> FrameRow | None:
    """Read one entry of a stream; None for what is no prediction (others may write there too)."""
    try:
        prediction = Prediction.model_validate_json(text)
    except ValidationError:
        return None
    return row_of(prediction, entry, stored_at(entry), thermometer)


def row_of(
    prediction: Prediction, entry: str, stored: float, thermometer: Thermometer
) -> FrameRow | None:
    """Shorten a prediction; None for one whose time is no time."""
    if not math.isfinite(prediction.frame_time):
        return None
    low, high = prediction.interval_nm or (None, None)
    key = prediction.key
    temperature, unit = thermometer.read(prediction.readings)
    return FrameRow(
        key=f"{key.stream}/{key.data_key}/{key.seq_num}/{key.index}",
        entry=entry,
        seq_num=key.seq_num,
        data_key=key.data_key,
        time=prediction.frame_time,
        stored=stored,
        verdict=prediction.verdict.value,
        diameter=prediction.diameter_nm,
        sd=prediction.diameter_sd_nm,
        low=low,
        high=high,
        volume=prediction.diameter_volume_nm,
        dispersion=prediction.dispersion,
        share=prediction.nanocrystal_fraction,
        misfit=prediction.misfit,
        temperature=temperature,
        temperature_unit=unit,
        flags=prediction.flags,
        reason=prediction.reason[:_LONGEST_REASON],
    )


def stored_at(entry: str) -> float:
    """Give the time at which Redis stored an entry, UTC epoch s, by the id's milliseconds."""
    return int(entry.partition("-")[0]) / 1000.0


def newest_last(rows: Sequence[FrameRow]) -> list[FrameRow]:
    """Sort by the frames' own times."""
    return sorted(rows, key=lambda row: (row.time, row.seq_num))


def _short(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.13g}")
    return list(value) if isinstance(value, tuple) else value
