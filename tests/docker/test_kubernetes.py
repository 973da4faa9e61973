"""docker/k8s: rendered by kustomize and validated against Kubernetes' own schemas."""

import shutil
import subprocess
from typing import Any

import pytest
import yaml

from service.settings import Settings
from tests.paths import ROOT

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")

K8S = ROOT / "docker" / "k8s"
OVERLAYS = ["base", "overlays/gpu"]
VERSION = "1.31"


def rendered(overlay: str) -> dict[str, dict[str, Any]]:
    """The objects by kind."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    found = subprocess.run(["kubectl", "kustomize", str(K8S / overlay)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return {document["kind"]: document for document in yaml.safe_load_all(found.stdout)}


def container(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (found,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_valid(overlay: str) -> None:
    objects = rendered(overlay)
    assert set(objects) == {
        "Namespace", "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy",
    }  # fmt: skip
    for document in objects.values():
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_every_object_is_valid_as_it_is_written() -> None:
    for path in sorted((K8S / "base").glob("*.yaml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        if document["kind"] != "Kustomization":
            kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_meet_the_pods(overlay: str) -> None:
    objects = rendered(overlay)
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        objects["Deployment"]["spec"]["selector"]["matchLabels"],
        objects["Service"]["spec"]["selector"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
    assert objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "hal"


def test_the_audit_database_is_another_pod() -> None:
    egress = rendered("base")["NetworkPolicy"]["spec"]["egress"]
    assert egress[1]["to"][0]["podSelector"]["matchLabels"] == {"app.kubernetes.io/component": "audit-database"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_exist_and_the_drain_ends_before_the_kill(overlay: str) -> None:
    objects = rendered(overlay)
    given = {entry["name"]: entry.get("value") for entry in container(objects)["env"]}
    assert set(given) <= {f"HAL_{name.upper()}" for name in Settings.model_fields}
    settings = Settings(
        drain_s=float(given["HAL_DRAIN_S"] or 0),
        drain_delay_s=float(given["HAL_DRAIN_DELAY_S"] or 0),
        max_batch=int(given.get("HAL_MAX_BATCH") or 16),
        queue_limit=int(given.get("HAL_QUEUE_LIMIT") or 256),
    )
    assert objects["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > settings.drain_s


def test_probes_ask_what_the_service_answers() -> None:
    from service.http.routes.health import router

    there = {getattr(route, "path", "") for route in router.routes}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container(rendered("base"))[probe]["httpGet"]["path"] in there


def test_the_gpu_overlay_asks_for_a_gpu() -> None:
    found = container(rendered("overlays/gpu"))
    assert found["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert found["image"] == "hal-cells:cuda"
    assert {"name": "HAL_DEVICE", "value": "cuda"} in found["env"]


def test_tensorrt_s_engines_have_a_volume_of_their_own_that_can_be_written() -> None:
    objects = rendered("overlays/gpu")
    found = container(objects)
    (cache,) = [entry["value"] for entry in found["env"] if entry["name"] == "HAL_TENSORRT_CACHE"]
    (mount,) = [mount for mount in found["volumeMounts"] if mount["mountPath"] == cache]
    assert not mount.get("readOnly")
    volumes = {volume["name"]: volume for volume in objects["Deployment"]["spec"]["template"]["spec"]["volumes"]}
    assert {"keys", "tmp", "spool"} <= set(volumes)
    assert "emptyDir" in volumes[mount["name"]]


def test_the_autoscaler_and_the_adapter_name_a_metric_that_there_is() -> None:
    text = (K8S.parents[1] / "service" / "observe" / "metrics.py").read_text(encoding="utf-8")
    (metric,) = rendered("base")["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    (rule,) = yaml.safe_load((K8S / "prometheus-adapter-values.yaml").read_text(encoding="utf-8"))["rules"]["custom"]
    assert rule["name"]["as"] == name
    assert f'"{name}"' in text


def test_kserve_s_object_is_yaml_of_its_kind() -> None:
    document = yaml.safe_load((K8S / "kserve" / "inferenceservice.yaml").read_text(encoding="utf-8"))
    assert document["kind"] == "InferenceService"
    assert document["spec"]["predictor"]["model"]["modelFormat"]["name"] == "triton"
