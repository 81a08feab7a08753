"""Every way in which documents come × every form in which frames come: the same answers.

One beamline, in a process of its own, publishes each scan by ZMQ, Kafka and Tiled at once; three
agents take it in by one of them each, while it goes on. Afterwards the command `qd-agent replay`
reads it from the archive. A fourth agent gets the same scan (the same pixels and readings) from a
RunEngine in its own process. Each has books, router, reader and reducer of its own; the agents
share the model.
"""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from qd_agent.agent import Agent
from qd_agent.answers import Patience, Stages
from qd_agent.config import Config
from qd_agent.core.errors import Unavailable
from qd_agent.core.ports import DocumentSource
from qd_agent.core.prediction import Prediction, Verdict
from qd_agent.documents import (
    KafkaSettings,
    TiledStreamSettings,
    ZmqSettings,
    open_router,
    open_source,
)
from qd_agent.documents.in_process import InProcessSource
from qd_agent.embedded import RunningServer
from qd_agent.frames import open_reader
from qd_agent.inference import open_sizer
from qd_agent.ledger import Ledger
from qd_agent.reduction import open_reducers
from tests.helpers import matrix_beamline, records
from tests.helpers.commands import qd_agent
from tests.helpers.kafka import Cluster
from tests.helpers.rig import ROOT, free_port
from tests.helpers.servers import running_tiled
from tests.helpers.tiled import door

pytestmark = pytest.mark.system

SOURCES = ["zmq", "kafka", "tiled", "in-process", "archive"]
FORMS = {
    "inline": "inline",
    "hdf5": "HDF5, SWMR",
    "hdf5-closed": "HDF5, readable once it is closed",
    "hdf5-lz4": "HDF5, compressed",
    "tiff": "TIFF",
    "legacy-hdf5": "HDF5 by resource and datum",
    "fly": "fly scan",
    "strip": "one dimension",
}
NO_SENSE: dict[tuple[str, str], str] = {}
"""Cells that are left out, each with the reason."""

PATIENCE_S = 90.0


@dataclass
class Cell:
    """An agent, and where its documents come from."""

    agent: Agent
    ledger: Ledger
    source: DocumentSource | None

    def take(self) -> bool:
        """Take in what is there; tell whether there was something."""
        try:
            document = None if self.source is None else self.source.receive(0.01)
        except Unavailable:
            return False
        if document is not None:
            self.agent.note(*document)
        return document is not None

    def finish(self, run_uid: str) -> list[dict]:
        """Go on until the run is over and answered; give the answers."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            if self.take():
                continue
            self.agent.work_all()
            record = next(iter(self.ledger.runs(run_uid)), None)
            if record is not None and record.exit_status is not None and not record.account.open:
                break
            assert time.monotonic() < deadline, (record, self.source and self.source.state)
        found = [d.prediction for d in self.ledger.undelivered("redis", 1000)]
        return [p.model_dump() for p in found if p.key.run_uid == run_uid]


class Stand:
    """The beamline, the stores of documents, and one agent for each source and form."""

    def __init__(self, folder: Path):
        self.folder, self.beamline_folder = folder, folder / "beamline"
        self.beamline_folder.mkdir()
        self.sizer = open_sizer(Config.model_validate(self.tree("hdf5")).sizer)
        self.cluster = Cluster()
        self.cluster.make("raw")
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.cells: list[Cell] = []

    def tree(self, form: str) -> dict[str, object]:
        place = self.beamline_folder / form
        common = {"mask": place / "mask.npy", "monitor_key": "monitor"}
        detector: dict[str, object] = {"reduction": {"poni": place / "detector.poni", **common}}
        if form == "strip":
            wavelength = matrix_beamline.request(place, "hdf5").metadata["wavelength_angstrom"]
            detector = {
                "detectors": {
                    "detector": {
                        "axis": place / "two_theta.npy",
                        "wavelength": wavelength,
                        **common,
                    }
                },
                "router": {"strips": ["detector"]},
            }
        return {"frames": {"allowed_roots": [place], "deadline_s": 1.0}, **detector}

    def cell(self, name: str, form: str, source: DocumentSource | None) -> Cell:
        """Give an agent of its own for one source and one form."""
        config = Config.model_validate(self.tree(form))
        ledger = Ledger(self.folder / f"{name}-{form}.sqlite", "pbs", ["redis"])
        stages = Stages(
            open_reader(config.frames),
            open_reducers(config.reduction, config.detectors),
            self.sizer,
        )
        agent = Agent(
            open_router(config.router),
            stages,
            ledger,
            provenance=records.provenance(),
            streams=frozenset({"primary"}),
            dark_streams=frozenset({"dark"}),
            patience=Patience((0.05,), 1000),  # a closed file comes after the run's stop
            newest_first=False,
        )
        made = Cell(agent, ledger, source)
        self.cells.append(made)
        return made

    def replay(self, form: str, run_uid: str, tiled: RunningServer) -> list[dict]:
        """Let the command read a run from the archive and size it; give its answers."""
        key, config = self.folder / "tiled.key", self.folder / f"replay-{form}.yaml"
        key.write_text(tiled.secret)
        more = {"data": f"replay-{form}", "tiled": {"api_key_file": "tiled.key"}}
        config.write_text(json.dumps({**self.tree(form), **more}, default=str))
        said = qd_agent("replay", tiled.url, "--config", config, "--run", run_uid, "--json")
        return [Prediction.model_validate_json(line).model_dump() for line in said.splitlines()]

    def close(self) -> None:
        for cell in self.cells:
            cell.ledger.close()


@dataclass
class Matrix:
    """The beamline, the sources, and the answers so far: a form's when it is first asked for."""

    stand: Stand
    beamline: subprocess.Popen[str]
    sources: dict[str, DocumentSource]
    tiled: RunningServer
    found: dict[str, dict[str, list[dict]]] = field(default_factory=dict)

    def answers(self, form: str) -> dict[str, list[dict]]:
        """Have one scan taken, and taken in by every source; give the answers by source."""
        if form not in self.found:
            self.found[form] = self._take(form)
        return self.found[form]

    def _take(self, form: str) -> dict[str, list[dict]]:
        stand, beamline = self.stand, self.beamline
        assert beamline.stdin is not None
        matrix_beamline.request(stand.beamline_folder, form)  # writes PONI or axis, and mask
        cells = {name: stand.cell(name, form, source) for name, source in self.sources.items()}
        beamline.stdin.write(f"{form}\n")
        run_uid = read_line(beamline, list(cells.values()))
        found = {name: cell.finish(run_uid) for name, cell in cells.items()}
        source = InProcessSource(stand.folder)
        inside = stand.cell("in-process", form, source)
        wanted = matrix_beamline.request(stand.beamline_folder, form)
        found |= {
            "archive": stand.replay(form, run_uid, self.tiled),
            "in-process": inside.finish(matrix_beamline.scan(wanted, [source.put])),
        }
        source.close()
        return found


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    folder = tmp_path_factory.mktemp("matrix")
    with running_tiled(folder / "tiled", [folder / "beamline"]) as tiled:
        stand = Stand(folder)
        sources = {
            "zmq": open_source(ZmqSettings(address=stand.address)),
            "kafka": open_source(
                KafkaSettings(kind="kafka", brokers=stand.cluster.brokers, topics=["raw"])
            ),
            "tiled": open_source(TiledStreamSettings(kind="tiled"), door(tiled)),
        }
        command = [sys.executable, "-W", "ignore", "-m", "tests.helpers.matrix_beamline"]
        brokers = ",".join(stand.cluster.brokers)
        beamline = subprocess.Popen(
            [*command, str(stand.beamline_folder), stand.address, brokers, "raw", tiled.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=ROOT,
            env={**os.environ, "TILED_API_KEY": tiled.secret},
        )
        try:
            yield Matrix(stand, beamline, sources, tiled)
        finally:
            beamline.kill()
            beamline.communicate()
            for source in sources.values():
                source.close()
            stand.close()


def read_line(beamline: subprocess.Popen[str], cells) -> str:
    """Wait for the end of a scan, while the agents are at work."""
    deadline = time.monotonic() + PATIENCE_S
    while not select.select([beamline.stdout], [], [], 0.0)[0]:
        assert time.monotonic() < deadline
        for cell in cells:
            cell.take()
            cell.agent.work()
    assert beamline.stdout is not None
    line = beamline.stdout.readline().strip()
    assert line, "the beamline has ended"
    return line


@pytest.mark.parametrize(
    "form",
    FORMS,
)
@pytest.mark.parametrize("source", SOURCES)
def test_every_source_and_every_form_of_frames_give_the_same_answers(matrix, source, form):
    if (source, form) in NO_SENSE:
        pytest.skip(NO_SENSE[source, form])
    answers = matrix.answers(form)
    found, expected = answers[source], answers["zmq"]
    assert [p["key"]["seq_num"] for p in found] == list(range(1, matrix_beamline.FRAMES + 1))
    assert {p["verdict"] for p in found} <= {Verdict.SIZED, Verdict.NO_NANOCRYSTALS}
    for answer, other in zip(found, expected, strict=True):
        ours, theirs = plain(answer, source, form), plain(other, source, form)
        assert ours.keys() == theirs.keys()
        assert {n for n in ours if not is_same(ours[n], theirs[n])} == set()


def is_same(one: object, other: object) -> bool:
    """Whether two values are equal; of numbers, all but the last digit."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12) or (math.isnan(one) and math.isnan(other))
    return one == other


def plain(prediction: dict, source: str, form: str) -> dict[str, object]:
    """All that is the same however documents come, one level deep."""
    left_out = {"publication_time", "latency_ms", "provenance"}
    # Another run of the same scan: its name and its time are its own.
    dated = {"frame_time", "quality.dark_age_s"}
    own = {"key.run_uid", *dated} if source == "in-process" else set[str]()
    if form == "fly":  # its frames have no events, so their time is when they were announced
        own |= dated
    flat: dict[str, object] = {}
    for name, value in prediction.items():
        if name in left_out:
            continue
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": item for inner, item in value.items()}
        elif isinstance(value, tuple | list | np.ndarray):
            flat |= {f"{name}.{n}": item for n, item in enumerate(value)}
        else:
            flat[name] = value
    return {name: value for name, value in flat.items() if name not in own}
