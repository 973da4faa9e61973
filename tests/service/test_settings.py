import re
from pathlib import Path

import pytest

from service.environment import SettingsError, load_settings, unknown_variables
from service.settings import Device, Fit, Settings


def test_without_variables_the_shipped_bundle_is_served_on_port_8000_of_this_machine() -> None:
    settings = load_settings()
    assert (settings.bundle, settings.host, settings.port) == (Path("models/hal-c/2"), "127.0.0.1", 8000)
    assert (settings.device, settings.fit, settings.precision) == (Device.AUTO, Fit.STRICT, None)


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAL_FIT", "crop")
    monkeypatch.setenv("HAL_MAX_BATCH", "64")
    assert load_settings().fit is Fit.CROP
    assert load_settings().max_batch == 64


def test_port_wins_over_hal_port_and_an_option_over_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAL_PORT", "9001")
    assert load_settings().port == 9001
    monkeypatch.setenv("PORT", "9002")
    assert load_settings().port == 9002
    assert load_settings({"port": 9003, "host": None}).port == 9003


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAL_PRECISION", "")
    monkeypatch.setenv("PORT", "")
    assert load_settings().precision is None
    assert load_settings().port == 8000


def test_all_wrong_values_are_reported_together_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAL_DEVICE", "gpu")
    monkeypatch.setenv("HAL_MAX_BATCH", "0")
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert re.search(r"HAL_DEVICE='gpu': .*'auto', 'cpu', 'cuda' or 'tensorrt'", message)
    assert re.search(r"HAL_MAX_BATCH='0': .*greater than or equal to 1", message)
    assert re.search(r"PORT='http': .*valid integer", message)


def test_a_queue_smaller_than_a_batch_is_refused() -> None:
    with pytest.raises(SettingsError, match="HAL_QUEUE_LIMIT=8 is below HAL_MAX_BATCH=16"):
        load_settings({"queue_limit": 8, "max_batch": 16})


def test_a_misspelt_variable_is_named_with_the_nearest_setting() -> None:
    (warning,) = unknown_variables({"HAL_MAX_BATCHES": "8", "HAL_FIT": "crop", "HAL_SHARED": "x", "PATH": "y"})
    assert "HAL_MAX_BATCHES" in warning
    assert "did you mean HAL_MAX_BATCH?" in warning


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented_where_it_is_declared(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description
    assert description.endswith(".")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().fit = Fit.PAD  # type: ignore[misc]
