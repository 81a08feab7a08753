"""Darks and background are runs of their own, named by uid, as many beamlines take them."""

import pytest

from tests.helpers.rig import Rig

pytestmark = pytest.mark.system

SOLVENT, SYNTHESIS = 6, 12


def test_dark_and_background_runs_that_a_start_document_names_are_subtracted(rig: Rig):
    small = ["--binning", "4", "--rate", "4"]
    first = ["growth", "--frames", str(SOLVENT), "--share", "1e-6", "--darks", "3", *small]
    metadata = {"dark_run": "start.dark_uid", "background_run": "start.solvent_uid"}
    # The simulated liquid gives way to the nanocrystals: of 100 % some 35 % are left in the end.
    reduction = {
        "poni": "beamline/detector.poni",
        "mask": "beamline/mask.npy",
        "monitor_key": "monitor",
        "background_scale": 0.3,
    }
    agent, beamline = rig.start_both(*first, metadata=metadata, reduction=reduction)
    assert beamline.wait(timeout=180) == 0, beamline.communicate()[1]
    solvent = rig.predictions(SOLVENT)
    (solvent_uid,) = {p["key"]["run_uid"] for p in solvent}
    assert {p["verdict"] for p in solvent} == {"no_nanocrystals"}
    assert {
        ("background_missing" in p["flags"], "dark_missing" in p["flags"]) for p in solvent
    } == {(True, False)}

    named = ["--about", f"dark_uid={solvent_uid}", "--about", f"solvent_uid={solvent_uid}"]
    beamline = rig.start_beamline(
        "growth", "--frames", str(SYNTHESIS), "--darks", "0", *small, *named
    )
    assert beamline.wait(timeout=180) == 0, beamline.communicate()[1]
    answered = rig.predictions(SOLVENT + SYNTHESIS)
    found = [p for p in answered if p["key"]["run_uid"] != solvent_uid]
    assert len(found) == SYNTHESIS
    dark_hash = {p["provenance"]["dark_hash"] for p in solvent}
    for prediction in found:
        assert not {"dark_missing", "background_missing"} & set(prediction["flags"])
        assert {prediction["provenance"]["dark_hash"]} == dark_hash
        assert len(prediction["provenance"]["background_hash"]) == 64
        quality = prediction["quality"]
        assert 0.0 < quality["background_age_s"] <= quality["dark_age_s"] < 600.0
        assert quality["q_max"] - quality["q_min"] > 4.0

    truth = {t["seq_num"]: t for t in rig.truth() if t["run_uid"] == found[0]["key"]["run_uid"]}
    early = [p for p in found if truth[p["key"]["seq_num"]]["nanocrystal_fraction"] == 0.0]
    assert early
    assert {p["verdict"] for p in early} == {"no_nanocrystals"}
    last = max(found, key=lambda p: p["key"]["seq_num"])
    assert last["verdict"] == "sized"
    assert "background_not_subtracted" not in last["flags"]
    assert last["interval_nm"][0] < truth[SYNTHESIS]["diameter_nm"] < last["interval_nm"][1]
    assert last["nanocrystal_fraction"] > 0.8, "most of the liquid is gone"
    text = rig.terminate(agent)
    assert agent.returncode == 0, text
