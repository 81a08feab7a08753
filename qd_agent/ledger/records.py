"""The records of the ledger, and how a frame reference is kept as JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from qd_agent.core.frame import Declared, FrameKey, FrameReference, Location, RunClosed
from qd_agent.core.prediction import Prediction


@dataclass(frozen=True, slots=True)
class Delivery:
    """One prediction on its way to a sink, with the pattern that it was made from."""

    frame_id: int
    prediction: Prediction
    intensity: npt.NDArray[np.float32] | None
    model: npt.NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Account:
    """The books of one run, or of all. `open` frames are seen and not yet answered.

    A sized frame, an abstention (any verdict without a size but a readable frame) and a
    set-aside one (`bad_frame`) are each one prediction.
    """

    seen: int
    sized: int
    abstained: int
    set_aside: int
    open: int
    delivered: Mapping[str, int]

    def as_counts(self) -> dict[str, int]:
        """Give the plain numbers, without the deliveries."""
        return {
            "seen": self.seen,
            "sized": self.sized,
            "abstained": self.abstained,
            "set_aside": self.set_aside,
            "open": self.open,
        }


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The account of one run.

    Attributes:
        uid: the run.
        time: UTC epoch s at which it started.
        exit_status: 'success', 'abort' or 'fail'; None while it is open.
        expected: sample frames that its stop document counts; None while it is open.
        account: what became of its frames.
        note: of an open run: what was found when it was looked into.
        checked: UTC epoch s of that look; 0 when there was none.
        assumed: whether no stop document says that it ended.
        missing: frames that were counted and never seen, by stream and sequence number: one that
            was taken again stands for no other one.
    """

    uid: str
    time: float
    exit_status: str | None
    expected: int | None
    account: Account
    note: str
    checked: float
    assumed: bool = False
    missing: int = 0

    @property
    def whole(self) -> bool:
        """Whether the run has ended and no frame that its stop counts is missing."""
        return self.exit_status is not None and not self.missing and not self.assumed


@dataclass(frozen=True, slots=True)
class SetAside:
    """One frame that was set aside: its key, why, when (UTC epoch s), how often tried anew.

    `flags` are those of its prediction.
    """

    run_uid: str
    stream: str
    data_key: str
    seq_num: int
    index: int
    revision: int
    reason: str
    time: float
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What an operator asks of the agent: to look into a run, or (None) into all."""

    number: int
    run_uid: str | None


@dataclass(frozen=True, slots=True)
class Todo:
    """A frame that waits for its answer.

    Attributes:
        reference: the frame.
        tries: how often it was tried and not readable.
        late: how many of these after its run had stopped.
        stopped: whether its run has stopped.
        revision: how often its answer was asked for anew.
    """

    reference: FrameReference
    tries: int = 0
    late: int = 0
    stopped: bool = False
    revision: int = 0


def expected_frames(stop: Mapping[str, object]) -> int:
    """Count the frames that a stop announces; a stream of unknown layout has one an event."""
    return sum(total for _, total in expected_by_stream(stop).values())


def expected_by_stream(stop: Mapping[str, object]) -> dict[str, tuple[int, int]]:
    """Give the events of each stream that a stop announces, and how many frames they hold."""
    events, frames = stop.get("expected"), stop.get("frames")
    known = frames if isinstance(frames, Mapping) else {}
    counted = events if isinstance(events, Mapping) else {}
    return {
        str(stream): (int(str(count)), int(str(known.get(stream, count))))
        for stream, count in counted.items()
    }


def stop_to_json(run: RunClosed) -> str:
    """Write down what is known of a run's end, without its uid."""
    return json.dumps(
        {
            "time": run.time,
            "exit_status": run.exit_status,
            "reason": run.reason,
            "expected": dict(run.expected),
            "frames": dict(run.frames),
            "assumed": run.assumed,
        }
    )


def identity(key: FrameKey) -> tuple[str, str, str, int, int]:
    """Give the columns that name a frame."""
    return key.run_uid, key.stream, key.data_key, key.seq_num, key.index


_LOCATION: TypeAdapter[Location] = TypeAdapter(Location)


def plain_json(document: Mapping[str, object]) -> str:
    """Write a document from outside down; what JSON cannot say becomes text or is left out."""
    return json.dumps(dict(document), default=_plain, skipkeys=True)


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def reference_to_json(reference: FrameReference) -> str:
    """Write a reference down, without the pixels of an inline one."""
    return json.dumps(
        {
            "key": reference.key.model_dump(),
            "time": reference.time,
            "location": reference.location.model_dump(),
            "shape": reference.shape,
            "dtype": reference.dtype,
            "readings": dict(reference.readings),
            **_declared_fields(reference.declared),
        }
    )


def reference_from_json(text: str, image: object) -> FrameReference:
    """Read a reference back; `image` is what `array_to_bytes` gave, or None."""
    fields = json.loads(text)
    return FrameReference(
        key=FrameKey.model_validate(fields["key"]),
        time=fields["time"],
        location=_LOCATION.validate_python(fields["location"]),
        shape=tuple(fields["shape"]),
        dtype=fields["dtype"],
        readings=fields["readings"],
        declared=_declared_from(fields.get("declared")),
        array=_array_from_bytes(image) if isinstance(image, bytes) else None,
    )


def _declared_fields(declared: Declared) -> dict[str, object]:
    return {} if declared == Declared() else {"declared": asdict(declared)}


def _declared_from(fields: Mapping[str, Any] | None) -> Declared:
    """Read back what was declared; references of older books have nothing."""
    if fields is None:
        return Declared()
    return Declared(
        values=fields["values"],
        wavelength_place=fields["wavelength_place"],
        flags=tuple(fields["flags"]),
        conflict=fields["conflict"],
        dark_run=fields.get("dark_run", ""),
        background_run=fields.get("background_run", ""),
        said={
            quantity: tuple((str(path), value) for path, value in stated)
            for quantity, stated in fields.get("said", {}).items()
        },
    )


def array_to_bytes(array: npt.NDArray[np.generic]) -> bytes:
    """Pack pixels with their shape and dtype (npy format, never pickled)."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _array_from_bytes(data: bytes) -> npt.NDArray[np.generic]:
    return np.load(io.BytesIO(data), allow_pickle=False)


def floats(data: object) -> npt.NDArray[np.float32] | None:
    """Read a float32 column back, shape (n,); None stays None."""
    return np.frombuffer(data, dtype="<f4") if isinstance(data, bytes) else None
