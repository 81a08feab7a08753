"""Resource and datum documents: the frames that area-detector-handlers give, and no others."""

from itertools import permutations

import h5py
import numpy as np
import pytest
import tifffile
from event_model import compose_run

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import FrameReference, InlineLocation, NoLocation
from qd_agent.documents import RouterSettings, open_router
from qd_agent.frames import FrameSettings, open_reader

H, W = 8, 6
EVENTS = 3


class Legacy:
    """A run of an areaDetector as ophyd announces it: resource, then a datum before each event."""

    def __init__(self, root, spec, path, kwargs, *, frames=1, page=False, **resource):
        self._run = compose_run()
        key = {"source": "PV:cam", "dtype": "array", "external": "FILESTORE:"}
        key |= {"shape": [frames, H, W], "dtype_numpy": "<u4"}
        self._descriptor = self._run.compose_descriptor(name="primary", data_keys={"cam": key})
        made = self._run.compose_resource(
            spec=spec, root=str(root), resource_path=path, resource_kwargs=kwargs
        )
        self.resource = ("resource", {**made.resource_doc, **resource})
        self.opening = [
            ("start", self._run.start_doc),
            ("descriptor", self._descriptor.descriptor_doc),
        ]
        datums = [made.compose_datum(datum_kwargs={"point_number": n}) for n in range(EVENTS)]
        self.datums = [("datum", datum) for datum in datums]
        if page:
            one = made.compose_datum_page(datum_kwargs={"point_number": list(range(EVENTS))})
            self.datums, datums = [("datum_page", one)], [{"datum_id": i} for i in one["datum_id"]]
        self.events = [self.event({"cam": datum["datum_id"]}) for datum in datums]

    def event(self, data, *, filled=False):
        doc = self._descriptor.compose_event(
            data=data, timestamps={"cam": 0.0}, filled={"cam": filled}
        )
        return "event", doc

    def documents(self):
        return [*self.opening, self.resource, *self.datums, *self.events]

    def stop(self):
        return ["stop", self._run.compose_stop()]


def frames(documents, router=None):
    router = router or open_router(RouterSettings())
    return [h for d in documents for h in router.route(*d) if isinstance(h, FrameReference)]


def stack(frames_per_event):
    return np.arange(EVENTS * frames_per_event * H * W, dtype="<u4").reshape(-1, H, W)


@pytest.mark.parametrize("page", [False, True])
@pytest.mark.parametrize("per_event", [1, 2])
@pytest.mark.parametrize("spec", ["AD_HDF5", "AD_HDF5_SWMR", "AD_TIFF", "AD_HDF5_SINGLE"])
def test_the_frames_are_those_that_the_handlers_give(tmp_path, spec, per_event, page):
    handlers = pytest.importorskip("area_detector_handlers.handlers")
    images = stack(per_event)
    kwargs: dict = {"frame_per_point": per_event}
    path = "2026/cam.h5"
    (tmp_path / "2026").mkdir()
    if spec in ("AD_TIFF", "AD_HDF5_SINGLE"):
        path, kwargs = "2026", {**kwargs, "template": "%s%s_%6.6d.x", "filename": "cam"}
        for number, image in enumerate(images):
            name = tmp_path / "2026" / f"cam_{number:06d}.x"
            if spec == "AD_TIFF":
                tifffile.imwrite(name, image)
            else:
                with h5py.File(name, "w") as file:
                    file["entry/data/data"] = image[np.newaxis]
    else:
        with h5py.File(tmp_path / path, "w", libver="latest") as file:
            file["entry/data/data"] = images
    made_by = {
        "AD_HDF5": handlers.AreaDetectorHDF5Handler,
        "AD_HDF5_SWMR": handlers.AreaDetectorHDF5SWMRHandler,
        "AD_TIFF": handlers.AreaDetectorTiffHandler,
        "AD_HDF5_SINGLE": handlers.AreaDetectorHDF5SingleHandler,
    }[spec]
    theirs = []
    for point in range(EVENTS):
        handler = made_by(str(tmp_path / path), **kwargs)
        theirs += [*np.asarray(handler(point_number=point)).reshape(-1, H, W)]
        if hasattr(handler, "_file"):
            handler._file.close()  # HDF5 opens a file in one manner at a time
    found = frames(Legacy(tmp_path, spec, path, kwargs, frames=per_event, page=page).documents())
    assert [(f.key.seq_num, f.key.index) for f in found] == [
        (event + 1, frame) for event in range(EVENTS) for frame in range(per_event)
    ]
    reader = open_reader(FrameSettings(deadline_s=0.0, allowed_roots=[tmp_path]))
    ours = np.stack([reader.read(frame).image for frame in found])
    reader.close()
    assert np.array_equal(ours, theirs)
    assert np.array_equal(ours, images)


def test_documents_may_come_in_any_order():
    run = Legacy("/data", "AD_HDF5", "cam.h5", {"frame_per_point": 1})
    for order in permutations([[run.resource], run.datums, run.events]):
        found = frames([*run.opening, *(d for part in order for d in part)])
        assert sorted(f.location.row for f in found) == [0, 1, 2]


def test_a_repeated_event_gives_its_frames_once():
    run = Legacy("/data", "AD_HDF5", "cam.h5", {"frame_per_point": 1})
    assert len(frames([*run.documents(), *run.datums, *run.events])) == EVENTS


@pytest.mark.parametrize("datums_first", [True, False])
def test_events_that_name_one_datum_each_have_its_frame(datums_first):
    """A detector that is read again, and was not triggered, names what it named before."""
    run = Legacy("/data", "AD_HDF5", "cam.h5", {"frame_per_point": 1})
    (_, datum) = run.datums[1]
    again = [run.event({"cam": datum["datum_id"]}) for _ in range(2)]
    parts = [run.datums, [*run.events, *again]]
    documents = parts if datums_first else parts[::-1]
    found = frames([*run.opening, run.resource, *(d for part in documents for d in part)])
    assert sorted((f.key.seq_num, f.location.row) for f in found) == [
        (1, 0), (2, 1), (3, 2), (4, 1), (5, 1)
    ]  # fmt: skip


def test_a_frame_whose_datum_never_came_is_missing_and_not_made_up():
    run = Legacy("/data", "AD_HDF5", "cam.h5", {"frame_per_point": 1})
    documents = [*run.opening, run.resource, *run.datums[:1], *run.events, run.stop()]
    assert [f.key.seq_num for f in frames(documents)] == [1]


def test_an_event_that_holds_its_image_already_is_taken_as_it_is():
    run = Legacy("/data", "AD_HDF5", "cam.h5", {"frame_per_point": 1})
    image = stack(1)[:1]
    (found,) = frames([*run.opening, run.event({"cam": image}, filled=True)])
    assert isinstance(found.location, InlineLocation)
    assert np.array_equal(found.array, image[0])


@pytest.mark.parametrize(
    ("root", "path", "more", "uri"),
    [
        ("/data", "a/b.h5", {}, "file://localhost/data/a/b.h5"),
        ("/data", "/b.h5", {}, "file://localhost/data/b.h5"),
        ("/data/", "/data/b.h5", {}, "file://localhost/data/b.h5"),
        ("", "/data/b.h5", {}, "file://localhost/data/b.h5"),
        ("/data", "a b#.h5", {}, "file://localhost/data/a%20b%23.h5"),
        ("/data", "../etc/passwd", {}, "file://localhost/data/../etc/passwd"),
        ("C:\\data", "a\\b.h5", {"path_semantics": "windows"}, "file://localhost/C:/data/a/b.h5"),
    ],
)
def test_root_and_path_are_joined(root, path, more, uri):
    run = Legacy(root, "AD_HDF5", path, {}, **more)
    assert {f.location.uri for f in frames(run.documents())} == {uri}


@pytest.mark.parametrize(
    ("spec", "kwargs", "reason"),
    [
        ("XSP3", {}, "resources of kind 'XSP3' cannot be read"),
        ("AD_HDF5", {"frame_per_point": 0}, "frame_per_point"),
        ("AD_HDF5", {"frame_per_point": "many"}, "frame_per_point"),
        ("AD_HDF5", {"frame_per_point": 7}, "7 frames a point"),
        ("AD_TIFF", {}, "places for the number"),
        ("AD_TIFF", {"template": "%s%s_%d.tiff", "filename": "../../etc/x"}, "lie elsewhere"),
        ("AD_TIFF", {"template": "{0.__class__}", "filename": "x"}, "places for the number"),
    ],
)
def test_frames_that_cannot_be_read_are_set_aside_with_the_reason(spec, kwargs, reason):
    found = frames(Legacy("/data", spec, "x", kwargs).documents())
    assert len(found) == EVENTS
    reader = open_reader(FrameSettings())
    for frame in found:
        assert isinstance(frame.location, NoLocation)
        with pytest.raises(BadFrame, match=reason):
            reader.read(frame)


def test_memory_of_what_nobody_asks_for_is_bounded():
    router = open_router(RouterSettings(max_waiting_frames=10))
    run = Legacy("/data", "AD_HDF5", "cam.h5", {})
    frames([*run.opening, run.resource], router)
    (_, datum) = run.datums[0]
    for number in range(1000):
        frames([("datum", {**datum, "datum_id": f"d{number}"})], router)
        frames([("resource", {**run.resource[1], "uid": f"r{number}"})], router)
    assert len(router._named._assets._datums) == 10
    assert len(router._named._assets._resources) == 1001


def test_memory_of_what_was_named_or_waits_is_bounded():
    router = open_router(RouterSettings(max_waiting_frames=10))
    run = Legacy("/data", "AD_HDF5", "cam.h5", {})
    frames([*run.opening, run.resource], router)
    (_, datum) = run.datums[0]
    for number in range(2000):
        frames([run.event({"cam": "never"})], router)
        frames([("datum", {**datum, "datum_id": f"d{number}"})], router)
        assert len(frames([run.event({"cam": f"d{number}"})], router)) == 1
    (state,) = router._runs.values()
    assert len(router._named._assets._used) == 1000
    assert not router._named._assets._datums
    assert [len(waiting) for waiting in state.awaited.values()] == [100]
