"""A bounded campaign: one round of every fault, by a fixed seed. `make chaos` takes an hour.

No fault may be left out: each is placed by what has happened, and waited for.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.system.chaos.campaign import Campaign, say

pytestmark = [pytest.mark.system, pytest.mark.timeout(1500)]


def test_after_every_fault_each_frame_has_one_answer_in_redis_and_in_tiled(tmp_path: Path):
    campaign = Campaign(tmp_path / "chaos", seed=20, say=say)
    try:
        report = campaign.run()
    finally:
        campaign.close()
    say(report.text())
    assert report.findings.frames > 400
    assert report.found > 0, "no run went unheard"
    assert not report.complaints, report.text()
    assert report.missing_before == 0, report.text()
    assert report.findings.clean, report.text()
    shutil.rmtree(tmp_path / "chaos")
