"""What the files of an open run hold is taken in where it is certain whose it is."""

import pytest

from qd_agent.core.frame import FrameReference
from qd_agent.documents import RouterSettings, open_router
from tests.helpers.documents import RunOfDocuments, fly_scan, scan_with_darks

SETTINGS = RouterSettings()


def routed(documents):
    router = open_router(SETTINGS)
    frames = [h for name, doc in documents for h in router.route(name, doc)]
    return router, [f for f in frames if isinstance(f, FrameReference)]


def places(frames):
    return [(f.key.seq_num, f.location.row) for f in frames]


def test_frames_beyond_the_announced_ones_are_taken():
    documents = fly_scan([2, 2])[:-1]
    router, known = routed(documents)
    run_uid = documents[0][1]["uid"]
    (file,) = router.datasets(run_uid)
    assert file == (RunOfDocuments.uri, RunOfDocuments.dataset)
    assert places(known) == [(1, 0), (2, 1), (3, 2), (4, 3)]
    found, text = router.catch_up(run_uid, {file: 7})
    assert places(found) == [(5, 4), (6, 5), (7, 6)]
    assert "3 frames that nobody announced" in text
    assert router.catch_up(run_uid, {file: 7}) == ([], "its files hold nothing new")


def test_a_file_that_cannot_be_asked_gives_nothing():
    documents = fly_scan([2])[:-1]
    router, _ = routed(documents)
    assert router.catch_up(documents[0][1]["uid"], {}) == ([], "its files hold nothing new")
    assert router.catch_up("another", {})[0] == []
    assert router.datasets("another") == []


def test_the_file_of_a_stream_whose_descriptor_was_lost_is_not_counted():
    """Darks and lights of one detector, each in a file of its own."""
    run = RunOfDocuments()
    run.declare("dark")
    run.open_file()
    run.shot("dark")
    run.declare("primary")
    run.open_file("file://localhost/data/primary.h5")
    for _ in range(2):
        run.shot("primary")
    heard = [(n, d) for n, d in run.documents if (n, d.get("name")) != ("descriptor", "dark")]
    router, known = routed(heard)
    darks, lights = router.datasets(run.uid)
    assert places(known) == [(1, 0), (2, 1)]
    found, text = router.catch_up(run.uid, {darks: 3, lights: 4})
    assert found == []
    assert "only the stop document can say" in text


@pytest.mark.parametrize("darks_first", [True, False])
def test_rows_of_a_stream_whose_descriptor_was_lost_are_not_taken_for_frames(darks_first: bool):
    """Darks and lights in one file."""
    run = RunOfDocuments()
    run.declare("primary")
    run.declare("dark")
    run.open_file()
    for stream, count in sorted({"dark": 3, "primary": 4}.items(), reverse=not darks_first):
        for _ in range(count):
            run.shot(stream)
    heard = [(n, d) for n, d in run.documents if (n, d.get("name")) != ("descriptor", "dark")]
    router, known = routed(heard)
    assert [seq for seq, _ in places(known)] == [1, 2, 3, 4]
    (file,) = router.datasets(run.uid)
    found, text = router.catch_up(run.uid, {file: 7})
    assert found == []
    assert "only the stop document can say" in text


def test_rows_before_the_first_known_frame_are_none_that_follow_the_last():
    """Nothing at all came of the darks that stand first in the file."""
    documents = scan_with_darks(darks=3, frames=4)[:-1]
    lights = [
        (n, d) for n, d in documents if n not in ("descriptor", "stream_datum", "event")
    ]  # fmt: skip
    (primary,) = [d["uid"] for n, d in documents if d.get("name") == "primary"]
    lights += [(n, d) for n, d in documents if primary in (d["uid"], d.get("descriptor"))]
    router, known = routed(lights)
    assert places(known) == [(1, 3), (2, 4), (3, 5), (4, 6)]
    (file,) = router.datasets(documents[0][1]["uid"])
    assert router.catch_up(documents[0][1]["uid"], {file: 7})[0] == []


@pytest.mark.parametrize("heard", [6, 9, 12])
def test_where_streams_share_a_file_nothing_is_guessed(heard):
    documents = scan_with_darks(darks=3, frames=5)
    router, _ = routed(documents[:heard])
    run_uid = documents[0][1]["uid"]
    (file,) = router.datasets(run_uid)
    found, text = router.catch_up(run_uid, {file: 8})
    announced = [
        doc["indices"]["start"] for name, doc in documents[:heard] if name == "stream_datum"
    ]
    assert {f.location.row for f in found} <= set(announced[-1:]), "that one waits for its event"
    assert "only the stop document can say" in text


def test_the_number_of_frames_that_a_stop_announces_is_known():
    from qd_agent.core.frame import RunClosed

    documents = scan_with_darks(darks=2, frames=3, shape=(4, 8, 6))
    router = open_router(SETTINGS)
    happenings = [h for name, doc in documents for h in router.route(name, doc)]
    (closed,) = [h for h in happenings if isinstance(h, RunClosed)]
    assert closed.frames == {"dark": 8, "primary": 12}
