"""docker-compose.yml: every profile, with and without API keys.

Where Compose is not installed its own word on the files is missing here (``docker/check.sh`` brings a Compose of its
own and asks it); the Compose specification's JSON schema, as check-jsonschema ships it, is asked everywhere.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema.validators import validator_for

from service.settings import Settings
from tests.paths import ROOT

PROFILES = ("gpu", "observability", "audit")
FILES = ("docker-compose.yml", "docker/compose.keys.yml", "docker/compose.tls.yml")
KEYS = ("-f", FILES[0], "-f", FILES[1])
TLS = (*KEYS, "-f", FILES[2])
LEAST = (2, 24, 4)
"""The first Compose that takes ``!override``."""


class _Loader(yaml.SafeLoader):
    """Knows Compose's own tags."""


for _tag in ("!override", "!reset"):
    _Loader.add_constructor(_tag, lambda loader, node: loader.construct_sequence(node, deep=True))


def written(name: str = "docker-compose.yml") -> dict[str, Any]:
    with (ROOT / name).open(encoding="utf-8") as stream:
        document: dict[str, Any] = yaml.load(stream, _Loader)  # noqa: S506 - a safe loader
    return document


def compose(*arguments: str, **variables: str) -> dict[str, Any]:
    """What docker compose makes of the files."""
    command = compose_command()
    if command is None:
        pytest.skip(f"docker compose {'.'.join(map(str, LEAST))} or newer is not installed")
    found = subprocess.run(
        [*command, *arguments, "config", "--format", "json"],
        cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    document: dict[str, Any] = json.loads(found.stdout)
    return document


def compose_command() -> list[str] | None:
    """A Compose that is new enough."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            found = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
            if found.returncode == 0 and tuple(map(int, re.findall(r"\d+", found.stdout)[:3])) >= LEAST:
                return command
    return None


def breaches(document: dict[str, Any]) -> list[str]:
    """What the Compose specification does not allow."""
    schema = get_builtin_schema("vendor.compose-spec")
    return [error.message for error in validator_for(schema)(schema).iter_errors(document)]


def active(profile: str) -> dict[str, Any]:
    """The services that a profile starts."""
    services = written()["services"]
    return {name: one for name, one in services.items() if profile in one.get("profiles", [profile])}


@pytest.mark.parametrize("name", FILES)
def test_the_compose_specification_allows_it_and_would_not_allow_a_mistake(name: str) -> None:
    document = written(name)
    assert breaches(document) == []
    next(iter(document["services"].values()))["read-only"] = True
    (breach,) = breaches(document)
    assert "read-only" in breach


@pytest.mark.parametrize("profile", ["", *PROFILES])
def test_a_profile_lacks_nothing_that_it_names(profile: str) -> None:
    document = written()
    services = active(profile)
    assert "hal" in services
    for name, service in services.items():
        assert "image" in service or "build" in service, name
        assert set(service.get("depends_on", ())) <= set(services), name
        sources = [volume.split(":")[0] for volume in service.get("volumes", ())]
        assert {source for source in sources if not source.startswith(".")} <= set(document["volumes"]), name
    ports = [port.split(":")[-2] for service in services.values() for port in service.get("ports", ())]
    assert len(set(ports)) == len(ports)


def test_keys_are_asked_for_of_services_that_there_are() -> None:
    keys = written("docker/compose.keys.yml")
    for name, service in keys["services"].items():
        assert name in written()["services"]
        assert set(service["secrets"]) <= set(keys["secrets"])


def test_every_scrape_has_the_key_that_compose_gives_prometheus() -> None:
    document = written()
    (job,) = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    (secret,) = document["services"]["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    assert document["secrets"][secret]["file"] == "${HAL_METRICS_KEY:-/dev/null}"


@pytest.mark.parametrize("name", FILES)
def test_every_variable_has_a_value_when_nobody_sets_it(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    variables = re.findall(r"\$\{([^}]*)\}", text)
    assert variables
    assert [variable for variable in variables if ":-" not in variable] == []


@pytest.mark.parametrize("name", ["hal", "hal-gpu"])
def test_the_service_is_confined(name: str) -> None:
    service = written()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "./models:/srv/hal/models:ro" in service["volumes"]
    assert {"memory", "pids"} <= set(service["deploy"]["resources"]["limits"])


def test_tensorrt_s_engines_outlive_the_container() -> None:
    document = written()
    gpu = document["services"]["hal-gpu"]
    cache = PurePosixPath(gpu["environment"]["HAL_TENSORRT_CACHE"])
    volumes = dict(volume.split(":")[:2] for volume in gpu["volumes"] if not volume.endswith(":ro"))
    (volume,) = [name for name, folder in volumes.items() if cache.is_relative_to(folder)]
    assert volume in document["volumes"]


def test_a_gpu_s_service_has_the_environment_of_the_other_its_cache_and_its_precision() -> None:
    services = written()["services"]
    added = {"HAL_TENSORRT_CACHE": "/var/lib/hal/tensorrt", "HAL_PRECISION": "${HAL_PRECISION:-}"}
    assert services["hal-gpu"]["environment"] == services["hal"]["environment"] | added


def test_the_service_may_drain_before_it_is_killed() -> None:
    grace = written()["services"]["hal"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > Settings.model_fields["drain_s"].default


def test_nothing_is_published_to_the_network_without_keys() -> None:
    for service in written()["services"].values():
        assert [port for port in service.get("ports", ()) if not port.startswith("127.0.0.1:")] == []
    keys = written("docker/compose.keys.yml")["services"]
    assert {service["environment"]["HAL_ALLOW_ANONYMOUS"] for service in keys.values()} == {"false"}


def test_only_settings_that_there_are_are_set() -> None:
    known = {f"HAL_{name.upper()}" for name in Settings.model_fields}
    for document in map(written, FILES):
        for service in document["services"].values():
            given = {name for name in service.get("environment", {}) if name.startswith("HAL_")}
            assert given <= known


def test_files_that_are_mounted_are_there() -> None:
    for service in (service for name in FILES for service in written(name)["services"].values()):
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0] if isinstance(volume, str) else ""
            assert not source.startswith(".") or (ROOT / source).exists(), volume


@pytest.mark.parametrize("profile", PROFILES)
def test_compose_takes_every_profile(profile: str) -> None:
    services = compose("--profile", profile)["services"]
    assert "hal" in services
    assert len(services) > 1


def test_a_gpu_is_reserved() -> None:
    gpu = compose("--profile", "gpu")["services"]["hal-gpu"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_keys_are_a_secret_and_open_the_port(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{}")
    service = compose(*KEYS, HAL_KEYS=str(tmp_path / "keys.json"))["services"]["hal"]
    assert service["environment"]["HAL_KEYS_FILE"] == "/run/secrets/hal_keys"
    assert service["environment"]["HAL_ALLOW_ANONYMOUS"] == "false"
    assert [secret["source"] for secret in service["secrets"]] == ["hal_keys"]
    assert [port.get("host_ip") for port in service["ports"]] == [None]


def test_behind_tls_only_nginx_has_a_port() -> None:
    services = compose(*TLS)["services"]
    assert "ports" not in services["hal"]
    assert [port["target"] for port in services["nginx"]["ports"]] == [8443]


@pytest.mark.parametrize(("given", "served"), [("", None), ("float16", "float16")])
def test_a_gpu_is_given_the_file_that_it_is_asked_to_serve(
    given: str, served: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed_on = written()["services"]["hal-gpu"]["environment"]["HAL_PRECISION"]
    monkeypatch.setenv("HAL_PRECISION", re.sub(r"\$\{HAL_PRECISION:-\}", given, passed_on))
    assert Settings().precision == served
