"""Ready-made records for tests: references, estimates, predictions."""

from collections.abc import Mapping

import numpy as np

from qd_agent.core.frame import FrameKey, FrameReference, Hdf5Location, InlineLocation
from qd_agent.core.prediction import Estimate, Prediction, Provenance, Verdict


def key(run: str = "run-1", seq_num: int = 1, stream: str = "primary", index: int = 0) -> FrameKey:
    return FrameKey(run_uid=run, stream=stream, data_key="det", seq_num=seq_num, index=index)


def reference(
    run: str = "run-1",
    seq_num: int = 1,
    stream: str = "primary",
    readings: Mapping[str, float] | None = None,
) -> FrameReference:
    return FrameReference(
        key=key(run, seq_num, stream),
        time=1.7e9 + seq_num,
        location=Hdf5Location(uri="file://localhost/x/a.h5", dataset="/data", row=seq_num - 1),
        shape=(4, 5),
        dtype="<u4",
        readings={"monitor": 1.5} if readings is None else readings,
    )


def inline_reference(run: str = "run-1", seq_num: int = 1) -> FrameReference:
    return FrameReference(
        key=key(run, seq_num),
        time=1.7e9,
        location=InlineLocation(),
        shape=(2, 3),
        dtype="<u2",
        array=np.arange(6, dtype="<u2").reshape(2, 3),
    )


def provenance() -> Provenance:
    return Provenance(
        model_name="pbs",
        model_version="1",
        model_sha256="ab" * 32,
        config_hash="0" * 16,
        package_version="0",
    )


def sized(diameter: float = 4.0) -> Estimate:
    return Estimate(
        verdict=Verdict.SIZED,
        diameter_nm=diameter,
        diameter_sd_nm=0.1,
        interval_nm=(diameter - 0.2, diameter + 0.2),
        diameter_volume_nm=diameter + 0.2,
        dispersion=0.1,
        nanocrystal_fraction=0.5,
        class_nm=4.0,
    )


def prediction(
    run: str = "run-1", seq_num: int = 1, estimate: Estimate | None = None, index: int = 0
) -> Prediction:
    chosen = sized() if estimate is None else estimate
    return Prediction(
        **chosen.model_dump(),
        key=key(run, seq_num, index=index),
        frame_time=1.7e9 + seq_num,
        publication_time=1.7e9 + seq_num + 0.5,
        provenance=provenance(),
    )
