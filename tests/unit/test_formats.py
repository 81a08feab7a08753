"""Every form of frames that the simulated beamline knows, from its documents to the pixels."""

import numpy as np
import pytest

from qd_agent.core.frame import FrameReference
from qd_agent.core.prediction import Verdict
from qd_agent.documents import RouterSettings, open_router
from qd_agent.frames import FrameSettings, open_reader
from qd_agent.inference import SizerSettings, open_sizer
from qd_agent.reduction import StripSettings, open_reducers
from simulated_beamline import modes
from simulated_beamline.formats import FramesAs
from simulated_beamline.synthesis import Kinetics
from tests.helpers.formats import FRAMES, scan


@pytest.fixture(scope="module")
def synthesis(tmp_path_factory):
    """A synthesis before an image detector; making it takes longer than a scan of it."""
    common = modes.Common(tmp_path_factory.mktemp("stand"), binning=4)
    return modes.growth(common, Kinetics(), 3 * FRAMES, 40.0)


def routed(documents):
    router = open_router(RouterSettings(strips=["detector"]))
    return [h for d in documents for h in router.route(*d) if isinstance(h, FrameReference)]


@pytest.mark.parametrize(
    ("frames_as", "per_event"),
    [*((form, 1) for form in FramesAs if form is not FramesAs.STRIP),
     (FramesAs.HDF5_LZ4, 3), (FramesAs.TIFF, 2)],
)  # fmt: skip
def test_the_frames_that_are_read_are_those_that_were_taken(
    tmp_path, synthesis, frames_as, per_event
):
    documents, shown = scan(synthesis, tmp_path, frames_as, per_event)
    router = open_router(RouterSettings())
    found = [h for d in documents for h in router.route(*d) if isinstance(h, FrameReference)]
    reader = open_reader(FrameSettings(deadline_s=0.0, allowed_roots=[tmp_path]))
    for stream, images in shown.items():
        own = sorted((f for f in found if f.key.stream == stream), key=lambda f: str(f.key))
        assert [(f.key.seq_num, f.key.index) for f in own] == (
            [(n // per_event + 1, n % per_event) for n in range(len(images))]
            if stream == "primary"
            else [(n + 1, 0) for n in range(len(images))]
        )
        for reference, image in zip(own, images, strict=True):
            assert np.array_equal(reader.read(reference).image, image)
        if stream == "primary" and frames_as is not FramesAs.FLY:
            assert {"monitor", "reactor_temperature"} <= own[0].readings.keys()
    reader.close()


def test_a_strip_detector_is_sized_from_its_documents(tmp_path):
    """From the documents of a strip detector to a size that is near the truth."""
    common = modes.Common(tmp_path, frames_as=FramesAs.STRIP)
    request = modes.growth(common, Kinetics(), FRAMES, 40.0)
    documents, shown = scan(request, tmp_path, FramesAs.STRIP)
    found = routed(documents)
    reader = open_reader(FrameSettings(deadline_s=0.0, allowed_roots=[tmp_path]))
    settings = StripSettings(
        axis=tmp_path / "two_theta.npy",
        mask=tmp_path / "mask.npy",
        wavelength=0.1839,
        monitor_key="monitor",
    )
    reducers = open_reducers(None, {"detector": settings})
    frames = {(f.key.stream, f.key.seq_num): reader.read(f) for f in found}
    reader.close()
    for (stream, number), frame in frames.items():
        assert np.array_equal(frame.image, shown[stream][number - 1])
    reducers.add_dark(frames["dark", 1])
    pattern = reducers.reduce(frames["primary", FRAMES])
    assert pattern.flags == ()
    (sized,) = open_sizer(SizerSettings()).size([pattern])
    assert sized.estimate.verdict is Verdict.SIZED
    assert sized.estimate.diameter_nm == pytest.approx(5.9, abs=0.3)
