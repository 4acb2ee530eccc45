"""deploy/examples/file-pipeline: valid, confined, and consistent with each other, the settings and the page."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from peekaping_producer.cli.main import _parser
from peekaping_producer.settings import Settings
from tests.kit import manifests

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "examples" / "file-pipeline"
PAGE = (ROOT / "docs" / "file-pipeline.md").read_text()
SETTINGS = {name.upper() for name in Settings.model_fields}
UID = 10001
PART_OF = {"app.kubernetes.io/part-of": "file-pipeline"}
_CLUSTER = {"rabbitmqClusterReference"}
CUSTOM = {
    "RabbitmqCluster": ("rabbitmq.com/v1beta1", set(), {"replicas", "persistence"}),
    "Queue": ("rabbitmq.com/v1beta1", {"name"} | _CLUSTER, {"vhost", "type", "durable", "arguments", "deletionPolicy"}),
    "Exchange": ("rabbitmq.com/v1beta1", {"name"} | _CLUSTER, {"vhost", "type", "durable"}),
    "Binding": ("rabbitmq.com/v1beta1", _CLUSTER, {"source", "destination", "destinationType", "vhost"}),
    "User": ("rabbitmq.com/v1beta1", _CLUSTER, {"tags", "importCredentialsSecret"}),
    "Permission": ("rabbitmq.com/v1beta1", {"permissions", "vhost"} | _CLUSTER, {"userReference"}),
    "ServiceMonitor": ("monitoring.coreos.com/v1", {"endpoints", "selector"}, {"podTargetLabels"}),
    "ScaledObject": (
        "keda.sh/v1alpha1",
        {"scaleTargetRef", "triggers"},
        {"minReplicaCount", "maxReplicaCount", "pollingInterval"},
    ),
    "TriggerAuthentication": ("keda.sh/v1alpha1", set(), {"secretTargetRef"}),
}
"""Of custom resources: the version, the required fields of their spec, and those of the others that are used here."""
WORKLOADS = ["producer-deployment", "consumer-deployment", "consumer-statefulset"]
Document = dict[str, Any]


def documents(name: str) -> list[Document]:
    return list(yaml.safe_load_all((EXAMPLE / f"{name}.yaml").read_text()))


def document(name: str, kind: str) -> Document:
    (found,) = (each for each in documents(name) if each["kind"] == kind)
    return found


def pod(name: str) -> Document:
    return document(name, "StatefulSet" if "stateful" in name else "Deployment")["spec"]["template"]  # type: ignore[no-any-return]


def arguments(name: str) -> Any:
    """The command of the container, parsed."""
    (container,) = pod(name)["spec"]["containers"]
    return _parser().parse_args(container["args"])


@pytest.mark.parametrize("path", sorted(EXAMPLE.glob("*.yaml")), ids=lambda path: path.stem)
def test_manifests_are_valid(path: Path) -> None:
    for each in documents(path.stem):
        if each["kind"] not in CUSTOM:
            manifests.validate(each)
            continue
        version, required, optional = CUSTOM[each["kind"]]
        assert each["apiVersion"] == version
        assert each["metadata"]["name"]
        assert required <= each["spec"].keys() <= required | optional


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_pods_are_confined_and_may_stop_in_order(name: str) -> None:
    spec = pod(name)["spec"]
    assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, UID)
    assert spec["enableServiceLinks"] is False
    assert spec["terminationGracePeriodSeconds"] > Settings.model_fields["shutdown_grace"].default
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"]["memory"]
    paths = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("liveness", "readiness")}
    assert paths == {"liveness": "/livez", "readiness": "/readyz"}


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_pods_write_their_file_on_a_volume_that_exists(name: str) -> None:
    given = arguments(name)
    file = given.path if name.startswith("producer") else given.to_file
    assert name.startswith("producer") or given.dedup
    spec = pod(name)["spec"]
    (mount,) = (each["name"] for each in spec["containers"][0]["volumeMounts"] if each["mountPath"] == str(file.parent))
    claims = {each["metadata"]["name"] for each in documents("volumes")}
    volumes = {each["name"]: each.get("persistentVolumeClaim", {}).get("claimName") for each in spec["volumes"]}
    if "stateful" in name:
        (template,) = document(name, "StatefulSet")["spec"]["volumeClaimTemplates"]
        assert template["metadata"]["name"] == mount
    else:
        assert volumes[mount] in claims
        assert document(name, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
        assert document(name, "Deployment")["spec"]["replicas"] == 1


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_settings_exist_and_the_login_is_in_the_secret_of_the_page(name: str) -> None:
    (container,) = pod(name)["spec"]["containers"]
    config = document("configmap", "ConfigMap")
    assert container["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
    assert config["data"].keys() | {each["name"] for each in container["env"]} <= SETTINGS
    assert "RABBITMQ_PASS" not in config["data"]
    for setting in ("heartbeat", "blocked_timeout", "queue"):
        default = Settings.model_fields[f"rabbitmq_{setting}"].default
        assert config["data"][f"RABBITMQ_{setting.upper()}"] == str(default)
    (secret, keys) = re.findall(r"create secret generic ([\w-]+) (--from-literal=.*)", PAGE)[0]
    references = [each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each]
    authentication = document("scaledobject", "TriggerAuthentication")["spec"]["secretTargetRef"]
    for reference in [*references, *authentication]:
        assert reference["name"] == secret
        assert f"--from-literal={reference['key']}=" in keys
    assert document("topology", "User")["spec"]["importCredentialsSecret"]["name"] == secret


def test_prometheus_finds_the_pods_by_the_label_of_the_release() -> None:
    service, monitor = documents("consumer-sm")
    (release,) = re.findall(r"helm install (\S+) prometheus-community/kube-prometheus-stack", PAGE)
    assert monitor["metadata"]["labels"]["release"] == release == "prometheus-operator"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (port,), (endpoint,) = service["spec"]["ports"], monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (port["name"], "/metrics")
    for name in WORKLOADS:
        template = pod(name)
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        assert port["targetPort"] in [each["name"] for each in template["spec"]["containers"][0]["ports"]]
    assert document("consumer-statefulset", "StatefulSet")["spec"]["serviceName"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == PART_OF


def test_both_autoscalers_scale_consumers_that_have_a_file_each() -> None:
    target = document("consumer-statefulset", "StatefulSet")
    for name, kind in (("hpa", "HorizontalPodAutoscaler"), ("scaledobject", "ScaledObject")):
        assert document(name, kind)["spec"]["scaleTargetRef"] == {
            "apiVersion": target["apiVersion"],
            "kind": target["kind"],
            "name": target["metadata"]["name"],
        }
    assert "replicas" not in target["spec"]  # applying it again must not undo what they did


def test_keda_counts_all_messages_of_the_queue_over_http() -> None:
    (trigger,) = document("scaledobject", "ScaledObject")["spec"]["triggers"]
    config = document("configmap", "ConfigMap")["data"]
    metadata = trigger["metadata"]
    assert (trigger["type"], metadata["protocol"], metadata["mode"]) == ("rabbitmq", "http", "QueueLength")
    assert metadata["host"].startswith(f"http://{config['RABBITMQ_HOST']}.")
    assert (metadata["queueName"], metadata["vhostName"]) == (config["RABBITMQ_QUEUE"], config["RABBITMQ_VHOST"])
    assert all(isinstance(value, str) for value in metadata.values())
    assert document("topology", "User")["spec"]["tags"] == ["management"]


def test_the_topology_is_in_the_cluster_and_the_virtual_host_of_the_settings() -> None:
    config = document("configmap", "ConfigMap")["data"]
    cluster = document("rabbitmq-cluster", "RabbitmqCluster")["metadata"]["name"]
    assert cluster == document("rabbitmq-official-image", "Service")["metadata"]["name"] == config["RABBITMQ_HOST"]
    for each in [*documents("topology"), *documents("retention")]:
        assert each["spec"]["rabbitmqClusterReference"] == {"name": cluster}
        assert each["spec"].get("vhost", config["RABBITMQ_VHOST"]) == config["RABBITMQ_VHOST"]


def test_the_page_names_every_file_and_no_others() -> None:
    applied = set(re.findall(r"([\w-]+\.ya?ml)\b(?!/)", PAGE)) - {"cluster-operator.yml", "cert-manager.yaml"}
    applied -= {"messaging-topology-operator-with-certmanager.yaml"}
    assert applied == {path.name for path in EXAMPLE.glob("*.y*ml")}


def test_the_compose_file_is_valid_confined_and_stops_in_order() -> None:
    path = EXAMPLE / "docker-compose.yml"
    subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path], check=True
    )
    services = yaml.safe_load(path.read_text())["services"]
    for name in ("relay", "consume"):
        service = services[name]
        assert service["environment"].keys() <= SETTINGS
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert float(service["stop_grace_period"].removesuffix("s")) > Settings.model_fields["shutdown_grace"].default
        _parser().parse_args(service["command"])
    assert all(port.startswith("127.0.0.1:") for port in services["rabbitmq"]["ports"])
