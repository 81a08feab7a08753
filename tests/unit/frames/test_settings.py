"""The settings describe themselves and know no other keys."""

import pytest
from pydantic import ValidationError

from qd_agent.frames import FrameSettings


def test_every_field_is_described_and_unknown_ones_are_named():
    assert all(field.description for field in FrameSettings.model_fields.values())
    with pytest.raises(ValidationError, match="allowed_root"):
        FrameSettings.model_validate({"allowed_root": "/data"})


def test_nothing_is_allowed_by_default():
    assert FrameSettings().allowed_roots == []
    assert (FrameSettings().deadline_s, FrameSettings().swmr) == (10.0, True)
