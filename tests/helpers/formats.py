"""Scans of the simulated beamline in each form of frames, kept as documents."""

from simulated_beamline.beamline import assemble

FRAMES, DARKS = 3, 1


class Collected(list):
    __hash__ = object.__hash__  # the RunEngine wants its callbacks hashable

    def __call__(self, name, document):
        self.append((name, document))


def scan(request, folder, frames_as, per_event=1, *, callbacks=(), darks=DARKS, about=None):
    """Take a scan; give its documents, and the images that the scene has shown."""
    documents = Collected()
    beamline = assemble(request.scene, folder, request.gauges, [documents, *callbacks], frames_as)
    beamline.scan(
        frames=FRAMES, darks=darks, period=0.0, metadata=about or {}, frames_per_event=per_event
    )
    shown = {
        stream: [request.scene.shoot(n, beam=stream == "primary").image for n in range(count)]
        for stream, count in (("primary", FRAMES * per_event), ("dark", darks))
    }
    return documents, shown
