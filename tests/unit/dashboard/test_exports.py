"""Runs as files."""

import csv
import io
import json

import pytest

from qd_agent.dashboard.exports import COLUMNS, csv_lines, file_name, json_lines
from tests.helpers.predictions import refused, sized


def test_a_line_a_frame_with_empty_fields_for_what_is_not_there():
    predictions = [sized("r", 1), refused("r", 2, 'no, "really"\nnot')]
    text = "".join(csv_lines(p.model_dump(mode="json") for p in predictions))
    first, second = csv.DictReader(io.StringIO(text))
    assert tuple(first) == COLUMNS
    assert (first["diameter_nm"], first["interval_low_nm"]) == ("4.01", "3.9")
    assert first["flags"] == "no_monitor dark_missing"
    assert second["diameter_nm"] == ""
    assert second["reason"] == 'no, "really"\nnot'


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_text_is_taken_for_a_formula(text: str):
    lines = "".join(csv_lines([refused("r", 1, text).model_dump(mode="json")]))
    (row,) = csv.DictReader(io.StringIO(lines, newline=""))
    assert row["reason"] == f"'{text}".replace("\r", " ")


def test_json_holds_the_run_and_every_prediction_whole():
    predictions = [sized("r", n).model_dump(mode="json") for n in (1, 2)]
    found = json.loads("".join(json_lines({"uid": "r"}, predictions)))
    assert found == {"run": {"uid": "r"}, "predictions": predictions}
    assert json.loads("".join(json_lines({}, [])))["predictions"] == []


def test_a_file_is_named_by_harmless_characters():
    assert file_name('../a"b\r\nX: 1', "csv") == "qd-___a_b__X__1.csv"
    assert len(file_name("x" * 500, "json")) < 50
