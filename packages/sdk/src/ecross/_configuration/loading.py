"""The configuration of a client, put together from all that was told."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ecross._configuration.credentials import Credentials, checked_text, read_secret_file
from ecross._configuration.endpoints import (
    SERVICES,
    Endpoints,
    endpoints_of_base_url,
    endpoints_of_base_urls,
    endpoints_of_environment,
)
from ecross._configuration.profiles import DEFAULT_PROFILE, Profile, ProfileFile, config_file
from ecross._keyring import Keyring, system_keyring
from ecross._token_cache import DIRECTORY_VARIABLE, told_directory
from ecross.errors import ConfigurationError

CLIENT_ID_VARIABLE: Final = "ECROSS_CLIENT_ID"
CLIENT_SECRET_VARIABLE: Final = "ECROSS_CLIENT_SECRET"  # noqa: S105 - a name
CLIENT_SECRET_FILE_VARIABLE: Final = "ECROSS_CLIENT_SECRET_FILE"  # noqa: S105 - a name
BASE_URL_VARIABLE: Final = "ECROSS_BASE_URL"
ENVIRONMENT_VARIABLE: Final = "ECROSS_ENVIRONMENT"
PROFILE_VARIABLE: Final = "ECROSS_PROFILE"
URL_VARIABLES: Final = {service: f"ECROSS_{service.upper()}_URL" for service in SERVICES}

_ARGUMENT: Final = "argument"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a client needs to know, and where each part came from."""

    endpoints: Endpoints
    credentials: Credentials | None
    """`None` if none were told."""
    cache_directory: Path | None
    """`None` if none was told: then the user's own."""
    profile: str | None
    """The profile that was used or named."""
    sources: Mapping[str, str]
    """For people: `endpoints`, `client_id`, `client_secret`, `cache_directory`, `profile`, as far as they were told."""


@dataclass(frozen=True, slots=True)
class _Told:
    """The client id and the client secret as one source tells them: both, one, or neither."""

    client_id: str | None
    id_source: str
    client_secret: str | None = field(repr=False)
    secret_source: str


class _ChosenProfile:
    """The profile that was named, which must exist, or the default one, which need not and is read only if needed."""

    def __init__(self, file: ProfileFile | None, argument: str | None, variables: Mapping[str, str]) -> None:
        self._file = file
        self._found: Profile | None = None
        self._is_read = False
        self.is_used = False
        told = argument if argument is not None else variables.get(PROFILE_VARIABLE)
        self._name = DEFAULT_PROFILE if told is None else told
        self.source = "default"
        if told is not None:
            self.source = _ARGUMENT if argument is not None else _variable(PROFILE_VARIABLE)
            self.is_used = True
            if self._find() is None:
                place = "there is no home directory to look in" if file is None else f"the file is {file.path}"
                raise ConfigurationError(f"There is no profile {told!r}: {place}.")

    @property
    def name(self) -> str | None:
        """Its name; `None` if it was neither named nor needed."""
        return self._name if self.is_used else None

    def endpoints(self) -> tuple[Endpoints, str] | None:
        """Its addresses."""
        found = self._find()
        if found is None or found.endpoints is None:
            return None
        self.is_used = True
        return found.endpoints, f"profile {self._name}"

    def credentials(self) -> _Told:
        """Its client id, and the secret that belongs to that."""
        source = f"profile {self._name}"
        found = self._find()
        if self._file is None or found is None:
            return _Told(None, source, None, source)
        self.is_used = True
        secret, place = self._file.find_secret(found) or (None, None)
        return _Told(found.client_id, source, secret, source if place is None else f"{place} ({source})")

    def _find(self) -> Profile | None:
        if not self._is_read:
            self._found = None if self._file is None else self._file.find(self._name)
            self._is_read = True
        return self._found


def load_configuration(
    *,
    client_id: str | None = None,
    client_secret: str | None = None,
    base_url: str | None = None,
    base_urls: Mapping[str, str] | None = None,
    environment: str | None = None,
    profile: str | None = None,
    environ: Mapping[str, str] | None = None,
    keyring: Keyring | None = None,
) -> Configuration:
    """The configuration of a client: arguments come before environment variables, those before the profile.

    The addresses are those of the first source that tells any, never mixed from two. So are the client id and the
    secret, with one exception: a source that tells one half gets the other from the next source that has it, if that
    one tells no other id, and no other secret, than the first.

    Empty environment variables count as missing. Files and the keyring are read only for what is still missing.

    Raises:
        ConfigurationError: if something is missing, unfit, or contradicts itself. It names the setting, not its value.
    """
    variables = {name: value for name, value in (os.environ if environ is None else environ).items() if value}
    path = config_file(variables)
    file = None if path is None else ProfileFile(path, keyring or system_keyring())
    used = _ChosenProfile(file, profile, variables)
    arguments = _Told(
        None if client_id is None else checked_text(client_id, "client_id"),
        _ARGUMENT,
        None if client_secret is None else checked_text(client_secret, "client_secret"),
        _ARGUMENT,
    )
    found = (
        _endpoints_of_arguments(base_url, base_urls, environment)
        or _endpoints_of_variables(variables)
        or used.endpoints()
    )
    if found is None:
        raise ConfigurationError(
            'No server was told. Pass base_url, or environment="production" for the published one; '
            f"or set {BASE_URL_VARIABLE} or {ENVIRONMENT_VARIABLE}, or store a profile."
        )
    endpoints, endpoints_source = found
    credentials, sources = _credentials(_all_that_tell(arguments, variables, used))
    sources["endpoints"] = endpoints_source
    cache_directory = told_directory(variables)
    if cache_directory is not None:
        sources["cache_directory"] = _variable(DIRECTORY_VARIABLE)
    if used.name is not None:
        sources["profile"] = used.source
    return Configuration(
        endpoints=endpoints,
        credentials=credentials,
        cache_directory=cache_directory,
        profile=used.name,
        sources=MappingProxyType(sources),
    )


def _endpoints_of_arguments(
    base_url: str | None, base_urls: Mapping[str, str] | None, environment: str | None
) -> tuple[Endpoints, str] | None:
    arguments = {"base_url": base_url, "base_urls": base_urls, "environment": environment}
    _refuse_contradiction([name for name, value in arguments.items() if value is not None])
    if base_url is not None:
        return endpoints_of_base_url(base_url, "base_url"), _ARGUMENT
    if base_urls is not None:
        settings = {service: f"base_urls[{service!r}]" for service in SERVICES}
        return endpoints_of_base_urls(base_urls, settings), _ARGUMENT
    if environment is not None:
        return endpoints_of_environment(environment, "environment"), _ARGUMENT
    return None


def _endpoints_of_variables(variables: Mapping[str, str]) -> tuple[Endpoints, str] | None:
    urls = {service: variables[name] for service, name in URL_VARIABLES.items() if name in variables}
    told = [name for name in (BASE_URL_VARIABLE, ENVIRONMENT_VARIABLE) if name in variables]
    told += [URL_VARIABLES[service] for service in list(urls)[:1]]
    _refuse_contradiction(told)
    if BASE_URL_VARIABLE in variables:
        return endpoints_of_base_url(variables[BASE_URL_VARIABLE], BASE_URL_VARIABLE), _variable(BASE_URL_VARIABLE)
    if ENVIRONMENT_VARIABLE in variables:
        environment = variables[ENVIRONMENT_VARIABLE]
        return endpoints_of_environment(environment, ENVIRONMENT_VARIABLE), _variable(ENVIRONMENT_VARIABLE)
    if urls:
        return endpoints_of_base_urls(urls, URL_VARIABLES), _variable(*(URL_VARIABLES[service] for service in urls))
    return None


def _all_that_tell(arguments: _Told, variables: Mapping[str, str], profile: _ChosenProfile) -> Iterator[_Told]:
    yield arguments
    secret, secret_source = variables.get(CLIENT_SECRET_VARIABLE), _variable(CLIENT_SECRET_VARIABLE)
    secret_file = variables.get(CLIENT_SECRET_FILE_VARIABLE)
    if secret is not None:
        if secret_file is not None:
            _refuse_contradiction([CLIENT_SECRET_VARIABLE, CLIENT_SECRET_FILE_VARIABLE])
        checked_text(secret, CLIENT_SECRET_VARIABLE)
    elif secret_file is not None:
        secret = read_secret_file(Path(secret_file).absolute(), CLIENT_SECRET_FILE_VARIABLE)
        secret_source = f"secret file {secret_file}"
    client_id = variables.get(CLIENT_ID_VARIABLE)
    if client_id is not None:
        checked_text(client_id, CLIENT_ID_VARIABLE)
    yield _Told(client_id, _variable(CLIENT_ID_VARIABLE), secret, secret_source)
    yield profile.credentials()


def _credentials(sources: Iterator[_Told]) -> tuple[Credentials | None, dict[str, str]]:
    joined = _join(sources)
    if joined is None:
        return None, {}
    if joined.client_id is None:
        raise ConfigurationError(
            f"The client secret was told ({joined.secret_source}), the client id was not. Set {CLIENT_ID_VARIABLE}."
        )
    if joined.client_secret is None:
        raise ConfigurationError(
            f"The client id was told ({joined.id_source}), its client secret was not. "
            f"Set {CLIENT_SECRET_VARIABLE} or {CLIENT_SECRET_FILE_VARIABLE}."
        )
    told = {"client_id": joined.id_source, "client_secret": joined.secret_source}
    return Credentials(joined.client_id, joined.client_secret), told


def _join(sources: Iterator[_Told]) -> _Told | None:
    """The first source, with the half that it lacks from the next one that has it; what is not needed is not read."""
    joined: _Told | None = None
    for source in sources:
        if joined is None:
            joined = source if source.client_id or source.client_secret else None
        elif joined.client_secret is None and source.client_secret is not None:
            if source.client_id not in {None, joined.client_id}:
                raise _unrelated(joined.id_source, source.secret_source)
            joined = replace(joined, client_secret=source.client_secret, secret_source=source.secret_source)
        elif joined.client_id is None and source.client_id is not None:
            if source.client_secret is not None:
                raise _unrelated(source.id_source, joined.secret_source)
            joined = replace(joined, client_id=source.client_id, id_source=source.id_source)
        if joined is not None and joined.client_id is not None and joined.client_secret is not None:
            break
    return joined


def _unrelated(id_source: str, secret_source: str) -> ConfigurationError:
    return ConfigurationError(
        f"The client id ({id_source}) and the client secret ({secret_source}) belong to different credentials. "
        "Tell both in the same place."
    )


def _refuse_contradiction(told: Sequence[str]) -> None:
    if len(told) > 1:
        raise ConfigurationError(f"{told[0]} and {told[1]} contradict each other. Tell one of them.")


def _variable(*names: str) -> str:
    return f"environment variable{'s' if len(names) > 1 else ''} {', '.join(names)}"
