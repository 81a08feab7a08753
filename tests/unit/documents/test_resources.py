"""Where frames lie, as stream_resources say it: in the files that bluesky's consolidators name."""

import warnings

import pytest
from event_model import StreamRange, compose_run

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import FrameReference, Hdf5Location, TiffLocation
from qd_agent.documents import RouterSettings, open_router
from qd_agent.documents.resources import read_resource

SEQUENCE = "multipart/related;type=image/tiff"
H, W = 8, 6


def documents(shape, mimetype, parameters, events=3, uri="file://localhost/data/"):
    """A run without readings whose events' frames lie in files of this kind."""
    run = compose_run()
    key = {"source": "sim", "dtype": "array", "shape": list(shape), "external": "STREAM:"}
    descriptor = run.compose_descriptor(name="primary", data_keys={"det": key})
    resource = run.compose_stream_resource(
        mimetype=mimetype, uri=uri, data_key="det", parameters=parameters
    )
    datum = resource.compose_stream_datum(
        indices=StreamRange(start=0, stop=events),
        seq_nums=StreamRange(start=1, stop=events + 1),
        descriptor=descriptor.descriptor_doc,
    )
    return [
        ("start", run.start_doc),
        ("descriptor", descriptor.descriptor_doc),
        ("stream_resource", resource.stream_resource_doc),
        ("stream_datum", datum),
    ]


def frames(docs):
    router = open_router(RouterSettings())
    return [h for d in docs for h in router.route(*d) if isinstance(h, FrameReference)]


def test_a_sequence_of_tiff_files_as_ophyd_async_writes_it():
    docs = documents((1, H, W), SEQUENCE, {"template": "cam_{:06d}.tiff", "chunk_shape": [1, H, W]})
    found = frames(docs)
    assert [f.location.uri for f in found] == [
        f"file://localhost/data/cam_{n:06d}.tiff" for n in range(3)
    ]
    assert {f.location.page for f in found} == {0}
    assert {f.shape for f in found} == {(H, W)}


def test_pages_of_one_tiff_file_are_counted_through():
    found = frames(documents((2, H, W), "image/tiff", {}, uri="file:///data/all.tiff"))
    assert [f.location for f in found] == [
        TiffLocation(uri="file://localhost/data/all.tiff", page=n) for n in range(6)
    ]


def test_a_sequence_of_hdf5_files_gives_rows_of_each():
    parameters = {"template": "{:d}.h5", "dataset": "/entry/data", "chunk_shape": [2, H, W]}
    found = frames(documents((4, H, W), "application/x-hdf5", parameters, events=2))
    assert [(f.location.uri[-4:], f.location.row) for f in found] == [
        (f"{n}.h5", row) for n in range(4) for row in range(2)
    ]
    assert {type(f.location) for f in found} == {Hdf5Location}


@pytest.mark.parametrize("frames_per_event", [1, 2, 6])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"chunk_shape": [1, H, W]},
        {"chunk_shape": [2, H, W]},
        {"chunk_shape": [3, H, W]},
        {"chunk_shape": [1]},
        {"chunk_shape": [2], "join_method": "concat"},
        {"chunk_shape": [4], "join_method": "concat"},
        {"chunk_shape": [1], "join_method": "concat"},
        {"files_per_datum": 2},
        {"files_per_datum": 1, "chunk_shape": [1, H, W]},
    ],
)
def test_files_are_those_that_the_consolidators_of_bluesky_name(frames_per_event, parameters):
    consolidators = pytest.importorskip("bluesky_tiled_plugins.writing.consolidators")
    parameters = {"template": "cam_{:03d}.tiff", **parameters}
    docs = documents((frames_per_event, H, W), SEQUENCE, parameters)
    _, (_, descriptor), (_, resource), (_, datum) = docs
    descriptor["data_keys"]["det"]["dtype_numpy"] = "<u4"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 'concat' is deprecated there
        theirs = consolidators.consolidator_factory(resource, descriptor)
        theirs.consume_stream_datum(datum)
    ours = list(dict.fromkeys(f.location.uri for f in frames(docs)))
    assert ours == [asset.data_uri for asset in theirs.assets][: len(ours)]
    if frames_per_event % (parameters.get("files_per_datum") or 1) == 0:
        assert len(ours) == len(theirs.assets)


@pytest.mark.parametrize(
    ("mimetype", "parameters", "reason"),
    [
        ("multipart/related;type=image/jpeg", {"template": "{:d}.jpg"}, "cannot be read"),
        (SEQUENCE, {}, "names no template"),
        (SEQUENCE, {"template": "../{:d}.tiff"}, "lie elsewhere"),
        (SEQUENCE, {"template": "cam.tiff"}, "places for the number"),
        ("application/x-hdf5", {}, "names no dataset"),
        ("application/x-hdf5", {"dataset": "/a", "slice": [":"]}, "takes a slice"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(mimetype, parameters, reason):
    doc = {
        "uid": "a",
        "data_key": "det",
        "mimetype": mimetype,
        "uri": "file:///data/",
        "parameters": parameters,
    }
    with pytest.raises(BadFrame, match=reason):
        read_resource(doc)


@pytest.mark.parametrize(
    "chunk", ["x", [0, 8], [-1], [True, 8], [[1]], None, {"a": 1}, [2**70, H, W]]
)
def test_odd_chunk_shapes_do_no_harm(chunk):
    found = frames(documents((1, H, W), SEQUENCE, {"template": "{:d}.tiff", "chunk_shape": chunk}))
    assert [f.location.page for f in found] == [0, 0, 0]


def test_strips_are_followed_when_they_are_named():
    parameters = {"dataset": "/entry/data"}
    assert frames(documents((40,), "application/x-hdf5", parameters)) == []
    for shape in ((40,), (1, 40)):
        docs = documents(shape, "application/x-hdf5", parameters)
        router = open_router(RouterSettings(strips=["det"]))
        found = [h for d in docs for h in router.route(*d) if isinstance(h, FrameReference)]
        assert [(f.shape, f.location.row) for f in found] == [((40,), n) for n in range(3)]


def test_a_sequence_whose_folder_is_spelled_with_and_without_its_slash_is_one():
    """As its publisher names it, and as Tiled does: each frame is given once."""
    parameters = {"chunk_shape": [1, H, W]}
    bare, slashed = "file://localhost/data/run", "file://localhost/data/run/"
    told = documents((1, H, W), SEQUENCE, {"template": "/c_{:04d}.tiff", **parameters}, uri=bare)
    resource = {
        **told[2][1],
        "uid": "as Tiled names it",
        "uri": slashed,
        "parameters": {"template": "c_{:04d}.tiff", **parameters},
    }
    again = {**told[3][1], "uid": "again", "stream_resource": resource["uid"]}
    found = frames([*told, ("stream_resource", resource), ("stream_datum", again)])
    assert [(f.key.seq_num, f.key.index) for f in found] == [(1, 0), (2, 0), (3, 0)]
    assert found[0].location.uri == f"{slashed}c_0000.tiff"
