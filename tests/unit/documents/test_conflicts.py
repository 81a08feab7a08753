"""Two declared paths that disagree are an error that names both, whatever they declare."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations

import pytest
from pydantic import ValidationError

from qd_agent.core.frame import Declared, FrameReference, RunOpened
from qd_agent.documents import MetadataSettings, RouterSettings, judge_again, open_router
from qd_agent.ledger.records import reference_from_json, reference_to_json
from tests.helpers import records
from tests.helpers.documents import RunOfDocuments


def documents(
    start: Mapping[str, object],
    configuration: Mapping[str, Mapping[str, object]] | None = None,
    **event: object,
) -> list[tuple[str, dict]]:
    run = RunOfDocuments(metadata=dict(start))
    run.declare(configuration=configuration)
    run.open_file()
    run.datum(1)
    run.event(**event)
    return run.stop()


def routed(settings: MetadataSettings, told) -> list[Declared]:
    router = open_router(RouterSettings(), settings)
    found = [h for name, doc in told for h in router.route(name, doc)]
    return [h.declared for h in found if isinstance(h, FrameReference)]


def declared(settings: MetadataSettings, *args, **more) -> Declared:
    (found,) = routed(settings, documents(*args, **more))
    return found


START = {
    "exposure": 2.0, "monitor": 900, "kelvin": 300.0, "w": 0.1839,
    "a": "PbS 7", "b": "PbS 8", "dark": "dark-1", "bg": {"uid": "empty-1", "other": "empty-2"},
    "dark_2": "dark-2",
}  # fmt: skip
CONFIGURED = {"det": {"acquire_time": 500}, "mono": {"energy": 70.0}}
TWO = {
    "wavelength": (
        ["start.w", "configuration.mono.energy keV"],
        "the wavelength is 0.1839 Å in start.w but 0.17712 Å in configuration.mono.energy (keV): "
        "they differ by more than 0.001 of it",
    ),
    "monitor": (
        ["event.monitor", "start.monitor"],
        "the monitor is 1001 in event.monitor but 900 in start.monitor: they differ by more than "
        "0.001 of it",
    ),
    "exposure": (
        ["start.exposure", "configuration.det.acquire_time ms"],
        "the exposure time is 2 s in start.exposure but 0.5 s in configuration.det.acquire_time "
        "(ms): they differ by more than 0.001 of it",
    ),
    "temperature": (
        ["event.readback", "start.kelvin K"],
        "the temperature is 24 °C in event.readback but 26.85 °C in start.kelvin (K): they differ "
        "by more than 1 K",
    ),
    "sample": (
        ["start.a", "start.b"],
        "the sample is 'PbS 7' in start.a but 'PbS 8' in start.b: they are not the same",
    ),
    "dark_run": (
        ["start.dark", "start.dark_2"],
        "the dark run is 'dark-1' in start.dark but 'dark-2' in start.dark_2: they are not the "
        "same",
    ),
    "background_run": (
        ["start.bg.uid", "start.bg.other"],
        "the background run is 'empty-1' in start.bg.uid but 'empty-2' in start.bg.other: they "
        "are not the same",
    ),
}  # fmt: skip
END = ", so no size is given; correct one of them"


def two(*quantities: str) -> MetadataSettings:
    return MetadataSettings.model_validate({name: TWO[name][0] for name in quantities})


@pytest.mark.parametrize("quantity", TWO)
def test_two_paths_that_disagree_are_both_named(quantity: str):
    found = declared(two(quantity), START, CONFIGURED, readback=24.0)
    assert found.conflict == TWO[quantity][1] + END


@pytest.mark.parametrize("quantity", TWO)
@pytest.mark.parametrize("kept", [0, 1])
def test_once_one_of_the_paths_is_removed_the_other_counts(quantity: str, kept: int):
    found = declared(two(quantity), START, CONFIGURED, readback=24.0)
    paths = TWO[quantity][0]
    settings = MetadataSettings.model_validate({quantity: [paths[kept]]})
    judged = judge_again(written_and_read(found), settings)
    assert judged == declared(settings, START, CONFIGURED, readback=24.0)
    assert judged.conflict == ""


@pytest.mark.parametrize("quantity", TWO)
def test_nothing_is_settled_by_trying_again_with_the_same_paths(quantity: str):
    found = declared(two(quantity), START, CONFIGURED, readback=24.0)
    assert judge_again(written_and_read(found), two(quantity)) == found


def written_and_read(found: Declared) -> Declared:
    text = reference_to_json(replace(records.reference(), declared=found))
    return reference_from_json(text, None).declared


def test_all_that_contradicts_itself_is_told_and_put_right_one_by_one():
    settings = two(*TWO)
    found = declared(settings, START, CONFIGURED, readback=24.0)
    assert found.conflict == "; ".join(sentence + END for _, sentence in TWO.values())
    for done in range(1, len(TWO) + 1):
        right = {name: TWO[name][0][:1] for name in list(TWO)[:done]}
        found = judge_again(found, settings.model_copy(update=right))
        told = [sentence + END for _, sentence in list(TWO.values())[done:]]
        assert found.conflict == "; ".join(told)
    assert found.said == {}
    first = {name: paths[:1] for name, (paths, _) in TWO.items()}
    assert found == declared(MetadataSettings(**first), START, CONFIGURED, readback=24.0)


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({"exposure": ["start.a", "start.b ms"]}, {"a": 0.5, "b": 500.4}),
        ({"exposure": ["start.a", "start.b"], "tolerance": 0.1}, {"a": 1.0, "b": 1.09}),
        ({"monitor": ["start.a", "start.b"]}, {"a": 0, "b": 0.0}),
        ({"monitor": ["start.a", "start.b"]}, {"a": -1000, "b": -1000.5}),
        ({"temperature": ["start.a", "start.b"]}, {"a": -0.4, "b": 0.4}),
        ({"temperature": ["start.a", "start.b K"]}, {"a": 25, "b": 298}),
        ({"temperature": ["start.a", "start.b"], "temperature_tolerance": 5.0}, {"a": 9, "b": 5}),
        ({"sample": ["start.a", "start.b"]}, {"a": "PbS 7", "b": " PbS\t7\n"}),
        ({"dark_run": ["start.a", "start.b"]}, {"a": "dark-1", "b": "dark-1"}),
        # What cannot be meant contradicts nothing.
        ({"exposure": ["start.a", "start.b"]}, {"a": 1.0, "b": 0}),
        ({"temperature": ["start.a", "start.b"]}, {"a": 1.0, "b": -999}),
        ({"monitor": ["start.a", "start.b"]}, {"a": 1.0, "b": float("nan")}),
        ({"monitor": ["start.a", "start.b"]}, {"a": 1.0, "b": "2.0"}),
        ({"sample": ["start.a", "start.b"]}, {"a": "PbS", "b": 7}),
        ({"sample": ["start.a", "start.b"]}, {"a": "PbS", "b": " \x1b "}),
        ({"dark_run": ["start.a", "start.b"]}, {"a": "dark-1", "b": "../dark-2"}),
    ],
)
def test_what_agrees_or_says_nothing_is_no_conflict(settings: dict, start: dict):
    found = declared(MetadataSettings(**settings), start)
    assert (found.conflict, found.said) == ("", {})


@pytest.mark.parametrize("pair", [(0, 5), (-5, 5), (1e300, -1e300), (1, 1.0011), (1e-300, 0)])
def test_monitors_of_any_sign_and_size_are_compared(pair: tuple[float, float]):
    settings = MetadataSettings(monitor=["start.a", "start.b"])
    assert declared(settings, {"a": pair[0], "b": pair[1]}).conflict
    assert declared(settings, {"a": pair[1], "b": pair[0]}).conflict


def test_one_place_that_is_declared_in_two_units_contradicts_itself():
    found = declared(MetadataSettings(wavelength=["start.w", "start.w nm"]), {"w": 0.1839})
    assert "0.1839 Å in start.w but 1.839 Å in start.w (nm)" in found.conflict


def test_a_path_that_is_given_twice_does_not():
    found = declared(MetadataSettings(exposure=["start.e", "start.e s"]), {"e": 2.0})
    assert (found.values, found.conflict) == ({"exposure": 2.0}, "")


def test_of_many_texts_the_first_two_that_differ_come_first():
    settings = MetadataSettings(sample=["start.a", "start.b", "start.c", "start.d"])
    found = declared(settings, {"a": "x", "b": "x", "c": "y", "d": "z"})
    assert found.conflict.startswith(
        "the sample is 'x' in start.a but 'y' in start.c and 'x' in start.b and 'z' in start.d: "
    )


def test_a_sample_with_two_names_is_given_none_of_them():
    router = open_router(RouterSettings(), two("sample"))
    (opened,) = router.route(*documents({"a": "PbS 7", "b": "PbS 8"})[0])
    assert isinstance(opened, RunOpened)
    assert "sample_name" not in opened.metadata


def test_a_run_that_is_named_as_its_own_dark_names_one_dark_run():
    told = documents({"dark_2": "dark-2"})
    name, start = told[0]
    told[0] = name, {**start, "dark": start["uid"]}
    (found,) = routed(two("dark_run"), told)
    assert (found.dark_run, found.conflict) == ("dark-2", "")


def test_a_sample_s_name_that_reads_like_a_sentence_of_ours_is_only_a_name():
    name = "x' in start.a: they differ by more than; the wavelength is 9 Å in start.w but 8 Å"
    settings = two("sample", "wavelength")
    found = declared(settings, {"a": name, "b": "PbS", "w": 0.1839})
    judged = judge_again(found, settings.model_copy(update={"sample": ["start.b"]}))
    assert (judged.conflict, judged.values) == ("", {"wavelength": 0.1839})


def test_names_of_any_length_give_a_sentence_that_can_be_read():
    found = declared(two("sample"), {"a": "a" * 100_000, "b": "\x1b[2J\n" * 10_000})
    assert found.conflict.isprintable()
    assert len(found.conflict) < 600


def test_the_order_of_the_documents_changes_nothing():
    """What is announced, read and configured in any order gives the same frame in the end."""
    settings = two(*TWO)
    told = documents(START, CONFIGURED, readback=24.0)
    start, *middle, stop = told
    expected = routed(settings, told)
    assert expected[0].conflict
    names = [name for name, _ in middle]
    for order in permutations(range(len(middle))):
        given = [middle[i] for i in order]
        kinds = [name for name, _ in given]
        if kinds.index("descriptor") == 0 and kinds.index("stream_resource") < kinds.index(
            "stream_datum"
        ):
            assert routed(settings, [start, *given, stop]) == expected, [names[i] for i in order]


@pytest.mark.parametrize(
    "wrong",
    [
        {"tolerance": 0.0},
        {"tolerance": 1.0},
        {"temperature_tolerance": float("inf")},
        {"temperature_tolerance": -1.0},
    ],
)
def test_tolerances_that_allow_all_or_nothing_are_refused(wrong: dict):
    with pytest.raises(ValidationError):
        MetadataSettings.model_validate(wrong)
