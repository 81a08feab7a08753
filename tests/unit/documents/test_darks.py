"""Dark frames get the time of their event, and no light frame goes ahead of them."""

from qd_agent.core.frame import FrameReference, RunClosed
from qd_agent.documents import RouterSettings, open_router
from tests.helpers.documents import RunOfDocuments


def frames_of(router, documents):
    found = [h for name, doc in documents for h in router.route(name, doc)]
    return [h for h in found if isinstance(h, FrameReference)]


def run_with_a_dark(*, event: bool = True):
    """A run whose darks hold no readings, so that nothing but their time is waited for."""
    run = RunOfDocuments()
    run.declare("dark", readings=False)
    run.open_file()
    run.datum(1, "dark")
    if event:
        run.event(stream="dark")
    return run


def test_a_dark_without_readings_is_dated_by_its_event():
    run = run_with_a_dark()
    (dark,) = frames_of(open_router(RouterSettings()), run.documents)
    assert dark.key.stream == "dark"
    assert dark.time == run.time + 1


def test_a_dark_whose_event_was_lost_goes_before_the_first_light_frame():
    run = run_with_a_dark(event=False)
    router = open_router(RouterSettings())
    assert frames_of(router, run.documents) == []
    already = len(run.documents)
    run.declare("primary")
    run.datum(1)
    run.event()
    dark, light = frames_of(router, run.documents[already:])
    assert (dark.key.stream, light.key.stream) == ("dark", "primary")
    assert dark.time == run.time  # that of its descriptor


def test_a_dark_of_a_run_that_ends_or_is_taken_up_again_is_not_kept_waiting():
    run = run_with_a_dark(event=False)
    router = open_router(RouterSettings())
    assert frames_of(router, run.documents) == []
    (dark,) = router.waiting_darks()
    assert dark.key.stream == "dark"
    assert router.waiting_darks() == []
    *happened, closed = [
        h for name, doc in run_with_a_dark(event=False).stop() for h in router.route(name, doc)
    ]
    assert isinstance(closed, RunClosed)
    assert [h.key.stream for h in happened if isinstance(h, FrameReference)] == ["dark"]


def test_frames_of_the_past_are_never_dated_by_the_clock():
    run = RunOfDocuments()
    run.declare(readings=False)
    run.open_file()
    run.datum(2)
    light = frames_of(open_router(RouterSettings(), live=False), run.documents)
    assert {frame.time for frame in light} == {run.time}
