"""The codec: what goes in comes out, and hostile bytes do nothing but raise BadFrame."""

import contextlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qd_agent.core.errors import BadFrame
from qd_agent.documents import wire
from qd_agent.documents.wire import dumps, loads
from tests.helpers.hostile_documents import BODIES

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=6)
NUMERIC = st.one_of(
    hnp.integer_dtypes(endianness="<"),
    hnp.unsigned_integer_dtypes(endianness=">"),
    hnp.floating_dtypes(),
    hnp.boolean_dtypes(),
    hnp.complex_number_dtypes(sizes=(64, 128)),
)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


@given(DOCUMENTS)
def test_every_document_comes_back_as_it_went(doc):
    assert loads(dumps(doc)) == doc


@given(DOCUMENTS)
def test_a_json_body_is_read_too(doc):
    assert loads(json.dumps(doc).encode()) == doc


@given(hnp.arrays(NUMERIC, SHAPES))
def test_every_numeric_array_keeps_dtype_shape_and_bits(array):
    (back,) = loads(dumps({"image": array})).values()
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_arrays_in_fortran_order_and_slices_arrive_in_c_order():
    array = np.arange(24, dtype="<u2").reshape(4, 6)
    for sent in (np.asfortranarray(array), array.T, array[::2, 1::3]):
        assert np.array_equal(loads(dumps({"a": sent}))["a"], sent)


def test_text_arrays_structured_arrays_sets_and_paths_become_plain_values():
    structured = np.array([(1, 2.5)], dtype=[("a", "<i4"), ("b", "<f8")])
    doc = {"t": np.array(["ab", "ö"]), "s": structured, "set": {"b", "a"}, "p": Path("/x")}
    back = loads(dumps(doc))
    assert back == {"t": ["ab", "ö"], "s": [[1, 2.5]], "set": ["a", "b"], "p": "/x"}


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), object(), 2**70, {1: 2}, b"raw", [[{"a": {b"k": 1}}]], "\ud800"],
    ids=[
        "object array",
        "object",
        "large number",
        "number as key",
        "bytes",
        "bytes as key",
        "surrogate",
    ],
)
def test_what_has_no_safe_form_is_not_encoded(value):
    with pytest.raises(BadFrame):
        dumps({"value": value})


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_are_named_as_such(protocol):
    with pytest.raises(BadFrame, match="pickled documents are refused; set a safe serializer"):
        loads(pickle.dumps({"uid": "x", "time": 0.0}, protocol=protocol))


@pytest.mark.parametrize(("name", "body"), BODIES, ids=[name for name, _ in BODIES])
def test_hostile_bodies_are_refused_in_one_line(name, body):
    with pytest.raises(BadFrame) as caught:
        loads(body)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_bad_frame(body):
    with contextlib.suppress(BadFrame):
        assert isinstance(loads(body), dict)


DTYPES = (
    st.sampled_from(["<u2", "|O", "<U3", "<M8[s]", "i4,O", "<f8", "|V8", "", "<c16"]) | st.text()
)
SIZES = st.lists(st.integers(-2, 9) | st.sampled_from([2**31, 2**32, 2**62]), max_size=10)
EXTENSIONS = st.builds(
    msgpack.ExtType, st.just(42) | st.integers(0, 127), st.binary(max_size=40)
) | st.builds(
    lambda dtype, shape, data: msgpack.ExtType(42, msgpack.packb((dtype, shape)) + data),
    DTYPES,
    SIZES,
    st.binary(max_size=64),
)
ANYTHING = st.recursive(
    SCALARS | EXTENSIONS | st.binary(max_size=8) | st.builds(msgpack.Timestamp, st.integers(0, 9)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS | st.integers(0, 9) | st.binary(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(ANYTHING)
def test_structured_msgpack_of_any_kind_raises_nothing_but_bad_frame(value):
    with contextlib.suppress(BadFrame):
        doc = loads(msgpack.packb(value))
        assert isinstance(doc, dict)
        assert loads(dumps(doc)) is not None, "and what was accepted can be passed on"


@settings(deadline=None)
@given(
    st.recursive(
        st.sampled_from(["[", "{", "]", "}", ":", ",", '"', "\\ud800", "1e999", "NaN", "-"]),
        lambda inner: st.builds("".join, st.lists(inner, max_size=8)),
        max_leaves=40,
    )
)
def test_anything_like_json_raises_nothing_but_bad_frame(text):
    with contextlib.suppress(BadFrame):
        assert isinstance(loads(b"{" + text.encode()), dict)


@given(DOCUMENTS, hnp.arrays(NUMERIC, SHAPES), st.data())
def test_damaged_documents_raise_nothing_but_bad_frame(doc, array, data):
    body = bytearray(dumps({**doc, "image": array}))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    del body[data.draw(st.integers(1, len(body))) :]
    with contextlib.suppress(BadFrame):
        assert isinstance(loads(bytes(body)), dict)


def test_a_body_beyond_the_limit_is_refused_unread():
    with pytest.raises(BadFrame, match="more than the limit of 100"):
        loads(dumps({"a": "x" * 200}), max_bytes=100)


def test_too_many_containers_are_refused(monkeypatch):
    monkeypatch.setattr(wire, "MAX_CONTAINERS", 10)
    with pytest.raises(BadFrame, match="more than 10 lists and maps"):
        loads(dumps({"a": [[] for _ in range(20)]}))


def test_nesting_up_to_the_limit_passes_and_one_more_does_not():
    def nested(levels):
        value = 1
        for _ in range(levels):
            value = {"a": value}
        return value

    assert loads(dumps(nested(64))) == nested(64)
    for encode in (lambda d: json.dumps(d).encode(), dumps):
        with pytest.raises(BadFrame, match="nested more than 64"):
            loads(encode(nested(65)))


def test_the_codec_is_out_of_reach_of_msgpack_numpys_patch():
    """In another process, because the patch cannot be taken back."""
    pytest.importorskip("msgpack_numpy")
    code = """
import pickle, msgpack, msgpack_numpy, numpy as np
plain = msgpack.packb
msgpack_numpy.patch()
from qd_agent.core.errors import BadFrame
from qd_agent.documents.wire import dumps, loads
class Evil:
    def __reduce__(self): return (print, ("EXECUTED",))
array = {b"nd": True, b"type": "O", b"kind": b"O", b"shape": (1,), b"data": pickle.dumps(Evil())}
for body in (plain({"a": array}), msgpack.packb({"a": np.array([1, None])})):
    try: print("READ", loads(body))
    except BadFrame as error: print("refused")
print(loads(dumps({"a": np.arange(3)}))["a"].sum())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["refused", "refused", "3"]


def numpy_map(array: np.ndarray | np.generic, **changes: object) -> bytes:
    """Encode a document as `msgpack_numpy.packb` does, without its patch."""
    import msgpack_numpy

    found = msgpack_numpy.encode(array)
    return msgpack.packb({"a": {**found, **{k.encode(): v for k, v in changes.items()}}})


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype="<u2").reshape(2, 3),
        np.arange(6, dtype=">f4").reshape(3, 2).T,
        np.zeros((0, 4)),
        np.array([True, False]),
        np.array(3.5),
    ],
    ids=lambda array: array.dtype.str,
)
def test_arrays_of_msgpack_numpy_are_understood(array):
    found = loads(numpy_map(array))["a"]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert (found == array).all()


def test_numbers_text_and_structured_arrays_of_msgpack_numpy_become_plain_values():
    assert loads(numpy_map(np.float32(2.5)))["a"] == 2.5
    assert loads(numpy_map(np.bool_(True)))["a"] is True
    assert loads(numpy_map(np.array(["ab", "c"])))["a"] == ["ab", "c"]
    table = np.array([(1, 2.5)], dtype=[("n", "<i4"), ("x", "<f8")])
    assert loads(numpy_map(table))["a"] == [(1, 2.5)]


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": b"O", "data": pickle.dumps(print)},
        {"type": "|O"},
        {"type": "<M8[s]"},
        {"type": b"<u2"},
        {"shape": [3, 3]},
        {"shape": [-1]},
        {"shape": [2**40]},
        {"shape": None},
        {"data": b"short"},
        {"kind": b"V", "type": "<u2"},
        {"kind": b"V", "type": [["n", "|O"]]},
        {"kind": b"V", "type": [["n", "<u2"], ["n", "<u2"]]},
        {"kind": b"V", "type": [["n", [["m", "|O"]]]]},
        {"kind": b"V", "type": []},
        {"nd": "yes"},
        {"nd": False, "type": "<U1"},
        {"data": 7},
    ],
    ids=str,
)
def test_hostile_arrays_of_msgpack_numpy_are_refused(changes):
    with pytest.raises(BadFrame):
        loads(numpy_map(np.arange(6, dtype="<u2").reshape(2, 3), **changes))
