"""deploy/examples/sender: its manifests are valid, and consistent with the settings and the image."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from peekaping_producer.settings import Settings
from tests.kit import manifests

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "examples" / "sender"
MANIFESTS = sorted(FOLDER.rglob("*.yaml"))
SETTINGS = {name.upper(): field for name, field in Settings.model_fields.items()}
CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
Document = dict[str, Any]


def documents(name: str) -> list[Document]:
    return [document for document in yaml.safe_load_all((FOLDER / name).read_text()) if document]


def pods() -> list[Document]:
    """The pod specs that run the sender's image."""
    (cronjob,), (deployment, _) = documents("cronjob.yaml"), documents("api-service.yaml")
    return [cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"], deployment["spec"]["template"]["spec"]]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_valid_to_kubernetes(path: Path) -> None:
    found = list(yaml.safe_load_all(path.read_text()))
    assert found
    for document in found:
        manifests.validate(document)


def test_labels_select_the_cronjob_its_jobs_and_their_pods() -> None:
    (cronjob,) = documents("cronjob.yaml")
    assert cronjob["metadata"]["name"] == "producer-cronjob"
    job = cronjob["spec"]["jobTemplate"]
    for labeled in (cronjob, job, job["spec"]["template"]):
        assert labeled["metadata"]["labels"] == {"app": "producer-cronjob"}


def test_the_schedule_has_three_others_as_comments() -> None:
    (cronjob,) = documents("cronjob.yaml")
    schedules = re.findall(r'^ +# schedule: "(.+?)"', (FOLDER / "cronjob.yaml").read_text(), re.MULTILINE)
    assert cronjob["spec"]["schedule"] == "*/5 * * * *"
    assert schedules == ["0 * * * *", "0 2 * * *", "0 2 * * 0"]
    for schedule in schedules:  # each replaces the first
        text = (FOLDER / "cronjob.yaml").read_text().replace('schedule: "*/5 * * * *"', f'schedule: "{schedule}"')
        manifests.validate(yaml.safe_load(text))


def test_runs_do_not_overlap_and_have_time_for_every_attempt() -> None:
    (cronjob,) = documents("cronjob.yaml")
    spec = cronjob["spec"]
    attempts, delay_s, timeout_s = (
        SETTINGS[name].default for name in ("SEND_ATTEMPTS", "SEND_RETRY_DELAY", "SEND_TIMEOUT")
    )
    assert spec["concurrencyPolicy"] == "Forbid"
    assert attempts * timeout_s + (attempts - 1) * delay_s < spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 300
    assert pods()[0]["restartPolicy"] == "OnFailure"


def test_every_pod_is_confined_and_has_limits() -> None:
    for pod in pods():
        assert (pod["securityContext"]["runAsNonRoot"], pod["enableServiceLinks"]) == (True, False)
        for container in pod["containers"]:
            assert container["securityContext"] == CONFINED
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}
            assert container["imagePullPolicy"] == "IfNotPresent"  # an image that was loaded, not pulled


def test_the_environment_has_settings_that_exist_and_secrets_by_reference() -> None:
    sender, api = ({each["name"]: each for each in pod["containers"][0]["env"]} for pod in pods())
    assert (sender.keys() | api.keys()) <= SETTINGS.keys()
    assert sender["API_URL"]["value"] == "http://api-service:3000"
    assert sender["ENVIRONMENT"]["value"] == "prod"
    reference = sender["GITHUB_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert (reference["name"], reference["key"], reference["optional"]) == ("github-token", "token", True)
    (secret,) = documents("secret/github-token.yaml")
    assert (secret["metadata"]["name"], list(secret["stringData"])) == ("github-token", ["token"])
    assert not list(FOLDER.glob("*secret*.yaml"))  # applying the folder must not replace a real token


def test_the_api_answers_at_the_address_of_the_sender() -> None:
    deployment, service = documents("api-service.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (port,) = service["spec"]["ports"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    assert (service["metadata"]["name"], port["port"]) == ("api-service", 3000)
    assert {each["name"]: each["containerPort"] for each in container["ports"]}[port["targetPort"]] == 3000
    assert (env["PORT"], env["API_HOST"], container["args"]) == ("3000", "0.0.0.0", ["serve"])
    assert container["readinessProbe"]["httpGet"]["path"] == "/health"
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"] == {"app": "api-service"}


def test_the_broker_of_the_api_has_the_login_of_the_secret() -> None:
    secret, deployment, service = documents("rabbitmq.yaml")
    assert secret["metadata"]["name"] == service["metadata"]["name"] == "rabbitmq"
    for pod in (pods()[1], deployment["spec"]["template"]["spec"]):
        references = [each["valueFrom"]["secretKeyRef"] for each in pod["containers"][0]["env"] if "valueFrom" in each]
        assert {(each["name"], each["key"]) for each in references} == {
            ("rabbitmq", name) for name in secret["stringData"]
        }


def test_the_image_sends_unless_told_otherwise() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    assert json.loads(re.findall(r"^CMD (.*)$", text, re.MULTILINE)[0]) == ["send"]
    assert "ENTRYPOINT" not in text
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [hadolint, "--failure-threshold", "info", FOLDER / "Dockerfile"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_page_names_every_file() -> None:
    page = (ROOT / "docs" / "sender.md").read_text()
    for path in FOLDER.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.name not in ("Dockerfile", ".dockerignore"):
            assert str(path.relative_to(FOLDER)) in page, path
