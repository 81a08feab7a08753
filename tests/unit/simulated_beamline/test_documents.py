"""The documents of a scan: valid, ordered as a real detector's, silent about the truth."""

import json
import shutil
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.plans import count, scan
from event_model import DocumentNames, schema_validators
from ophyd.sim import SynAxis
from ophyd_async.core import TriggerInfo, init_devices
from ophyd_async.sim import SimMotor

from simulated_beamline import modes
from simulated_beamline.beamline import assemble
from simulated_beamline.errors import BeamlineError
from simulated_beamline.formats import FramesAs
from simulated_beamline.layout import NO_DATA
from simulated_beamline.scenes import (
    Exposure,
    GrowthScene,
    NamedPattern,
    PatternScene,
    ReplayScene,
)
from simulated_beamline.synthesis import Kinetics

GROWTH_GAUGES = ("monitor", "reactor_temperature")


class Collected(list):
    """Every document of a scan, validated as it comes."""

    __hash__ = object.__hash__  # the RunEngine wants its callbacks hashable

    def __call__(self, name, document):
        schema_validators[DocumentNames[name]].validate(document)
        self.append((name, document))

    def of(self, kind):
        return [document for name, document in self if name == kind]

    def frames(self, stream="primary"):
        """Read the frames of a stream from the files that the documents name."""
        (descriptor,) = (d["uid"] for d in self.of("descriptor") if d["name"] == stream)
        datums = [d for d in self.of("stream_datum") if d["descriptor"] == descriptor]
        (resource,) = (
            r for r in self.of("stream_resource") if r["uid"] == datums[0]["stream_resource"]
        )
        with h5py.File(resource["uri"].removeprefix("file://localhost"), "r") as file:
            return file[resource["parameters"]["dataset"]][:]


@pytest.fixture
def growth_scene(stand):
    def make(frames=4, **settings):
        exposure = Exposure(counts=20.0, frames=frames, seed=1, **settings)
        return GrowthScene(stand.projector, stand.pixels, stand.sample, Kinetics(), exposure)

    return make


@pytest.fixture
def take(tmp_path):
    """Take a scan of a scene and give its documents."""

    def run(scene, gauges, *, frames, darks=2, documents=None, **more):
        documents = Collected() if documents is None else documents
        beamline = assemble(scene, tmp_path, gauges, [documents])
        beamline.scan(
            frames=frames, darks=darks, period=0.0, metadata={"plan_name": "test"}, **more
        )
        return documents

    return run


def test_a_growth_scan_is_told_as_a_real_detector_tells_it(take, growth_scene):
    documents = take(growth_scene(), GROWTH_GAUGES, frames=4)
    one = ["stream_datum", "event"]
    opening = ["descriptor", "stream_resource"]
    assert [name for name, _ in documents] == [
        "start", *opening, *one * 2, *opening, *one * 4, "stop",
    ]  # fmt: skip
    assert documents[-1][1]["num_events"] == {"dark": 2, "primary": 4}
    assert documents[-1][1]["exit_status"] == "success"
    primary = documents.of("descriptor")[1]
    key = primary["data_keys"]["detector"]
    assert (key["shape"], key["dtype_numpy"]) == ([1, 260, 245], "<u4")
    assert key["external"] == "STREAM:"
    for stream, number in (("dark", 2), ("primary", 4)):
        uid = next(d["uid"] for d in documents.of("descriptor") if d["name"] == stream)
        datums = [d for d in documents.of("stream_datum") if d["descriptor"] == uid]
        assert [d["indices"]["start"] for d in datums] == list(range(number))
        assert [d["seq_nums"]["start"] for d in datums] == list(range(1, number + 1))


def test_events_hold_the_instruments_of_their_frame(take, growth_scene):
    documents = take(growth_scene(frames=8), GROWTH_GAUGES, frames=8, darks=0)
    events = documents.of("event")
    monitor = np.array([event["data"]["monitor"] for event in events])
    assert all(set(event["data"]) == set(GROWTH_GAUGES) for event in events)
    assert (np.diff(monitor) > 10_000).sum() == 1, "one top-up"
    assert (np.diff(monitor) < -10_000).sum() == 6, "and drift otherwise"
    frames = documents.frames().astype(float)
    frames[frames == NO_DATA] = np.nan
    total = np.nanmean(np.where(frames > 1000.0, np.nan, frames), axis=(1, 2))
    assert np.corrcoef(total, monitor)[0, 1] > 0.9, "the frames follow the monitor"


def test_dark_frames_are_dark_and_the_others_are_not(take, growth_scene, stand):
    documents = take(growth_scene(), GROWTH_GAUGES, frames=4)
    good = ~stand.pixels.masked & ~stand.pixels.hot
    assert documents.frames("dark")[:, good].mean() < 0.1
    assert documents.frames("primary")[:, good].mean() > 5.0


def test_documents_are_silent_about_what_judges_know(take, growth_scene, tmp_path):
    documents = take(growth_scene(), GROWTH_GAUGES, frames=4)
    told = json.dumps(documents)
    lines = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert [line["seq_num"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["phase"] == "induction"
    assert lines[0]["diameter_nm"] is None
    assert lines[-1]["diameter_nm"] > 5.0
    assert {line["run_uid"] for line in lines} == {documents[0][1]["uid"]}
    for word in ("diameter", "dispersion", "fraction", "phase", "plateau", "truth", "seed"):
        assert word not in told


def test_the_same_seed_gives_the_same_frames_again(take, growth_scene):
    one = take(growth_scene(), GROWTH_GAUGES, frames=3, darks=1)
    two = take(growth_scene(), GROWTH_GAUGES, frames=3, darks=1)
    np.testing.assert_array_equal(one.frames(), two.frames())


def test_flipped_rows_are_stored_upside_down(take, growth_scene):
    plain = take(growth_scene(), GROWTH_GAUGES, frames=1, darks=0)
    flipped = take(growth_scene(flip_rows=True), GROWTH_GAUGES, frames=1, darks=0)
    np.testing.assert_array_equal(plain.frames()[0], flipped.frames()[0][::-1])


def test_patterns_are_shown_one_after_another(take, stand, tmp_path):
    q = stand.axis.values()
    patterns = [
        NamedPattern("low.xy", np.ones_like(q), ((-np.inf, 1.0), (6.0, np.inf))),
        NamedPattern("all.xy", np.ones_like(q), ()),
    ]
    scene = PatternScene(stand.projector, stand.pixels, patterns, 2, Exposure(1000.0, 4, 1))
    documents = take(scene, ("monitor", "pattern_index"), frames=4, darks=1)
    assert [e["data"]["pattern_index"] for e in documents.of("event")[1:]] == [0, 0, 1, 1]
    assert documents.of("descriptor")[1]["data_keys"]["pattern_index"]["dtype"] == "integer"
    frames, q_map = documents.frames(), stand.projector.q
    seen = frames != NO_DATA
    np.testing.assert_array_equal(seen[0], (q_map >= 1.0) & (q_map <= 6.0) & ~stand.pixels.gap)
    assert seen[3][q_map > 7.0].mean() > 0.9
    good = seen[3] & ~stand.pixels.masked
    assert frames[3][good].mean() > 500
    files = [
        json.loads(line)["file"] for line in (tmp_path / "truth.jsonl").read_text().splitlines()
    ]
    assert files == ["low.xy", "low.xy", "all.xy", "all.xy"]


def test_recorded_frames_are_replayed_as_they_are(take):
    images = [np.arange(-6, 6, dtype=np.int32).reshape(3, 4) + i for i in range(2)]
    documents = take(ReplayScene(images, ["a", "b"]), ("frame_index",), frames=3, darks=0)
    np.testing.assert_array_equal(documents.frames(), [images[0], images[1], images[0]])
    assert documents.frames().dtype == np.int32
    assert documents.of("descriptor")[0]["data_keys"]["detector"]["dtype_numpy"] == "<i4"


def test_an_interrupted_scan_ends_with_an_aborted_run(take, growth_scene):
    stop = threading.Event()
    scene = growth_scene()
    shoot = scene.shoot

    def shoot_then_interrupt(index, *, beam):
        if beam and index == 1:
            stop.set()
        return shoot(index, beam=beam)

    scene.shoot = shoot_then_interrupt
    documents = take(scene, GROWTH_GAUGES, frames=4, darks=0, interrupted=stop)
    assert documents[-1][1]["exit_status"] == "abort"
    assert documents[-1][1]["num_events"] == {"primary": 2}
    assert documents.frames().shape[0] == 2


def test_an_error_while_writing_is_the_scans_error(take, growth_scene):
    scene = growth_scene()

    def broken(index, *, beam):
        raise OSError(5, "Input/output error")

    scene.shoot = broken
    with pytest.raises(BeamlineError, match=r"the scan has failed: .*Input/output error"):
        take(scene, GROWTH_GAUGES, frames=2, darks=0)


def test_a_full_disk_is_seen_before_hdf5_breaks_the_file(take, growth_scene, monkeypatch):
    free = iter([2**40, 2**40, 1000])
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
    documents = Collected()
    with pytest.raises(BeamlineError, match="No space left on device"):
        take(growth_scene(), GROWTH_GAUGES, frames=4, darks=0, documents=documents)
    assert documents[-1][1]["exit_status"] == "fail"
    assert documents.frames().shape[0] == 2


def test_stock_plans_work_on_the_devices(tmp_path, growth_scene):
    documents = Collected()
    beamline = assemble(growth_scene(), tmp_path, GROWTH_GAUGES, [documents])
    devices = [beamline.detector, *beamline.gauges.values()]
    with init_devices():
        motor = SimMotor(name="stage", instant=True)
    classic = SynAxis(name="old_stage")
    beamline.engine(count(devices, num=2))
    beamline.engine(scan(devices, motor, 0.0, 1.0, num=3))
    beamline.engine(scan(devices, classic, 0.0, 1.0, num=2))
    assert [d["num_events"] for d in documents.of("stop")] == [
        {"primary": 2}, {"primary": 3}, {"primary": 2},
    ]  # fmt: skip
    assert [e["data"]["stage"] for e in documents.of("event")[2:5]] == [0.0, 0.5, 1.0]
    assert len(documents.of("stream_resource")) == 3


def test_a_fly_scan_tells_of_several_frames_at_once(tmp_path, growth_scene):
    documents = Collected()
    beamline = assemble(growth_scene(), tmp_path, GROWTH_GAUGES, [documents])
    detector = beamline.detector

    @bpp.stage_decorator([detector])
    @bpp.run_decorator()
    def fly():
        yield from bps.prepare(detector, TriggerInfo(number_of_events=5, livetime=0.01), wait=True)
        yield from bps.declare_stream(detector, name="primary", collect=True)
        yield from bps.kickoff(detector, wait=True)
        yield from bps.complete(detector, wait=True)
        yield from bps.collect(detector, name="primary")

    beamline.engine(fly())
    (datum,) = documents.of("stream_datum")
    assert datum["indices"] == {"start": 0, "stop": 5}
    assert datum["seq_nums"] == {"start": 1, "stop": 6}
    assert documents.frames().shape[0] == 5


@pytest.mark.parametrize("frames_as", [*FramesAs], ids=str)
def test_every_form_of_frames_is_announced_by_valid_documents_and_holds_the_same_pixels(
    tmp_path, growth_scene, frames_as
):
    """Whether our own path reads them is for the agent's tests; here bluesky's does."""
    documents = Collected()
    beamline = assemble(growth_scene(), tmp_path, GROWTH_GAUGES, [documents], frames_as)
    beamline.scan(frames=3, darks=1, period=0.0, metadata={"plan_name": "test"})
    assert documents.of("stop")[0]["exit_status"] == "success"
    descriptor = next(d for d in documents.of("descriptor") if d["name"] == "primary")
    taken = [growth_scene().shoot(index, beam=True).image for index in range(3)]
    if frames_as is FramesAs.INLINE:
        events = [e for e in documents.of("event") if e["descriptor"] == descriptor["uid"]]
        found = [event["data"]["detector"] for event in events]
    elif frames_as.is_plain:
        uid = descriptor["uid"]
        events = [e for e in documents.of("event") if e["descriptor"] == uid]
        datums = {d["datum_id"]: d for d in documents.of("datum")}
        resources = {r["uid"]: r for r in documents.of("resource")}
        found = []
        for event in events:
            assert event["filled"] == {"detector": False}
            datum = datums[event["data"]["detector"]]
            resource = resources[datum["resource"]]
            path = Path(resource["root"]) / resource["resource_path"]
            number = datum["datum_kwargs"]["point_number"]
            if resource["spec"] == "AD_TIFF":
                kwargs = resource["resource_kwargs"]
                name = kwargs["template"] % (f"{path}/", kwargs["filename"], number)
                found.append(tifffile.imread(name))
            else:
                with h5py.File(path, "r") as file:
                    found.append(file["/entry/data/data"][number])
    elif frames_as.is_tiff:
        datums = [d for d in documents.of("stream_datum") if d["descriptor"] == descriptor["uid"]]
        used = datums[0]["stream_resource"]
        resource = next(r for r in documents.of("stream_resource") if r["uid"] == used)
        folder = resource["uri"].removeprefix("file://localhost")
        names = [folder + resource["parameters"]["template"].format(n) for n in range(3)]
        found = [tifffile.imread(name) for name in names]
    else:
        found = documents.frames()
    assert len(found) == 3
    for image, wanted in zip(found, taken, strict=True):
        assert np.array_equal(image, wanted)


def test_several_frames_an_event_share_its_index(tmp_path, growth_scene):
    documents = Collected()
    beamline = assemble(growth_scene(), tmp_path, GROWTH_GAUGES, [documents])
    beamline.scan(frames=2, darks=1, period=0.0, metadata={}, frames_per_event=3)
    descriptor = next(d for d in documents.of("descriptor") if d["name"] == "primary")
    assert descriptor["data_keys"]["detector"]["shape"][0] == 3
    datums = [d for d in documents.of("stream_datum") if d["descriptor"] == descriptor["uid"]]
    assert [d["indices"] for d in datums] == [{"start": n, "stop": n + 1} for n in range(2)]
    assert documents.frames().shape[0] == 6


def test_a_strip_detector_sees_the_same_synthesis(tmp_path):
    common = modes.Common(tmp_path, darks=1, frames_as=FramesAs.STRIP)
    request = modes.growth(common, Kinetics(), 2, 20.0)
    documents = Collected()
    beamline = assemble(request.scene, tmp_path, request.gauges, [documents], FramesAs.STRIP)
    beamline.scan(frames=2, darks=1, period=0.0, metadata={})
    frames = documents.frames()
    assert frames.shape == (2, 5120)
    assert np.load(tmp_path / "two_theta.npy").shape == (5120,)
    masked = np.load(tmp_path / "mask.npy") != 0
    assert (frames[:, masked] == 0).all()
    assert np.median(frames[:, ~masked]) > 1000
