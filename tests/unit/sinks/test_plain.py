"""Any start document becomes JSON that every store takes."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qd_agent.sinks.plain import plain, plain_metadata, plain_text

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary(max_size=20)
    | st.just(np.float32(1.5))
    | st.just(np.arange(3))
    | st.just(np.array(["a", None], dtype=object))
    | st.just(object()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(ANYTHING)
def test_the_result_is_json_that_any_store_can_hold(value: object) -> None:
    text = json.dumps(plain(value), allow_nan=False, ensure_ascii=False)
    assert text.encode().count(b"\x00") == 0


def test_what_json_knows_stays_as_it_is() -> None:
    document = {"uid": "x", "n": 3, "f": 0.5, "b": True, "none": None, "l": [1, "a", {"k": 2.0}]}
    assert plain_metadata(document) == document


def test_what_json_does_not_know_becomes_the_nearest_thing() -> None:
    assert plain(math.nan) is None
    assert plain(10**30) == str(10**30)
    assert plain(np.int64(3)) == 3
    assert plain(np.zeros((100, 100))) == "array of shape (100, 100), float64"
    assert plain(np.array([1.0, math.inf])) == [1.0, None]
    assert plain(b"abc") == "3 bytes"
    assert plain((1, {2})) == [1, [2]]
    assert plain_text("a\x00\ud800b") == "a\ufffd?b"


def test_depth_is_limited() -> None:
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    assert "..." in json.dumps(plain(deep))


def test_a_huge_document_is_shortened_to_what_matters() -> None:
    short = plain_metadata({"uid": "x", "plan_name": "count", "junk": ["y" * 1000] * 1000})
    assert short == {"uid": "x", "plan_name": "count", "shortened": True}
