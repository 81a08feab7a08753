"""Manifests: tables beside the patterns that tell their truth."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qd_agent.core.errors import BadFrame
from training.manifest import Entry, EntryReader, is_manifest, read_manifest, write_manifest
from training.pattern_files import Truth


def test_csv_and_json_lines_say_the_same(tmp_path: Path):
    table = tmp_path / "truth.csv"
    table.write_text(
        "file,diameter_nm,dispersion,share,counts,wavelength,group\n"
        "a.xy,4.5,0.1,0.37,2142,1.5406,mine\nsub/b.xye,,,,,,solvent\n"
    )
    lines = tmp_path / "truth.jsonl"
    rows = [
        {"file": "a.xy", "diameter_nm": 4.5, "dispersion": 0.1, "share": 0.37, "counts": 2142,
         "wavelength": 1.5406, "group": "mine"},
        {"file": "sub/b.xye", "group": "solvent"},
    ]  # fmt: skip
    lines.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert read_manifest(table) == read_manifest(lines)
    first, second = read_manifest(table)
    assert first.path == tmp_path / "a.xy"
    assert first.truth == Truth(4.5, 0.1, 0.37, 1.5406, 2142.0, "mine")
    assert second.truth == Truth(group="solvent")


def test_the_wavelength_of_a_name_serves_when_the_table_tells_none(tmp_path: Path):
    table = tmp_path / "truth.csv"
    table.write_text("file,diameter_nm\nPbS_wl0p565483A.xye,4.48\n")
    assert read_manifest(table)[0].truth.wavelength == 0.565483


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "path,diameter_nm\nx,1\n", "no column 'file'"),
        ("a.csv", "", "no column 'file'"),
        ("a.csv", "file,diameter_nm\nx\n", "line 2: not as many columns"),
        ("a.csv", "file,diameter_nm\nx,1,2\n", "line 2: not as many columns"),
        ("a.csv", "file,diameter_nm\nx,big\n", "line 2: diameter_nm is 'big'"),
        ("a.csv", "file,diameter_nm\nx,nan\n", "line 2: diameter_nm is 'nan'"),
        ("a.csv", "file,diameter_nm\nx,-1\n", "line 2: diameter_nm"),
        ("a.csv", "file,diameter\nx,1\n", "unknown columns diameter"),
        ("a.csv", "file,diameter_nm\n,1\n", "no file is named"),
        ("a.jsonl", "{\n", "line 1: not JSON"),
        ("a.jsonl", "[1]\n", "line 1: not a JSON object"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, name: str, text: str, message: str):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(BadFrame, match=message):
        read_manifest(path)


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes):
    path = tmp_path_factory.mktemp("m") / "a.csv"
    path.write_bytes(data)
    with suppress(BadFrame):
        assert isinstance(read_manifest(path), list)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(0.5, 20.0)),
            st.one_of(st.none(), st.integers(0, 99999)),
            st.sampled_from(["", "training", "test"]),
            st.text(alphabet="ab,\"' ß", max_size=8),
        ),
        max_size=6,
    )
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[float | None, int | None, str, str]],
):
    path = tmp_path_factory.mktemp("m") / "manifest.csv"
    entries = [
        Entry(path.parent / "p.npz", Truth(size, group=group), row, split=split)
        for size, row, split, group in rows
    ]
    write_manifest(path, entries)
    back = read_manifest(path)
    assert [(e.path, e.row, e.split) for e in back] == [(e.path, e.row, e.split) for e in entries]
    for one, other in zip(back, entries, strict=True):
        assert one.truth.group.strip() == other.truth.group.strip()
        if other.truth.label_nm is None:
            assert one.truth.label_nm is None
        else:
            assert one.truth.label_nm == pytest.approx(other.truth.label_nm, rel=1e-5)


def test_objects_in_an_npz_are_refused_and_never_unpickled(tmp_path: Path):
    path = tmp_path / "p.npz"
    np.savez(path, intensity=np.array([{"a": 1}], dtype=object), coverage=np.ones((1, 5004)))
    with pytest.raises(BadFrame, match=r"p\.npz"):
        EntryReader().read(Entry(path, Truth(), 0))


def test_rows_and_shapes_of_an_npz_are_checked(tmp_path: Path):
    path = tmp_path / "p.npz"
    np.savez(path, intensity=np.ones((2, 5004)), coverage=np.ones((2, 5004), np.uint8))
    reader = EntryReader()
    assert reader.read(Entry(path, Truth(), 1)).intensity.shape == (5004,)
    with pytest.raises(BadFrame, match="2 rows, not 3"):
        reader.read(Entry(path, Truth(), 2))
    other = tmp_path / "q.npz"
    np.savez(other, intensity=np.ones((2, 100)), coverage=np.ones((2, 100)))
    with pytest.raises(BadFrame, match="5004"):
        reader.read(Entry(other, Truth(), 0))
    other.write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(BadFrame, match=r"q\.npz"):
        EntryReader().read(Entry(other, Truth(), 0))


def test_only_tables_are_manifests(tmp_path: Path):
    (tmp_path / "a.csv").touch()
    assert is_manifest(tmp_path / "a.csv")
    assert not is_manifest(tmp_path / "b.csv")
    assert not is_manifest(tmp_path)
