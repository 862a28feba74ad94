"""The files of `deploy/`, the image and the compose file: what can be known of them without a container engine."""

from __future__ import annotations

import configparser
import ctypes
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from ecross_server.settings import Settings, variable

if TYPE_CHECKING:
    from processes import StartServer

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
METRICS: Final[dict[str, set[str]]] = {
    "ecross_token_requests_total": {"outcome"},
    "ecross_token_request_duration_seconds": set(),
    "ecross_http_requests_total": {"route", "method", "status"},
    "ecross_http_request_duration_seconds": {"route"},
    "ecross_token_limited_total": {"policy"},
    "ecross_limits_overshoot_total": set(),
    "ecross_limits_store_up": set(),
    "ecross_registry_age_seconds": set(),
    "ecross_registry_clients": set(),
    "ecross_audit_backlog_records": set(),
    "ecross_audit_written_records_total": set(),
    "ecross_audit_lost_records_total": set(),
    "ecross_log_lines_lost_total": set(),
    "ecross_jobs_due": set(),
    "ecross_jobs_dead": set(),
    "ecross_jobs_oldest_seconds": set(),
    "ecross_jobs_runs_total": {"kind", "outcome"},
    "ecross_workers": set(),
    "ecross_worker_restarts_total": set(),
    "ecross_build_info": {"version"},
}
"""Every metric of the server, with its labels."""
HISTOGRAMS: Final = {"ecross_token_request_duration_seconds", "ecross_http_request_duration_seconds"}
SECRET_NAME: Final = re.compile(r"PASSWORD|SECRET|TOKEN|PEPPER|PRIVATE|CREDENTIAL", re.IGNORECASE)
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def faults_of_expression(expression: str) -> list[str]:
    """Metrics, labels and suffixes of a query that the server does not have."""
    found = []
    for name in re.findall(r"\becross_\w+", expression):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        if (base if base in HISTOGRAMS else name) not in METRICS or (name in HISTOGRAMS):
            found.append(name)
    known = {"instance", "job", "le"}.union(*(METRICS.get(re.sub(r"_bucket$", "", n), set()) for n in
        re.findall(r"\becross_\w+", expression)))  # fmt: skip
    named = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    grouped = [label.strip() for group in re.findall(r"\bby\s*\(([^)]*)\)", expression) for label in group.split(",")]
    found += [label for label in named + grouped if label not in known]
    if expression.count("(") != expression.count(")") or expression.count("{") != expression.count("}"):
        found.append("parentheses")
    if not found and not re.search(r"\becross_", expression):
        found.append("no metric")
    return found


DASHBOARD: Final = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
EXPRESSIONS: Final = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
RULES: Final = [rule for group in load(DEPLOY / "alerts.yaml")["groups"] for rule in group["rules"]]


class TestMonitoring:
    def test_every_query_asks_for_metrics_and_labels_that_there_are(self) -> None:
        for expression in [*EXPRESSIONS, *(rule["expr"] for rule in RULES)]:
            assert faults_of_expression(expression) == [], expression

    def test_every_metric_has_a_place_on_the_dashboard(self) -> None:
        shown = " ".join(EXPRESSIONS)
        assert [name for name in METRICS if not re.search(rf"\b{name}(_bucket)?\b", shown)] == []

    @pytest.mark.parametrize(
        "expression",
        ["sum(ecross_tokens_total)", "sum by (client) (ecross_workers)",
         'ecross_workers{route="x"}', "sum(ecross_workers", "up",
         "ecross_token_request_duration_seconds", "ecross_workers_bucket"],
    )  # fmt: skip
    def test_a_wrong_query_is_found(self, expression: str) -> None:
        assert faults_of_expression(expression)

    def test_panels_neither_overlap_nor_repeat(self) -> None:
        panels = DASHBOARD["panels"]
        assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
        cells = [
            (x, y)
            for at in (panel["gridPos"] for panel in panels)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24

    def test_every_alert_says_what_is_wrong_and_how_bad(self) -> None:
        assert len({rule["alert"] for rule in RULES}) == len(RULES)
        for rule in RULES:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            assert rule["labels"]["severity"] in {"critical", "warning", "info"}
            assert set(rule["annotations"]) == {"summary", "description"}
            assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))

    @pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not there")
    def test_promtool_accepts_the_alerts(self) -> None:
        subprocess.run(["promtool", "check", "rules", str(DEPLOY / "alerts.yaml")], check=True, capture_output=True)


def faults_of_image(name: str) -> list[str]:
    """What an image's name must not be."""
    host, slash, _ = name.partition("/")
    tag = name.rpartition(":")[2] if ":" in name else ""
    return [
        *(["names a registry"] if slash and (re.search(r"[.:]", host) or host == "localhost") else []),
        *([] if tag and tag != "latest" and re.search(r"\d", tag) else ["is not fixed by a tag"]),
    ]


def instructions(text: str) -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name.upper(), rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def faults_of_dockerfile(text: str) -> list[str]:
    """What an image must not be."""
    listed = instructions(text)
    found = [f"FROM {fault}" for name, rest in listed if name == "FROM" for fault in faults_of_image(rest.split()[0])]
    users = [rest for name, rest in listed if name == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        found.append("no fixed user without privileges")
    found += ["ADD" for name, _ in listed if name == "ADD"]
    found += [f"{name} holds a secret" for name, rest in listed if name in {"ARG", "ENV"} and SECRET_NAME.search(rest)]
    found += ["an address" for _, rest in listed if re.search(r"https?://(?!127\.0\.0\.1)", rest)]
    found += [
        "no hashes" for name, rest in listed if name == "RUN" and " -r " in rest and "--require-hashes" not in rest
    ]
    found += ["sudo" for name, rest in listed if name == "RUN" and re.search(r"\bsudo\b|chmod 777", rest)]
    if not any(name == "HEALTHCHECK" and "/health/live" in rest for name, rest in listed):
        found.append("no health check")
    last = max((n for n, (name, _) in enumerate(listed) if name == "FROM"), default=0)
    found += ["copies everything" for name, rest in listed[last:] if name == "COPY" and "--from" not in rest]
    return found


class TestImage:
    text = (ROOT / "Dockerfile").read_text()

    def test_it_has_no_privileges_no_secrets_and_a_health_check(self) -> None:
        assert faults_of_dockerfile(self.text) == []

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("python:3.13-slim-bookworm AS", "python AS"),
            ("python:3.13-slim-bookworm AS", "python:latest AS"),
            ("python:3.13-slim-bookworm AS", "registry.example.com/python:3.13 AS"),
            ("USER 10001:10001", "USER root"),
            ("USER 10001:10001", ""),
            ("USER 10001:10001", "USER 0:0"),
            ("--require-hashes", ""),
            ("EXPOSE 8000", "ENV DATABASE_PASSWORD=x"),
            ("EXPOSE 8000", "ADD https://example.com/x /x"),
            ("EXPOSE 8000", "COPY . ."),
            ("/health/live", "/"),
        ],
    )
    def test_what_it_must_not_be_is_found(self, old: str, new: str) -> None:
        assert old in self.text
        assert faults_of_dockerfile(self.text.replace(old, new))

    def test_its_settings_exist(self) -> None:
        known = set(map(variable, Settings.model_fields))
        assert set(re.findall(r"ECROSS_SERVER_[A-Z_]+", self.text)) <= known

    def test_what_is_copied_is_there_and_reaches_the_builder(self) -> None:
        allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
        assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
        assert all((ROOT / path).exists() for path in allowed)
        sources = [rest.split()[0] for name, rest in instructions(self.text) if name == "COPY" and "--from" not in rest]
        for source in sources:
            assert any(path == source or path.startswith(f"{source}/") for path in allowed), source

    def test_its_health_check_tells_a_server_from_none(self, start_server: StartServer) -> None:
        check = next(rest for name, rest in instructions(self.text) if name == "HEALTHCHECK")
        _, option, code = json.loads(check[check.index("[") :])
        server = start_server()
        here = code.replace("http://127.0.0.1:8000", server.url)
        assert here != code
        assert subprocess.run([sys.executable, option, here], check=False).returncode == 0
        server.stop()
        assert subprocess.run([sys.executable, option, here], check=False, capture_output=True).returncode == 1


def faults_of_compose(content: dict[str, Any]) -> list[str]:
    """What services must not be."""
    found = []
    for name, service in content["services"].items():
        wanted = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
        found += [f"{name}: {key}" for key, value in wanted.items() if service.get(key) != value]
        found += [f"{name}: {fault}" for fault in faults_of_image(service["image"])]
        if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", str(service.get("user", ""))):
            found.append(f"{name}: user")
        found += [f"{name}: {key}" for key in ("privileged", "cap_add", "network_mode", "pid", "ipc") if key in service]
        found += [f"{name}: {port}" for port in service.get("ports", []) if not str(port).startswith("127.0.0.1:")]
        found += [f"{name}: {volume}" for volume in service.get("volumes", []) if "docker.sock" in volume]
        for key, value in service.get("environment", {}).items():
            if SECRET_NAME.search(key) and not (key.endswith("_FILE") and str(value).startswith("/run/secrets/")):
                found.append(f"{name}: {key} holds a secret")
            if re.search(r"://[^/\s]*:[^/\s]*@", str(value)):
                found.append(f"{name}: {key} holds a password")
        found += [f"{name}: secret {each}" for each in service.get("secrets", []) if each not in content["secrets"]]
        found += [f"{name}: {each}" for each in service.get("depends_on", {}) if each not in content["services"]]
        networks = service.get("networks", [])
        found += [f"{name}: network {each}" for each in networks if each not in content["networks"]]
        volumes = [each.partition(":")[0] for each in service.get("volumes", [])]
        found += [f"{name}: volume {each}" for each in volumes if each not in content["volumes"]]
    found += [f"secret {name}" for name, each in content["secrets"].items() if set(each) != {"file"}]
    return found


class TestCompose:
    content = load(ROOT / "compose.yaml")

    def test_nothing_has_privileges_and_no_secret_stands_in_it(self) -> None:
        assert faults_of_compose(self.content) == []

    @pytest.mark.parametrize(
        "change",
        [
            {"image": "postgres"}, {"image": "postgres:latest"}, {"image": "ghcr.example/postgres:17"},
            {"privileged": True}, {"read_only": False}, {"user": "root"}, {"user": "0:0"}, {"cap_add": ["SYS_ADMIN"]},
            {"cap_drop": []}, {"security_opt": []}, {"network_mode": "host"}, {"ports": ["5432:5432"]},
            {"environment": {"POSTGRES_PASSWORD": "x"}}, {"environment": {"URL": "postgresql://a:b@c/d"}},
            {"secrets": ["unknown"]}, {"depends_on": {"unknown": {}}}, {"networks": ["unknown"]},
            {"volumes": ["unknown:/x"]},
        ],
    )  # fmt: skip
    def test_what_a_service_must_not_be_is_found(self, change: dict[str, Any]) -> None:
        database = self.content["services"]["database"] | change
        assert faults_of_compose({**self.content, "services": {**self.content["services"], "database": database}})

    def test_a_secret_that_is_no_file_is_found(self) -> None:
        assert faults_of_compose({**self.content, "secrets": {**self.content["secrets"], "x": {"environment": "X"}}})

    def test_two_servers_stand_behind_a_proxy_that_they_believe(self) -> None:
        services = self.content["services"]
        address = services["proxy"]["networks"]["front"]["ipv4_address"]
        replicas = [service for service in services.values() if service["image"].startswith("ecross-server:")]
        assert len(replicas) == 3, "two, and the one that migrates"
        for service in replicas:
            assert service["environment"]["ECROSS_SERVER_TRUSTED_PROXIES"] == address
            known = {variable(name) for name in Settings.model_fields} | {"ECROSS_SERVER_CONFIG"}
            assert set(service["environment"]) <= known
            assert "ports" not in service
        proxy = (DEPLOY / "nginx.conf").read_text()
        assert {"server-1", "server-2"} <= services.keys()
        for line in ("server server-1:8000;", "server server-2:8000;", "$proxy_add_x_forwarded_for;"):
            assert line in proxy
        assert proxy.count("{") == proxy.count("}")

    def test_servers_start_after_the_migration_and_the_proxy_after_both(self) -> None:
        services = self.content["services"]
        for name in ("server-1", "server-2"):
            assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
            assert services["proxy"]["depends_on"][name]["condition"] == "service_healthy"
        for name in ("database", "valkey", "proxy"):
            assert services[name]["healthcheck"]["test"][0] == "CMD"

    def test_the_image_is_the_one_of_this_version(self) -> None:
        version = re.search(r'^version = "(.+)"$', (ROOT / "packages/server/pyproject.toml").read_text(), re.MULTILINE)
        assert version is not None
        assert self.content["x-server"]["image"] == f"ecross-server:{version[1]}"

    def test_its_secrets_are_never_committed(self) -> None:
        for secret in self.content["secrets"].values():
            ended = subprocess.run(["git", "check-ignore", "--quiet", secret["file"]], cwd=ROOT, check=False)
            assert ended.returncode == 0 or not (ROOT / ".git").exists()


class TestUnit:
    path = DEPLOY / "ecross-server.service"

    def options(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in self.path.read_text().splitlines():
            if not line.startswith(("#", "[")) and line:
                name, _, value = line.partition("=")
                found.setdefault(name, []).append(value)
        return found

    def test_it_can_be_parsed_and_has_no_privileges(self) -> None:
        parser = configparser.RawConfigParser(strict=False, interpolation=None)
        parser.read(self.path)
        assert parser.sections() == ["Unit", "Service", "Install"]
        options = self.options()
        for name in (
            "NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "MemoryDenyWriteExecute",
            "ProtectControlGroups", "ProtectKernelModules", "RestrictNamespaces", "LockPersonality",
        ):  # fmt: skip
            assert options[name] == ["yes"]
        assert (options["ProtectSystem"], options["CapabilityBoundingSet"]) == (["strict"], [""])
        assert options["User"] == ["ecross"]
        assert options["KillMode"] == ["mixed"]
        assert options["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
        assert int(options["TimeoutStopSec"][0]) > 20
        assert int(options["LimitNOFILE"][0]) >= 65536
        assert options["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]

    def test_its_settings_exist(self) -> None:
        known = {variable(name) for name in Settings.model_fields} | {"ECROSS_SERVER_CONFIG"}
        assert set(re.findall(r"ECROSS_SERVER_[A-Z_]+", self.path.read_text())) <= known

    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not there")
    def test_systemd_accepts_it(self, tmp_path: Path) -> None:
        ours = str(Path(sys.executable).with_name("ecross-server"))
        unit = tmp_path / self.path.name
        unit.write_text(self.path.read_text().replace("/opt/ecross/bin/ecross-server", ours))
        ended = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        complaints = [line for line in ended.stderr.splitlines() if self.path.name in line]
        assert complaints == []
        wrong = unit.read_text().replace("KillMode=mixed", "KillMode=gently")
        unit.write_text(wrong)
        ended = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert "kill mode" in ended.stderr, "it finds nothing at all"

    def test_the_server_serves_without_memory_that_is_written_and_executed(self, start_server: StartServer) -> None:
        """`MemoryDenyWriteExecute`, as the kernel itself offers it."""
        libc = ctypes.CDLL(None)

        def deny() -> None:
            if libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
                raise OSError("not offered")

        try:
            subprocess.run(["true"], preexec_fn=deny, check=True)
        except subprocess.SubprocessError:
            pytest.skip("the kernel does not offer it")
        server = start_server("--demo", "--workers", "2", preexec_fn=deny)
        credentials = json.loads((server.data_dir / "demo-credentials.json").read_text())
        token = server.token(credentials).json()["token"]
        assert server.skus(token).status_code == 200
