"""The versioned state: what was missed is told again, what is held is bounded."""

from dataclasses import replace

from qd_agent.dashboard import feed as feeds
from qd_agent.dashboard.feed import Feed
from qd_agent.dashboard.store import RunInfo
from tests.unit.dashboard.rows import growing, row, without_size


def begun() -> Feed:
    feed = Feed()
    feed.begin_run(RunInfo("run-1"), growing(3, 6.0))
    return feed


def test_a_viewer_is_given_what_came_after_what_it_saw():
    feed = begun()
    seen = feed.snapshot().number
    feed.add_frames([row(4)])
    feed.add_frames([row(5), row(6)])
    missed = feed.since(seen)
    assert missed is not None
    assert [r.seq_num for event in missed for r in event.rows] == [4, 5, 6]
    assert feed.since(missed[-1].number) == []


def test_a_version_that_is_not_held_any_more_or_never_was_asks_for_the_whole():
    feed = begun()
    for n in range(4, 4 + feeds.KEPT_EVENTS + 10):
        feed.add_frames([row(n)])
    assert feed.since(1) is None
    assert feed.since(10**9) is None
    assert Feed().since(5) is None


def test_a_frame_that_was_tried_anew_takes_the_place_of_what_was_said_before():
    feed = begun()
    feed.add_frames([without_size(4)])
    feed.add_frames([row(4)])
    rows = feed.snapshot().rows
    assert [r.seq_num for r in rows] == [1, 2, 3, 4]
    assert rows[-1].sized


def test_frames_that_come_late_stand_where_their_time_belongs():
    feed = begun()
    feed.add_frames([row(9), row(7), row(8)])
    assert [r.seq_num for r in feed.snapshot().rows] == [1, 2, 3, 7, 8, 9]
    assert feed.headline(None).newest == feed.snapshot().rows[-1]


def test_what_has_not_changed_is_not_told():
    feed = begun()
    feed.update("health", {"agents": ["a"]})
    number = feed.snapshot().number
    feed.update("health", {"agents": ["a"]})
    assert feed.snapshot().number == number


def test_the_number_of_frames_held_is_bounded(monkeypatch):
    monkeypatch.setattr(feeds, "MOST_FRAMES", 50)
    feed = begun()
    feed.add_frames([row(n) for n in range(4, 200)])
    rows = feed.snapshot().rows
    assert len(rows) == 50
    assert rows[-1].seq_num == 199
    feed.add_frames([replace(rows[0], diameter=9.0)])
    assert len(feed.snapshot().rows) == 50


def test_another_run_begins_anew():
    feed = begun()
    feed.begin_run(RunInfo("run-2"), [])
    snapshot = feed.snapshot()
    assert snapshot.rows == ()
    assert snapshot.run is not None
    assert snapshot.run.uid == "run-2"
