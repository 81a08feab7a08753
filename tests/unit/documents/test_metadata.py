"""Declared paths say what a frame was taken with, whatever stands there."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from qd_agent.config import load_config
from qd_agent.core.errors import Mistake
from qd_agent.core.frame import Declared, FrameReference, RunOpened
from qd_agent.documents import MetadataSettings, RouterSettings, judge_again, open_router
from qd_agent.documents.metadata_settings import KEV_ANGSTROM
from qd_agent.reference import render
from tests.helpers.baseline import BEFORE, run_with_a_baseline
from tests.helpers.documents import RunOfDocuments


def routed(
    settings: MetadataSettings,
    start: Mapping[str, object] | None = None,
    configuration: Mapping[str, Mapping[str, object]] | None = None,
    **event: object,
) -> tuple[RunOpened, FrameReference]:
    run = RunOfDocuments(metadata=start or {})
    run.declare(configuration=configuration)
    run.open_file()
    run.datum(1)
    run.event(**event)
    router = open_router(RouterSettings(), settings)
    happenings = [h for name, doc in run.stop() for h in router.route(name, doc)]
    (frame,) = [h for h in happenings if isinstance(h, FrameReference)]
    (opened,) = [h for h in happenings if isinstance(h, RunOpened)]
    return opened, frame


def declared(settings: MetadataSettings, *args, **more) -> Declared:
    return routed(settings, *args, **more)[1].declared


def test_without_paths_nothing_is_declared():
    opened, frame = routed(MetadataSettings(), {"wavelength": 0.2, "sample_name": "PbS"})
    assert frame.declared == Declared()
    assert opened.metadata["sample_name"] == "PbS"


@pytest.mark.parametrize(
    ("value", "unit", "angstrom"),
    [
        (0.1839, "", 0.1839),
        (0.01839, " nm", 0.1839),
        (18.39, " pm", 0.1839),
        (1.839e-11, " m", 0.1839),
        (67.41941, " keV", 0.1839),
        (67419.41, " eV", 0.1839),
        (np.float32(0.5), "", 0.5),
        (1, " nm", 10.0),
    ],
)
def test_a_wavelength_is_read_in_its_unit(value, unit: str, angstrom: float):
    settings = MetadataSettings(wavelength=[f"start.beam.value{unit}"])
    found = declared(settings, {"beam": {"value": value}})
    assert found.values["wavelength"] == pytest.approx(angstrom, rel=1e-6)
    assert found.wavelength_place == " ".join(
        ["start.beam.value", *(f"({u})" for u in unit.split())]
    )


def test_paths_that_say_nothing_are_passed_over():
    settings = MetadataSettings(
        exposure=["event.exposure", "configuration.det.acquire_time ms", "start.exposure min"],
        temperature=["event.temperature", "start.temperature K"],
        monitor="event.monitor",
    )
    start, configured = {"exposure": 3, "temperature": 300}, {"det": {"acquire_time": 500}}
    found = declared(settings, {}, configured, temperature=25.5)
    assert found.values == {"exposure": 0.5, "temperature": 25.5, "monitor": 1001.0}
    assert found.conflict == ""
    assert declared(settings, start, temperature=float("nan")).values["temperature"] == 300 - 273.15
    assert declared(settings, start).values["exposure"] == 180.0


@pytest.mark.parametrize(
    "value",
    ["0.18", None, True, [], [0.18], {}, -0.18, 0, 1e6, 10**400, "x" * 10_000, {"a": {"b": 1}}],
)
def test_what_can_be_no_wavelength_counts_as_missing(value: object):
    settings = MetadataSettings(wavelength=["start.w", "start.w keV", "start.w.a", "event.w"])
    found = declared(settings, {"w": value})
    assert (found.values, found.flags, found.conflict) == ({}, ("wavelength_missing",), "")


def test_wavelengths_that_disagree_are_both_named():
    settings = MetadataSettings(wavelength=["start.w", "configuration.mono.mono_energy keV"])
    agreeing = declared(settings, {"w": 0.1839}, {"mono": {"mono_energy": 67.45}})
    assert agreeing.conflict == ""
    found = declared(settings, {"w": 0.1839}, {"mono": {"mono_energy": 67.6}})
    assert found.conflict.startswith(
        "the wavelength is 0.1839 Å in start.w but 0.183409 Å in configuration.mono.mono_energy"
    )
    wide = settings.model_copy(update={"wavelength_tolerance": 0.01})
    assert declared(wide, {"w": 0.1839}, {"mono": {"mono_energy": 67.6}}).conflict == ""


def test_of_three_wavelengths_all_are_named():
    settings = MetadataSettings(wavelength=["start.a", "start.b nm", "start.c keV"])
    found = declared(settings, {"a": 0.18, "b": 0.019, "c": 62.0})
    assert found.conflict.partition(": they")[0] == (
        "the wavelength is 0.18 Å in start.a but 0.199975 Å in start.c (keV) "
        "and 0.19 Å in start.b (nm)"
    )


PUT_RIGHT = {
    "a path removed": ({"wavelength": "start.w"}, ("start.w", 0.1839), ""),
    "the other removed": (
        {"wavelength": "configuration.mono.energy eV"},
        ("configuration.mono.energy (eV)", 0.1839), ""),
    "a unit corrected": (
        {"wavelength": ["start.w", "configuration.mono.energy eV"]}, ("start.w", 0.1839), ""),
    "a wide tolerance does not help": (
        {"wavelength": ["start.w", "configuration.mono.energy keV"], "wavelength_tolerance": 0.1},
        ("start.w", 0.1839), "0.000183901 Å in configuration.mono.energy (keV)"),
    "a unit that cannot be meant": (
        {"wavelength": ["configuration.mono.energy nm", "start.w"]}, ("start.w", 0.1839), ""),
    "nothing declared": ({}, ("", None), ""),
    "another path, unknown then": ({"wavelength": "start.x"}, ("", None), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", PUT_RIGHT)
def test_a_conflict_is_judged_anew_by_the_paths_and_units_of_now(name: str):
    wrong = MetadataSettings(
        wavelength=["start.w", "configuration.mono.energy keV"], exposure="start.exposure"
    )
    found = declared(wrong, {"w": 0.1839, "exposure": 2.0}, {"mono": {"energy": 67419.0}})
    assert found.conflict
    settings, (place, wavelength), conflict = PUT_RIGHT[name]
    judged = judge_again(found, MetadataSettings.model_validate(settings))
    assert judged.wavelength_place == place
    known = [] if wavelength is None else [pytest.approx(wavelength, rel=1e-5)]
    assert [v for name, v in judged.values.items() if name == "wavelength"] == known
    assert judged.values["exposure"] == 2.0
    assert conflict in judged.conflict
    assert bool(judged.conflict) == bool(conflict)
    assert ("wavelength_missing" in judged.flags) == name.startswith("another")


def test_a_single_wavelength_against_the_geometry_s_is_judged_anew_too():
    settings = MetadataSettings(wavelength="start.w nm", wavelength_tolerance=0.01)
    found = declared(settings, {"w": 0.1839})
    assert (found.conflict, found.values) == ("", {"wavelength": pytest.approx(1.839)})
    assert judge_again(found, settings) is found
    right = judge_again(found, MetadataSettings(wavelength="start.w"))
    assert (right.values["wavelength"], right.wavelength_place) == (
        pytest.approx(0.1839),
        "start.w",
    )
    assert judge_again(found, MetadataSettings()).values == {}
    nothing = declared(MetadataSettings(exposure="start.w"), {"w": 2.0})
    assert judge_again(nothing, settings) is nothing


def test_the_sample_s_name_becomes_one_short_line_of_the_run_s_metadata():
    settings = MetadataSettings(sample=["start.specimen.label", "start.who"])
    start = {"specimen": {"label": "  PbS\n\x1b[2J7 " + "x" * 500}, "sample_name": "old"}
    opened, _ = routed(settings, start)
    name = opened.metadata["sample_name"]
    assert isinstance(name, str)
    assert name.startswith("PbS [2J7 x")
    assert name.isprintable()
    assert len(name) <= 200
    assert opened.metadata["specimen"] == start["specimen"], "the document itself stays"
    assert routed(settings, {"who": 7, "sample_name": "old"})[0].metadata["sample_name"] == "old"


@pytest.mark.parametrize("told", [True, False], ids=["in time", "lost"])
def test_a_frame_has_the_configuration_of_its_own_event_s_descriptor(told: bool):
    """The stream is configured anew between two events; the first one's document may be lost."""
    run = RunOfDocuments()
    run.declare(configuration={"mono": {"wavelength": 0.2}})
    run.open_file()
    run.datum(1)
    if told:
        run.event()
    run.declare(configuration={"mono": {"wavelength": 0.3}})
    run.shot()
    settings = MetadataSettings(wavelength=["configuration.mono.wavelength"])
    router = open_router(RouterSettings(), settings)
    happenings = [h for name, doc in run.stop() for h in router.route(name, doc)]
    assert {
        h.key.seq_num: h.declared.values["wavelength"]
        for h in happenings
        if isinstance(h, FrameReference)
    } == {1: 0.2, 2: 0.3}


def test_what_a_baseline_reads_before_the_frames_counts_for_all_of_them():
    settings = MetadataSettings(
        wavelength=["start.w", "event.energy keV"], temperature="event.furnace"
    )
    router = open_router(RouterSettings(), settings)
    documents = run_with_a_baseline()
    assert [doc["seq_num"] for name, doc in documents if name == "event"] == [1, 1, 2, 2]
    found = [h for name, doc in documents for h in router.route(name, doc)]
    frames = [h.declared for h in found if isinstance(h, FrameReference)]
    assert [d.values["wavelength"] for d in frames] == pytest.approx([KEV_ANGSTROM / BEFORE] * 2)
    assert {d.wavelength_place for d in frames} == {"event.energy (keV)"}
    assert [d.values["temperature"] for d in frames] == [100.0, 101.0], "the frame's own goes first"
    assert {d.flags for d in frames} == {()}


def test_frames_found_without_a_document_of_their_own_carry_it_too():
    run = RunOfDocuments(metadata={"exposure": 2.0})
    run.declare()
    run.open_file()
    run.datum(1)
    router = open_router(RouterSettings(), MetadataSettings(exposure="start.exposure"))
    for name, doc in run.documents:
        assert not [h for h in router.route(name, doc) if isinstance(h, FrameReference)]
    found, _ = router.catch_up(run.uid, {(run.uri, run.dataset): 3})
    assert [f.declared.values for f in found if isinstance(f, FrameReference)] == [
        {"exposure": 2.0}
    ] * 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"wavelength": "beamline.wavelength"},
        {"wavelength": "start"},
        {"wavelength": "start..w"},
        {"wavelength": "start.w."},
        {"wavelength": "configuration.mono"},
        {"wavelength": "start.w parsec"},
        {"wavelength": "start.w nm nm"},
        {"wavelength": "start.w\x1b"},
        {"wavelength": "start." + "w" * 1000},
        {"wavelength": ["start.w"] * 17},
        {"wavelength": [7]},
        {"temperature": "event.t keV"},
        {"monitor": "event.m s"},
        {"sample": "event.name"},
        {"wavelength_tolerance": 0.0},
        {"wavelength_tolerance": float("nan")},
        {"humidity": "event.h"},
    ],
)
def test_paths_that_lead_nowhere_are_refused(wrong: dict):
    with pytest.raises(ValidationError):
        MetadataSettings.model_validate(wrong)


def test_a_wrong_path_is_named_by_its_line(tmp_path: Path):
    path = tmp_path / "agent.yaml"
    path.write_text("reduction: {poni: a.poni}\nmetadata:\n  exposure: detector.time\n")
    with pytest.raises(Mistake, match=r"agent\.yaml:3: metadata\.exposure: .*start\.KEY"):
        load_config(path)


def test_metadata_change_the_numbers_hash_only_where_declared(tmp_path: Path):
    path = tmp_path / "agent.yaml"
    hashes = []
    for more in ("", "metadata: {}\n", "metadata: {monitor: event.i0}\n"):
        path.write_text("reduction: {poni: a.poni}\n" + more)
        hashes.append(load_config(path).numbers_hash())
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_reference_tells_of_it():
    assert "## `metadata`" in render()


def test_dark_and_background_runs_are_named_by_start_documents():
    settings = MetadataSettings(
        dark_run=["start.sc_dk_field_uid"], background_run=["start.bg.first", "start.bg.uid"]
    )
    start = {"sc_dk_field_uid": "dark-1", "bg": {"uid": "empty-1"}}
    assert declared(settings, start) == Declared(dark_run="dark-1", background_run="empty-1")
    # What is declared and not there: a frame without a dark is flagged where it is reduced.
    assert declared(settings, {}) == Declared(flags=("background_missing",))


@pytest.mark.parametrize(
    "uid",
    [
        "",
        ".",
        "..",
        "../../etc/passwd",
        "a b",
        "a/b",
        "é",
        "x" * 129,
        "line\nbreak",
        7,
        None,
        ["u"],
        {"u": 1},
    ],
)
def test_what_is_no_uid_of_a_run_is_not_looked_for(uid: object):
    settings = MetadataSettings(dark_run="start.dark", background_run="start.background")
    found = declared(settings, {"dark": uid, "background": uid})
    assert found == Declared(flags=("background_missing",))


def test_a_run_is_not_its_own_background():
    run = RunOfDocuments()
    run.declare()
    run.open_file()
    run.datum(1)
    run.event()
    name, start = run.documents[0]
    run.documents[0] = name, {**start, "background": start["uid"], "dark": start["uid"]}
    settings = MetadataSettings(dark_run="start.dark", background_run="start.background")
    router = open_router(RouterSettings(), settings)
    (frame,) = [
        h
        for name, doc in run.documents
        for h in router.route(name, doc)
        if isinstance(h, FrameReference)
    ]
    assert frame.declared == Declared(flags=("background_missing",))


def test_the_run_that_serves_as_dark_belongs_to_the_run():
    with pytest.raises(ValidationError, match="the dark run belongs to the run"):
        MetadataSettings(dark_run="event.dark")
    with pytest.raises(ValidationError, match="unit 's' is not one of a background_run"):
        MetadataSettings(background_run="start.uid s")
