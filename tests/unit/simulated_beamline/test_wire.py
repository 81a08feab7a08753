"""The codec of documents: everything a document may hold survives, nothing dangerous passes."""

import pickle
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from simulated_beamline.wire import ARRAY, decode, encode, message

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
)
documents = st.dictionaries(
    st.text(),
    st.recursive(
        scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
    ),
)
arrays = hnp.arrays(
    hnp.integer_dtypes() | hnp.unsigned_integer_dtypes() | hnp.floating_dtypes(sizes=(32, 64)),
    hnp.array_shapes(min_dims=0, min_side=0),
)


@given(documents)
def test_plain_documents_survive(document):
    assert decode(encode(document)) == document


@given(arrays)
def test_arrays_survive_with_dtype_and_shape(array):
    back = decode(encode({"a": array}))["a"]
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_numpy_scalars_sets_and_paths_become_plain():
    back = decode(encode({"n": np.float32(0.5), "s": {"b", "a"}, "p": Path("x/y"), "t": (1, 2)}))
    assert back == {"n": 0.5, "s": ["a", "b"], "p": "x/y", "t": [1, 2]}


def test_a_transposed_array_is_written_in_c_order():
    array = np.arange(6).reshape(2, 3).T
    np.testing.assert_array_equal(decode(encode({"a": array}))["a"], array)


@pytest.mark.parametrize(
    "value", [np.array([object()]), np.zeros(2, dtype=[("x", "f8")]), object(), lambda: None]
)
def test_what_has_no_safe_form_is_refused(value):
    with pytest.raises(TypeError, match="a document cannot carry"):
        encode({"a": value})


def test_an_array_of_objects_in_a_message_is_refused():
    head = msgpack.packb(("|O", (1,)))
    with pytest.raises(ValueError, match="refused"):
        decode(msgpack.packb({"a": msgpack.ExtType(ARRAY, head + b"x" * 8)}))


def test_an_unknown_extension_is_refused():
    body = msgpack.packb({"a": msgpack.ExtType(7, pickle.dumps([1]))})
    with pytest.raises(ValueError, match="unknown extension"):
        decode(body)


def test_a_message_is_laid_out_as_blueskys_publisher_does():
    prefix, name, body = message(b"raw", "start", {"uid": "a b"}).split(b" ", 2)
    assert (prefix, name, decode(body)) == (b"raw", b"start", {"uid": "a b"})
