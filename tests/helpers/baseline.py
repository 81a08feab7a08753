"""A run of bluesky's own that reads slow devices before its frames, and again after them."""

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky import RunEngine
from ophyd.sim import SynAxis, direct_img

BEFORE, AFTER = 67.4, 30.0
"""Energy that the monochromator reads in its baseline, keV."""


def run_with_a_baseline(frames=2, callbacks=()):
    """Give the documents; `energy` is in the baseline alone, `furnace` in the events as well."""
    energy, furnace = SynAxis(name="energy"), SynAxis(name="furnace")
    engine, documents = RunEngine({}, context_managers=[]), []

    def keep(name, doc):
        documents.append((name, doc))

    @bpp.baseline_decorator([energy, furnace])
    @bpp.run_decorator()
    def plan():
        for number in range(frames):
            yield from bps.mv(furnace, 100.0 + number)
            yield from bps.trigger_and_read([direct_img, furnace])
        yield from bps.mv(energy, AFTER)

    engine.subscribe(keep)
    for callback in callbacks:
        engine.subscribe(callback)
    energy.set(BEFORE)
    furnace.set(20.0)
    engine(plan())
    return documents
