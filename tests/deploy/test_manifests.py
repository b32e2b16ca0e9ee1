"""The container files: they start what there is, with settings that there are, and probe what is served.

Their own linters (docs/deployment.md) know formats; these tests know Mandate. No container engine is needed.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from typer.main import get_command

from deploy.cli import app
from deploy.local import jars
from deploy.settings import CONFIG_VARIABLE, PREFIX, Settings
from streams.metrics.control import REGISTRY
from streams.slots import take_slot

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
PARTS = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())["resources"]
OBJECTS = [found for part in PARTS for found in yaml.safe_load_all((DEPLOY / "kubernetes" / part).read_text())]
CONTAINERFILE = (DEPLOY / "container" / "Containerfile").read_text()
IMAGE = "mandate:" + tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]["version"]
OURS = {name: service for name, service in COMPOSE.items() if service["image"].startswith("mandate:")}
PODS = {
    found["metadata"]["name"]: found["spec"]["template"] for found in OBJECTS if "template" in found.get("spec", {})
}
CONFIG = next(found["data"] for found in OBJECTS if found["kind"] == "ConfigMap")
VARIABLES = {PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_VARIABLE}
RUNNING = ["mandate-worker", "mandate-intake", "mandate-sink-crm", "mandate-sink-audit"]


def find(kind: str, name: str) -> dict[str, Any]:
    """One object of the Kubernetes base."""
    return next(found for found in OBJECTS if (found["kind"], found["metadata"]["name"]) == (kind, name))


def container(pod: str) -> dict[str, Any]:
    """A pod's one container."""
    (only,) = PODS[pod]["spec"]["containers"]
    return dict(only)


def environment(pod: str) -> dict[str, str]:
    """What a pod's process is told."""
    return CONFIG | {row["name"]: row["value"] for row in container(pod).get("env", [])}


def is_command(words: list[str]) -> bool:
    """Whether the words name a command of `mandate` that can be run."""
    command: Any = get_command(app)
    for word in words:
        command = getattr(command, "commands", {}).get(word)
    return command is not None and not hasattr(command, "commands")


def mounted_at(path: str, mounts: list[str]) -> list[str]:
    """The mounts in which a path lies."""
    return [mount for mount in mounts if Path(path).is_relative_to(mount)]


def keeps_its_id(path: str, own: list[str]) -> bool:
    """Whether a worker's state directory, which holds its id, lies in a volume that is this worker's alone."""
    return bool(mounted_at(path, own))


def test_every_part_of_the_base_is_listed_and_named_once() -> None:
    files = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")}
    assert files == {*PARTS, "kustomization.yaml"}
    names = [(found["kind"], found["metadata"]["name"]) for found in OBJECTS]
    assert len(names) == len(set(names))


def test_the_processes_are_those_of_the_systemd_units() -> None:
    units = {path.stem.rstrip("@") for path in (DEPLOY / "systemd").iterdir()}
    assert set(PODS) == units | {"mandate-setup"}
    assert {f"mandate-{name.removesuffix('-1').removesuffix('-2')}" for name in OURS} == set(PODS)


def test_every_image_is_pinned_and_ours_is_this_version() -> None:
    assert {container(pod)["image"] for pod in PODS} == {service["image"] for service in OURS.values()} == {IMAGE}
    assert f'image.version="{IMAGE.split(":")[1]}"' in CONTAINERFILE
    assert f"-t {IMAGE} " in CONTAINERFILE


def test_broker_and_registry_are_the_versions_that_the_tests_run_on() -> None:
    kafka = {service["image"] for name, service in COMPOSE.items() if name.startswith("kafka-")}
    assert kafka == {"apache/kafka:" + jars.KAFKA.split(":")[2]}
    assert COMPOSE["registry"]["image"].split(":")[1] in str(jars.REGISTRY)


@pytest.mark.parametrize("name", OURS)
def test_a_compose_service_starts_a_command_that_there_is_with_settings_that_there_are(name: str) -> None:
    assert is_command(OURS[name]["command"])
    assert set(OURS[name]["environment"]) <= VARIABLES


@pytest.mark.parametrize("name", PODS)
def test_a_pod_starts_a_command_that_there_is_with_settings_that_there_are(name: str) -> None:
    assert is_command(container(name)["args"])
    assert set(environment(name)) <= VARIABLES


@pytest.mark.parametrize("words", [["wroker"], ["sink"], ["sink", "crm", "audit"], []])
def test_what_is_no_command_is_refused(words: list[str]) -> None:
    assert not is_command(words)


def values(told: dict[str, str]) -> Settings:
    """The settings that a process makes of its variables; paths of the image are not looked up."""
    plain = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in told.items()
        if name != CONFIG_VARIABLE and not name.endswith("_CA_LOCATION")
    }
    return Settings.model_validate(plain | {"kafka_sasl_username": "u", "kafka_sasl_password": "p"})


@pytest.mark.parametrize("told", [*(OURS[name]["environment"] for name in OURS), *map(environment, PODS)])
def test_the_settings_fit_each_other(told: dict[str, str]) -> None:
    settings = values(told)
    assert not settings.is_local
    assert settings.replication_factor == 3


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="belong together"):
        values({"MANDATE_KAFKA_BOOTSTRAP": "kafka:9092"})


def test_ports_of_metrics_probes_and_scrapes_agree() -> None:
    port = int(CONFIG["MANDATE_METRICS_PORT"])
    for name in RUNNING:
        pod, process = PODS[name], container(name)
        assert process["ports"] == [{"name": "metrics", "containerPort": port}]
        assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(port)
        assert process["livenessProbe"]["httpGet"] == {"path": "/metrics", "port": "metrics"}
    assert find("NetworkPolicy", "mandate")["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port}]
    assert f"127.0.0.1:{port}/metrics" in probes("kubernetes")[-1]
    for name, service in OURS.items():
        if name != "setup":
            assert (
                f"127.0.0.1:{service['environment']['MANDATE_METRICS_PORT']}/metrics"
                in service["healthcheck"]["test"][-1]
            )


def test_what_compose_publishes_is_on_loopback_and_clashes_with_nothing() -> None:
    published = [port for service in COMPOSE.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert len({port.split(":")[1] for port in published}) == len(published)


def test_each_worker_keeps_its_state_and_its_id_in_a_volume_of_its_own() -> None:
    worker = find("StatefulSet", "mandate-worker")["spec"]
    (claim,) = worker["volumeClaimTemplates"]
    mounts = container("mandate-worker")["volumeMounts"]
    own = [mount["mountPath"] for mount in mounts if mount["name"] == claim["metadata"]["name"]]
    assert keeps_its_id(environment("mandate-worker")["MANDATE_STATE_DIR"], own)
    assert worker["replicas"] <= int(CONFIG["MANDATE_PARTITIONS"])
    used = []
    for service in (COMPOSE["worker-1"], COMPOSE["worker-2"]):
        (volume,) = service["volumes"]
        used.append(volume.split(":")[0])
        assert keeps_its_id(service["environment"]["MANDATE_STATE_DIR"], [volume.split(":")[1]])
    assert len(set(used)) == 2


def test_a_state_directory_outside_its_volume_is_refused() -> None:
    assert not keeps_its_id("/var/lib/mandate/state", ["/var/lib/mandate/states", "/tmp"])
    assert not keeps_its_id("/var/lib/mandate/state", [])


def test_a_worker_on_the_same_volume_is_the_same_member(tmp_path: Path) -> None:
    first = take_slot(tmp_path, tmp_path / "claim-0" / "worker")
    first.release()
    again = take_slot(tmp_path, tmp_path / "claim-0" / "worker")
    other = take_slot(tmp_path, tmp_path / "claim-1" / "worker")
    assert again.instance == first.instance != other.instance
    again.release()
    other.release()


@pytest.mark.parametrize("name", PODS)
def test_a_pod_may_write_only_where_it_must_and_is_nobody(name: str) -> None:
    pod, process = PODS[name]["spec"], container(name)
    uid = pod["securityContext"]["runAsUser"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert f"USER {uid}:{uid}" in CONTAINERFILE
    assert process["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert pod["enableServiceLinks"] is pod["automountServiceAccountToken"] is False
    assert {"requests", "limits"} == set(process["resources"])
    given = {volume["name"] for volume in pod["volumes"]}
    claims = {"state"} if name == "mandate-worker" else set()
    assert {mount["name"] for mount in process["volumeMounts"]} == given | claims


def test_private_keys_go_to_those_who_sign_and_to_nobody_else() -> None:
    with_keys = {name for name in PODS if "mandate-keys" in str(PODS[name]["spec"]["volumes"])}
    assert with_keys == {"mandate-worker"}
    given = {name: OURS[name]["secrets"] for name in OURS if OURS[name].get("secrets")}
    assert given == {"worker-1": ["signing.pem"], "worker-2": ["signing.pem"], "setup": ["approver.pem"]}
    paths = environment("mandate-worker")
    assert "MANDATE_APPROVER_KEY_PATH" not in paths
    for variable in ("MANDATE_SIGNING_KEY_PATH", "MANDATE_APPROVERS_PATH"):
        assert mounted_at(
            paths[variable], [mount["mountPath"] for mount in container("mandate-worker")["volumeMounts"]]
        )


def test_what_has_to_exist_before_is_in_the_docs() -> None:
    text = (DEPLOY.parent / "docs" / "deployment.md").read_text()
    made = {found["metadata"]["name"] for found in OBJECTS} | {"state"}
    wanted = {
        source[key]
        for pod in PODS.values()
        for volume in pod["spec"]["volumes"]
        for kind, key in (("secret", "secretName"), ("configMap", "name"))
        if (source := volume.get(kind)) and source[key] not in made
    }
    assert wanted == {"mandate-settings", "mandate-ca", "mandate-keys", "mandate-public-keys"}
    assert all(f" {name} " in text for name in wanted)


def test_a_drain_takes_one_at_a_time() -> None:
    for name in ("mandate-worker", "mandate-intake"):
        budget = find("PodDisruptionBudget", name)["spec"]
        assert budget["maxUnavailable"] == 1
        assert budget["selector"]["matchLabels"].items() <= PODS[name]["metadata"]["labels"].items()


def probes(where: str) -> list[str]:
    """The command of a worker's readiness."""
    if where == "compose":
        return list(COMPOSE["worker-1"]["healthcheck"]["test"][1:])
    return list(container("mandate-worker")["readinessProbe"]["exec"]["command"])


class Served(BaseHTTPRequestHandler):
    """Answers with the server's `text`."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(getattr(self.server, "text", "").encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Served) as found:
        Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_a_worker_is_ready_once_its_state_is_restored(where: str, server: HTTPServer) -> None:
    assert "mandate_recovery_done" in {metric.name for metric in REGISTRY.collect()}
    _, *words = probes(where)
    here = [word.replace(":9400/", f":{server.server_port}/") for word in words]
    seen = []
    for text in ("mandate_recovery_done 1.0\n", "mandate_recovery_done 0.0\n", "# HELP mandate_recovery_done 1.0\n"):
        server.text = text  # type: ignore[attr-defined]
        seen.append(subprocess.run([sys.executable, *here], capture_output=True, timeout=60).returncode)
    assert seen == [0, 1, 1]
    nobody = [word.replace(":9400/", ":1/") for word in words]
    assert subprocess.run([sys.executable, *nobody], capture_output=True, timeout=60).returncode == 1
