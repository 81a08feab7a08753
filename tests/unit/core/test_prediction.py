"""A size is given with verdict `sized` only, and always with its uncertainty."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qd_agent.core.frame import FrameKey
from qd_agent.core.prediction import SCHEMA_VERSION, Estimate, Prediction, Provenance, Verdict
from qd_agent.core.schema import SCHEMA_PATH, prediction_schema

SIZE = {
    "diameter_nm": 4.1,
    "diameter_sd_nm": 0.1,
    "interval_nm": (3.9, 4.3),
    "class_nm": 4.0,
}
ABSTENTIONS = [verdict for verdict in Verdict if verdict is not Verdict.SIZED]


def _prediction(**changes: object) -> Prediction:
    fields: dict[str, object] = {
        "key": FrameKey(run_uid="u", stream="primary", data_key="det", seq_num=1),
        "frame_time": 1.0,
        "publication_time": 2.0,
        "provenance": Provenance(
            model_name="pbs",
            model_version="1",
            model_sha256="0" * 64,
            config_hash="c",
            package_version="0.1.0",
        ),
        "verdict": Verdict.SIZED,
        **SIZE,
    }
    return Prediction.model_validate(fields | changes)


@pytest.mark.parametrize("missing", sorted(SIZE))
def test_a_sized_estimate_needs_every_part_of_the_size(missing: str):
    with pytest.raises(ValidationError, match="carries diameter, sd, interval and class"):
        Estimate.model_validate({"verdict": "sized", **SIZE, missing: None})


@pytest.mark.parametrize("verdict", ABSTENTIONS)
@pytest.mark.parametrize("given_size", [*sorted(SIZE), "diameter_volume_nm"])
def test_no_other_verdict_carries_a_size(verdict: Verdict, given_size: str):
    value = (SIZE | {"diameter_volume_nm": 4.5})[given_size]
    with pytest.raises(ValidationError, match="must not carry a size"):
        Estimate.model_validate({"verdict": verdict, "reason": "solvent", given_size: value})


@pytest.mark.parametrize("verdict", ABSTENTIONS)
def test_every_other_verdict_needs_a_reason(verdict: Verdict):
    with pytest.raises(ValidationError, match="needs a reason"):
        Estimate(verdict=verdict)
    assert Estimate(verdict=verdict, reason="solvent only").diameter_nm is None


@pytest.mark.parametrize(
    "change",
    [
        {"diameter_nm": float("nan")},
        {"diameter_sd_nm": float("inf")},
        {"interval_nm": (float("-inf"), 4.0)},
        {"interval_nm": (4.3, 3.9)},
        {"class_nm": float("nan")},
    ],
)
def test_a_size_is_finite_and_its_interval_ordered(change: dict[str, object]):
    with pytest.raises(ValidationError, match=r"finite number|from low to high"):
        Estimate.model_validate({"verdict": "sized", **SIZE, **change})


def test_readings_that_are_not_finite_are_left_out():
    readings = {"t": 300.0, "broken": float("nan"), "over": float("inf")}
    prediction = _prediction(readings=readings)
    assert prediction.readings == {"t": 300.0}
    assert Prediction.model_validate_json(prediction.model_dump_json()) == prediction


def test_an_unknown_verdict_is_refused():
    with pytest.raises(ValidationError, match="verdict"):
        Estimate.model_validate({"verdict": "maybe", "reason": "x"})


@given(
    diameter=st.floats(0.5, 30),
    probabilities=st.lists(st.floats(0, 1), max_size=17),
    readings=st.dictionaries(
        st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False), max_size=5
    ),
    reason=st.text(max_size=50),
)
def test_a_prediction_survives_json_and_fits_its_schema(
    diameter: float, probabilities: list[float], readings: dict[str, float], reason: str
):
    prediction = _prediction(
        diameter_nm=diameter,
        class_probabilities=tuple(probabilities),
        readings=readings,
        reason=reason,
    )
    text = prediction.model_dump_json()
    assert Prediction.model_validate_json(text) == prediction
    jsonschema.validate(json.loads(text), json.loads(prediction_schema()))


def test_a_prediction_cannot_be_changed():
    with pytest.raises(ValidationError):
        _prediction().diameter_nm = 5.0


def test_the_schema_states_its_version():
    schema = json.loads(prediction_schema())
    assert schema["$id"].endswith(f":{SCHEMA_VERSION}")
    assert _prediction().schema_version == SCHEMA_VERSION
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_schema_in_the_docs_is_current():
    stored = Path(__file__).resolve().parents[3] / SCHEMA_PATH
    assert stored.read_text(encoding="utf-8") == prediction_schema(), (
        "run: python -m qd_agent.core.schema (and raise SCHEMA_VERSION if a field changed meaning)"
    )


def test_the_schema_script_writes_where_it_is_told(tmp_path: Path):
    target = tmp_path / "new" / "schema.json"
    subprocess.run([sys.executable, "-m", "qd_agent.core.schema", str(target)], check=True)
    assert target.read_text(encoding="utf-8") == prediction_schema()
