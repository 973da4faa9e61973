import re
from pathlib import Path

import pytest

from service.environment import SettingsError, load_settings, unknown_variables
from service.settings import Device, Fit


def test_without_variables_the_shipped_bundle_is_served_on_port_8000_of_this_machine() -> None:
    settings = load_settings()
    assert (settings.bundle, settings.host, settings.port) == (Path("models/hal-c/3"), "127.0.0.1", 8000)
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


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().fit = Fit.PAD  # type: ignore[misc]


OF_KUBERNETES = {
    "HAL_SERVICE_HOST": "10.0.0.1",
    "HAL_SERVICE_PORT": "8000",
    "HAL_SERVICE_PORT_HTTP": "8000",
    "HAL_PORT": "tcp://10.0.0.1:8000",
    "HAL_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "HAL_PORT_8000_TCP_PROTO": "tcp",
    "HAL_PORT_8000_TCP_PORT": "8000",
    "HAL_PORT_8000_TCP_ADDR": "10.0.0.1",
    "HAL_WEB_SERVICE_HOST": "10.0.0.2",
    "HAL_WEB_SERVICE_PORT": "80",
    "HAL_WEB_PORT": "tcp://10.0.0.2:80",
    "HAL_WEB_PORT_80_TCP": "tcp://10.0.0.2:80",
}


def test_variables_of_kubernetes_services_are_nobodys_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OF_KUBERNETES.items():
        monkeypatch.setenv(name, value)
    assert list(unknown_variables(OF_KUBERNETES)) == []
    monkeypatch.setenv("PORT", "8000")
    assert load_settings().port == 8000


def test_names_like_those_of_kubernetes_that_a_person_set_are_warned_about() -> None:
    assert len([*unknown_variables({"HAL_SERVICE_HOST": "a", "HAL_PORT": "8000", "HAL_WEB_PORT": "80"})]) == 2


def test_a_port_of_kubernetes_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAL_PORT", "tcp://10.0.0.1:8000")
    with pytest.raises(SettingsError, match=r"HAL_PORT='tcp://10.0.0.1:8000'.*Kubernetes.*enableServiceLinks: false"):
        load_settings()


def test_a_wrong_hal_port_is_named_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAL_PORT", "http")
    with pytest.raises(SettingsError, match=r"- HAL_PORT='http'"):
        load_settings()
