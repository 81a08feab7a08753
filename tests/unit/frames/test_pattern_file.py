"""Text files of one-dimensional patterns: every usual dialect, and no nonsense."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.frames.pattern_file import LARGEST_FILE, read_pattern, wavelength_from_name

SHARED_FOLDER = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _file(folder: Path, content: str | bytes, name: str = "p.xy") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _refusal(path: Path, unit: str = "q_A^-1", wavelength: float | None = None) -> str:
    with pytest.raises(BadFrame) as caught:
        read_pattern(path, unit, wavelength)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert path.name.isprintable() is (path.name in message)
    return message


@pytest.mark.parametrize(
    "text",
    [
        "1 10\n2 20\n3 30\n",
        "1 10\r\n2 20\r\n3 30\r\n",
        "1 10\r2 20\r3 30",
        "\ufeff1 10\n2 20\n3 30",
        "  1\t10  \n\n 2\t20\n\n3\t30\n\n",
        "1,10\n2,20\n3,30\n",
        "1, 10,\n2, 20,\n3, 30,\n",
        "1;10\n2;20\n3;30\n",
        "1,0;10,0\n2,0;20,0\n3,0;30,0\n",
        "# a comment\n! and\n; another\n' and one\n1 10\n2 20\n# in between\n3 30\n# after",
        "2th_deg I\n1 10\n2 20\n3 30\n",
        "Q,I\n1,10\n2,20\n3,30\n",
        "XYDATA\nPbS, 3 nm in hexane\n1 10\n2 20\n3 30",
        "title\n2-Theta Angle (Degrees)\nIntensity\n       3\n 1 10\n 2 20\n 3 30\n",
        "1 10 # first\n2 20 ! second\n3 30\n",
        "1.0D+00 1.0D+01\n2.0D+00 2.0d+01\n3D0 30.\n",
        "+1 +1e1\n2. .2e2\n3 3E+1\n\x1a",
    ],
)
def test_every_usual_dialect_reads_alike(tmp_path: Path, text: str):
    raw = read_pattern(_file(tmp_path, text), "q_A^-1")
    np.testing.assert_array_equal(raw.q, [1, 2, 3])
    np.testing.assert_array_equal(raw.intensity, [10, 20, 30])
    assert raw.sigma is None


def test_a_header_in_another_encoding_is_read(tmp_path: Path):
    raw = read_pattern(_file(tmp_path, b"# 2\xe8, \xc5\n1 1\n2 2\n"), "q_A^-1")
    assert raw.q.size == 2


def test_the_third_column_is_sigma(tmp_path: Path):
    raw = read_pattern(_file(tmp_path, "1 10 0.5\n2 20 0\n"), "q_A^-1")
    assert raw.sigma is not None
    np.testing.assert_array_equal(raw.sigma, [0.5, 0])


def test_two_theta_and_inverse_nanometres_become_inverse_angstrom(tmp_path: Path):
    path = _file(tmp_path, "10 1\n60 2\n")
    assert read_pattern(path, wavelength=1.0).q[1] == pytest.approx(2 * np.pi)
    np.testing.assert_allclose(read_pattern(path, "q_nm^-1").q, [1, 6])


def test_negative_intensities_are_data(tmp_path: Path):
    assert read_pattern(_file(tmp_path, "1 -5\n2 3\n"), "q_A^-1").intensity[0] == -5


@pytest.mark.parametrize("unit", ["2th_deg", "q_A^-1", "q_nm^-1"])
def test_one_column_is_the_published_grid_whatever_the_unit(tmp_path: Path, unit: str):
    path = _file(tmp_path, "\n".join(f"  {v:.3f}" for v in range(5004)), "x.cal")
    raw = read_pattern(path, unit)  # type: ignore[arg-type]
    np.testing.assert_array_equal(raw.q, PUBLISHED_GRID.values())
    np.testing.assert_array_equal(raw.intensity, np.arange(5004))


@pytest.mark.parametrize("number", [1, 2, 5003, 5005])
def test_one_column_of_another_length_is_refused(tmp_path: Path, number: int):
    message = _refusal(_file(tmp_path, "1.5\n" * number))
    assert f"one column of {number} values" in message
    assert "5004" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("  \n\n\t\n", "the file is empty"),
        ("hello world\nthis is no data\n", "no line of numbers"),
        ("# only\n# comments\n", "no line of numbers"),
        (",\n;\n , ,\n", "no line of numbers"),
        ("1 2\n", "at least two points"),
        ("1 2\n2 3\n2 4\n", "line 3: x = 2 does not exceed the 2 before it"),
        ("# c\n\n5 2\n4 3\n", "line 4: x = 4 does not exceed"),
        ("1 2\n2 nan\n3 4\n", "line 2: 'nan' is not a finite number"),
        ("nan 2\n2 3\n3 4\n", "line 1: 'nan' is not a finite number"),
        ("1 2\n2 -Infinity\n", "line 2: '-Infinity' is not a finite number"),
        ("1 2\n2 1e999\n", "line 2: '1e999' is not a finite number"),
        ("1 2\n2 1_0\n", "line 2: '1_0' is not a finite number"),
        ("1 2\n2 \u0663\n", "line 2: '\\u0663' is not a finite number"),
        ("1 2\n2 0x10\n", "line 2: '0x10' is not a finite number"),
        ("1 2\n2 three\n", "line 2: 'three' is not a finite number"),
        ("1 2\nfooter\n", "line 2: 'footer' is not a finite number"),
        ("1 2\n2 3 4\n", "line 2: 3 columns, the lines before have 2"),
        ("1 2 3\n2 3\n", "line 2: 2 columns, the lines before have 3"),
        ("1 2 3 4\n2 3 4 5\n", "4 columns; expected"),
        ("1 2 0.1\n2 3 -0.1\n", "line 2: the third column, the esd, is negative"),
        ("1 2\n2 " + "9" * 5000 + "x\n", "is not a finite number"),
    ],
)
def test_nonsense_is_refused_with_its_line(tmp_path: Path, text: str, words: str):
    assert words in _refusal(_file(tmp_path, text))


@pytest.mark.parametrize(
    "content",
    [
        b"1 2\n2 3\n\x00",
        b"\x89HDF\r\n\x1a\n\x00\x00",
        b"\x1f\x8b\x08\x00",
        "1 2\n2 3\n".encode("utf-16"),
        np.arange(100.0).tobytes(),
        b"1 2\x07\n2 3",
    ],
)
def test_binary_is_refused(tmp_path: Path, content: bytes):
    assert "binary" in _refusal(_file(tmp_path, content))


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path):
    assert "no such file" in _refusal(tmp_path / "gone.xy")
    assert "not a plain file" in _refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.xy")
    assert "not a plain file" in _refusal(tmp_path / "pipe.xy")


def test_a_name_with_a_line_break_stays_in_one_line(tmp_path: Path):
    _refusal(_file(tmp_path, "", "a\nb.xy"))
    _refusal(tmp_path / "x\0y")


def test_a_huge_file_is_refused_unread(tmp_path: Path):
    path = tmp_path / "huge.xy"
    with path.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    assert "larger than" in _refusal(path)


def test_one_endless_line_is_refused_soon(tmp_path: Path):
    path = _file(tmp_path, "1 " * 2_000_000)
    start = time.process_time()
    assert "columns; expected" in _refusal(path)
    assert time.process_time() - start < 5


def test_two_theta_without_wavelength_says_what_to_give(tmp_path: Path):
    message = _refusal(_file(tmp_path, "1 2\n2 3\n"), "2th_deg")
    assert "--wavelength" in message


@pytest.mark.parametrize("wavelength", [-1.0, 0.0, float("nan"), float("inf"), 1.54e-10, 154.0])
@pytest.mark.parametrize("unit", ["2th_deg", "q_A^-1"])
def test_an_impossible_wavelength_is_refused(tmp_path: Path, unit: str, wavelength: float):
    assert "Å" in _refusal(_file(tmp_path, "1 2\n2 3\n"), unit, wavelength)


def test_two_theta_beyond_180_degrees_is_refused(tmp_path: Path):
    path = _file(tmp_path, "# x\n1 2\n180.5 3\n")
    assert "line 3: 2θ = 180.5° is beyond 180°" in _refusal(path, "2th_deg", 1.0)
    assert read_pattern(path, "q_nm^-1").q[-1] == pytest.approx(18.05)


@pytest.mark.parametrize(
    ("name", "wavelength"),
    [
        ("PbS_synchr_wl0p56371210A_3p17nm.xye", 0.5637121),
        ("PbS_lab_wl1p5406_5p03nm_toluene.xy", 1.5406),
        ("wl0.1839.xy", 0.1839),
        ("a-WL1P54A.xy", 1.54),
        ("PbS_3p17nm.xye", None),
        ("bowl1p5.xy", None),
        ("wl1.xy", None),
        ("wl99p9.xy", None),
        ("wl0p0.xy", None),
    ],
)
def test_the_wavelength_is_read_from_the_name(name: str, wavelength: float | None):
    assert wavelength_from_name(Path("folder_wl5p0") / name) == wavelength


_finite = st.floats(allow_nan=False, allow_infinity=False)
_tables = st.lists(st.tuples(_finite, _finite), min_size=2, max_size=30, unique_by=lambda p: p[0])


@given(table=_tables, sep=st.sampled_from([" ", "\t", ",", ";", "  \t", ", "]), crlf=st.booleans())
@SHARED_FOLDER
def test_what_is_written_exactly_is_read_exactly(
    tmp_path: Path, table: list[tuple[float, float]], sep: str, crlf: bool
):
    rows = np.array(sorted(table))
    if not (rows[1:, 0] > rows[:-1, 0]).all():  # 0.0 and -0.0 are one x
        return
    lines = ["# x" + sep + "I", *(f"{x!r}{sep}{y!r}" for x, y in rows.tolist())]
    path = _file(tmp_path, ("\r\n" if crlf else "\n").join(lines))
    raw = read_pattern(path, "q_A^-1")
    np.testing.assert_array_equal(raw.q, rows[:, 0])
    np.testing.assert_array_equal(raw.intensity, rows[:, 1])


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@SHARED_FOLDER
def test_any_bytes_give_a_pattern_or_one_line(tmp_path: Path, content: bytes):
    path = _file(tmp_path, content)
    try:
        raw = read_pattern(path, wavelength=1.0)
    except BadFrame:
        _refusal(path, "2th_deg", 1.0)
        return
    assert raw.q.size == raw.intensity.size >= 2


@given(rows=st.lists(st.text("0123456789.eE+-, ;#\tnaif_", max_size=12), max_size=12))
@SHARED_FOLDER
def test_almost_numbers_give_a_pattern_or_one_line(tmp_path: Path, rows: list[str]):
    path = _file(tmp_path, "\n".join(rows))
    try:
        raw = read_pattern(path, "q_A^-1")
    except BadFrame:
        _refusal(path)
        return
    assert np.isfinite(raw.q).all()
    assert (np.diff(raw.q) > 0).all()


def test_a_long_file_is_read_in_a_fraction_of_a_second(tmp_path: Path):
    x = np.linspace(0.3, 120, 33_000)
    path = _file(tmp_path, "\n".join(f"{v:24.17f} {1e3 / v:24.16f} {1 / v:24.16E}" for v in x))
    spent: list[float] = []
    for _ in range(3):
        start = time.process_time()
        read_pattern(path, wavelength=0.56)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.2


def test_measured_and_simulated_references_are_read(reference: Path):
    files = [*reference.glob("patterns_*/*"), *reference.glob("solvents/*.xye")]
    assert len(files) >= 30
    for path in files:
        raw = read_pattern(path, wavelength=wavelength_from_name(path) or 0.564162)
        assert raw.q.size > 3000
        assert (raw.sigma is not None) is (path.suffix == ".xye")


def test_reading_patterns_needs_no_heavy_library():
    code = (
        "import sys, qd_agent.frames.pattern_file; "
        "print([m for m in ('h5py', 'scipy', 'pyFAI', 'torch', 'fabio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
