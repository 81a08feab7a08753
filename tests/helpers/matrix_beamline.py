"""A beamline for the matrix of sources and frames: scans leave by ZMQ, Kafka and Tiled at once.

Its arguments are a folder, a ZMQ address, Kafka's brokers and topic, and Tiled's URI (the key is in
TILED_API_KEY). Each line on stdin names a form of frames; a scan of it is taken, and its uid
printed once all documents have left.
"""

import os
import sys
from pathlib import Path

from simulated_beamline import modes
from simulated_beamline.archive import TiledArchive, tiled_connection
from simulated_beamline.beamline import assemble
from simulated_beamline.formats import FramesAs
from simulated_beamline.publish import ZmqPublisher
from simulated_beamline.session import ScanRequest
from simulated_beamline.synthesis import Kinetics

FRAMES, DARKS, RATE_HZ = 3, 1, 50.0


def request(folder: Path, frames_as: str) -> ScanRequest:
    """Prepare a scan; the same pixels and readings each time."""
    common = modes.Common(
        folder / frames_as, RATE_HZ, DARKS, binning=4, frames_as=FramesAs(frames_as)
    )
    return modes.growth(common, Kinetics(plateau_share=0.9), FRAMES, 200.0)


def scan(wanted: ScanRequest, callbacks) -> str:
    """Take a scan; give its uid."""
    beamline = assemble(wanted.scene, wanted.output, wanted.gauges, callbacks, wanted.frames_as)
    (uid,) = beamline.scan(
        frames=wanted.frames,
        darks=wanted.darks,
        period=1.0 / wanted.rate_hz,
        metadata=wanted.metadata,
    )
    return uid


def main() -> None:
    folder, address, brokers, topic, tiled = sys.argv[1:]
    from bluesky_kafka import Publisher

    kafka = Publisher(
        topic=topic,
        bootstrap_servers=brokers,
        key="beamline",
        producer_config={"enable.idempotence": False, "log_level": 0},
    )
    with ZmqPublisher(address) as zmq:
        zmq.wait_for_subscriber(120.0)
        for line in sys.stdin:
            archive = TiledArchive(tiled_connection(tiled, os.environ["TILED_API_KEY"]), "Tiled")
            uid = scan(request(Path(folder), line.strip()), [zmq, kafka, archive])
            kafka.flush()
            account = archive.close(120.0)
            assert account.not_written == 0, account
            sys.stdout.write(f"{uid}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
