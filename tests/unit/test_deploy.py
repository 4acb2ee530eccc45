"""The image, the Compose file and the Kubernetes manifests: valid, confined, and consistent with the settings."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from peekaping_producer.operations import probe
from peekaping_producer.settings import Settings
from tests.kit import manifests

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
COMPOSE = ROOT / "docker-compose.yml"
KUBERNETES = ROOT / "deploy" / "kubernetes"
OWN_DATABASE = ROOT / "deploy" / "kubernetes-own-database"
MANIFESTS = sorted(path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml")
BIN = Path(sys.executable).parent
UID = 10001
METRICS_ADDR = "0.0.0.0:9464"
SETTINGS = {name.upper() for name in Settings.model_fields}
Document = dict[str, Any]


def run(*argv: str | Path) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def default(name: str) -> float:
    return float(Settings.model_fields[name].default)


def seconds(duration: str) -> float:
    match = re.fullmatch(r"(\d+)s", duration)
    assert match, duration
    return float(match[1])


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, in order; a continued line is one."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def last_stage() -> dict[str, str]:
    """The last stage's instructions by name."""
    every = instructions()
    start = max(index for index, (word, _) in enumerate(every) if word == "FROM")
    return dict(every[start:])


def compose() -> Document:
    document: Document = yaml.safe_load(COMPOSE.read_text())
    return document


def manifest(kind: str) -> Document:
    (found,) = (document for path in MANIFESTS if (document := yaml.safe_load(path.read_text()))["kind"] == kind)
    return found  # type: ignore[no-any-return]


def test_hadolint_accepts_the_dockerfile() -> None:
    run(BIN / "hadolint", "--failure-threshold", "info", DOCKERFILE)
    run(BIN / "hadolint", "--failure-threshold", "info", ROOT / "peekaping_producer/template/project/Dockerfile")


def test_shellcheck_accepts_the_scripts() -> None:
    scripts = [path for path in ROOT.rglob("*.sh") if not path.relative_to(ROOT).parts[0].startswith(".")]
    assert len(scripts) >= 6
    run(BIN / "shellcheck", ROOT / ".ci" / "run", *scripts)
    assert all(os.access(script, os.X_OK) for script in scripts)


def test_the_image_runs_without_root_and_receives_signals() -> None:
    stage = last_stage()
    assert stage["USER"] == f"{UID}:{UID}"
    assert json.loads(stage["ENTRYPOINT"]) == ["peekaping-producer"]  # exec form: SIGTERM reaches the program
    assert json.loads(stage["CMD"]) == ["run"]
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert "PYTHONUNBUFFERED=1" in stage["ENV"]


def test_the_health_check_of_the_image_runs_probe_alone() -> None:
    stage = last_stage()
    python, *options, script = json.loads(stage["HEALTHCHECK"].partition("CMD ")[2])
    assert (python, options) == ("python", ["-I", "-S"])
    assert f"site-packages/{Path(probe.__file__).relative_to(ROOT)} {script}" in DOCKERFILE.read_text()
    assert f"METRICS_ADDR={METRICS_ADDR}" in stage["ENV"].split()
    assert stage["EXPOSE"] == METRICS_ADDR.partition(":")[2]
    (timeout,) = re.findall(r"--timeout=(\S+)", stage["HEALTHCHECK"])
    assert seconds(timeout) > probe.TIMEOUT_S


def test_every_download_of_the_image_is_checked_against_its_hash() -> None:
    (steps,) = [" && ".join(rest for word, rest in instructions() if word == "RUN")]
    installs = [step for step in steps.split("&&") if " install " in step or "uv build" in step]
    assert len(installs) == 4
    assert all("--require-hashes" in step or "--no-index" in step for step in installs)


def test_base_images_have_a_tag_and_it_is_not_latest() -> None:
    images = [rest.split(" ")[0] for word, rest in instructions() if word == "FROM"]
    images += [service["image"] for service in compose()["services"].values() if "build" not in service]
    assert len(images) == 4
    assert all(re.search(r":\d", image) for image in images), images


def test_everything_the_dockerfile_copies_exists_and_is_in_the_build_context() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [pattern.removeprefix("!") for pattern in ignored if pattern.startswith("!")]
    sources = [
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert sources
    assert "*" in ignored
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) or source.startswith(pattern + "/") for pattern in allowed), source


def test_the_compose_file_follows_the_specification() -> None:
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)


def test_compose_starts_two_replicas_after_the_migration() -> None:
    services = compose()["services"]
    producer = services["producer"]
    assert producer["deploy"]["replicas"] == 2
    assert not {"container_name", "ports"} & producer.keys()  # two replicas would clash
    assert producer["depends_on"] == {
        "redis": {"condition": "service_healthy"},
        "postgres": {"condition": "service_healthy"},
        "migrate": {"condition": "service_completed_successfully"},
    }
    assert services["migrate"]["restart"] == "no"
    assert "--appendonly yes" in " ".join(services["redis"]["command"])
    for name in ("redis", "postgres", "producer"):
        assert services[name]["restart"] == "unless-stopped"
    for name in ("redis", "postgres"):
        assert services[name]["healthcheck"]["test"]
    assert "healthcheck" not in producer  # the image's own counts


def test_compose_confines_the_producer_and_lets_it_drain() -> None:
    for name in ("migrate", "producer"):
        service = compose()["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["tmpfs"] == ["/tmp"]
    assert seconds(compose()["services"]["producer"]["stop_grace_period"]) > default("shutdown_grace")


def test_compose_sets_settings_that_exist_and_no_password_of_its_own() -> None:
    environment = compose()["services"]["producer"]["environment"]
    assert environment.keys() <= SETTINGS
    assert environment["DB_PASS"].startswith("${DB_PASS:?")
    assert environment["REDIS_PASSWORD"] == "${REDIS_PASSWORD:-}"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_valid_to_kubernetes(path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text()))
    assert documents
    for document in documents:
        manifests.validate(document)


def test_kubernetes_runs_several_confined_replicas() -> None:
    deployment, budget = manifest("Deployment")["spec"], manifest("PodDisruptionBudget")["spec"]
    pod = deployment["template"]["spec"]
    assert deployment["replicas"] > budget["minAvailable"] >= 1
    assert budget["selector"]["matchLabels"] == deployment["selector"]["matchLabels"]
    assert deployment["template"]["metadata"]["labels"] == deployment["selector"]["matchLabels"]
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, UID)
    assert pod["enableServiceLinks"] is False
    for container in pod["initContainers"] + pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_kubernetes_waits_as_long_as_start_and_stop_may_take() -> None:
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    startup = container["startupProbe"]
    assert pod["terminationGracePeriodSeconds"] > default("shutdown_grace")
    assert startup["periodSeconds"] * startup["failureThreshold"] > default("startup_timeout")


def test_kubernetes_probes_the_port_that_the_settings_open() -> None:
    (container,) = manifest("Deployment")["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    paths = {probe: container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")}
    assert manifest("ConfigMap")["data"]["METRICS_ADDR"] == METRICS_ADDR
    assert METRICS_ADDR.endswith(f":{port['containerPort']}")
    assert paths == {"livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert {container[probe]["httpGet"]["port"] for probe in paths} == {port["name"]}


def test_kubernetes_sets_settings_that_exist_and_keeps_secrets_in_the_secret() -> None:
    # Applying the directory must not replace a real secret with the example.
    assert not list(KUBERNETES.glob("*secret*"))
    plain, secret = manifest("ConfigMap")["data"], manifest("Secret")["stringData"]
    (container,) = manifest("Deployment")["spec"]["template"]["spec"]["containers"]
    sources = [next(iter(source.items())) for source in container["envFrom"]]
    assert plain.keys() | secret.keys() <= SETTINGS
    assert not {"DB_PASS", "REDIS_PASSWORD", "REDIS_URL", "DATABASE_URL"} & plain.keys()
    assert sources == [
        ("configMapRef", {"name": manifest("ConfigMap")["metadata"]["name"]}),
        ("secretRef", {"name": manifest("Secret")["metadata"]["name"]}),
    ]


def has_kustomize() -> bool:
    """Whether kubectl is 1.27 or later, whose kustomize is version 5."""
    if shutil.which("kubectl") is None:
        return False
    version = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, check=False)
    return "Kustomize Version: v5" in version.stdout


def kustomization(directory: Path) -> Document:
    document: Document = yaml.safe_load((directory / "kustomization.yaml").read_text())
    return document


def test_kustomize_applies_every_manifest_and_names_the_image_in_one_place() -> None:
    assert sorted(kustomization(KUBERNETES)["resources"]) == sorted(
        str(path.relative_to(KUBERNETES)) for path in MANIFESTS if path.parent == KUBERNETES
    )
    (image,) = kustomization(KUBERNETES)["images"]
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    assert {container["image"] for container in pod["initContainers"] + pod["containers"]} == {image["name"]}


def test_kubernetes_creates_tables_in_a_database_of_its_own_only() -> None:
    deployment = manifest("Deployment")
    (first,) = deployment["spec"]["template"]["spec"]["initContainers"]
    assert first["args"] == ["migrate", "--check"]
    assert kustomization(OWN_DATABASE)["resources"] == ["../kubernetes"]
    (patch,) = kustomization(OWN_DATABASE)["patches"]
    assert patch["target"] == {"kind": "Deployment", "name": deployment["metadata"]["name"]}
    (change,) = yaml.safe_load(patch["patch"])
    *path, last = change["path"].strip("/").split("/")
    place: Any = deployment
    for step in path:
        place = place[int(step) if step.isdigit() else step]
    assert (place is first, last) == (True, "args")
    assert (change["op"], change["value"]) == ("replace", ["migrate"])


@pytest.mark.parametrize(("directory", "args"), [(KUBERNETES, ["migrate", "--check"]), (OWN_DATABASE, ["migrate"])])
def test_kubectl_builds_what_it_would_apply(directory: Path, args: list[str]) -> None:
    if not has_kustomize():
        return  # no kubectl in Debian 12 is new enough; the tests above still check the files
    built = subprocess.run(["kubectl", "kustomize", directory], capture_output=True, text=True, check=True)
    documents = list(yaml.safe_load_all(built.stdout))
    assert [each["kind"] for each in documents] == ["ConfigMap", "Deployment", "PodDisruptionBudget"]
    for document in documents:
        manifests.validate(document)
    pod = documents[1]["spec"]["template"]["spec"]
    assert pod["initContainers"][0]["args"] == args
    images = {container["image"] for container in pod["initContainers"] + pod["containers"]}
    assert images == {"peekaping-producer:latest"}
