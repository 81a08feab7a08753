"""The panel that says whether a number can be trusted: what is known, and that the rest is not."""

import time
from typing import Any

import pytest

from tests.helpers.browser import Page, browser, needs_chromium, page
from tests.helpers.dashboard import opened
from tests.helpers.predictions import PROVENANCE, refused, sized
from tests.helpers.stage import Stage, stage

__all__ = ["browser", "page", "stage"]
pytestmark = [pytest.mark.system, needs_chromium]

SUBTRACTED = PROVENANCE.model_copy(update={"dark_hash": "da" * 32, "background_hash": "bc" * 32})
WHOLE = {
    "domain_score": 0.984,
    "dark_age_s": 40.0,
    "background_age_s": 7200.0,
    "saturated_share": 0.0,
    "monitor": 1234567.0,
    "centre_shift": 0.00021,
    "centre_shift_error": 0.00018,
    "q_min": 1.2,
    "q_max": 14.5,
    "q_coverage": 0.975,
}
CASES: list[tuple[str, dict[str, Any], dict[str, tuple[str, str]]]] = [
    (
        "all is known and well",
        {"quality": WHOLE, "provenance": SUBTRACTED, "flags": ()},
        {
            "Domain": ("ok", "like what the model knows; score 0.98 of 1"),
            "Dark": ("ok", "subtracted, 40 s from the frame (dadadada)"),
            "Background": ("ok", "subtracted, 2.0 h from the frame (bcbcbcbc)"),
            "Saturation": ("ok", "none seen"),
            "Monitor": ("ok", "1,234,600"),
            "Beam centre": ("ok", "off by 0.0002 ± 0.0002 Å⁻¹"),
            "Q range": ("ok", "1.20 to 14.50 Å⁻¹, 98 % of it measured"),
        },
    ),
    (
        "nothing is known: an agent of before, or another program",
        {"flags": ()},
        {
            "Domain": ("ok", "like what the model knows; score not known"),
            "Dark": ("none", "none subtracted"),
            "Background": ("none", "none subtracted: it is part of the fit"),
            "Saturation": ("none", "not known"),
            "Monitor": ("none", "not known"),
            "Beam centre": ("none", "not known"),
            "Q range": ("none", "not known: the pattern is not kept (any more)"),
        },
    ),
    (
        "subtracted, but nobody says how old",
        {"provenance": SUBTRACTED, "flags": (), "readings": {"declared_monitor": 0.25}},
        {
            "Dark": ("ok", "subtracted, age not known (dadadada)"),
            "Background": ("ok", "subtracted, age not known (bcbcbcbc)"),
            "Monitor": ("ok", "0.25"),
        },
    ),
    (
        "old corrections, some saturation, a centre that is off, a part of Q",
        {
            "quality": WHOLE
            | {"saturated_share": 0.0021, "dark_age_s": 18000.0, "background_age_s": 260000.0}
            | {"q_max": 8.0, "q_coverage": 1.0, "centre_shift": 0.0062},
            "provenance": SUBTRACTED,
            "flags": (
                *("dark_stale", "background_stale", "saturated_pixels", "off_centre"),
                "outside_classes",
            ),
        },
        {
            "Dark": ("warn", "the dark is too old: 5.0 h from the frame (dadadada)"),
            "Background": ("warn", "the background is too old: 3 days from the frame (bcbcbcbc)"),
            "Saturation": ("warn", "0.21 % of the pixels, left out"),
            "Beam centre": (
                "warn",
                "the beam is not where the PONI says: sizes come out too small; calibrate anew, "
                "check the orientation (off by 0.0062 ± 0.0002 Å⁻¹)",
            ),
            "Q range": ("warn", "1.20 to 8.00 Å⁻¹, 100 % of it measured"),
            "Warning": ("warn", "beyond the sizes that the model was made for"),
        },
    ),
    (
        "corrections are missing",
        {
            "quality": {"saturated_share": 0.0},
            "flags": ("dark_missing", "background_missing", "monitor_missing"),
        },
        {
            "Dark": ("warn", "no dark was at hand: none subtracted"),
            "Background": (
                "warn",
                "the background run that is named could not be had: none subtracted",
            ),
            "Monitor": ("warn", "no monitor reading: intensities of frames do not compare"),
        },
    ),
    (
        "no monitor is in use, a background that would leave nothing",
        {
            "quality": {"background_age_s": 5.0},
            "flags": ("background_not_subtracted", "something new"),
        },
        {
            "Background": ("warn", "not subtracted: it is as large as the frame"),
            "Saturation": ("none", "not looked for: no limit is set"),
            "Monitor": ("none", "not in use"),
            "Beam centre": ("none", "opposite sides of the detector do not show it"),
            "Warning": ("warn", "something new"),
        },
    ),
]


def test_the_panel_says_what_a_prediction_carries_and_what_is_not_known(stage: Stage, page: Page):
    stage.begin("trusted")
    begin = time.time() - 10
    stage.publish(
        *(
            sized("trusted", n, frame_time=begin + n, **changes)
            for n, (_, changes, _) in enumerate(CASES, 1)
        )
    )
    opened(page, stage.address, len(CASES), "trusted")
    page.press("Home")
    for number, (name, _, expected) in enumerate(CASES, 1):
        page.wait(f"document.getElementById('trust-sub').textContent === 'frame {number}'")
        shown = facts(page)
        assert {fact: shown.get(fact) for fact in expected} == expected, name
        page.press("ArrowRight")


def test_a_frame_that_was_never_reduced_claims_nothing(stage: Stage, page: Page):
    stage.begin("broken")
    stage.publish(refused("broken", 1, "the file is cut off", frame_time=time.time()))
    opened(page, stage.address, 1, "broken")
    shown = facts(page)
    assert shown["Domain"] == ("bad", "no usable frame; score not known")
    assert shown["Misfit"] == ("none", "no Debye pattern was fitted")
    assert "ok" not in {mark for mark, _ in shown.values()}


def test_a_flag_is_explained_where_its_frame_is_pointed_at(stage: Stage, page: Page):
    stage.begin("flagged")
    stage.publish(
        sized("flagged", 1, frame_time=time.time(), flags=("background_missing", "dark_stale"))
    )
    opened(page, stage.address, 1, "flagged")
    text = page.run("document.getElementById('size-plot').data.flatMap((t) => t.text || [])[0]")
    told = text.replace("<br>", " ")
    assert "warning: the background run that is named could not be had: none subtracted" in told
    assert "the dark is too old" in told


def facts(page: Page) -> dict[str, tuple[str, str]]:
    """Mark and text of each fact in the panel, by name."""
    found = page.run(
        "[...document.querySelectorAll('#trust > div')].map((d) =>"
        " [d.children[1].textContent, d.className, d.children[2].textContent])"
    )
    return {name: (mark, text) for name, mark, text in found}
