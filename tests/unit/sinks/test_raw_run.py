"""A run in Tiled gives back the frames that its documents announced, to the row and the reading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from tiled.client.dataframe import _DaskDataFrameClient

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import FrameReference, RunClosed, RunOpened
from qd_agent.core.ports import Document
from qd_agent.documents import MetadataSettings, RouterSettings, open_router
from qd_agent.embedded import RunningServer
from qd_agent.sinks import TiledConnection, TiledSettings
from qd_agent.sinks.raw_archive import RawArchive
from qd_agent.sinks.raw_run import _frames_of
from qd_agent.sinks.raw_streams import RawDataset, RawEvent, RawStream, _sequence
from qd_agent.sinks.tiled_link import open_tiled
from tests.helpers.baseline import run_with_a_baseline
from tests.helpers.documents import RunOfDocuments, fly_scan, readings_of, step_scan
from tests.helpers.servers import tiled_client
from tests.helpers.tiled import writing

SETTINGS = TiledSettings()


@pytest.fixture
def folder(tiled_server: RunningServer) -> Path:
    return tiled_server.folder.parent / "readable"


def frames_of(
    documents: Sequence[Document], metadata: MetadataSettings | None = None
) -> list[object]:
    router = open_router(RouterSettings(), metadata)
    return [h for name, doc in documents for h in router.route(name, doc)]


def written(server: RunningServer, path: Path, documents: Sequence[Document], rows: int) -> str:
    """Write a run into Tiled as a beamline does."""
    from bluesky_tiled_plugins import TiledWriter
    from tiled.structures.core import Spec

    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", data=np.zeros((rows, 8, 6), "<u4"), chunks=(1, 8, 6))
    with tiled_client(server) as client:
        if "raw" not in client:
            client.create_container("raw", specs=[Spec("CatalogOfBlueskyRuns", version="3.0")])
        writer = TiledWriter(client["raw"], batch_size=1)
        for name, doc in documents:
            writer(name, dict(doc))
    return str(documents[0][1]["uid"])


def darks_then_light(separate: bool = False, apart_s: float = 100.0, **options) -> list[Document]:
    """Two darks and four light frames in one file, under one stream_resource or two."""
    run = RunOfDocuments(**options)
    run.declare("dark")
    run.open_file()
    for _ in range(2):
        run.shot("dark")
    run.time += apart_s
    run.declare("primary")
    if separate:
        run.open_file()
        run._index = 2
    for _ in range(4):
        run.shot()
    return run.stop()


def asked(server: RunningServer, run_uid: str) -> list[Document] | None:
    archive = RawArchive(SETTINGS, TiledConnection(server.url, server.secret))
    try:
        return archive.run(run_uid)
    finally:
        archive.close()


def rewound(**options) -> list[Document]:
    """Three shots, of which a pause took back the last two."""
    run = RunOfDocuments(**options)
    run.declare()
    run.open_file()
    for _ in range(3):
        run.shot()
    run._counts["primary"] = 1
    run.time += 50.0
    for monitor in (702.0, 703.0):
        run.datum()
        run.event(monitor=monitor)
    return run.stop()


@pytest.mark.parametrize("kind", ["step", "darks", "separate", "fly", "rewound"])
def test_the_documents_announce_the_same_frames(
    tiled_server: RunningServer, folder: Path, kind: str
) -> None:
    path = folder / f"{kind}.h5"
    options = {"uri": f"file://localhost{path}", "metadata": {"sample": "PbS"}}
    documents, rows = {
        "step": (step_scan(3, **options), 3),
        "darks": (darks_then_light(**options), 6),
        "separate": (darks_then_light(separate=True, **options), 6),
        "fly": (fly_scan([2, 3], **options), 5),
        "rewound": (rewound(**options), 5),
    }[kind]
    run_uid = written(tiled_server, path, documents, rows)
    found = asked(tiled_server, run_uid)
    assert found is not None
    told, heard = frames_of(found), frames_of(documents)
    opened, closed = told[0], told[-1]
    assert isinstance(opened, RunOpened)
    assert opened.metadata["sample"] == "PbS"
    assert isinstance(closed, RunClosed)
    assert closed == heard[-1]

    def plain(happenings: list[object]) -> dict[object, object]:
        frames = [h for h in happenings if isinstance(h, FrameReference)]
        return {
            (f.key.stream, f.key.data_key, f.key.seq_num, f.key.index): (
                f.location,
                f.shape,
                f.dtype,
                dict(f.readings),
            )
            for f in frames
        }

    assert plain(told) == plain(heard)


def test_no_light_frame_is_taken_for_a_dark_one_when_times_do_not_tell(
    tiled_server: RunningServer, folder: Path
) -> None:
    path = folder / "unclear.h5"
    documents = darks_then_light(apart_s=0.0, uri=f"file://localhost{path}")
    found = asked(tiled_server, written(tiled_server, path, documents, 6))
    assert found is not None
    told = frames_of(found)
    assert [h for h in told if isinstance(h, FrameReference)] == []
    assert told[-1] == frames_of(documents)[-1], "that frames are missing is known all the same"


def test_a_run_without_a_stop_has_none(tiled_server: RunningServer, folder: Path) -> None:
    path = folder / "open.h5"
    run = RunOfDocuments(uri=f"file://localhost{path}")
    run.declare()
    run.open_file()
    run.shot()
    run_uid = written(tiled_server, path, run.documents, 1)
    found = asked(tiled_server, run_uid)
    assert found is not None
    assert [name for name, _ in found].count("stop") == 0
    assert sum(isinstance(h, FrameReference) for h in frames_of(found)) == 1


@pytest.mark.parametrize("run_uid", ["no-such-run", "../raw", "a/b", ""])
def test_a_run_that_is_not_there_is_none(tiled_server: RunningServer, run_uid: str) -> None:
    assert asked(tiled_server, run_uid) is None


def test_a_run_can_be_asked_for_again_and_again_whatever_became_of_the_first_answers(
    tiled_server: RunningServer, folder: Path
) -> None:
    path = folder / "again.h5"
    run_uid = written(tiled_server, path, step_scan(2, uri=f"file://localhost{path}"), 2)
    connection = TiledConnection(tiled_server.url, tiled_server.secret)
    with open_tiled(connection) as root:
        # As an error leaves it behind, for as long as somebody holds its traceback.
        held = _DaskDataFrameClient.read(root["raw", run_uid, "primary"].base["internal"])
    for _ in range(3):
        assert asked(tiled_server, run_uid) is not None
    assert "seq_num" in held.columns


@pytest.mark.parametrize(
    "metadata",
    [
        {"start": {"time": 1.0}},
        {"start": {"uid": "another", "time": 1.0}},
        {"start": {"uid": "odd", "time": 1.0}, "stream": {"data_keys": ["det"]}},
        {"start": {"uid": "odd", "time": 1.0}, "stream": {"data_keys": {"det": "external"}}},
        {"start": {"uid": "odd", "time": 1.0}, "stream": {"data_keys": {"det": {"external": "x"}}}},
        {"start": {"uid": "odd", "time": "noon"}, "stop": {"num_events": 3}},
        {"start": "yesterday"},
    ],
)
def test_a_run_that_is_laid_out_oddly_is_refused_or_empty(
    tiled_server: RunningServer, metadata: dict[str, dict[str, object]]
) -> None:
    from tiled.structures.core import Spec

    with tiled_client(tiled_server) as client:
        name = f"odd-{len(client)}"
        raw = client.create_container(name)
        stream = metadata.get("stream")
        run = raw.create_container(
            "odd", metadata={k: v for k, v in metadata.items() if k != "stream"}
        )
        if stream is not None:
            run.create_container(
                "primary", metadata=stream, specs=[Spec("BlueskyEventStream", "3.0")]
            )
    settings = TiledSettings(raw_container=name)
    archive = RawArchive(settings, TiledConnection(tiled_server.url, tiled_server.secret))
    try:
        found = archive.run("odd")
    except BadFrame as error:
        assert "Tiled has" in str(error)  # noqa: PT017 - either may be
    else:
        assert found is None or [name for name, _ in found if name in ("start", "stop")]
    finally:
        archive.close()


def inline_run(frames: int) -> RunOfDocuments:
    run = RunOfDocuments(shape=(8, 6), metadata={"sample": "PbS"})
    run.declare_inline(dtype="<u4")
    for seq in range(1, frames + 1):
        run._counts["primary"] = seq
        run.event(det=np.full((8, 6), seq, "<u4"))
    return run


def test_images_that_came_inside_of_events_come_back_with_them(
    tiled_server: RunningServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = inline_run(3)
    run_uid = written(tiled_server, folder / "unused.h5", run.stop(), 1)
    found = asked(tiled_server, run_uid)
    assert found is not None
    frames = [h for h in frames_of(found) if isinstance(h, FrameReference)]
    assert [int(f.array[0, 0]) for f in frames if f.array is not None] == [1, 2, 3]
    assert {(f.array.dtype.str, f.array.shape) for f in frames if f.array is not None} == {
        ("<u4", (8, 6))
    }
    assert [f.time for f in frames] == [run.time + 1, run.time + 2, run.time + 3]
    (descriptor,) = [doc for name, doc in found if name == "descriptor"]
    archive = RawArchive(SETTINGS, TiledConnection(tiled_server.url, tiled_server.secret))
    monkeypatch.setattr("qd_agent.sinks.raw_streams.MAX_INLINE_BYTES", 1)
    for known in range(3):
        part = archive.run(run_uid, {str(descriptor["uid"]): known})
        assert part is not None
        images = [
            doc["data"]["det"] for name, doc in part if name == "event" and "det" in doc["data"]
        ]
        assert [int(image[0, 0]) for image in images] == [known + 1], "one at a time"
        assert (part[-1][0] == "stop") == (known == 2), "the stop comes with the last of them"
    archive.close()


def test_events_told_by_tiled_and_by_their_publisher_are_the_same_ones(
    tiled_server: RunningServer, folder: Path
) -> None:
    """Tiled forgets the uids of events; a frame inside of one must not count twice for that."""
    run = inline_run(2)
    run_uid = written(tiled_server, folder / "unused.h5", run.stop(), 1)
    found = asked(tiled_server, run_uid)
    assert found is not None
    both = [*run.documents[:-1], *found[1:]]
    frames = [h for h in frames_of(both) if isinstance(h, FrameReference)]
    assert [(f.key.seq_num, f.key.index) for f in frames] == [(1, 0), (2, 0)]


@pytest.mark.parametrize(
    ("names", "template"),
    [
        (["a_00.tiff", "a_01.tiff"], "a_{:02d}.tiff"),
        ([f"a%20b_{n}.tiff" for n in range(11)], "a b_{:d}.tiff"),
        (["a_01.tiff", "a_02.tiff"], None),
        (["a_0.tiff", "b_1.tiff"], None),
        (["a.tiff"], None),
        ([], None),
    ],
)
def test_a_sequence_of_files_is_told_by_its_names(names: list[str], template: str | None) -> None:
    folder = "file://localhost/data/run/"
    found = _sequence([folder + name for name in names], len(names), "multipart/related")
    assert (None if found is None else found.parameters["template"]) == template
    assert found is None or found.uri == folder


def test_a_baseline_is_told_before_the_frames_it_was_read_for(tiled_server: RunningServer) -> None:
    with writing(tiled_server) as write:
        documents = run_with_a_baseline(callbacks=[write])
    found = asked(tiled_server, str(documents[0][1]["uid"]))
    assert found is not None
    settings = MetadataSettings(wavelength="event.energy keV", temperature="event.furnace")
    told, heard = (
        [h.declared for h in frames_of(docs, settings) if isinstance(h, FrameReference)]
        for docs in (found, documents)
    )
    assert told == heard
    assert [d.values["temperature"] for d in told] == [100.0, 101.0]
    assert all(d.values["wavelength"] < 0.2 for d in told)


def test_what_contradicts_itself_does_so_in_the_same_words_out_of_tiled(
    tiled_server: RunningServer, folder: Path
) -> None:
    path = folder / "conflict.h5"
    said = {"exposure": 2.0, "kelvin": 300.0, "a": "PbS 7", "b": "PbS 8"}
    run = RunOfDocuments(uri=f"file://localhost{path}", metadata=said)
    run.declare(configuration={"detector": {"acquire_time": 500.0}})
    run.open_file()
    run.shot()
    run.shot()
    documents = run.stop()
    found = asked(tiled_server, written(tiled_server, path, documents, 2))
    assert found is not None
    settings = MetadataSettings(
        exposure=["start.exposure", "configuration.detector.acquire_time ms"],
        temperature=["event.temperature", "start.kelvin K"],
        sample=["start.a", "start.b"],
    )
    told, heard = (
        [h.declared for h in frames_of(docs, settings) if isinstance(h, FrameReference)]
        for docs in (found, documents)
    )
    assert told == heard
    assert len(told) == 2
    for declared in told:
        assert [part.split(" is ")[0] for part in declared.conflict.split("; the ")] == [
            "the exposure time",
            "temperature",
            "sample",
        ]


def test_each_frame_has_the_configuration_that_was_in_force_when_it_was_taken(
    tiled_server: RunningServer, folder: Path
) -> None:
    """Of a later descriptor of a stream Tiled keeps uid, time and configuration alone."""
    path = folder / "configured.h5"
    run = RunOfDocuments(uri=f"file://localhost{path}")
    mono, detector = {"energy": 20.0}, {"acquire_time": 0.5}
    run.declare(configuration={"mono": mono, "detector": detector})
    run.open_file()
    run.shot()
    run.shot()
    run.time += 60.0
    run.declare(configuration={"mono": {"energy": 60.0}})
    run.shot()
    documents = run.stop()
    found = asked(tiled_server, written(tiled_server, path, documents, 3))
    assert found is not None
    settings = MetadataSettings(exposure="configuration.detector.acquire_time",
                                temperature="configuration.mono.energy K")  # fmt: skip
    frames = [h for h in frames_of(found, settings) if isinstance(h, FrameReference)]
    told = [frame.declared.values for frame in frames]
    assert [values["temperature"] for values in told] == [
        pytest.approx(kelvin - 273.15) for kelvin in (20.0, 20.0, 60.0)
    ]
    assert [values["exposure"] for values in told] == [0.5] * 3, "what nobody changed stays"
    assert [frame.readings for frame in frames] == [
        readings_of(n) for n in (1, 2, 3)
    ]  # fmt: skip


def stream(name: str, events: Sequence[RawEvent], **datasets: RawDataset) -> RawStream:
    keys = {"det": {"external": "STREAM:", "dtype": "array", "shape": [1, 8, 6]}}
    descriptor = {"uid": f"descriptor-{name}", "name": name, "time": 0.0, "data_keys": keys}
    return RawStream((descriptor,), events, datasets)


def test_what_was_told_of_a_file_holds_when_another_one_is_found_before_it() -> None:
    """Darks came first; the frames, whose stream was declared first, have a file of their own."""
    dark = [RawEvent(n, 10.0 + n, {}) for n in (1, 2)]
    shots = [RawEvent(n, 20.0 + n, {}) for n in (1, 2, 3)]
    files = [
        RawDataset(n, f"file:///{n}.h5", "application/x-hdf5", {"dataset": "d"}) for n in (2, 3)
    ]
    before = [stream("primary", []), stream("dark", dark, det=files[0])]
    after = [stream("primary", shots, det=files[1]), stream("dark", dark, det=files[0])]
    first, second = (_frames_of(streams, "run", is_open=True) for streams in (before, after))
    identities = [(name, doc["uid"]) for name, doc in first]
    assert set(identities) <= {(name, doc["uid"]) for name, doc in second}
    told = {doc["uid"]: doc for name, doc in first + second if name == "stream_resource"}
    of_rows = [
        (told[doc["stream_resource"]]["uri"], doc["descriptor"], doc["indices"]["start"])
        for name, doc in second
        if name == "stream_datum"
    ]
    assert of_rows == [
        *(("file:///2.h5", "descriptor-dark", row) for row in range(2)),
        *(("file:///3.h5", "descriptor-primary", row) for row in range(3)),
    ]


@pytest.mark.parametrize("rows", [2, 4])
def test_of_a_run_that_goes_on_no_number_is_guessed(rows: int) -> None:
    """The plan was rewound to its second shot; rows and events are of two moments."""
    events = [RawEvent(n, 10.0 + at, {}) for at, n in enumerate((1, 2, 2))]
    file = RawDataset(rows, "file:///a.h5", "application/x-hdf5", {"dataset": "d"})
    told = _frames_of([stream("primary", events, det=file)], "run", is_open=True)
    numbers = [doc["seq_nums"]["start"] for name, doc in told if name == "stream_datum"]
    assert numbers == [1, 2, 2][:rows]
    assert [name for name, _ in told if name != "stream_resource"][:4] == [
        *("stream_datum", "event") * 2,
    ]
