"""Several detectors in several streams of one run: every frame of each, whatever is lost."""

from itertools import combinations

import pytest
from event_model import StreamRange, compose_run

from qd_agent.core.frame import FrameReference, Hdf5Location, RunClosed
from qd_agent.documents.router import Router
from qd_agent.documents.settings import RouterSettings

SHAPES = {"waxs": [1, 8, 6], "saxs": [1, 4, 5]}
STREAMS = ("primary", "second")
EVENTS = 3


def two_detectors_in_two_streams():
    """Each detector writes one file for both streams, whose events alternate."""
    run = compose_run(time=1_700_000_000.0)
    documents = [("start", dict(run.start_doc))]
    external = {"source": "sim", "dtype": "array", "dtype_numpy": "<u2", "external": "STREAM:"}
    streams = {}
    for name in STREAMS:
        keys = {key: {**external, "shape": shape} for key, shape in SHAPES.items()}
        streams[name] = run.compose_descriptor(name=name, data_keys=keys)
        documents.append(("descriptor", dict(streams[name].descriptor_doc)))
    files = {}
    for key in SHAPES:
        files[key] = run.compose_stream_resource(
            data_key=key,
            mimetype="application/x-hdf5",
            uri=f"file://localhost/data/{key}.h5",
            parameters={"dataset": f"/entry/{key}", "chunk_shape": [1, *SHAPES[key][1:]]},
        )
        documents.append(("stream_resource", dict(files[key].stream_resource_doc)))
    for at in range(EVENTS * len(STREAMS)):
        stream, seq = streams[STREAMS[at % 2]], at // 2 + 1
        for key in SHAPES:
            datum = files[key].compose_stream_datum(
                indices=StreamRange(start=at, stop=at + 1),
                seq_nums=StreamRange(start=seq, stop=seq + 1),
                descriptor=stream.descriptor_doc,
            )
            documents.append(("stream_datum", dict(datum)))
        event = stream.compose_event(data={}, timestamps={}, seq_num=seq, validate=False)
        documents.append(("event", dict(event)))
    documents.append(("stop", dict(run.compose_stop())))
    return documents


def played(documents):
    router = Router(RouterSettings(streams=list(STREAMS)), clock=lambda: 5.0)
    happenings = [happening for name, doc in documents for happening in router.route(name, doc)]
    frames = [happening for happening in happenings if isinstance(happening, FrameReference)]
    found = {(f.key.data_key, f.key.stream, f.key.seq_num): f for f in frames}
    assert len(found) == len(frames), "each of them once"
    return found, happenings[-1]


EXPECTED = {
    (key, stream, seq): Hdf5Location(
        uri=f"file://localhost/data/{key}.h5", dataset=f"/entry/{key}", row=2 * (seq - 1) + at
    )
    for key in SHAPES
    for at, stream in enumerate(STREAMS)
    for seq in range(1, EVENTS + 1)
}


def test_every_frame_of_each_detector_comes_from_its_own_file():
    found, last = played(two_detectors_in_two_streams())
    assert {name: frame.location for name, frame in found.items()} == EXPECTED
    assert {frame.key.data_key: frame.shape for frame in found.values()} == {
        "waxs": (8, 6),
        "saxs": (4, 5),
    }
    assert isinstance(last, RunClosed)
    assert last.expected == dict.fromkeys(STREAMS, EVENTS)
    assert last.frames == dict.fromkeys(STREAMS, EVENTS * len(SHAPES))


DATA = [i for i, (name, _) in enumerate(two_detectors_in_two_streams()) if name == "stream_datum"]


def without(lost):
    gone = {DATA[n] for n in lost}
    return [d for i, d in enumerate(two_detectors_in_two_streams()) if i not in gone]


@pytest.mark.parametrize("lost", [*combinations(range(len(DATA)), 1)])
def test_a_frame_of_one_detector_that_is_not_announced_is_made_up_for(lost):
    found, _ = played(without(lost))
    assert {name: frame.location for name, frame in found.items()} == EXPECTED


@pytest.mark.parametrize("lost", [*combinations(range(len(DATA)), 2)])
def test_what_cannot_be_told_apart_is_missed_and_never_guessed(lost):
    """Rows next to each other whose streams nobody has named: Tiled is asked for them."""
    found, last = played(without(lost))
    assert {name: frame.location for name, frame in found.items()}.items() <= EXPECTED.items()
    assert len(found) >= len(EXPECTED) - 2
    assert last.frames == dict.fromkeys(STREAMS, EVENTS * len(SHAPES)), "the books know of them"
