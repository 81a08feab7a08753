"""Settings name every mistake, and need no heavy library."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from qd_agent.reduction.settings import ReductionSettings


def test_the_poni_alone_is_enough():
    settings = ReductionSettings(poni=Path("a.poni"))
    assert settings.dark == "stream"
    assert settings.orientation == "as_stored"
    assert settings.q_points == 5004


def test_every_field_is_described():
    assert all(field.description for field in ReductionSettings.model_fields.values())


def test_dark_is_a_word_or_a_path():
    assert ReductionSettings(poni=Path("a"), dark="none").dark == "none"
    assert ReductionSettings.model_validate({"poni": "a", "dark": "d.npy"}).dark == Path("d.npy")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"orientaton": "flip_rows"}, "orientaton"),
        ({"orientation": "flipped"}, "flip_rows"),
        ({"wavelength": -1}, "wavelength"),
        ({"wavelength": float("nan")}, "wavelength"),
        ({"mask": "mask.jpg"}, "mask.jpg"),
        ({"polarization_factor": 1.5}, "polarization_factor"),
        ({"saturation": 0}, "saturation"),
        ({"max_saturated_fraction": 2}, "max_saturated_fraction"),
        ({"q_points": 0}, "q_points"),
        ({"q_points": 10**9}, "q_points"),
        ({"pixel_splitting": "pseudo"}, "bbox"),
        ({"monitor_key": ""}, "monitor_key"),
        ({"dark": None}, "dark"),
        ({"poni": None}, "poni"),
    ],
)
def test_a_wrong_value_is_refused_by_name(wrong: dict[str, object], named: str):
    with pytest.raises(ValidationError, match=named):
        ReductionSettings.model_validate({"poni": "a.poni"} | wrong)


def test_the_door_and_the_settings_stay_light():
    code = (
        "import sys, qd_agent.reduction, qd_agent.reduction.settings; "
        "print([m for m in ('pyFAI', 'scipy', 'fabio', 'tifffile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
