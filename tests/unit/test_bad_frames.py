"""Every way in which a frame can be bad, from its file to its answer: a reason, or a flag.

The real reader, reducer and sizer; nothing that is not good gets a size without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest

from qd_agent.agent import Agent
from qd_agent.answers import Patience, Stages
from qd_agent.core.frame import (
    Declared,
    FrameKey,
    FrameReference,
    Hdf5Location,
    RunClosed,
    RunOpened,
)
from qd_agent.core.prediction import Prediction, Verdict
from qd_agent.frames import FrameSettings, open_reader
from qd_agent.inference import SizerSettings, open_sizer
from qd_agent.ledger import Ledger
from qd_agent.reduction import ReductionSettings, open_reducers
from tests.helpers import records
from tests.unit.reduction.conftest import PONI, SHAPE

NOON = 1_700_000_000.0
HOUR = 3600.0


def scattering(seed: int = 0) -> np.ndarray:
    y, x = np.indices(SHAPE)
    r = np.hypot(y - 76.5, x - 95.4)
    rings = 1 + np.exp(-((r - 40) ** 2) / 50) + 0.5 * np.exp(-((r - 75) ** 2) / 80)
    return np.random.default_rng(seed).poisson(50 * rings).astype("<u4")


def spoilt(share: float, value: float, dtype: str) -> np.ndarray:
    image = scattering().astype(dtype)
    image[: round(share * SHAPE[0])] = value
    return image


@dataclass(frozen=True)
class Case:
    """One frame: its image, what is said of it, and what becomes of its file."""

    name: str
    image: np.ndarray = field(default_factory=scattering)
    words: str = ""
    flags: tuple[str, ...] = ()
    dark: np.ndarray | None = field(default_factory=lambda: np.zeros(SHAPE, "<u4"))
    dark_age: float = HOUR
    readings: dict[str, float] = field(default_factory=lambda: {"monitor": 1000.0})
    shape: tuple[int, int] = SHAPE
    dtype: str | None = None
    declared: Declared = field(default_factory=Declared)
    spoil: Callable[[Path], object] = lambda path: None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BAD = [
    Case("not there", spoil=Path.unlink, words="does not exist"),
    Case("no HDF5", spoil=lambda path: path.write_text("a text"), words="no HDF5 file"),
    Case("empty", spoil=lambda path: path.write_bytes(b""), words="no HDF5 file"),
    Case("truncated", spoil=cut, words="not readable after"),
    Case("a folder", spoil=lambda path: (path.unlink(), path.mkdir()), words="not a regular file"),
    Case("other shape than declared", shape=(100, 90), words="its descriptor declares (100, 90)"),
    Case(
        "other shape than the detector's",
        image=np.ones((100, 90), "<u4"),
        shape=(100, 90),
        words="the detector of the PONI file",
    ),
    Case("other dtype than declared", dtype="<f4", words="its descriptor declares float32"),
    Case("a dtype that is none", dtype="|O", words="dtype_numpy"),
    Case("complex", image=scattering().astype("<c8"), dtype="<c8", words="not real numbers"),
    Case("truth values", image=scattering() > 50, dtype="|b1", words="holds no counts"),
    Case("NaN", image=spoilt(1, np.nan, "<f4"), words="hold no count (NaN or infinite"),
    Case("mostly NaN", image=spoilt(0.95, np.nan, "<f4"), words="hold no count (NaN or infinite"),
    Case("infinite", image=spoilt(1, np.inf, "<f8"), words="hold no count (NaN or infinite"),
    Case("negative", image=spoilt(1, -2, "<i4"), words="hold no count (negative"),
    Case("all zero", image=np.zeros(SHAPE, "<u4"), words="every unmasked pixel is zero"),
    Case("all zero, floats", image=np.zeros(SHAPE, "<f4"), words="every unmasked pixel is zero"),
    Case("saturated", image=spoilt(0.5, 60_000, "<u4"), words="saturated (at or above 50000"),
    Case("at the dtype's end", image=spoilt(1, 2**32 - 1, "<u4"), words="the largest value"),
    Case("no more than its dark", dark=scattering(1), words="no scattering"),
    Case("darker than its dark", dark=5 * scattering(1), words="no scattering"),
    Case("monitor zero", readings={"monitor": 0.0}, words="the monitor 'monitor' reads 0"),
    Case("monitor negative", readings={"monitor": -1.0}, words="the monitor 'monitor' reads -1"),
    Case(
        "declared monitor zero",
        declared=Declared({"monitor": 0.0}),
        words="the monitor at its declared path reads 0",
    ),
    Case(
        "another wavelength than the PONI's",
        declared=Declared({"wavelength": 0.2}, wavelength_place="start.beam.wavelength"),
        words="the wavelength is 0.2 Å in start.beam.wavelength but 0.1839 Å in the PONI file",
    ),
    Case("monitor not a number", readings={"monitor": np.nan}, words="the monitor 'monitor' reads"),
]
LACKING = [
    Case("dark stale", dark_age=5 * HOUR, flags=("dark_stale",), words="its dark is 18000 s old"),
    Case(
        "dark of another shape",
        dark=np.zeros((10, 10), "<u4"),
        flags=("dark_missing",),
        words="its dark cannot be had",
    ),
    Case(
        "dark run never found",
        dark=None,
        declared=Declared(dark_run="a-run-that-nobody-has"),
        flags=("dark_missing",),
        words="its dark cannot be had",
    ),
    Case(
        "monitor dropped",
        readings={"temperature": 300.0},
        flags=("monitor_missing",),
        words="the monitor 'monitor' has no reading",
    ),
]
FLAGGED = [
    Case("good"),
    Case("the PONI's wavelength declared", declared=Declared({"wavelength": 0.18395})),
    Case("no dark announced", dark=None, flags=("dark_missing",)),
    Case("dark not stale yet", dark_age=3 * HOUR),
    Case("nothing read with it, as in a fly scan", readings={}, flags=("monitor_missing",)),
    Case("a few pixels saturated", image=spoilt(0.005, 60_000, "<u4"), flags=("saturated_pixels",)),
    Case("a few rows without counts", image=spoilt(0.1, np.nan, "<f4")),
]


@pytest.fixture(scope="module")
def poni(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("poni") / "small.poni"
    path.write_text(PONI.format(shape="[200, 180]", wavelength=1.839e-11))
    return path


@pytest.fixture(scope="module")
def sizer():
    return open_sizer(SizerSettings())


@pytest.fixture
def set_aside() -> list[str] | None:
    """What makes a bad frame; None: what does by itself."""
    return None


@pytest.fixture
def answer(
    tmp_path: Path, poni: Path, sizer, set_aside: list[str] | None
) -> Iterator[Callable[[Case], Prediction]]:
    data = tmp_path / "data"
    data.mkdir()
    reader = open_reader(FrameSettings(allowed_roots=[data], deadline_s=0.05))
    chosen = {} if set_aside is None else {"set_aside": set_aside}
    settings = ReductionSettings(poni=poni, monitor_key="monitor", saturation=50_000.0, **chosen)
    reducer = open_reducers(settings, {})
    ledger = Ledger(tmp_path / "ledger.sqlite", "pbs-1", ["redis"])
    agent = Agent(
        open_script(),
        Stages(reader, reducer, sizer),
        ledger,
        provenance=records.provenance(),
        streams=frozenset({"primary"}),
        dark_streams=frozenset({"dark"}),
        patience=Patience((0.0,), tries_after_stop=2),
    )

    def reference(path: Path, image: np.ndarray, stream: str, when: float, **changes: object):
        key = FrameKey(run_uid="run-1", stream=stream, data_key="det", seq_num=1)
        location = Hdf5Location(uri=f"file://localhost{path}", dataset="data", row=0)
        what = {"shape": image.shape, "dtype": image.dtype.str, **changes}
        return FrameReference(key, when, location, **what)

    def ask(case: Case) -> Prediction:
        happenings: list = [RunOpened("run-1", NOON, {})]
        if case.dark is not None:
            path = data / "dark.h5"
            write(path, case.dark)
            happenings.append(reference(path, case.dark, "dark", NOON - case.dark_age))
        path = data / "frame.h5"
        write(path, case.image)
        case.spoil(path)
        said = {"shape": case.shape, "readings": case.readings, "declared": case.declared}
        if case.dtype is not None:
            said["dtype"] = case.dtype
        happenings.append(reference(path, case.image, "primary", NOON, **said))
        happenings.append(RunClosed("run-1", NOON + 1, "success", "", {"primary": 1}))
        agent.take(happenings)
        for _ in range(4):
            agent.work(now=float("inf"))
        (delivery,) = ledger.undelivered("redis", 10)
        return delivery.prediction

    yield ask
    ledger.close()
    reader.close()


def open_script():
    class Script:
        def route(self, name: str, doc: object) -> list:
            return []

        def waiting_darks(self) -> list:
            return []

        def remember(self, taken: object) -> None: ...

    return Script()


def write(path: Path, image: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = image[np.newaxis]


@pytest.mark.parametrize("case", BAD, ids=[case.name for case in BAD])
def test_a_bad_frame_is_set_aside_with_a_reason(answer, case: Case):
    prediction = answer(case)
    assert prediction.verdict is Verdict.BAD_FRAME
    assert case.words in prediction.reason
    assert "\n" not in prediction.reason
    assert prediction.diameter_nm is None


@pytest.mark.parametrize("case", LACKING, ids=[case.name for case in LACKING])
def test_a_frame_without_its_dark_or_monitor_is_set_aside_and_says_what_it_lacks(answer, case):
    prediction = answer(case)
    assert prediction.verdict is Verdict.BAD_FRAME
    assert case.words in prediction.reason
    assert f"take {case.flags[0]} out of reduction.set_aside" in prediction.reason
    assert set(case.flags) <= set(prediction.flags)
    assert prediction.diameter_nm is None


@pytest.mark.parametrize("set_aside", [[]])
@pytest.mark.parametrize("case", LACKING, ids=[case.name for case in LACKING])
def test_where_nothing_is_to_be_set_aside_it_is_flagged_and_answered(answer, case: Case):
    prediction = answer(case)
    assert prediction.verdict is not Verdict.BAD_FRAME, prediction.reason
    assert set(case.flags) <= set(prediction.flags)


@pytest.mark.parametrize("set_aside", [["dark_unannounced"]])
def test_a_frame_of_which_no_dark_was_told_is_set_aside_where_that_is_asked(answer):
    prediction = answer(Case("no dark", dark=None))
    assert prediction.verdict is Verdict.BAD_FRAME
    assert prediction.reason.startswith("no document told of a dark")


@pytest.mark.parametrize("case", FLAGGED, ids=[case.name for case in FLAGGED])
def test_a_frame_that_lacks_something_is_flagged_and_answered(answer, case: Case):
    prediction = answer(case)
    assert prediction.verdict is not Verdict.BAD_FRAME, prediction.reason
    mine = {"dark_missing", "dark_stale", "monitor_missing", "saturated_pixels"}
    assert tuple(flag for flag in prediction.flags if flag in mine) == case.flags
