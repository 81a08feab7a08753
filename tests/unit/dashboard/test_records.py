"""A prediction as one row: which of its readings is the temperature, and in which unit."""

import pytest

from qd_agent.dashboard import DashboardSettings
from qd_agent.dashboard.records import FIRST_NAMED, Thermometer

DECLARED = {"a_temp": 393.0, "temperature_celsius": 120.0}


@pytest.mark.parametrize(
    ("thermometer", "readings", "expected"),
    [
        (FIRST_NAMED, DECLARED, (120.0, "°C")),
        (FIRST_NAMED, {"z_temp": 1.0, "Temp_a": 2.0}, (2.0, "")),
        (FIRST_NAMED, {"monitor": 5.0}, (None, "")),
        (Thermometer(unit="K"), {"a_temp": 393.0}, (393.0, "K")),
        (Thermometer(unit="K"), DECLARED, (120.0, "°C")),
        (Thermometer("heater", "K"), {"a_temp": 1.0, "heater": 393.0}, (393.0, "K")),
        (Thermometer("heater", "K"), {"a_temp": 1.0}, (None, "")),
        (Thermometer("heater"), {"heater": 393.0}, (393.0, "")),
        (Thermometer("temperature_celsius", "K"), DECLARED, (120.0, "°C")),
    ],
)
def test_a_unit_is_given_where_one_is_stated_and_never_guessed(
    thermometer: Thermometer, readings: dict[str, float], expected: tuple[float | None, str]
):
    assert thermometer.read(readings) == expected


def test_the_configuration_names_the_reading_and_its_unit():
    settings = DashboardSettings(temperature_key="heater", temperature_unit="K")
    assert settings.thermometer == Thermometer("heater", "K")
    assert DashboardSettings().thermometer == FIRST_NAMED
