"""The router: every frame once, with its readings, whatever happens to the documents."""

import contextlib
import copy
import json

import numpy as np
import pytest
from event_model import DocumentNames, schema_validators
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import FrameReference, Hdf5Location, InlineLocation, RunClosed, RunOpened
from qd_agent.documents.router import Router
from qd_agent.documents.settings import RouterSettings
from tests.helpers.documents import (
    DETECTOR,
    RunOfDocuments,
    fly_scan,
    readings_of,
    scan_with_darks,
    step_scan,
)
from tests.helpers.hostile_documents import DOCUMENTS, FOREIGN, HONEST, OPENING, QUIET, REFUSED

NOW = 5.0


def router(**settings):
    return Router(RouterSettings(**settings), clock=lambda: NOW)


def play(documents, into=None):
    into = into or router()
    return [happening for name, doc in documents for happening in into.route(name, doc)]


def frames_of(happenings):
    return [happening for happening in happenings if isinstance(happening, FrameReference)]


def places(happenings):
    """(stream, seq_num, index) -> row of every frame; fails on a frame that comes twice."""
    found = {}
    for frame in frames_of(happenings):
        name = (frame.key.stream, frame.key.seq_num, frame.key.index)
        assert name not in found
        found[name] = frame.location.row
    return found


def test_the_helpers_make_valid_documents():
    for documents in (step_scan(2), scan_with_darks(2, 2), fly_scan([3])):
        for name, doc in documents:
            schema_validators[DocumentNames[name]].validate(doc)


def test_a_step_scan_gives_each_frame_with_its_event():
    documents = step_scan(3, metadata={"sample": "PbS"})
    first, *frames, last = play(documents)
    assert isinstance(first, RunOpened)
    assert first.metadata == documents[0][1]
    assert [frame.key.seq_num for frame in frames] == [1, 2, 3]
    for seq, frame in enumerate(frames, start=1):
        assert frame.location == Hdf5Location(
            uri="file://localhost/data/run.h5", dataset="/entry/data/data", row=seq - 1
        )
        assert frame.readings == readings_of(seq)
        assert frame.time == 1_700_000_000.0 + seq
        assert (frame.shape, frame.dtype) == ((8, 6), "<u4")
    counted = {"primary": 3}
    assert last == RunClosed(first.run_uid, 1_700_001_000.0, "success", "", counted, frames=counted)


def test_a_frame_waits_for_its_event():
    documents = step_scan(1)
    at = [name for name, _ in documents].index("event")
    into = router()
    assert frames_of(play(documents[:at], into)) == []
    assert len(frames_of(play(documents[at : at + 1], into))) == 1


def test_an_event_that_comes_first_is_remembered():
    documents = step_scan(1)
    names = [name for name, _ in documents]
    datum, event = names.index("stream_datum"), names.index("event")
    documents[datum], documents[event] = documents[event], documents[datum]
    (frame,) = frames_of(play(documents))
    assert frame.readings == readings_of(1)


def test_a_fly_scan_gives_frames_at_once_without_readings():
    documents = fly_scan([2, 3])
    into = router()
    before_stop = play(documents[:-1], into)
    assert places(before_stop) == {("primary", n + 1, 0): n for n in range(5)}
    assert all(frame.readings == {} and frame.time == NOW for frame in frames_of(before_stop))
    assert not frames_of(play(documents[-1:], into))


def test_dark_frames_share_the_file_and_are_told_by_their_stream():
    expected = {("dark", n + 1, 0): n for n in range(2)}
    expected |= {("primary", n + 1, 0): n + 2 for n in range(3)}
    assert places(play(scan_with_darks(2, 3))) == expected


def test_a_stream_that_is_not_followed_still_uses_up_indices():
    happenings = play(scan_with_darks(2, 3), router(dark_streams=[]))
    assert places(happenings) == {("primary", n + 1, 0): n + 2 for n in range(3)}


def test_another_detector_is_left_alone():
    assert frames_of(play(step_scan(2), router(data_keys=["saxs"]))) == []
    assert len(frames_of(play(step_scan(2), router(data_keys=[DETECTOR])))) == 2


@pytest.mark.parametrize("shape", [(8, 6), (1, 8, 6)])
def test_one_frame_an_event_in_either_shape(shape):
    frames = frames_of(play(step_scan(2, shape=shape)))
    assert [(frame.shape, frame.location.row) for frame in frames] == [((8, 6), 0), ((8, 6), 1)]


def test_several_frames_an_event_are_counted_by_index():
    assert places(play(step_scan(2, shape=(3, 8, 6)))) == {
        ("primary", seq, index): (seq - 1) * 3 + index for seq in (1, 2) for index in range(3)
    }


def test_a_second_file_goes_on_where_the_first_ended():
    run = RunOfDocuments()
    run.declare()
    run.open_file("file:///data/part1.h5")
    run.shot()
    run.shot()
    run.open_file("file:///data/part2.h5")
    run.shot()
    frames = frames_of(play(run.stop()))
    assert [(f.key.seq_num, f.location.uri[-8:], f.location.row) for f in frames] == [
        (1, "part1.h5", 0),
        (2, "part1.h5", 1),
        (3, "part2.h5", 0),
    ]


def test_a_rewound_plan_takes_an_event_again_and_both_frames_are_given():
    run = RunOfDocuments()
    run.declare()
    run.open_file()
    run.shot()
    run.shot()
    run._counts["primary"] = 1  # a pause takes the RunEngine back to its last checkpoint
    run.datum()
    run.event(monitor=7.0)
    happenings = play(run.stop())
    assert places(happenings) == {("primary", 1, 0): 0, ("primary", 2, 0): 1, ("primary", 2, 1): 2}
    assert frames_of(happenings)[-1].readings["monitor"] == 7.0


def test_of_two_events_of_one_number_that_come_before_their_frames_neither_is_guessed():
    run = RunOfDocuments()
    run.declare()
    run.open_file()
    run.shot()
    run._counts["primary"] = 0  # the plan was rewound
    run.shot()
    documents = [d for d in run.stop() if d[0] != "stream_datum"]
    late = [d for d in run.documents if d[0] == "stream_datum"]
    first, second = (i for i, (name, _) in enumerate(documents) if name == "event")
    other = {**documents[second][1], "time": documents[first][1]["time"] + 60.0}
    documents[second] = ("event", {**other, "data": {**other["data"], "monitor": 2.0}})
    happenings = play([*documents[:-1], *late, documents[-1]])
    assert places(happenings) == {("primary", 1, 0): 0, ("primary", 1, 1): 1}
    assert [frame.readings for frame in frames_of(happenings)] == [{}, {}]


def test_of_an_event_taken_again_whose_first_document_was_lost_neither_reading_is_guessed():
    run = RunOfDocuments()
    run.declare()
    run.open_file()
    run.shot()
    run._counts["primary"] = 0  # the plan was rewound
    run.datum()
    run.event(monitor=7.0)
    documents = run.stop()
    lost = next(i for i, (name, _) in enumerate(documents) if name == "event")
    happenings = play(documents[:lost] + documents[lost + 1 :])
    assert places(happenings) == {("primary", 1, 0): 0, ("primary", 1, 1): 1}
    assert [frame.readings for frame in frames_of(happenings)] == [{}, {}]


def test_a_lost_datum_is_made_up_for_by_the_next_one():
    documents = step_scan(4)
    data = [i for i, (name, _) in enumerate(documents) if name == "stream_datum"]
    kept = [d for i, d in enumerate(documents) if i not in data[1:3]]
    into = router()
    before_stop = play(kept[:-1], into)
    assert places(before_stop) == {("primary", n + 1, 0): n for n in range(4)}
    assert all(f.readings == readings_of(f.key.seq_num) for f in frames_of(before_stop))
    assert not frames_of(play(kept[-1:], into))


def test_a_lost_tail_is_made_up_for_by_the_stop_document():
    documents = step_scan(3)
    data = [i for i, (name, _) in enumerate(documents) if name == "stream_datum"]
    kept = [d for i, d in enumerate(documents) if i not in data[1:]]
    happenings = play(kept)
    assert places(happenings) == {("primary", n + 1, 0): n for n in range(3)}
    assert all(f.readings == readings_of(f.key.seq_num) for f in frames_of(happenings))


@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1), (2,), (3,), (4,), (2, 3), (3, 4), (2, 3, 4)])
def test_losses_in_one_stream_of_a_shared_file_are_made_up_for(lost):
    documents = scan_with_darks(2, 3)
    data = [i for i, (name, _) in enumerate(documents) if name == "stream_datum"]
    kept = [d for i, d in enumerate(documents) if i not in [data[n] for n in lost]]
    assert places(play(kept)) == places(play(documents))


def test_a_lost_end_of_the_first_file_and_beginning_of_the_second_are_told_apart():
    run = RunOfDocuments()
    run.declare()
    for part in ("file:///data/part1.h5", "file:///data/part2.h5"):
        run.open_file(part)
        for _ in range(4):
            run.shot()
    documents = run.stop()
    data = [i for i, (name, _) in enumerate(documents) if name == "stream_datum"]
    kept = [d for i, d in enumerate(documents) if i not in data[2:6]]
    found = {(f.key.seq_num, f.location.uri[-8:], f.location.row) for f in frames_of(play(kept))}
    assert found == {(n + 1, f"part{n // 4 + 1}.h5", n % 4) for n in range(8)}


def test_darks_between_light_frames_are_told_apart_when_documents_are_lost():
    run = RunOfDocuments()
    run.declare("primary")
    run.declare("dark")
    run.open_file()
    for stream in ("primary", "primary", "primary", "dark", "primary", "primary"):
        run.shot(stream)
    documents = run.stop()
    data = [i for i, (name, _) in enumerate(documents) if name == "stream_datum"]
    truth = places(play(documents))
    for lost in ([3], [4], [3, 4], [5], [0, 3]):
        kept = [d for i, d in enumerate(documents) if i not in [data[n] for n in lost]]
        found = places(play(kept))
        assert found.items() <= truth.items(), lost
        # Which of rows 3 and 4 was the dark one, nobody can tell: better none than the wrong one.
        assert len(truth) - len(found) == (2 if lost == [3, 4] else 0), lost


@given(st.data())
def test_losses_cost_frames_at_worst_and_never_give_a_wrong_one(data):
    run = RunOfDocuments()
    run.declare("primary")
    run.declare("dark")
    run.open_file()
    for stream in data.draw(st.lists(st.sampled_from(["primary", "dark"]), max_size=7)):
        run.shot(stream)
    documents = run.stop()
    lost = data.draw(st.sampled_from(["", "primary", "dark"]))  # the descriptor of that stream
    kept = [
        (name, doc)
        for name, doc in documents
        if (name != "stream_datum" or data.draw(st.booleans()))
        and (name != "descriptor" or doc["name"] != lost)
    ]
    assert places(play(kept)).items() <= places(play(documents)).items()


@pytest.mark.parametrize(
    ("streams", "heard"),
    [("dddpppppp", 3), ("pd", 0), ("pdp", 1), ("ddppp", 1)],
    ids=["darks first", "nothing heard", "a dark between", "as many darks as lost"],
)
def test_no_dark_is_taken_for_a_light_when_the_darks_descriptor_was_lost(streams: str, heard: int):
    """And the announcements of all darks and of the last lights."""
    run = RunOfDocuments()
    run.declare("primary")
    run.declare("dark")
    run.open_file()
    for stream in streams:
        run.shot("dark" if stream == "d" else "primary")
    documents = run.stop()
    (dark,) = [doc["uid"] for _, doc in documents if doc.get("name") == "dark"]
    lights = [d for d in documents if d[0] == "stream_datum" and d[1]["descriptor"] != dark]
    lost = {dark, *(doc["uid"] for _, doc in lights[heard:])}
    kept = [d for d in documents if d[1]["uid"] not in lost and d[1].get("descriptor") != dark]
    assert places(play(kept)).items() <= places(play(documents)).items()


def test_frames_without_event_are_given_at_stop_without_readings():
    documents = [d for d in step_scan(2) if d[0] != "event"]
    happenings = play(documents)
    assert isinstance(happenings[-1], RunClosed)
    assert [(f.key.seq_num, f.readings, f.time) for f in frames_of(happenings)] == [
        (1, {}, NOW),
        (2, {}, NOW),
    ]


@settings(deadline=None)
@given(st.data())
def test_each_frame_comes_exactly_once_in_any_weather(data):
    """Stream_datum and event of one run: dropped, repeated and in any order before the stop."""
    shape = data.draw(st.sampled_from([(8, 6), (1, 8, 6), (2, 8, 6)]))
    size = data.draw(st.integers(1, 6))
    batches = data.draw(st.booleans())
    whole = fly_scan([1] * size, shape=shape) if batches else step_scan(size, shape=shape)
    head = [d for d in whole if d[0] in {"start", "descriptor", "stream_resource"}]
    body = [d for d in whole if d[0] in {"stream_datum", "event"}]
    kept = [d for d in body for _ in range(data.draw(st.integers(0, 2)))]
    shuffled = data.draw(st.permutations(kept))
    happenings = play([*head, *shuffled, whole[-1]])
    assert places(happenings) == places(play(whole))
    arrived = {doc["seq_num"] for name, doc in kept if name == "event"}
    for frame in frames_of(happenings):
        seq = frame.key.seq_num
        assert frame.readings == (readings_of(seq) if seq in arrived else {})


@settings(deadline=None)
@given(st.data())
def test_interleaved_runs_do_not_touch_each_other(data):
    runs = [step_scan(2), scan_with_darks(1, 2), fly_scan([2, 1])]
    alone = [places(play(run)) for run in runs]
    into, together = router(), {run[0][1]["uid"]: [] for run in runs}
    queues = [list(run) for run in runs]
    while any(queues):
        queue = data.draw(st.sampled_from([queue for queue in queues if queue]))
        for happening in into.route(*queue.pop(0)):
            uid = getattr(happening, "run_uid", None) or happening.key.run_uid
            together[uid].append(happening)
    assert [places(happenings) for happenings in together.values()] == alone
    assert into.open_runs() == ()


def test_images_inside_events_are_given_with_their_pixels():
    run = RunOfDocuments(shape=(8, 6))
    run.declare_inline()
    image = np.arange(48, dtype="<u2").reshape(8, 6)
    run.event(1, **{DETECTOR: image})
    run.event(2, **{DETECTOR: (image + 1).tolist()})
    first, second = frames_of(play(run.stop(primary=2)))
    assert isinstance(first.location, InlineLocation)
    assert np.array_equal(first.array, image)
    assert np.array_equal(second.array, image + 1)
    assert first.readings == {"monitor": 1001.0}
    assert first.dtype == "<u2"


def test_several_images_inside_an_event_are_counted_by_index():
    run = RunOfDocuments(shape=(2, 8, 6))
    run.declare_inline()
    stack = np.arange(96, dtype="<u2").reshape(2, 8, 6)
    run.event(1, **{DETECTOR: stack})
    frames = frames_of(play(run.stop()))
    assert [frame.key.index for frame in frames] == [0, 1]
    assert all(np.array_equal(f.array, stack[f.key.index]) for f in frames)


@pytest.mark.parametrize(
    "value", [[[1, 2], [3]], "a text", None, [["a", "b"]], [[[1]]] * 3, 7, [[2**80]]], ids=repr
)
def test_an_image_that_is_none_is_still_accounted_for(value):
    run = RunOfDocuments(shape=(8, 6))
    run.declare_inline()
    run.event(1, **{DETECTOR: value})
    (frame,) = frames_of(play(run.stop()))
    assert frame.array is None


def test_a_repeated_event_gives_its_image_once_and_a_retaken_one_again():
    run = RunOfDocuments(shape=(8, 6))
    run.declare_inline()
    run.event(1, **{DETECTOR: np.zeros((8, 6))})
    run.documents.append(run.documents[-1])
    run.event(1, **{DETECTOR: np.ones((8, 6))})
    frames = frames_of(play(run.stop()))
    assert [(frame.key.index, frame.array.sum()) for frame in frames] == [(0, 0.0), (1, 48.0)]


def test_an_event_page_counts_as_its_events():
    documents = step_scan(3)
    events = [doc for name, doc in documents if name == "event"]
    page = {
        "descriptor": events[0]["descriptor"],
        **{key: [event[key] for event in events] for key in ("uid", "seq_num", "time")},
        **{
            key: {name: [event[key][name] for event in events] for name in events[0]["data"]}
            for key in ("data", "timestamps")
        },
        "filled": {},
    }
    paged = [d for d in documents if d[0] != "event"]
    paged.insert(-1, ("event_page", page))
    assert frames_of(play(paged)) == frames_of(play(documents))


def test_joining_after_the_start_still_gives_every_frame_that_can_be_known():
    documents = step_scan(3)
    opened, *_ = happenings = play(documents[1:])
    assert (type(opened), opened.metadata) == (RunOpened, {})
    assert len(frames_of(happenings)) == 3
    assert [type(h) for h in play(documents[3:])] == [RunOpened, RunClosed]


def test_joining_late_finds_the_earlier_frames_in_the_file():
    documents = step_scan(5)
    head = [d for d in documents if d[0] in {"descriptor", "stream_resource"}]
    happenings = play([*head, *documents[-3:]])
    assert places(happenings) == {("primary", n + 1, 0): n for n in range(5)}


def test_nothing_of_a_run_is_kept_after_its_stop():
    into = router()
    documents = step_scan(3)
    play(documents, into)
    assert into.open_runs() == ()
    assert not into._run_of
    assert play(documents, into) == []


def test_a_run_without_stop_gives_way_to_newer_ones():
    into = router(max_open_runs=2)
    silent = [d for d in step_scan(1)[:-1] if d[0] != "event"]
    play(silent, into)
    play(step_scan(1)[:-1], into)
    happenings = play(step_scan(1)[:1], into)
    frame, closed, opened = happenings
    assert (frame.key.seq_num, frame.readings) == (1, {})
    assert (closed.exit_status, closed.run_uid) == ("fail", silent[0][1]["uid"])
    assert closed.assumed
    assert isinstance(opened, RunOpened)
    assert len(into.open_runs()) == 2


def test_frames_beyond_the_limit_go_on_without_waiting():
    documents = [d for d in step_scan(5) if d[0] != "event"]
    into = router(max_waiting_frames=2)
    assert [f.key.seq_num for f in frames_of(play(documents[:-1], into))] == [1, 2, 3]
    assert [f.key.seq_num for f in frames_of(play(documents[-1:], into))] == [4, 5]


def test_a_giant_gap_or_count_is_not_believed():
    into = router(max_waiting_frames=10)
    run = RunOfDocuments()
    run.declare()
    run.open_file()
    run._index, run._counts["primary"] = 2**35, 2**35
    run.shot()
    happenings = play(run.stop(primary=2**36), into)
    assert [f.key.seq_num for f in frames_of(happenings)] == [2**35 + 1]


@pytest.mark.parametrize(("what", "document"), REFUSED, ids=[name for name, _ in REFUSED])
def test_wrong_documents_are_refused_in_one_line_and_change_nothing(what, document):
    into = router()
    play(OPENING, into)
    for _ in range(2):
        with pytest.raises(BadFrame) as caught:
            into.route(*document)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500
    assert into.open_runs() == ("run-1",)
    rest = [
        ("stream_datum", dict(QUIET[0][1][1], descriptor="desc-1")),
        ("stop", {"uid": "s", "run_start": "run-1", "time": 9.0, "exit_status": "success"}),
    ]
    assert places(play(rest, into)) == {("primary", 1, 0): 0}


@pytest.mark.parametrize(("what", "document"), QUIET, ids=[name for name, _ in QUIET])
def test_documents_of_no_concern_are_passed_over(what, document):
    into = router()
    play(OPENING, into)
    assert into.route(*document) == []
    assert into.open_runs() == ("run-1",)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("what", "document"), FOREIGN, ids=[what.replace(" ", "-") for what, _ in FOREIGN]
)
def test_documents_of_other_beamlines_touch_no_run_of_ours(what, document):
    into = router()
    for opening in OPENING:
        into.route(*opening)
    happenings = into.route(*document)
    assert frames_of(happenings) == []
    assert "run-1" not in {happening.run_uid for happening in happenings}
    assert "run-1" in into.open_runs()


WHOLE = st.one_of(
    st.integers(-2, 8), st.sampled_from([2**31, 2**40, 2**63 - 1, 2**63, 2**64, 2**80, -(2**63)])
)
UIDS = st.sampled_from(["run-1", "run-2", "run-3", "desc-1", "d2", "res-1", "event-1", "theirs"])
TEMPLATES = [document for _, document in DOCUMENTS] + OPENING + HONEST


@st.composite
def mutated(draw):
    """A document of the corpus, or an honest one, with some of its fields replaced."""
    name, doc = draw(st.sampled_from(TEMPLATES))
    doc = copy.deepcopy(doc) if len(str(doc)) < 10_000 else dict(doc)
    for key in draw(st.lists(st.sampled_from(sorted(doc) or ["uid"]), max_size=2)):
        if key in {"uid", "run_start", "descriptor", "stream_resource"}:
            doc[key] = draw(UIDS)
        elif key in {"indices", "seq_nums"}:
            doc[key] = {"start": draw(WHOLE), "stop": draw(WHOLE)}
        elif key == "num_events":
            doc[key] = {"primary": draw(WHOLE)}
        else:
            doc[key] = draw(WHOLE | JSON)
    return name, doc


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(mutated(), max_size=25))
def test_no_sequence_of_documents_raises_anything_else_or_grows_without_bound(documents):
    limit = 5
    into = router(max_waiting_frames=limit, max_open_runs=2)
    for name, document in [*OPENING, *documents]:
        happenings = []
        with contextlib.suppress(BadFrame):
            happenings = into.route(name, document)
        for frame in frames_of(happenings):
            assert (
                0 <= frame.location.row < 2**63
                if isinstance(frame.location, Hdf5Location)
                else frame.location == InlineLocation()
            )
            assert frame.key.seq_num < 2**63
        for closed in happenings:
            if isinstance(closed, RunClosed):
                assert all(
                    0 <= n < 2**63 for n in (*closed.expected.values(), *closed.frames.values())
                )
        # What waits, what a gap brings back and what a stop document counts, each within the limit.
        assert len(frames_of(happenings)) <= 4 * limit * 3
        assert len(into.open_runs()) <= 2
        for run in into._runs.values():
            assert run.waiting_frames <= limit
            assert len(run._events) <= limit
            assert sum(len(waiting) for waiting in run._waiting.values()) <= limit
        assert set(map(id, into._run_of.values())) <= set(map(id, into._runs.values()))


@settings(deadline=None)
@given(st.data())
def test_any_field_may_be_anything(data):
    """One field of one document of a run is replaced; the router raises BadFrame or goes on."""
    documents = json.loads(json.dumps(scan_with_darks(1, 2)))
    at = data.draw(st.integers(0, len(documents) - 1))
    doc = documents[at][1]
    while True:
        key = data.draw(st.sampled_from(sorted(doc)))
        if isinstance(doc[key], dict) and doc[key] and data.draw(st.booleans()):
            doc = doc[key]
            continue
        doc[key] = data.draw(JSON)
        break
    into, happenings = router(max_waiting_frames=1000), []
    for name, document in documents:
        with contextlib.suppress(BadFrame):
            happenings.extend(into.route(name, document))
    places(happenings)


def test_published_templates_are_routed(reference):
    def load(name):
        text = (reference / "documents" / name).read_text()
        text = text.replace("{{ uuid }}", "u").replace("{{ root_path }}", "data")
        return [(entry["name"], entry["doc"]) for entry in json.loads(text)]

    assert places(play(load("external_assets.json"))) == {
        ("primary", n, 0): n - 1 for n in (1, 2, 3)
    }
    parts = frames_of(play(load("external_assets_single_key.json")))
    assert len({frame.key for frame in parts}) == 8  # 3 rows of the first file, 5 of the second
    assert len({(frame.location.uri, frame.location.row) for frame in parts}) == 8
    assert frames_of(play(load("internal_events.json"))) == []
    legacy = frames_of(play(load("external_assets_legacy.json")))
    assert [(frame.location.uri, frame.location.row) for frame in legacy] == [
        ("file://localhost/data/dataset.h5", n) for n in range(3)
    ]
    assert {frame.location.dataset for frame in legacy} == {"/entry/data/data_2"}


def test_documents_of_a_run_that_nobody_knows_are_counted():
    into = router()
    documents = step_scan(2)
    play([d for d in documents if d[0] in ("event", "stream_datum")], into)
    assert into.strangers == 4
    play(documents, into)
    assert into.strangers == 4


def test_a_run_is_followed_once_it_has_declared_frames():
    into = router()
    documents = step_scan(2)
    uid = documents[0][1]["uid"]
    play(documents[:1], into)
    assert not into.follows(uid)
    play(documents[1:2], into)
    assert into.follows(uid)
    play(documents[2:], into)
    assert not into.follows(uid)


def test_one_file_spelt_in_two_ways_is_one_file():
    into = router()
    run = RunOfDocuments(uri="file:///data/run.h5")
    run.declare()
    run.open_file()
    run.shot()
    run.open_file(uri="file://localhost/data/run.h5")
    run.shot()  # index 0 again, by another name of the file
    run.stop(primary=1)
    frames = frames_of(play(run.documents, into))
    assert [(f.key.seq_num, f.key.index) for f in frames] == [(1, 0)]


@pytest.mark.parametrize("known", ["dark", "primary"])
def test_frames_whose_file_was_never_announced_are_not_looked_for_in_another_streams_file(
    known: str,
):
    run = RunOfDocuments()
    for stream, frames in (("dark", 3), ("primary", 4)):
        run.declare(stream)
        run.open_file(uri=f"file://localhost/data/{stream}.h5")
        for _ in range(frames):
            run.shot(stream)
    lost = {
        doc["uid"] for name, doc in run.stop()
        if name == "stream_resource" and known not in doc["uri"]
    }  # fmt: skip
    documents = [d for d in run.documents if d[1]["uid"] not in lost]
    found = frames_of(play(documents, router()))
    assert {f.key.stream for f in found} == {known}
    assert all(known in f.location.uri for f in found)
