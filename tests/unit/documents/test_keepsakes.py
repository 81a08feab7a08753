"""What a new process needs of a run is kept, and no more."""

import pytest
from event_model import pack_event_page

from qd_agent.core.errors import BadFrame
from qd_agent.documents import MetadataSettings, RouterSettings, open_keepsakes, open_router
from tests.helpers.baseline import AFTER, BEFORE, run_with_a_baseline
from tests.helpers.documents import RunOfDocuments


def kept(documents):
    keepsakes = open_keepsakes()
    return [found for name, doc in documents if (found := keepsakes.of(name, doc)) is not None]


def test_of_a_baseline_its_first_event_is_kept_and_no_other_event():
    documents = run_with_a_baseline()
    found = kept(documents)
    assert {run for run, _ in found} == {documents[0][1]["uid"]}
    names = [name for _, (name, _) in found]
    assert sorted(names) == ["descriptor", "descriptor", "event", "start"]
    (event,) = [doc for _, (name, doc) in found if name == "event"]
    assert event["data"]["energy"] == BEFORE != AFTER


def test_what_is_kept_says_the_same_to_a_router_as_the_documents_did():
    documents = run_with_a_baseline()
    settings = MetadataSettings(wavelength="event.energy keV")
    events = [i for i, (name, _) in enumerate(documents) if name == "event"]
    first = events[1]  # the baseline was read before it
    again = open_router(RouterSettings(), settings)
    for _, (name, doc) in kept(documents[:first]):
        again.route(name, doc)
    once = open_router(RouterSettings(), settings)
    for name, doc in documents[:first]:
        once.route(name, doc)
    frames = [[f.declared for f in r.route(*documents[first])] for r in (once, again)]
    assert frames[0] == frames[1]
    assert frames[0][0].values


def test_a_page_that_begins_with_a_baselines_first_event_is_kept_as_that_event():
    documents = run_with_a_baseline()
    (first, *_) = [doc for name, doc in documents if name == "event"]
    page = pack_event_page(first, {**first, "uid": "second", "seq_num": 2})
    others = [(name, doc) for name, doc in documents if name in {"start", "descriptor"}]
    (event,) = [doc for _, (name, doc) in kept([*others, ("event_page", page)]) if name == "event"]
    assert (event["uid"], event["data"]["energy"]) == (first["uid"], BEFORE)


def test_texts_and_images_of_a_baseline_are_not_kept():
    documents = run_with_a_baseline()
    event = next(doc for name, doc in documents if name == "event")
    strange = {"note": "x" * 10**6, "image": [[1.0] * 100] * 100, "nan": float("nan")}
    data = {**event["data"], **strange}
    times = {**event["timestamps"], **dict.fromkeys(strange, 1.0)}
    swapped = [
        (name, {**doc, "data": data, "timestamps": times} if doc is event else doc)
        for name, doc in documents
    ]
    (small,) = [doc for _, (name, doc) in kept(swapped) if name == "event"]
    assert small["data"] == event["data"]
    assert small["timestamps"].keys() == event["data"].keys()


def test_events_of_a_run_that_was_let_go_are_not_kept():
    documents = run_with_a_baseline()
    keepsakes = open_keepsakes()
    for name, doc in documents[:3]:
        keepsakes.of(name, doc)
    keepsakes.forget(documents[0][1]["uid"])
    assert [keepsakes.of(name, doc) for name, doc in documents if name == "event"] == [None] * 4


def test_a_page_of_ragged_columns_is_refused():
    documents = run_with_a_baseline()
    first = next(doc for name, doc in documents if name == "event")
    page = {**pack_event_page(first), "seq_num": [1, 2]}
    keepsakes = open_keepsakes()
    for name, doc in documents[:3]:
        keepsakes.of(name, doc)
    with pytest.raises(BadFrame, match="different lengths"):
        keepsakes.of("event_page", page)


def test_a_stream_resource_that_names_no_run_is_kept_of_the_only_open_one():
    """As the router takes it; a new process would not know where the frames are."""
    run, other = RunOfDocuments(), RunOfDocuments()
    run.declare()
    run.open_file()
    run.shot()
    documents = [
        (name, {key: value for key, value in doc.items() if key != "run_start"})
        if name == "stream_resource"
        else (name, doc)
        for name, doc in run.documents
    ]
    found = kept(documents)
    assert {uid for uid, _ in found} == {run.uid}
    again = open_router(RouterSettings())
    for _, (name, doc) in found:
        again.route(name, doc)
    assert again.datasets(run.uid) == [(run.uri, run.dataset)]
    assert not [1 for _, (name, _) in kept([*other.documents, *documents]) if "resource" in name]
    keepsakes = open_keepsakes()
    for name, doc in other.documents:
        keepsakes.of(name, doc)
    keepsakes.forget(other.uid)
    assert all(keepsakes.of(name, doc) for name, doc in documents if name != "event")
