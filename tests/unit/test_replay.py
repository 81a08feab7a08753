"""Live, recorded and archived: the same run gives the same predictions, field by field."""

import json
from contextlib import ExitStack

import httpx
import numpy as np
import pytest
from bluesky_tiled_plugins import TiledWriter
from tiled.structures.core import Spec

from qd_agent import replay_progress
from qd_agent.agent import Agent
from qd_agent.config import load_config
from qd_agent.core.errors import BadFrame, Mistake
from qd_agent.documents import MetadataSettings, open_router
from qd_agent.documents.recording import Recorder, read_recording
from qd_agent.ledger import Ledger
from qd_agent.past_runs import BrokerRuns, TiledRuns, Wanted, read_query
from qd_agent.replay import Replay, Stores, is_recording, paced
from qd_agent.replay_progress import progress
from qd_agent.replaying import Options, _play, _size, read_time
from qd_agent.replaying import replay as play
from qd_agent.sinks import RedisConnection, TiledConnection
from qd_agent.workshop import open_workshop
from simulated_beamline import modes
from simulated_beamline.formats import FramesAs
from simulated_beamline.synthesis import Kinetics
from tests.helpers.formats import FRAMES, scan
from tests.helpers.servers import tiled_client
from tests.helpers.servers import tiled_server as _tiled_server

tiled_server = _tiled_server

DIFFER = {"publication_time", "latency_ms"}
"""When an answer was given, and how long it took, are the only things that may differ."""


def plain(predictions):
    return [p.model_dump(exclude=DIFFER) for p in predictions]


@pytest.fixture
def beamline_config(tmp_path, tiled_server):
    """A configuration for frames in the folder that the Tiled server may read."""
    frames = tiled_server.folder.parent / "readable" / "frames"
    tree = {
        "data": str(tmp_path / "agent"),
        "router": {"data_keys": ["detector"]},
        "frames": {"allowed_roots": [str(frames)], "deadline_s": 1.0, "retry_delays_s": [0.1]},
        "reduction": {
            "poni": str(frames / "detector.poni"),
            "mask": str(frames / "mask.npy"),
            "monitor_key": "monitor",
        },
    }
    request = modes.growth(modes.Common(frames, binning=4), Kinetics(), FRAMES, 60.0)
    (tmp_path / "agent.yaml").write_text(json.dumps(tree))
    return load_config(tmp_path / "agent.yaml"), request, frames


def test_a_run_sized_live_is_sized_the_same_from_a_recording_and_from_tiled(
    tmp_path, tiled_server, beamline_config
):
    config, request, frames = beamline_config
    recorder = Recorder(tmp_path / "runs.jsonl")
    with ExitStack() as stack:
        workshop = open_workshop(config, stack)
        ledger = Ledger(tmp_path / "live.sqlite", workshop.model, ())
        stack.callback(ledger.close)
        agent = Agent(
            open_router(config.routing(), config.metadata),
            workshop.stages,
            ledger,
            provenance=workshop.provenance,
            streams=frozenset({"primary"}),
            dark_streams=frozenset({"dark"}),
        )
        client = stack.enter_context(tiled_client(tiled_server))
        if "raw" not in client:
            client.create_container("raw", specs=[Spec("CatalogOfBlueskyRuns", version="3.0")])
        into_tiled = TiledWriter(client["raw"], batch_size=1)
        callbacks = [agent.step, recorder.add, into_tiled]
        documents, _ = scan(request, frames, FramesAs.HDF5, callbacks=callbacks)
        recorder.close()
        run_uid = documents[0][1]["uid"]
        live = plain(ledger.predictions(run_uid))
    assert len(live) == FRAMES
    assert {p["provenance"]["dark_hash"] != "" for p in live} == {True}
    assert any(p["diameter_nm"] for p in live)

    connection = TiledConnection(tiled_server.url, tiled_server.secret)
    with ExitStack() as stack:
        past = TiledRuns(config.tiled, connection, stack)
        replay = Replay(config, stack, archive=past.archive())
        assert past.find(Wanted(where={"num_points": FRAMES}, since=1.0)) == [run_uid]
        assert past.find(Wanted(where={"num_points": FRAMES + 1})) == []
        assert past.find(Wanted(since=4e9)) == []
        assert not replay.is_done(run_uid)
        replay.take(past.documents(run_uid), lambda: None)
        assert plain(replay.predictions([run_uid])) == live
        assert past.documents("no-such-run") is None
    with ExitStack() as stack:  # started again, it knows what is done
        replay = Replay(config, stack)
        assert replay.is_done(run_uid)
        assert plain(replay.predictions([run_uid])) == live

    # Other settings, or other pixels masked, and the books of before are not asked.
    darker = config.reduction.model_copy(update={"monitor_key": "no_such_reading"})
    with ExitStack() as stack:
        replay = Replay(config.model_copy(update={"reduction": darker}), stack)
        assert not replay.is_done(run_uid)
        with ExitStack() as inner:
            again = TiledRuns(config.tiled, connection, inner).documents(run_uid)
            replay.take(again, lambda: None)
        anew = plain(replay.predictions([run_uid]))
        assert len(anew) == FRAMES
        assert {p["flags"] == q["flags"] for p, q in zip(anew, live, strict=True)} == {False}
    mask = np.load(frames / "mask.npy")
    np.save(frames / "mask.npy", np.roll(mask, 3, axis=0))
    with ExitStack() as stack:
        assert not Replay(config, stack).is_done(run_uid)
    np.save(frames / "mask.npy", mask)

    elsewhere = config.model_copy(update={"data": tmp_path / "elsewhere"})
    with ExitStack() as stack:
        replay = Replay(elsewhere, stack)
        for document in paced(read_recording(tmp_path / "runs.jsonl"), 0.0, lambda _: None):
            replay.note(document)
        replay.settle()
        assert plain(replay.predictions(replay.runs())) == live


def test_in_a_log_progress_is_a_line_now_and_then_and_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    with progress("runs", 3) as advance:
        advance()
        assert capsys.readouterr().err == "", "not a line for each"
        monkeypatch.setattr(replay_progress, "SAY_EVERY_S", 0.0)
        advance()
        assert capsys.readouterr().err == "2 of 3 runs\n"
        monkeypatch.undo()
        advance()
    assert capsys.readouterr().err == "3 of 3 runs\n"


def test_which_runs_are_wanted_is_seen_from_their_start():
    start = {"uid": "a", "time": 100.0, "sample_name": "PbS"}
    assert Wanted().has("a", start)
    assert Wanted(uids=("a",)).has("a", start)
    assert not Wanted(uids=("b",)).has("a", start)
    assert Wanted(since=100.0, where={"sample_name": "PbS"}).has("a", start)
    assert not Wanted(since=100.1).has("a", start)
    assert not Wanted(where={"sample_name": "CdSe"}).has("a", start)
    assert not Wanted(since=1.0).has("a", {"uid": "a"}), "it does not say when"


def test_options_that_would_not_do_what_they_say_are_refused(beamline_config):
    config, _, _ = beamline_config
    some = Options(Wanted(uids=("a",)), publish=True)
    with pytest.raises(Mistake, match="recording is published whole"):
        play(config, "runs.jsonl", some)
    both = Options(Wanted(uids=("a",), since=1.0))
    with pytest.raises(Mistake, match="leave --since and --query out"):
        play(config, "tiled", both)


def test_a_run_that_was_published_with_other_settings_is_not_published_again(
    tmp_path, beamline_config
):
    config, request, frames = beamline_config
    recorder = Recorder(tmp_path / "runs.jsonl")
    documents, _ = scan(request, frames, FramesAs.HDF5, callbacks=[recorder.add])
    recorder.close()
    uid = documents[0][1]["uid"]
    away = Stores(
        RedisConnection("redis://127.0.0.1:1"), TiledConnection("http://127.0.0.1:1", "secret")
    )
    with ExitStack() as stack:
        first = Replay(config, stack, away)
        first.take((doc for _, doc in read_recording(tmp_path / "runs.jsonl")), lambda: None)
        assert not first.is_published_otherwise(uid)
    other = config.reduction.model_copy(update={"monitor_key": "no_such_reading"})
    changed = config.model_copy(update={"reduction": other})
    with ExitStack() as stack:
        second = Replay(changed, stack, away)
        assert second.is_published_otherwise(uid)
        runs, missing = _play(second, tmp_path / "runs.jsonl", Options(Wanted(), publish=True))
        assert runs == []
        assert "nothing was sent" in missing[0]
        assert _size(second, None, [uid], 1) == missing
        assert second.runs() == []
    with ExitStack() as stack:
        kept = Replay(changed, stack)
        assert not kept.is_published_otherwise(uid), "printed it may be, as often as one likes"


@pytest.mark.parametrize("at_once", [1, 2])
def test_frames_that_were_out_of_reach_are_tried_again_by_the_next_replay(
    tmp_path, beamline_config, at_once
):
    config, request, frames = beamline_config
    recording = tmp_path / "runs.jsonl"
    recorder = Recorder(recording)
    documents, _ = scan(request, frames, FramesAs.HDF5, callbacks=[recorder.add])
    recorder.close()
    uid = documents[0][1]["uid"]
    wrong = config.frames.model_copy(update={"path_map": {str(frames): str(tmp_path)}})
    options = Options(Wanted(), at_once=at_once)
    with ExitStack() as stack:
        lost = Replay(config.model_copy(update={"frames": wrong}), stack)
        assert _play(lost, recording, options) == ([uid], [])
        assert {p.verdict.value for p in lost.predictions([uid])} == {"bad_frame"}
    for _ in range(2):
        with ExitStack() as stack:
            found = Replay(config, stack)
            assert _play(found, recording, options) == ([uid], [])
            answers = list(found.predictions([uid]))
        assert len(answers) == FRAMES
        assert "bad_frame" not in {p.verdict.value for p in answers}
        assert {p.revision for p in answers} == {1}, "what has its answer is not tried again"


def test_a_recording_is_played_at_its_own_pace_or_faster():
    lines = [(t, ("stop", {"uid": str(t)})) for t in (10.0, 11.0, 13.0, 12.0)]
    for speed, pauses in ((1.0, [1.0, 2.0]), (2.0, [0.5, 1.0]), (0.0, [])):
        slept = []
        assert len(list(paced(lines, speed, slept.append))) == 4
        assert slept == pauses


@pytest.mark.parametrize(
    ("text", "read"),
    [("sample=PbS", ("sample", "PbS")), ("a.b=3", ("a.b", 3)), ("x=true", ("x", True)),
     ("x=a=b", ("x", "a=b")), ("x=", ("x", ""))],
)  # fmt: skip
def test_queries_are_read(text, read):
    assert read_query(text) == read


def test_what_is_no_query_time_or_recording_is_refused():
    for text in ("sample", "=3"):
        with pytest.raises(Mistake, match="expected KEY=VALUE"):
            read_query(text)
    assert read_time("1769817600") == 1769817600.0
    assert read_time("2026-01-31T00:00:00+00:00") == 1769817600.0
    with pytest.raises(Mistake, match="expected a time"):
        read_time("yesterday")
    assert is_recording("runs.jsonl")
    assert not is_recording("https://tiled.example.org/a.jsonl")


def test_runs_of_an_old_broker_are_found_and_read():
    """A stand-in with the interface of `databroker.v1.Broker`."""

    class Header:
        def __init__(self, uid, time):
            self.start = {"uid": uid, "time": time}

        def documents(self, *, fill):
            assert not fill, "pixels are read by our own path"
            yield "start", self.start
            yield "stop", {"run_start": self.start["uid"]}

    class Broken(Header):
        def documents(self, *, fill):
            yield "start", self.start
            raise httpx.ReadError("500, so to speak")

    class Broker:
        asked = None

        def __call__(self, **query):
            self.asked = query
            return [Header("b", 2.0), Header("a", 1.0)]

        def __getitem__(self, uid):
            if uid == "b4":  # the beginning of a uid will do
                return Header("b4c1", 2.0)
            if uid not in "abc":
                raise KeyError(uid)
            return (Broken if uid == "c" else Header)(uid, 1.0)

    broker = Broker()
    runs = BrokerRuns(broker)
    assert runs.find(Wanted(since=0.5, where={"sample": "PbS"})) == ["a", "b"]
    assert broker.asked == {"since": 0.5, "sample": "PbS"}
    assert [name for name, _ in runs.documents("a")] == ["start", "stop"]
    assert runs.documents("no-such-run") is None
    assert runs.find(Wanted(uids=("b4", "no-such-run"))) == ["b4c1", "no-such-run"]
    with pytest.raises(BadFrame, match="databroker cannot give its documents: 500, so to speak"):
        runs.documents("c")


def test_dark_and_background_runs_that_lie_in_tiled_are_found_there(
    tmp_path, tiled_server, beamline_config
):
    config, request, frames = beamline_config
    metadata = MetadataSettings(dark_run="start.dark_uid", background_run="start.background_uid")
    config = config.model_copy(update={"metadata": metadata})
    with ExitStack() as stack:
        client = stack.enter_context(tiled_client(tiled_server))
        if "raw" not in client:
            client.create_container("raw", specs=[Spec("CatalogOfBlueskyRuns", version="3.0")])
        into_tiled = TiledWriter(client["raw"], batch_size=1)

        def take(name, darks, **about):
            folder = frames / name
            folder.mkdir()
            documents, _ = scan(
                request, folder, FramesAs.HDF5, callbacks=[into_tiled], darks=darks, about=about
            )
            return documents[0][1]["uid"]

        reference = take("reference", 2)
        sample = take("sample", 0, dark_uid=reference, background_uid=reference)
        lonely = take("lonely", 0, dark_uid="gone", background_uid="gone")
    connection = TiledConnection(tiled_server.url, tiled_server.secret)
    with ExitStack() as stack:
        past = TiledRuns(config.tiled, connection, stack)
        replay = Replay(config, stack, archive=past.archive())
        replay.take(past.documents(sample), lambda: None)
        replay.take(past.documents(lonely), lambda: None)
        with_both, without = (list(replay.predictions([uid])) for uid in (sample, lonely))
    assert len(with_both) == len(without) == FRAMES
    for prediction in with_both:
        assert not {"dark_missing", "background_missing"} & set(prediction.flags)
        assert len(prediction.provenance.dark_hash) == 64
        assert len(prediction.provenance.background_hash) == 64
        assert prediction.quality["background_age_s"] < prediction.quality["dark_age_s"] < 600
    for prediction in without:
        assert {"dark_missing", "background_missing"} <= set(prediction.flags)
        assert prediction.provenance.dark_hash == prediction.provenance.background_hash == ""
