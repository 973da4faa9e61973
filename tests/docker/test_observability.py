"""The dashboard and the alerts ask for metrics that the service has."""

import json
import re
from typing import Any

import httpx
import pytest
import yaml

from contract.bundle import Bundle
from tests.paths import ROOT
from tests.service.live_server import serving
from tests.service.tiny_bundle import TinyNetwork, encoded

DOCKER = ROOT / "docker"
DASHBOARD = json.loads((DOCKER / "grafana" / "dashboards" / "hal.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((DOCKER / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
METRIC = re.compile(r"\b(?:hal|process)_[a-z_]+")
WITH_A_REFERENCE = {"hal_embedding_drift"}
"""Only bundles that hold a reference embedding have these."""


def expressions() -> list[str]:
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    return panels + [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def exposed(bundle: Bundle, network: TinyNetwork, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the samples of a service that has answered one request."""
    folder = tmp_path_factory.mktemp("audit")
    audited: dict[str, Any] = {"audit": f"sqlite:///{folder / 'audit.db'}"}
    with serving(bundle, **audited) as live:
        live.http.post("/classify", files={"file": encoded(network.cell(1))})
        text = httpx.get(f"{live.url}/metrics").text
    return set(re.findall(r"^([a-z_]+)[{ ]", text, re.MULTILINE))


def test_every_metric_that_is_asked_for_is_there(exposed: set[str]) -> None:
    asked = {name for expression in expressions() for name in METRIC.findall(expression)}
    assert len(asked) > 20
    assert asked - exposed - WITH_A_REFERENCE == set()


def test_a_service_that_takes_no_image_for_want_of_room_is_critical_and_told_at_once() -> None:
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    (alert,) = [rule for rule in rules if rule["expr"] == "hal_audit_full == 1"]
    assert alert["labels"] == {"severity": "critical"}
    assert "for" not in alert


def test_the_dashboard_and_prometheus_find_each_other() -> None:
    (source,) = yaml.safe_load(
        (DOCKER / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text(encoding="utf-8")
    )["datasources"]
    used = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if "datasource" in panel}
    assert used == {source["uid"]}
    prometheus = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    assert prometheus["rule_files"] == ["alerts.yml"]
