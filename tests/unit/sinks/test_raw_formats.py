"""Runs with frames in each form, as Tiled has them: the same frames, and the same pixels."""

from dataclasses import replace

import numpy as np
import pytest
from bluesky_tiled_plugins import TiledWriter
from tiled.structures.core import Spec

from qd_agent.core.errors import BadFrame, Unavailable
from qd_agent.core.frame import FrameReference
from qd_agent.documents import RouterSettings, open_router
from qd_agent.frames import FrameSettings, open_reader
from qd_agent.sinks import TiledConnection, TiledSettings
from qd_agent.sinks.raw_archive import RawArchive
from simulated_beamline import modes
from simulated_beamline.formats import FramesAs
from simulated_beamline.synthesis import Kinetics
from tests.helpers.formats import scan
from tests.helpers.servers import tiled_client


@pytest.fixture(scope="module")
def requests(tmp_path_factory):
    """A synthesis before an image detector, and one before a strip."""
    folder = tmp_path_factory.mktemp("stand")
    image = modes.Common(folder, binning=4)
    strip = modes.Common(folder, frames_as=FramesAs.STRIP)
    return {
        False: modes.growth(image, Kinetics(), 6, 40.0),
        True: modes.growth(strip, Kinetics(), 3, 40.0),
    }


@pytest.fixture(scope="module")
def archive(tiled_server):
    made = RawArchive(TiledSettings(), TiledConnection(tiled_server.url, tiled_server.secret))
    yield made
    made.close()


def written(server, request, folder, frames_as, per_event=1):
    """Take a scan that is also written into Tiled; give its documents."""
    with tiled_client(server) as client:
        if "raw" not in client:
            client.create_container("raw", specs=[Spec("CatalogOfBlueskyRuns", version="3.0")])
        writer = TiledWriter(client["raw"], batch_size=1)
        return scan(request, folder, frames_as, per_event, callbacks=[writer])


def frames_of(documents):
    router = open_router(RouterSettings(strips=["detector"]))
    router = router if _is_strip(documents) else open_router(RouterSettings())
    found = [h for d in documents for h in router.route(*d) if isinstance(h, FrameReference)]
    return {str(frame.key): frame for frame in found}


def _is_strip(documents):
    keys = next(d for n, d in documents if n == "descriptor")["data_keys"]
    return len(keys["detector"]["shape"]) < 3 and keys["detector"]["shape"][-1] == 5120


@pytest.mark.parametrize(
    ("frames_as", "per_event"),
    [(FramesAs.HDF5, 1), (FramesAs.HDF5_ZSTD, 2), (FramesAs.TIFF, 1), (FramesAs.TIFF, 2),
     (FramesAs.LEGACY_HDF5, 1), (FramesAs.LEGACY_TIFF, 1), (FramesAs.INLINE, 1),
     (FramesAs.FLY, 1), (FramesAs.STRIP, 1)],
)  # fmt: skip
def test_an_archived_run_has_the_frames_of_the_live_one(
    tiled_server, archive, requests, frames_as, per_event
):
    readable = tiled_server.folder.parent / "readable"
    folder = readable / f"{frames_as}-{per_event}"
    request = requests[frames_as is FramesAs.STRIP]
    folder.mkdir()
    documents, _ = written(tiled_server, request, folder, frames_as, per_event)
    heard = frames_of(documents)
    told = frames_of(archive.run(documents[0][1]["uid"]))
    assert len(heard) == 3 * per_event + 1
    assert told.keys() == heard.keys()
    settings = FrameSettings(deadline_s=0.0, allowed_roots=[readable])
    reader = open_reader(settings, in_tiled=archive.frame)
    for name, frame in told.items():
        live = heard[name]
        assert np.array_equal(reader.read(frame).image, reader.read(live).image)
        assert (frame.shape, dict(frame.readings)) == (live.shape, dict(live.readings))
        if frames_as is not FramesAs.FLY and frame.key.stream == "primary":
            assert frame.time == live.time  # without readings, Tiled keeps no times
    reader.close()


@pytest.mark.parametrize(
    ("frames_as", "per_event"),
    [(FramesAs.HDF5, 3), (FramesAs.HDF5_ZSTD, 1), (FramesAs.LEGACY_HDF5, 1), (FramesAs.TIFF, 2),
     (FramesAs.LEGACY_TIFF, 1), (FramesAs.FLY, 1), (FramesAs.STRIP, 1), (FramesAs.STRIP, 2)],
)  # fmt: skip
def test_files_out_of_reach_give_through_tiled_the_pixels_that_they_hold(
    tiled_server, archive, requests, frames_as, per_event
):
    """The reader's host does not have the folder; Tiled's has. Darks share the lights' file."""
    readable = tiled_server.folder.parent / "readable"
    folder = readable / f"far-{frames_as}-{per_event}"
    folder.mkdir()
    request = requests[frames_as is FramesAs.STRIP]
    documents, shown = written(tiled_server, request, folder, frames_as, per_event)
    near = FrameSettings(deadline_s=0.0, allowed_roots=[readable])
    far = near.model_copy(update={"allowed_roots": [tiled_server.folder]})
    direct, without = open_reader(near), open_reader(far)
    reader = open_reader(far, in_tiled=archive.frame)
    frames = frames_of(documents).values()
    assert len(frames) == 3 * per_event + 1
    for frame in frames:
        with pytest.raises(BadFrame, match="outside"):
            without.read(frame)
        image, held = reader.read(frame).image, direct.read(frame).image
        assert np.array_equal(image, held)
        assert image.dtype == held.dtype
        row = (frame.key.seq_num - 1) * per_event + frame.key.index
        assert np.array_equal(image, shown[frame.key.stream][row].reshape(image.shape))
    for each in (direct, without, reader):
        each.close()


def test_frames_that_tiled_does_not_have_are_not_guessed(tiled_server, archive, requests):
    folder = tiled_server.folder.parent / "readable" / "beyond"
    folder.mkdir()
    documents, _ = written(tiled_server, requests[False], folder, FramesAs.TIFF)
    frame = next(iter(frames_of(documents).values()))

    def named(**change):
        return replace(frame, key=frame.key.model_copy(update=change))

    for wrong in (named(seq_num=99), named(index=1)):
        with pytest.raises(BadFrame, match="none of them"):
            archive.frame(wrong)
    with pytest.raises(Unavailable, match="does not have run"):
        archive.frame(named(run_uid="no-such-run"))
    with pytest.raises(BadFrame, match="which frame is which is not certain"):
        archive.frame(replace(frame, shape=frame.shape[1:]))
    with pytest.raises(BadFrame, match="does not have the pixels"):
        archive.frame(named(data_key="monitor"))
