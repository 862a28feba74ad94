"""The settings: defaults, sources, precedence, and how wrong ones are told."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from ecross_server.kit.errors import InvalidInputError
from ecross_server.settings import CONFIG_VARIABLE, Settings, load_settings, variable

PASSWORD = "topsecret"

DEFAULTS: dict[str, Any] = {
    "redis_url": None,
    "host": "127.0.0.1",
    "port": 8000,
    "workers": 1,
    "job_processes": 1,
    "services": ("auth", "product"),
    "metrics_port": 9464,
    "admin_host": "127.0.0.1",
    "admin_port": 0,
    "console_url": None,
    "admin_audience": "urn:ecross:admin",
    "admin_token_lifetime_seconds": 3600,
    "operator_session_idle_seconds": 1800,
    "operator_session_seconds": 43200,
    "issuer": "urn:ecross:auth",
    "audience": "urn:ecross:api",
    "token_lifetime_seconds": 28800,
    "token_volume_limit": "60/minute",
    "token_failure_limit": "10/minute",
    "token_address_limit": "300/minute",
    "token_global_limit": "off",
    "limits_mode": "enforce",
    "trusted_proxies": (),
    "public_url": None,
    "tls_cert_file": None,
    "tls_key_file": None,
    "issuing_approval": False,
    "audit_retention_days": 400,
    "page_size": 100,
    "log_format": "auto",
    "log_level": "info",
}

IN_THE_DATA_FOLDER = {"data_dir", "database_url", "signing_keys_file", "peppers_file"}

OTHER_VALUES: dict[str, tuple[str, Any]] = {
    "data_dir": ("/srv/ecross", Path("/srv/ecross")),
    "database_url": ("postgresql://u:p@db/ecross", "postgresql://u:p@db/ecross"),
    "redis_url": ("rediss://:p@cache:6380/1", "rediss://:p@cache:6380/1"),
    "host": ("::1", "::1"),
    "port": ("0", 0),
    "workers": ("64", 64),
    "job_processes": ("0", 0),
    "services": (" product , auth ,", ("product", "auth")),
    "metrics_port": ("0", 0),
    "admin_host": ("::1", "::1"),
    "admin_port": ("8001", 8001),
    "console_url": ("https://console.example/", "https://console.example"),
    "admin_audience": ("urn:another", "urn:another"),
    "admin_token_lifetime_seconds": ("60", 60),
    "operator_session_idle_seconds": ("86400", 86400),
    "operator_session_seconds": ("604800", 604800),
    "issuer": ("https://auth.example/é", "https://auth.example/é"),
    "audience": ("urn:other", "urn:other"),
    "token_lifetime_seconds": ("60", 60),
    "signing_keys_file": ("/run/keys.json", Path("/run/keys.json")),
    "peppers_file": ("/run/peppers.json", Path("/run/peppers.json")),
    "token_volume_limit": ("999999999/second", "999999999/second"),
    "token_failure_limit": ("1/hour", "1/hour"),
    "token_address_limit": ("off", "off"),
    "token_global_limit": ("5/day", "5/day"),
    "limits_mode": ("observe", "observe"),
    "trusted_proxies": ("10.0.0.0/8, ::1", ("10.0.0.0/8", "::1")),
    "public_url": ("https://api.example/ecross/", "https://api.example/ecross"),
    "issuing_approval": ("true", True),
    "audit_retention_days": ("0", 0),
    "page_size": ("1000", 1000),
    "log_format": ("json", "json"),
    "log_level": ("error", "error"),
}

WRONG_VALUES: dict[str, list[str]] = {
    "database_url": [
        "topsecret", "mysql://u:topsecret@h/d", "postgresql://u:topsecret@h:port/d", "sqlite://", "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true", "://", "postgres://u:topsecret@h/d",
    ],
    "redis_url": ["http://u:topsecret@h", "topsecret"],
    "port": ["-1", "65536", "http", "80.5", "topsecret"],
    "workers": ["0", "65", "topsecret"],
    "job_processes": ["-1", "65", "topsecret"],
    "services": ["auth,orders", ",", "topsecret"],
    "metrics_port": ["-1", "65536", "topsecret"],
    "admin_port": ["-1", "65536", "topsecret"],
    "console_url": ["topsecret", "ftp://topsecret", "https://u:topsecret@h"],
    "admin_audience": ["topsecret" * 30],
    "admin_token_lifetime_seconds": ["59", "86401", "topsecret"],
    "operator_session_idle_seconds": ["59", "topsecret"],
    "operator_session_seconds": ["59", "topsecret"],
    "issuer": ["topsecret" * 30],
    "audience": ["topsecret" * 30],
    "token_lifetime_seconds": ["59", "86401", "topsecret"],
    "token_volume_limit": ["0/minute", "60", "60/week", "-1/minute", "9999999999/minute", "٣/minute",
                           "60/minute/hour", "on"],
    "token_global_limit": ["topsecret"],
    "limits_mode": ["topsecret"],
    "trusted_proxies": ["10.0.0.0/33", "proxy.example", "10.0.0.1,topsecret"],
    "public_url": ["topsecret", "ftp://topsecret", "https://u:topsecret@h", "https://", "https://h:0", "https://h:x",
                   "https://h/?topsecret", "https://h/#topsecret", "https://h/ x", "https://é", "https://[h"],
    "issuing_approval": ["topsecret", "maybe"],
    "audit_retention_days": ["-1", "36501", "topsecret"],
    "page_size": ["0", "1001", "topsecret"],
    "log_format": ["topsecret"],
    "log_level": ["INFO", "topsecret"],
    "data_dir": ["~nobody-has-this-name/var"],
    "signing_keys_file": ["~nobody-has-this-name/keys.json", "/run/\udcff"],
}  # fmt: skip


def set_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(variable(name), value)


def write_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> Path:
    path = tmp_path / "server.toml"
    path.write_text(content)
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))
    return path


def shown(name: str, settings: Settings) -> Any:
    value = getattr(settings, name)
    return value.get_secret_value() if name in {"database_url", "redis_url"} and value is not None else value


def refusal() -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        load_settings()
    assert PASSWORD not in repr(caught.value.faults) + "".join(traceback.format_exception(caught.value))
    return caught.value


class TestDefaults:
    @pytest.mark.parametrize("name", DEFAULTS)
    def test_every_setting_has_the_default_of_the_interface(self, name: str) -> None:
        configuration = load_settings()
        assert getattr(configuration.settings, name) == DEFAULTS[name]
        assert configuration.source(name) == "default"

    def test_there_are_no_others(self) -> None:
        assert set(Settings.model_fields) == set(DEFAULTS) | IN_THE_DATA_FOLDER
        assert set(OTHER_VALUES) == set(Settings.model_fields) - {"tls_cert_file", "tls_key_file"}

    def test_files_without_a_value_lie_in_the_data_folder(self, tmp_path: Path) -> None:
        settings = load_settings().settings
        folder = tmp_path / "data"
        assert settings.data_dir == folder
        assert settings.signing_keys_file == folder / "signing-keys.json"
        assert settings.peppers_file == folder / "peppers.json"
        assert settings.audit_witness_file == folder / "audit-head.json"
        assert settings.demo_credentials_file == folder / "demo-credentials.json"
        assert make_url(settings.database_url.get_secret_value()).database == str(folder / "ecross.db")

    @pytest.mark.parametrize("folder", ["a?b", "a%41b", "a#b", "a b", "a@b:c;d", "ação", "a'b\"c"])
    def test_the_database_lies_there_whatever_the_folder_is_called(
        self, monkeypatch: pytest.MonkeyPatch, folder: str
    ) -> None:
        set_variable(monkeypatch, "data_dir", f"/srv/{folder}")
        url = make_url(load_settings().settings.database_url.get_secret_value())
        assert (url.database, dict(url.query)) == (f"/srv/{folder}/ecross.db", {})

    def test_the_data_folder_is_var_in_the_root_whose_environment_runs(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv(variable("data_dir"))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "prefix", str(tmp_path / "root" / ".venv"))
        assert load_settings().settings.data_dir == tmp_path / "root" / "var"
        monkeypatch.setattr(sys, "prefix", "/usr")
        assert load_settings().settings.data_dir == tmp_path / "var"

    def test_settings_cannot_be_changed(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            load_settings().settings.port = 1  # type: ignore[misc]


class TestSources:
    @pytest.mark.parametrize("name", OTHER_VALUES)
    def test_every_setting_has_its_variable(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        text, value = OTHER_VALUES[name]
        monkeypatch.setenv("ECROSS_SERVER_" + name.upper(), text)
        configuration = load_settings()
        assert shown(name, configuration.settings) == value
        assert configuration.source(name) == "environment"
        assert [other for other in Settings.model_fields if configuration.source(other) != "default"] == (
            sorted({name, "data_dir"}, key=list(Settings.model_fields).index)
        )

    @pytest.mark.parametrize("spelling", ["{0}", "ECROSS_SERVER_{0}"])
    @pytest.mark.parametrize("case", [str.upper, str.lower])
    @pytest.mark.parametrize("name", sorted(set(OTHER_VALUES) - {"data_dir"}))
    def test_every_setting_can_stand_in_the_file_in_either_spelling(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, spelling: str, case: Any
    ) -> None:
        text, value = OTHER_VALUES[name]
        write_file(tmp_path, monkeypatch, f'{case(spelling.format(name))} = "{text}"\n')
        configuration = load_settings()
        assert shown(name, configuration.settings) == value
        assert configuration.source(name) == "file"

    def test_the_file_may_use_tomls_own_types(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        write_file(tmp_path, monkeypatch, 'PORT = 81\nSERVICES = ["auth"]\nTRUSTED_PROXIES = ["10.0.0.1"]\n')
        settings = load_settings().settings
        assert (settings.port, settings.services, settings.trusted_proxies) == (81, ("auth",), ("10.0.0.1",))

    def test_options_come_before_variables_before_the_file_before_defaults(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        write_file(tmp_path, monkeypatch, "PORT = 1\nWORKERS = 2\nPAGE_SIZE = 3\n")
        set_variable(monkeypatch, "port", "10")
        set_variable(monkeypatch, "workers", "20")
        configuration = load_settings({"port": 5, "workers": None, "host": None})
        settings = configuration.settings
        assert (settings.port, settings.workers, settings.page_size, settings.host) == (5, 20, 3, "127.0.0.1")
        sources = [configuration.source(name) for name in ("port", "workers", "page_size", "host")]
        assert sources == ["option", "environment", "file", "default"]

    @pytest.mark.parametrize("name", [*sorted(Settings.model_fields), "config", "no_such_thing"])
    def test_an_empty_variable_is_an_unset_one(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        set_variable(monkeypatch, name, "")
        configuration = load_settings()
        assert configuration.source(name) == "default"
        assert configuration.settings.port == 8000

    @pytest.mark.parametrize("path", ["data_dir", "signing_keys_file", "peppers_file"])
    def test_paths_are_whole_and_know_the_home(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str
    ) -> None:
        monkeypatch.setenv("HOME", "/home/somebody")
        monkeypatch.chdir(tmp_path)
        for text, whole in (("~/x/y", Path("/home/somebody/x/y")), ("x/y", tmp_path / "x/y")):
            set_variable(monkeypatch, path, text)
            assert getattr(load_settings().settings, path) == whole

    def test_a_pair_of_tls_files_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_variable(monkeypatch, "tls_cert_file", "/tls/cert.pem")
        set_variable(monkeypatch, "tls_key_file", "/tls/key.pem")
        settings = load_settings().settings
        assert (settings.tls_cert_file, settings.tls_key_file) == (Path("/tls/cert.pem"), Path("/tls/key.pem"))


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "value"), [(name, value) for name, values in WRONG_VALUES.items() for value in values], ids=repr
    )
    def test_a_wrong_value_is_told_by_its_variable_and_never_shown(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        set_variable(monkeypatch, name, value)
        error = refusal()
        assert {fault.path for fault in error.faults} == {variable(name)}
        assert error.message.startswith(f"{variable(name)}: ")

    @pytest.mark.parametrize("value", ['""', "-1", "[]", "{}", "true", "1979-05-27", '["topsecret"]'])
    @pytest.mark.parametrize("name", ["DATABASE_URL", "SIGNING_KEYS_FILE", "SERVICES", "REDIS_URL", "TLS_KEY_FILE"])
    def test_a_wrong_value_of_the_file_likewise(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
    ) -> None:
        write_file(tmp_path, monkeypatch, f"{name} = {value}\n")
        assert {fault.path for fault in refusal().faults} == {f"ECROSS_SERVER_{name}"}

    def test_all_wrong_values_are_told_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_variable(monkeypatch, "port", "x")
        set_variable(monkeypatch, "workers", "x")
        error = refusal()
        assert [fault.path for fault in error.faults] == [variable("port"), variable("workers")]
        assert error.message.count("ECROSS_SERVER_") == 2

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("ECROSS_SERVER_TOKEN_LIFTIME_SECONDS", "; did you mean ECROSS_SERVER_TOKEN_LIFETIME_SECONDS?"),
            ("ECROSS_SERVER_DATABASE", "; did you mean ECROSS_SERVER_DATABASE_URL?"),
            ("ECROSS_SERVER_port", "; did you mean ECROSS_SERVER_PORT?"),
            ("ecross_server_port", "; did you mean ECROSS_SERVER_PORT?"),
            ("ECROSS_SERVER_XYZZY", ""),
            ("ECROSS_SERVER_", ""),
            ("ECROSS_SERVER_PORT_", "; did you mean ECROSS_SERVER_PORT?"),
        ],
    )
    def test_a_variable_that_is_no_setting_is_refused_with_the_nearest_one(
        self, monkeypatch: pytest.MonkeyPatch, name: str, hint: str
    ) -> None:
        monkeypatch.setenv(name, PASSWORD)
        error = refusal()
        assert [(fault.path, fault.message) for fault in error.faults] == [(name, f"there is no such setting{hint}")]

    def test_a_key_of_the_file_that_is_no_setting_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        write_file(tmp_path, monkeypatch, 'WORKRES = 2\nCONFIG = "x"\n[ECROSS_SERVER]\nPORT = 1\n')
        error = refusal()
        assert [fault.path for fault in error.faults] == [
            "ECROSS_SERVER_CONFIG", "ECROSS_SERVER_ECROSS_SERVER", "ECROSS_SERVER_WORKRES",
        ]  # fmt: skip
        assert "did you mean ECROSS_SERVER_WORKERS?" in error.faults[-1].message

    def test_a_setting_that_stands_twice_in_the_file_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        path = write_file(tmp_path, monkeypatch, "PORT = 1\necross_server_port = 2\n")
        assert refusal().message == f"ECROSS_SERVER_PORT: stands twice in the file {path}"

    @pytest.mark.parametrize(
        "content", ["PORT", f'DATABASE_URL = "{PASSWORD}', "= 1", "PORT = 1\nPORT = 2", "\x00", "a=" + "[" * 100_000]
    )
    def test_a_file_that_is_no_toml_is_told_without_its_content(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
    ) -> None:
        path = write_file(tmp_path, monkeypatch, content)
        assert refusal().message == f"ECROSS_SERVER_CONFIG: the file {path} is not TOML"

    def test_a_file_of_another_encoding_is_no_toml(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        path = write_file(tmp_path, monkeypatch, "")
        path.write_bytes('ISSUER = "São"'.encode("latin-1"))
        assert refusal().message == f"ECROSS_SERVER_CONFIG: the file {path} is not TOML"

    def test_a_file_that_is_not_there_is_told(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for path, reason in ((tmp_path / "none.toml", "No such file or directory"), (tmp_path, "Is a directory")):
            monkeypatch.setenv(CONFIG_VARIABLE, str(path))
            assert refusal().message == f"ECROSS_SERVER_CONFIG: the file {path} cannot be read: {reason}"

    @pytest.mark.parametrize("name", ["tls_cert_file", "tls_key_file"])
    def test_half_a_pair_of_tls_files_is_refused(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        set_variable(monkeypatch, name, "/tls/file.pem")
        assert refusal().message == (
            "ECROSS_SERVER_TLS_CERT_FILE and ECROSS_SERVER_TLS_KEY_FILE belong together: set both or none"
        )

    def test_several_job_processes_are_for_postgresql(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_variable(monkeypatch, "job_processes", "2")
        assert refusal().message == (
            "ECROSS_SERVER_JOB_PROCESSES must be 0 or 1 on SQLite, whose writers take turns anyway"
        )
        set_variable(monkeypatch, "database_url", "postgresql://u:p@db/ecross")
        assert load_settings().settings.job_processes == 2

    def test_merchants_and_operators_share_neither_port_nor_audience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_variable(monkeypatch, "admin_port", "8000")
        assert refusal().message.startswith("ECROSS_SERVER_ADMIN_PORT must be another port than ECROSS_SERVER_PORT")
        set_variable(monkeypatch, "admin_port", "0")
        set_variable(monkeypatch, "admin_audience", "urn:ecross:api")
        assert refusal().message == "ECROSS_SERVER_ADMIN_AUDIENCE and ECROSS_SERVER_AUDIENCE must differ"

    def test_no_password_is_in_the_settings_text(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_variable(monkeypatch, "database_url", f"postgresql://u:{PASSWORD}@h/d")
        set_variable(monkeypatch, "redis_url", f"redis://:{PASSWORD}@h")
        settings = load_settings().settings
        assert PASSWORD not in repr(settings) + str(settings)


def test_the_environment_of_these_tests_holds_no_other_setting() -> None:
    assert [name for name in os.environ if name.startswith("ECROSS_SERVER_")] == ["ECROSS_SERVER_DATA_DIR"]


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, None),
        ({"admin_port": 8001}, "http://127.0.0.1:8001"),
        ({"admin_port": 8001, "admin_host": "::1"}, "http://[::1]:8001"),
        ({"admin_port": 8001, "tls_cert_file": "/c", "tls_key_file": "/k"}, "https://127.0.0.1:8001"),
        ({"admin_port": 8001, "console_url": "https://console.example"}, "https://console.example"),
        ({"console_url": "https://console.example"}, "https://console.example"),
    ],
)
def test_links_to_the_console_begin_with_where_it_is_reached(values: dict[str, Any], url: str | None) -> None:
    assert Settings.model_validate(values).console_base_url == url
