"""docker/k8s: rendered by kustomize, validated against Kubernetes' own schemas, and scraped as Prometheus would."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

import hal
from contract.bundle import Bundle
from service.settings import Settings
from tests.docs.pages import shell_lines
from tests.paths import ROOT
from tests.service.live_server import serving

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")

K8S = ROOT / "docker" / "k8s"
BASE = {"Namespace", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"}
SITE = BASE | {"Ingress", "HorizontalPodAutoscaler", "ServiceMonitor"}
VERSION = "1.31"
UNKNOWN = {"ServiceMonitor"}
"""The Prometheus Operator's, not Kubernetes' own."""

Objects = dict[str, dict[str, Any]]


def kustomize(folder: Path) -> Objects:
    """The objects by kind."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    found = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return {document["kind"]: document for document in yaml.safe_load_all(found.stdout)}


@pytest.fixture(scope="module")
def base() -> Objects:
    return kustomize(K8S / "base")


@pytest.fixture(scope="module")
def site() -> Objects:
    return kustomize(K8S / "site")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """What ``site`` is with all its components."""
    folder = tmp_path_factory.mktemp("site")
    text = (K8S / "site" / "kustomization.yaml").read_text(encoding="utf-8").replace("# - ../", "- ../")
    (folder / "kustomization.yaml").write_text(text.replace("../", f"{os.path.relpath(K8S, folder.resolve())}/"))
    shutil.copy(K8S / "site" / "ingress.yaml", folder)
    return kustomize(folder)


def container(objects: Objects) -> dict[str, Any]:
    (found,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def settings_of(objects: Objects) -> dict[str, Any]:
    return {entry["name"]: entry.get("value") for entry in container(objects)["env"]}


def test_every_object_is_valid(base: Objects, site: Objects, everything: Objects) -> None:
    assert set(base) == BASE
    assert set(site) == SITE
    assert set(everything) == SITE | {"PersistentVolumeClaim"}
    for document in (one for objects in (base, site, everything) for one in objects.values()):
        if document["kind"] not in UNKNOWN:
            kubernetes_validate.validate(document, VERSION, strict=True)


def test_selectors_meet_the_pods(everything: Objects) -> None:
    labels = everything["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        everything["Deployment"]["spec"]["selector"]["matchLabels"],
        everything["Service"]["spec"]["selector"],
        everything["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        everything["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
    assert everything["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "hal"


def test_the_number_of_replicas_is_the_autoscaler_s_where_there_is_one(base: Objects, site: Objects) -> None:
    assert base["Deployment"]["spec"]["replicas"] == 2
    assert "replicas" not in site["Deployment"]["spec"]


def test_a_service_s_name_sets_nothing_in_the_pods(base: Objects) -> None:
    assert base["Deployment"]["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_the_audit_database_is_another_pod(base: Objects) -> None:
    egress = base["NetworkPolicy"]["spec"]["egress"]
    assert egress[1]["to"][0]["podSelector"]["matchLabels"] == {"app.kubernetes.io/component": "audit-database"}


def test_settings_exist_and_the_drain_ends_before_the_kill(everything: Objects) -> None:
    given = settings_of(everything)
    assert set(given) <= {f"HAL_{name.upper()}" for name in Settings.model_fields}
    settings = Settings(
        drain_s=float(given["HAL_DRAIN_S"]),
        drain_delay_s=float(given["HAL_DRAIN_DELAY_S"]),
        max_batch=int(given["HAL_MAX_BATCH"]),
        queue_limit=int(given["HAL_QUEUE_LIMIT"]),
    )
    assert everything["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > settings.drain_s


def test_probes_ask_what_the_service_answers(base: Objects) -> None:
    from service.http.routes.operate import router

    there = {getattr(route, "path", "") for route in router.routes}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container(base)[probe]["httpGet"]["path"] in there


def test_a_site_names_its_image_and_its_bundle(site: Objects) -> None:
    assert container(site)["image"] == "registry.example.org/hal-cells:cpu"
    assert (ROOT / Path(settings_of(site)["HAL_BUNDLE"]).relative_to("/srv/hal")).is_dir()
    assert site["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_bundles_of_a_volume_take_the_place_of_the_image_s(everything: Objects) -> None:
    (mount,) = [mount for mount in container(everything)["volumeMounts"] if mount["name"] == "bundles"]
    assert Path(settings_of(everything)["HAL_BUNDLE"]).is_relative_to(mount["mountPath"])
    assert mount["readOnly"]
    volumes = {volume["name"]: volume for volume in everything["Deployment"]["spec"]["template"]["spec"]["volumes"]}
    assert {"keys", "tmp", "spool"} <= set(volumes)
    claim = everything["PersistentVolumeClaim"]["metadata"]["name"]
    assert volumes["bundles"]["persistentVolumeClaim"]["claimName"] == claim


def test_a_gpu_is_asked_for(everything: Objects) -> None:
    assert container(everything)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert settings_of(everything)["HAL_DEVICE"] == "cuda"
    cache = settings_of(everything)["HAL_TENSORRT_CACHE"]
    (mount,) = [mount for mount in container(everything)["volumeMounts"] if mount["mountPath"] == cache]
    assert not mount.get("readOnly")


def test_the_ingress_ends_tls_waits_long_enough_and_takes_the_largest_upload(site: Objects) -> None:
    spec, annotations = site["Ingress"]["spec"], site["Ingress"]["metadata"]["annotations"]
    (rule,) = spec["rules"]
    assert spec["tls"][0]["hosts"] == [rule["host"]]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == site["Service"]["metadata"]["name"]
    assert backend["port"]["name"] in [port["name"] for port in site["Service"]["spec"]["ports"]]
    of = "nginx.ingress.kubernetes.io/proxy-"
    assert int(annotations[f"{of}body-size"].removesuffix("m")) << 20 >= Settings().max_upload_bytes
    assert int(annotations[f"{of}read-timeout"]) * 1000 > Settings().deadline_ms


def test_the_autoscaler_s_metric_comes_of_a_scrape_with_the_monitor_s_key(
    site: Objects, bundle: Bundle, tmp_path: Path
) -> None:
    """As Prometheus, its operator and prometheus-adapter do it: by the Service, the port's name and the secret."""
    monitor = site["ServiceMonitor"]
    (endpoint,) = monitor["spec"]["endpoints"]
    service = site["Service"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["namespace"] == service["metadata"]["namespace"]
    (port,) = [port for port in service["spec"]["ports"] if port["name"] == endpoint["port"]]
    (listens,) = [one for one in container(site)["ports"] if one["name"] == port["targetPort"]]
    assert {"protocol": "TCP", "port": listens["containerPort"]} in site["NetworkPolicy"]["spec"]["ingress"][0]["ports"]

    # The secrets as docs/deploy.md makes them.
    credentials = endpoint["authorization"]["credentials"]
    lines = shell_lines("docs/deploy.md")
    assert any(
        f'generic {credentials["name"]} --from-literal={credentials["key"]}="$(cat metrics.key)"' in line
        for line in lines
    )
    (line,) = [line for line in lines if line.endswith("> metrics.key")]
    words = line.removesuffix(" > metrics.key").replace("keys.json", str(tmp_path / "keys.json")).split()[1:]
    made = CliRunner().invoke(hal.app, words)
    assert made.exit_code == 0, made.output
    headers = {"Authorization": f"Bearer {made.stdout.strip()}", "X-Forwarded-For": "192.0.2.7"}  # not this machine
    with serving(bundle, keys_file=tmp_path / "keys.json") as live:
        answer = httpx.get(live.url + endpoint["path"], headers=headers)
        assert answer.status_code == 200
        assert httpx.get(live.url + endpoint["path"], headers=headers | {"Authorization": ""}).status_code == 401
        assert httpx.post(f"{live.url}/classify", headers=headers).status_code == 403

    # prometheus-adapter: the series of each pod to the metric that the autoscaler follows.
    adapter = yaml.safe_load((K8S / "components/autoscale/prometheus-adapter-values.yaml").read_text(encoding="utf-8"))
    (rule,) = adapter["rules"]["custom"]
    (followed,) = site["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert rule["name"]["as"] == followed["pods"]["metric"]["name"]
    totals = {
        family.name: sum(sample.value for sample in family.samples)
        for family in text_string_to_metric_families(answer.text)
    }
    assert rule["seriesQuery"].partition("{")[0] in totals
    series = r"sum\((\w+)\{<<.LabelMatchers>>\}\) by \(<<.GroupBy>>\)"
    waiting, batch = re.findall(series, rule["metricsQuery"])
    assert totals[waiting] == 0
    assert totals[batch] > 0
    for values, expected in (({waiting: 24, batch: 8}, 3), ({waiting: 0, batch: 0}, 0)):  # the latter while it loads
        query = re.sub(series, lambda found, values=values: str(values[found[1]]), rule["metricsQuery"])
        assert eval(query, {"clamp_min": max}) == expected  # noqa: S307 - a query of our own


def test_kserve_s_object_is_yaml_of_its_kind() -> None:
    document = yaml.safe_load((K8S / "kserve" / "inferenceservice.yaml").read_text(encoding="utf-8"))
    assert document["kind"] == "InferenceService"
    assert document["spec"]["predictor"]["model"]["modelFormat"]["name"] == "triton"
