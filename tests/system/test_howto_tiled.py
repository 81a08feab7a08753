"""The page for beamlines with nothing but Tiled works as it is written, with the writer as told."""

import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from qd_agent.core.frame import FrameReference, RunClosed
from qd_agent.documents import RouterSettings, TiledStreamSettings, open_router, open_source
from tests.helpers.pages import blocks, config_of
from tests.helpers.servers import running_tiled
from tests.helpers.tiled import door, writing

PAGE = "how-to/tiled-only.md"
pytestmark = pytest.mark.system

SCAN = """
import os
from pathlib import Path
from bluesky import RunEngine
from bluesky.plans import count
from ophyd_async.core import StaticPathProvider, UUIDFilenameProvider, init_devices
from ophyd_async.sim import SimBlobDetector
RE = RunEngine({{}}, context_managers=[])
{code}
with init_devices():
    det = SimBlobDetector(StaticPathProvider(UUIDFilenameProvider(), Path("{folder}")), name="det")
RE(count([det], 2))
"""


def test_documents_of_a_beamline_set_up_as_written_come_out_of_tiled(tmp_path):
    (code,) = blocks(PAGE, "python")
    (told,) = blocks(PAGE, "yaml")
    config = config_of(told, tmp_path)
    (settings,) = config.source
    assert isinstance(settings, TiledStreamSettings)
    readable = tmp_path / "readable"
    readable.mkdir()
    with running_tiled(tmp_path / "tiled", [readable]) as tiled:
        with writing(tiled):
            pass  # makes the container of runs, as on a server that is in use
        source = open_source(settings, door(tiled, root=(config.tiled.raw_container,)))
        script = SCAN.format(code=code, folder=readable).replace(
            "http://tiled.example.org:8000/api/v1", f"{tiled.url}?api_key={tiled.secret}"
        )
        try:
            subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=180)
            router, found = open_router(RouterSettings()), []
            deadline = time.monotonic() + 120
            while not any(isinstance(h, RunClosed) for h in found):
                assert time.monotonic() < deadline, (source.state, found)
                document = source.receive(1.0)
                found += [] if document is None else router.route(*document)
        finally:
            source.close()
    frames = [h for h in found if isinstance(h, FrameReference)]
    assert [frame.key.seq_num for frame in frames] == [1, 2]
    (path,) = readable.glob("*.h5")
    with h5py.File(path) as file:
        assert np.asarray(file[frames[0].location.dataset]).shape[0] == 2
