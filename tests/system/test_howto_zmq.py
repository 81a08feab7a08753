"""The page for ZMQ beamlines works as it is written: its own code, bluesky's proxy, our source."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qd_agent.core.frame import RunClosed, RunOpened
from qd_agent.documents import RouterSettings, ZmqSettings, open_router, open_source
from tests.helpers.rig import free_port

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "zmq-beamline.md"
pytestmark = pytest.mark.system

SCAN = """
import threading
from bluesky import RunEngine
from bluesky.callbacks.zmq import Proxy
from bluesky.plans import count
from ophyd.sim import det
proxy = Proxy("tcp://127.0.0.1:{inside}", "tcp://127.0.0.1:{outside}")
threading.Thread(target=proxy.start, daemon=True).start()
RE = RunEngine({{}}, context_managers=[])
{code}
print("publishing", flush=True)
for line in iter(input, "end"):
    RE(count([det], 2))
"""


BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def heard_whole(happenings: list) -> tuple[RunOpened, RunClosed] | None:
    """Give start and stop of a run that was heard from its start document to its end.

    Of a run in whose middle the subscription began nothing is known but its uid.
    """
    opened = {h.run_uid: h for h in happenings if isinstance(h, RunOpened) and h.metadata}
    closed = (h for h in happenings if isinstance(h, RunClosed) and h.run_uid in opened)
    return next(((opened[h.run_uid], h) for h in closed), None)


@pytest.mark.parametrize("block", BLOCKS, ids=["json", "msgpack", "orjson"])
def test_documents_of_a_beamline_set_up_as_written_arrive(block: str):
    inside, outside = free_port(), free_port()
    code = "\n".join(line[3:] for line in block.splitlines()).replace("5577", str(inside))
    if "import Publisher" not in code:  # it is told in the first one
        code = "from bluesky.callbacks.zmq import Publisher\n" + code
    script = SCAN.format(inside=inside, outside=outside, code=code)
    beamline = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert beamline.stdin is not None
    assert beamline.stdout is not None
    source = open_source(ZmqSettings(address=f"tcp://127.0.0.1:{outside}", prefix="raw"))
    router = open_router(RouterSettings())
    happenings = []
    try:
        assert beamline.stdout.readline().strip() == "publishing"
        deadline = time.monotonic() + 60.0
        while (found := heard_whole(happenings)) is None:
            assert time.monotonic() < deadline, (source.state, happenings)
            # The first scans may be over before the subscription has reached the publisher.
            beamline.stdin.write("scan\n")
            while (document := source.receive(timeout=1.0)) is not None:
                happenings += router.route(*document)
    finally:
        source.close()
        beamline.kill()
        beamline.communicate()
    opened, closed = found
    assert opened.metadata["plan_name"] == "count"
    assert closed.exit_status == "success"
