"""The page for notebooks works as it is written: its own code, a RunEngine, the whole agent."""

import os
import subprocess
import sys

import pytest
import yaml

from simulated_beamline import modes
from simulated_beamline.synthesis import Kinetics
from tests.helpers.pages import blocks, config_of
from tests.helpers.rig import ROOT

PAGE = "how-to/notebook.md"
pytestmark = pytest.mark.system

NOTEBOOK = """
from pathlib import Path
from simulated_beamline import modes
from simulated_beamline.beamline import assemble
from simulated_beamline.synthesis import Kinetics
scan = modes.growth(modes.Common(Path("beamline"), 10.0, 1, binning=4), Kinetics(), 4, 100.0)
beamline = assemble(scan.scene, scan.output, scan.gauges)
RE = beamline.engine
{begin}
beamline.scan(frames=4, darks=1, period=0.1, metadata={{}})
{look}
print(agent.state)
{end}
print(agent.state)
"""


def test_a_notebook_as_written_shows_the_size_of_every_frame(tmp_path):
    begin, look, end = blocks(PAGE, "python")
    (told,) = blocks(PAGE, "yaml")
    config_of(told, tmp_path)
    tree = yaml.safe_load(told.replace("/data/detector", "beamline"))
    for name in ("poni", "mask"):
        tree["reduction"][name] = f"beamline/{tree['reduction'][name]}"
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(tree))
    common = modes.Common(tmp_path / "beamline", binning=4)
    modes.growth(common, Kinetics(), 1, 1.0)  # writes PONI and mask
    # As told, a minute: on a slow machine the agent's start alone may take longer.
    assert look.count("agent.wait()") == 1
    look = look.replace("agent.wait()", "agent.wait(300.0)")
    script = NOTEBOOK.format(begin=begin, look=look, end=end)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    *frames, before, after = done.stdout.splitlines()
    assert sorted(int(line.split()[0]) for line in frames) == [1, 2, 3, 4], done.stderr
    assert (before, after) == ("running", "stopped")
