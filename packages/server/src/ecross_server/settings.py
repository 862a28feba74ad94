"""The server's settings: environment variables that begin with `ECROSS_SERVER_`, or the same names in a TOML file.

Stands above the domains on purpose: a domain receives values, it does not reach for them.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic import ValidationError as PydanticError
from pydantic_core import PydanticCustomError
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.kit.logs import LogFormat, LogLevel

PREFIX: Final = "ECROSS_SERVER_"
CONFIG_VARIABLE: Final = "ECROSS_SERVER_CONFIG"
SERVICES: Final = ("auth", "product")
MOST_DIGITS: Final = 9
"""A rate has no more digits."""

Service = Literal["auth", "product"]
Source = Literal["default", "file", "environment", "option"]


def _default_data_dir() -> Path:
    # The environment stands in the root as `.venv`: its commands mean the root's `var/`, wherever they are called.
    prefix = Path(sys.prefix)
    return (prefix.parent if prefix.name == ".venv" else Path.cwd()) / "var"


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _auto_is_none(value: object) -> object:
    return None if value == "auto" else value


def _absolute(path: Path) -> Path:
    try:
        str(path).encode()
        expanded = path.expanduser()
    except UnicodeEncodeError:
        raise PydanticCustomError("encoding", "must be UTF-8") from None
    except RuntimeError:
        raise PydanticCustomError("home", "~ stands for a home that is not known; write the whole path") from None
    if expanded == Path():
        raise PydanticCustomError("empty", "must name a file or folder")
    return expanded.absolute()


def _check_database_url(secret: SecretStr) -> SecretStr:
    try:
        url = make_url(secret.get_secret_value())
    except (ArgumentError, ValueError):  # their texts show the address, and a password in it
        is_usable = False
    else:
        path = url.database or ""
        is_file = path not in {"", ":memory:"} and not path.startswith("file:")
        is_usable = url.get_backend_name() == "postgresql" or (url.get_backend_name() == "sqlite" and is_file)
    if not is_usable:
        raise PydanticCustomError(
            "database_url", "must look like sqlite:////folder/ecross.db or postgresql://user:password@host/database"
        )
    return secret


def _check_redis_url(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
        raise PydanticCustomError("redis_url", "must look like redis://host:6379/0")
    return secret


def _check_network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise PydanticCustomError("network", "must be addresses or networks, such as 10.0.0.0/8") from None
    return text


def _check_rate(text: str) -> str:
    number, _, unit = text.partition("/")
    is_number = number.isascii() and number.isdigit() and len(number) <= MOST_DIGITS and int(number) > 0
    if text != "off" and not (is_number and unit in {"second", "minute", "hour", "day"}):
        raise PydanticCustomError(
            "rate", "must be off, or a number for each second, minute, hour or day, such as 60/minute"
        )
    return text


def _check_public_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or not text.isascii() or set(text) & set('?#@\\<>" '):
        raise PydanticCustomError("public_url", "must look like https://api.example.com")
    return text.rstrip("/")


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Rate = Annotated[str, AfterValidator(_check_rate)]
Services = Annotated[tuple[Service, ...], BeforeValidator(_split), Field(min_length=1)]
MetricsPort = Annotated[Annotated[int, Field(ge=0, le=65535)] | None, BeforeValidator(_auto_is_none)]
Networks = Annotated[tuple[Annotated[str, AfterValidator(_check_network)], ...], BeforeValidator(_split)]


class Settings(BaseModel):
    """Every setting with its default. Paths without a value lie in the data folder."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    data_dir: AbsolutePath = Field(default_factory=_default_data_dir)
    database_url: Annotated[SecretStr, AfterValidator(_check_database_url)] = SecretStr("")
    redis_url: Annotated[SecretStr, AfterValidator(_check_redis_url)] | None = None
    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64)
    job_processes: int = Field(1, ge=0, le=64)
    services: Services = SERVICES
    metrics_port: MetricsPort = 9464
    """`None`, written auto, is a free one."""
    admin_host: str = Field("127.0.0.1", min_length=1)
    admin_port: int = Field(0, ge=0, le=65535)
    """0: no administration over HTTP."""
    console_url: Annotated[str, AfterValidator(_check_public_url)] | None = None
    admin_audience: str = Field("urn:ecross:admin", min_length=1, max_length=256)
    admin_token_lifetime_seconds: int = Field(3600, ge=60, le=86400)
    operator_session_idle_seconds: int = Field(1800, ge=60, le=86400)
    operator_session_seconds: int = Field(43200, ge=60, le=604_800)
    issuer: str = Field("urn:ecross:auth", min_length=1, max_length=256)
    audience: str = Field("urn:ecross:api", min_length=1, max_length=256)
    token_lifetime_seconds: int = Field(28800, ge=60, le=86400)
    signing_keys_file: AbsolutePath = Path()
    peppers_file: AbsolutePath = Path()
    token_volume_limit: Rate = "60/minute"
    token_failure_limit: Rate = "10/minute"
    token_address_limit: Rate = "300/minute"
    token_global_limit: Rate = "off"
    limits_mode: Literal["enforce", "observe", "off"] = "enforce"
    trusted_proxies: Networks = ()
    public_url: Annotated[str, AfterValidator(_check_public_url)] | None = None
    tls_cert_file: AbsolutePath | None = None
    tls_key_file: AbsolutePath | None = None
    issuing_approval: bool = False
    audit_retention_days: int = Field(400, ge=0, le=36_500)
    page_size: int = Field(100, ge=1, le=1000)
    log_format: LogFormat = "auto"
    log_level: LogLevel = "info"

    @model_validator(mode="after")
    def _complete(self) -> Settings:
        filled: dict[str, Any] = {}
        if not self.database_url.get_secret_value():
            # Made of parts: a folder's name may hold what has a meaning in an address.
            url = URL.create("sqlite", database=str(self.data_dir / "ecross.db"))
            filled["database_url"] = SecretStr(url.render_as_string(hide_password=False))
        for name, file_name in (("signing_keys_file", "signing-keys.json"), ("peppers_file", "peppers.json")):
            if getattr(self, name) == Path():
                filled[name] = self.data_dir / file_name
        for name, value in filled.items():
            object.__setattr__(self, name, value)  # frozen for everybody else
        is_sqlite = make_url(self.database_url.get_secret_value()).get_backend_name() == "sqlite"
        if is_sqlite and self.job_processes > 1:
            name = variable("job_processes")
            raise PydanticCustomError(
                "job_processes", "{name} must be 0 or 1 on SQLite, whose writers take turns anyway", {"name": name}
            )
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            pair = " and ".join(map(variable, ("tls_cert_file", "tls_key_file")))
            raise PydanticCustomError("pair", "{pair} belong together: set both or none", {"pair": pair})
        if self.admin_port and (self.admin_host, self.admin_port) == (self.host, self.port):
            raise PydanticCustomError(
                "admin_port",
                "{name} must be another port than {other}: the administration is never reachable where merchants are",
                {"name": variable("admin_port"), "other": variable("port")},
            )
        if self.admin_audience == self.audience:
            pair = " and ".join(map(variable, ("admin_audience", "audience")))
            raise PydanticCustomError("admin_audience", "{pair} must differ", {"pair": pair})
        return self

    @property
    def base_url(self) -> str:
        """Where people reach this server, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url or f"{'http' if self.tls_cert_file is None else 'https'}://{host}:{self.port}"

    @property
    def console_base_url(self) -> str | None:
        """Where operators reach the console, without a slash at the end; `None` where nobody can."""
        if self.console_url is not None or not self.admin_port:
            return self.console_url
        host = f"[{self.admin_host}]" if ":" in self.admin_host else self.admin_host
        return f"{'http' if self.tls_cert_file is None else 'https'}://{host}:{self.admin_port}"

    @property
    def demo_credentials_file(self) -> Path:
        """Where the demo merchant's credentials lie."""
        return self.data_dir / "demo-credentials.json"

    @property
    def feeds_folder(self) -> Path:
        """Where the sales channels' feeds lie."""
        return self.data_dir / "feeds"

    @property
    def audit_witness_file(self) -> Path:
        """Where this machine keeps how far the audit trail went."""
        return self.data_dir / "audit-head.json"


class Configuration:
    """The settings, and where each came from."""

    def __init__(self, settings: Settings, sources: Mapping[str, Source]) -> None:
        self.settings = settings
        self._sources = dict(sources)

    def source(self, name: str) -> Source:
        """Where the value of the setting came from."""
        return self._sources.get(name, "default")


def load_settings(options: Mapping[str, object] | None = None) -> Configuration:
    """The settings by precedence: command line options, environment, file, defaults.

    Raises:
        InvalidInputError: naming every setting that is wrong or unknown, never its value.
    """
    file = os.environ.get(CONFIG_VARIABLE)
    layers: list[tuple[Source, Mapping[str, object]]] = [
        ("file", _read_file(Path(file)) if file else {}),
        ("environment", _read_environment()),
        ("option", {name: value for name, value in (options or {}).items() if value is not None}),
    ]
    values: dict[str, object] = {}
    sources: dict[str, Source] = {}
    for source, layer in layers:
        for name, value in layer.items():
            values[name] = value
            sources[name] = source
    try:
        settings = Settings.model_validate(values)
    except PydanticError as error:
        raise _invalid(
            Fault(_shown_name(str(item["loc"][0]), sources) if item["loc"] else "", item["msg"])
            for item in error.errors(include_input=False, include_context=False)
        ) from None
    return Configuration(settings, sources)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def _shown_name(name: str, sources: Mapping[str, Source]) -> str:
    return f"--{name}" if sources[name] == "option" else variable(name)


def _read_environment() -> dict[str, object]:
    # On most systems case counts in a variable's name: another spelling is another name, and would change nothing.
    ours = {name: value for name, value in os.environ.items() if name.upper().startswith(PREFIX) and value}
    ours.pop(CONFIG_VARIABLE, None)
    known = {variable(name): name for name in Settings.model_fields}
    _refuse_unknown([name for name in ours if name not in known])
    return {known[name]: value for name, value in ours.items()}


def _read_file(path: Path) -> dict[str, object]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _invalid([Fault(CONFIG_VARIABLE, f"the file {path} cannot be read: {error.strerror}")]) from None
    except (ValueError, RecursionError):  # its text may show a secret of the file
        raise _invalid([Fault(CONFIG_VARIABLE, f"the file {path} is not TOML")]) from None
    values: dict[str, object] = {}
    for spelling, value in content.items():
        name = spelling.upper().removeprefix(PREFIX).lower()
        if name in values:
            raise _invalid([Fault(variable(name), f"stands twice in the file {path}")])
        values[name] = value
    _refuse_unknown([variable(name) for name in values if name not in Settings.model_fields])
    return values


def _refuse_unknown(names: Iterable[str]) -> None:
    faults = []
    for name in sorted(names):
        near = difflib.get_close_matches(name.upper().removeprefix(PREFIX).lower(), Settings.model_fields, 1)
        hint = f"; did you mean {variable(near[0])}?" if near else ""
        faults.append(Fault(name, f"there is no such setting{hint}"))
    if faults:
        raise _invalid(faults)


def _invalid(faults: Iterable[Fault]) -> InvalidInputError:
    listed = tuple(faults)
    sentences = [f"{fault.path}: {fault.message}" if fault.path else fault.message for fault in listed]
    return InvalidInputError("; ".join(sentences), listed)
