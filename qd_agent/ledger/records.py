"""The records of the ledger, and how a frame reference is kept as JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from qd_agent.core.frame import FrameKey, FrameReference, Hdf5Location, InlineLocation
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


def identity(key: FrameKey) -> tuple[str, str, str, int, int]:
    """Give the columns that name a frame."""
    return key.run_uid, key.stream, key.data_key, key.seq_num, key.index


_LOCATION: TypeAdapter[Hdf5Location | InlineLocation] = TypeAdapter(Hdf5Location | InlineLocation)


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
        }
    )


def reference_from_json(text: str, image: object) -> FrameReference:
    """Read a reference back; `image` is what `array_to_bytes` gave, or None."""
    fields = json.loads(text)
    return FrameReference(
        key=FrameKey.model_validate(fields["key"]),
        time=fields["time"],
        location=_LOCATION.validate_python(fields["location"]),
        shape=(fields["shape"][0], fields["shape"][1]),
        dtype=fields["dtype"],
        readings=fields["readings"],
        array=_array_from_bytes(image) if isinstance(image, bytes) else None,
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
