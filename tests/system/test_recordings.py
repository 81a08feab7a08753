"""Recorded runs, replayed with the command, give the answers that are kept beside them."""

import pytest

from tests.helpers import recordings

pytestmark = pytest.mark.system

TOLERANCE_NM = 0.002
"""Of diameters and the ends of intervals, by the model that gave the expected ones: what another
processor may change in the last digits of single precision. Everything else is equal."""


@pytest.mark.parametrize("name", recordings.NAMES)
def test_a_recording_is_answered_as_it_was(tmp_path, name):
    found = recordings.summary(recordings.replay(name, tmp_path))
    wanted = recordings.expected(name)
    assert found["frames"].keys() == wanted["frames"].keys()
    same_model = found["model_sha256"] == wanted["model_sha256"]
    for key, expected in wanted["frames"].items():
        answer = found["frames"][key]
        size, expected_size = answer.pop("diameter_nm"), expected.pop("diameter_nm")
        interval, expected_interval = answer.pop("interval_nm"), expected.pop("interval_nm")
        assert answer == expected, key
        if expected_size is None:
            assert (size, interval) == (None, None)
        elif same_model:
            assert [size, *interval] == pytest.approx(
                [expected_size, *expected_interval], abs=TOLERANCE_NM
            )
        else:
            low, high = expected_interval
            assert low <= size <= high, "another model; see tests/data/recordings/README.md"


def test_the_recordings_show_what_an_answer_can_be():
    frames = [f for name in recordings.NAMES for f in recordings.expected(name)["frames"].values()]
    assert {f["verdict"] for f in frames} == {"sized", "no_nanocrystals", "bad_frame"}
    assert {flag for f in frames for flag in f["flags"]} == {"exposure_missing"}
    files = [path for path in recordings.FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000
