"""Several frames an event, and several an announcement, in files that only Tiled can reach."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import tifffile
from event_model import compose_run

from qd_agent.core.frame import FrameReference
from qd_agent.documents import RouterSettings, open_router
from qd_agent.frames import FrameSettings, open_reader
from qd_agent.sinks import TiledConnection, TiledSettings
from qd_agent.sinks.raw_archive import RawArchive
from tests.helpers.documents import RunOfDocuments
from tests.helpers.servers import tiled_server
from tests.helpers.tiled import writing

__all__ = ["tiled_server"]

EVENTS, H, W = 3, 8, 6


@pytest.fixture
def folder(tiled_server, request):
    made = tiled_server.folder.parent / "readable" / request.node.name
    made.mkdir()
    return made


def stack(per_event: int) -> np.ndarray:
    return np.arange(EVENTS * per_event * H * W, dtype="<u4").reshape(-1, H, W)


def through_tiled(server, folder, documents) -> dict[tuple[int, int], np.ndarray]:
    """Write documents into Tiled; give each frame as Tiled has it, which is as its file has it."""
    with writing(server) as write:
        for name, document in documents:
            write(name, document)
    router = open_router(RouterSettings())
    heard = [h for d in documents for h in router.route(*d) if isinstance(h, FrameReference)]
    archive = RawArchive(TiledSettings(), TiledConnection(server.url, server.secret))
    far = FrameSettings(deadline_s=0.0, allowed_roots=[server.folder])
    near = far.model_copy(update={"allowed_roots": [folder]})
    reader, direct = open_reader(far, in_tiled=archive.frame), open_reader(near)
    try:
        found = {(f.key.seq_num, f.key.index): reader.read(f).image for f in heard}
        held = {(f.key.seq_num, f.key.index): direct.read(f).image for f in heard}
    finally:
        for each in (reader, direct, archive):
            each.close()
    assert found.keys() == held.keys()
    assert all(np.array_equal(found[key], held[key]) for key in found)
    return found


def expected(per_event: int) -> dict[tuple[int, int], np.ndarray]:
    images = stack(per_event)
    return {(n // per_event + 1, n % per_event): image for n, image in enumerate(images)}


def same(found, wanted) -> bool:
    return found.keys() == wanted.keys() and all(np.array_equal(found[k], wanted[k]) for k in found)


@pytest.mark.parametrize("batches", [(2, 1), (3,)])
@pytest.mark.parametrize("per_event", [1, 2])
@pytest.mark.parametrize("events", [True, False])
def test_frames_of_a_stream_announced_one_by_one_or_many_at_once(
    tiled_server, folder, batches, per_event, events
):
    path = folder / "run.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", data=stack(per_event), chunks=(per_event, H, W))
    run = RunOfDocuments(uri=f"file://localhost{path}", shape=(per_event, H, W))
    run.declare(readings=events)
    run.open_file()
    for batch in batches:
        run.datum(batch)
    for number in range(1, EVENTS + 1) if events else ():
        run.event(number)
    assert same(through_tiled(tiled_server, folder, run.stop()), expected(per_event))


@pytest.mark.parametrize("per_event", [1, 2])
@pytest.mark.parametrize("spec", ["AD_HDF5_SWMR", "AD_TIFF"])
def test_frames_that_resource_and_datum_documents_name(tiled_server, folder, spec, per_event):
    kwargs: dict[str, object] = {"frame_per_point": per_event}
    path = "frames/cam.h5"
    (folder / "frames").mkdir()
    if spec == "AD_TIFF":
        path, kwargs = "frames/", {**kwargs, "template": "%s%s_%6.6d.tiff", "filename": "cam"}
        for number, image in enumerate(stack(per_event)):
            tifffile.imwrite(folder / "frames" / f"cam_{number:06d}.tiff", image)
    else:
        with h5py.File(folder / path, "w") as file:
            file.create_dataset("entry/data/data", data=stack(per_event), chunks=(1, H, W))
    found = through_tiled(tiled_server, folder, legacy(folder, spec, path, kwargs, per_event))
    assert same(found, expected(per_event))


def legacy(root, spec, path, kwargs, per_event):
    """Give the documents of a run as an areaDetector of ophyd announces it."""
    run = compose_run()
    key = {"source": "PV:cam", "dtype": "array", "external": "FILESTORE:"}
    key |= {"shape": [per_event, H, W], "dtype_numpy": "<u4"}
    descriptor = run.compose_descriptor(name="primary", data_keys={"cam": key})
    made = run.compose_resource(
        spec=spec, root=str(root), resource_path=path, resource_kwargs=kwargs
    )
    documents = [
        ("start", run.start_doc),
        ("descriptor", descriptor.descriptor_doc),
        ("resource", made.resource_doc),
    ]
    for number in range(EVENTS):
        datum = made.compose_datum(datum_kwargs={"point_number": number})
        event = descriptor.compose_event(
            data={"cam": datum["datum_id"]}, timestamps={"cam": 0.0}, filled={"cam": False}
        )
        documents += [("datum", datum), ("event", event)]
    return [*documents, ("stop", run.compose_stop())]
