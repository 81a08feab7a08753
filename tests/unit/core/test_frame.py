"""Frame keys and the records around them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qd_agent.core.frame import Frame, FrameKey, FrameReference, Hdf5Location, InlineLocation

_names = st.text(min_size=1, max_size=128)
_keys = st.builds(
    FrameKey,
    run_uid=_names,
    stream=_names,
    data_key=_names,
    seq_num=st.integers(1, 2**62),
    index=st.integers(0, 2**62),
)


def _key(**changes: object) -> FrameKey:
    fields = {"run_uid": "u", "stream": "primary", "data_key": "det", "seq_num": 3} | changes
    return FrameKey.model_validate(fields)


def test_a_key_reads_as_its_parts_in_order():
    assert str(_key(index=2)) == "u/primary/det/3/2"


@given(_keys)
def test_a_key_survives_json(key: FrameKey):
    again = FrameKey.model_validate_json(key.model_dump_json())
    assert again == key
    assert hash(again) == hash(key)


@given(_keys, _keys)
def test_keys_are_equal_only_when_every_part_is(one: FrameKey, other: FrameKey):
    assert (one == other) == (one.model_dump() == other.model_dump())


@pytest.mark.parametrize(
    "change",
    [
        {"run_uid": ""},
        {"run_uid": "x" * 129},
        {"stream": ""},
        {"data_key": None},
        {"seq_num": 0},
        {"seq_num": -1},
        {"seq_num": 1.5},
        {"index": -1},
    ],
)
def test_a_key_refuses_what_names_no_frame(change: dict[str, object]):
    with pytest.raises(ValidationError):
        _key(**change)


def test_a_key_cannot_be_changed():
    with pytest.raises(ValidationError):
        _key().seq_num = 4


def test_a_location_refuses_a_negative_row():
    with pytest.raises(ValidationError):
        Hdf5Location(uri="file://localhost/a.h5", dataset="/entry/data", row=-1)


def test_references_are_frozen_and_start_without_readings():
    reference = FrameReference(_key(), 1.0, InlineLocation(), (2, 2))
    assert dict(reference.readings) == {}
    with pytest.raises(dataclasses.FrozenInstanceError):
        reference.time = 2.0  # type: ignore[misc]
    assert Frame(reference, np.zeros((2, 2))).reference is reference
