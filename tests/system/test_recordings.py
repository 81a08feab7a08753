"""Recorded runs, replayed with the command, give the answers that are kept beside them."""

import pytest

from tests.helpers import recordings

pytestmark = pytest.mark.system


@pytest.mark.parametrize("name", recordings.NAMES)
def test_a_recording_is_answered_as_it_was(tmp_path, name):
    recordings.check(recordings.summary(recordings.replay(name, tmp_path)), name)


def test_the_recordings_show_what_an_answer_can_be():
    frames = [f for name in recordings.NAMES for f in recordings.expected(name)["frames"].values()]
    assert {f["verdict"] for f in frames} == {"sized", "no_nanocrystals", "bad_frame"}
    assert {flag for f in frames for flag in f["flags"]} == {"exposure_missing"}
    files = [path for path in recordings.FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000
