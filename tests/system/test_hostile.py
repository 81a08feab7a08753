"""The whole hostile corpus on the real sockets of a real agent, in the middle of a good run."""

import contextlib
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from qd_agent.core.errors import BadFrame
from qd_agent.documents.wire import dumps
from tests.helpers.hostile_documents import (
    CANARY,
    DOCUMENTS,
    MARK,
    MESSAGES,
    OPENING,
    SCANS,
    URIS,
    as_message,
    hostile_files,
)
from tests.helpers.rig import Log, Rig
from tests.helpers.strangers import Imposter, Proxy, half_open, publishing_inside, scan

pytestmark = pytest.mark.system

FRAMES, ROUNDS = 60, 3
GROWTH_MB = 150.0
"""Memory that two more rounds of the corpus (and the good run meanwhile) may cost."""


def run_about(uid: str, uri: str, dataset: str) -> list[tuple[str, dict]]:
    """A run of one frame that would lie in `uri`."""
    (_, start), (_, descriptor), (_, resource) = OPENING
    return [
        ("start", {**start, "uid": uid}),
        ("descriptor", {**descriptor, "uid": f"d-{uid}", "run_start": uid}),
        (
            "stream_resource",
            {
                **resource,
                "uid": f"r-{uid}",
                "run_start": uid,
                "uri": uri,
                "parameters": {"dataset": dataset},
            },
        ),
        (
            "stream_datum",
            {
                "uid": f"s-{uid}",
                "stream_resource": f"r-{uid}",
                "descriptor": f"d-{uid}",
                "indices": {"start": 0, "stop": 1},
                "seq_nums": {"start": 1, "stop": 2},
            },
        ),
        (
            "stop",
            {
                "uid": f"e-{uid}",
                "run_start": uid,
                "time": 2.0,
                "exit_status": "success",
                "num_events": {"primary": 1},
            },
        ),
    ]


def corpus(files: list[tuple[str, str, str]], root: Path, last: str) -> list[bytes]:
    """Every message, every document as JSON and as msgpack, every URI, every file.

    At the end comes the last file once more, as the run `last`.
    """
    found = [message for _, message in MESSAGES]
    for name, doc in [*OPENING, *(document for _, document in DOCUMENTS)]:
        found.append(as_message(name, doc))
        with contextlib.suppress(BadFrame):
            found.append(b" " + name.encode() + b" " + dumps(doc))
    places = [(uri.replace("ROOT", str(root).lstrip("/")), "d") for _, uri in URIS]
    places += [(f"file://localhost{quote(path)}", dataset) for _, path, dataset in files]
    runs = [(f"hostile-{number}", *place) for number, place in enumerate(places)]
    for run in (*runs, (last, *places[-1])):
        found += [as_message(name, doc) for name, doc in run_about(*run)]
    return found


def answers_of(client, run_uid: str) -> list[dict]:
    return [fields for _, fields in client.xrange(f"qd:run:{run_uid}:predictions")]


def answers_of_others(client, run_uid: str) -> list[dict]:
    """Give what Redis holds of all runs but one."""
    others = [run for run in client.zrange("qd:runs", 0, -1) if run != run_uid]
    return [fields for run in others for fields in answers_of(client, run)]


def wait_for_answer(client, run_uid: str) -> None:
    """Wait until a run has an answer: whatever was sent before it has been read by then."""
    deadline = time.monotonic() + 120
    while not answers_of(client, run_uid):
        assert time.monotonic() < deadline, f"{run_uid} has no answer"
        time.sleep(0.1)


def memory_mb(agent: subprocess.Popen[str]) -> float:
    return psutil.Process(agent.pid).memory_info().rss / 1e6


def test_the_canary_sings(tmp_path: Path):
    """What is looked for in the end would be there if a pickle were ever loaded."""
    import os
    import pickle

    pickles = [body for name, body in MESSAGES if "pickle protocol" in name]
    body = pickles[0].split(b" ", 2)[2]
    os.environ[CANARY] = str(tmp_path / "canary")
    try:
        pickle.loads(body)
    finally:
        del os.environ[CANARY]
    assert (tmp_path / "canary").exists()


def test_a_good_run_is_whole_whatever_strangers_do(rig: Rig):
    rig.own_tiled = True  # its port is among those that are attacked
    canary = rig.folder / "canary"
    hostile = rig.beamline_folder / "hostile"
    hostile.mkdir()
    files = hostile_files(hostile)
    beamline = rig.start_beamline(
        *("growth", "--frames", str(FRAMES), "--rate", "1.5", "--binning", "4", "--darks", "0")
    )
    rig.wait_for_calibration(beamline)
    proxy = Proxy(rig.address)
    imposter = Imposter(proxy.port)
    config = rig.config(
        source={"address": f"tcp://127.0.0.1:{imposter.port}"},
        router={"data_keys": ["detector", "det"], "quiet_s": 5.0},
        frames={"allowed_roots": ["beamline"], "deadline_s": 1.0, "tries_after_stop": 2},
    )
    agent = rig.start_agent(config, {CANARY: str(canary)})
    try:
        rig.wait_until_ready(agent)
    except AssertionError:
        imposter.close()
        proxy.close()
        raise
    log = Log(agent)
    ports = [int(rig._endpoint(s)["url"].split(":")[2].split("/")[0]) for s in ("redis", "tiled")]
    try:
        assert len(rig.predictions(3)) >= 3, "".join(log.lines)
        with (
            publishing_inside(proxy) as stranger,
            half_open([*ports, proxy.port]),
            rig.redis() as client,
        ):
            sizes: list[float] = []
            for number in range(ROUNDS):
                for message in corpus(files, rig.beamline_folder, f"round-{number}"):
                    stranger.send(message)
                for port in (*ports, proxy.port):
                    scan(port)
                wait_for_answer(client, f"round-{number}")
                sizes.append(memory_mb(agent))
            for _, answer in SCANS:
                imposter.stand_in(answer)
        assert beamline.wait(timeout=120) == 0
        (run_uid,) = {str(line["run_uid"]) for line in rig.truth()}
        rows = rig.tiled_rows(run_uid, FRAMES, patience=120)
        with rig.redis() as client:
            # Two of the URIs do not come as far: too long for the router, no Unicode for the codec.
            wanted = len(URIS) - 2 + len(files) + ROUNDS
            deadline = time.monotonic() + 120
            while (
                len(answers_of(client, run_uid)) < FRAMES
                or len(answers_of_others(client, run_uid)) < wanted
                or not client.exists("qd:agent:test-agent")
            ) and time.monotonic() < deadline:
                time.sleep(0.2)
            entries = answers_of(client, run_uid)
            beat = client.hgetall("qd:agent:test-agent")
            theirs = answers_of_others(client, run_uid)
        sizes.append(memory_mb(agent))
        rig.terminate_quietly(agent)
        said = log.text()
    finally:
        imposter.close()
        proxy.close()
    assert agent.returncode == 0, said[-3000:]
    assert "Traceback" not in said
    assert not canary.exists()
    assert MARK not in said
    numbers = sorted(int(n) for n in rows["seq_num"])
    assert numbers == list(range(1, FRAMES + 1)), "each good frame once in Tiled"
    assert len(entries) == FRAMES, "each good frame once in Redis"
    assert set(rows["verdict"]) <= {"sized", "no_nanocrystals", "out_of_domain", "insufficient_q"}
    assert len(theirs) >= wanted
    assert all('"verdict":"bad_frame"' in fields["prediction"] for fields in theirs)
    assert int(beat["refused"]) > len(MESSAGES)
    assert sizes[-1] - sizes[0] < GROWTH_MB, sizes
