"""Profiles: what a person has told once, under a name, in a TOML file; the secret apart from it.

The secret is in the keyring where there is a reliable one, else in a file of mode 0600 beside the profiles. Both keep
it under the client id that it belongs to, so that a profile that was given another id does not go on with the old one.
"""

import contextlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import platformdirs

from ecross._configuration.credentials import checked_text
from ecross._configuration.endpoints import (
    SERVICES,
    Endpoints,
    endpoints_of_base_url,
    endpoints_of_base_urls,
    endpoints_of_environment,
)
from ecross._keyring import Keyring, KeyringUnusableError, system_keyring
from ecross._private_files import (
    PrivateFileError,
    PrivateFolder,
    UnsafeFileError,
    current_system,
    folder_of_user,
    read_regular_file,
    warn_if_git_may_take,
)
from ecross.errors import ConfigurationError

CONFIG_FILE_VARIABLE: Final = "ECROSS_CONFIG_FILE"
DEFAULT_PROFILE: Final = "default"
MAX_FILE_BYTES: Final = 1024 * 1024

_PROFILES: Final = "profiles"
_SECRETS: Final = "secrets"
_KEYS: Final = frozenset({"client_id", "client_secret", "base_url", "base_urls", "environment"})
_ADDRESS_KEYS: Final = ("base_url", "base_urls", "environment")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what TOML takes as a key without quotes
_HEADER = re.compile(r"\s*\[(?P<path>[^\[\]]+)\]\s*(#.*)?")
_LINE_ENDS = re.compile(r"(?<=\n)")  # splitlines() would see lines where TOML sees none
_LINE_NUMBER = re.compile(r"line \d+")


class SecretPlace(StrEnum):
    """Where a stored client secret is."""

    KEYRING = "keyring"
    CREDENTIALS_FILE = "credentials file"
    CONFIG_FILE = "configuration file"


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile as it stands in the file, without any secret."""

    name: str
    client_id: str | None
    endpoints: Endpoints | None


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """Where a secret went."""

    place: SecretPlace
    path: Path | None
    """The file, if it is one."""
    why_not_better: str | None
    """Why it is not in the keyring; `None` if it is."""


def config_file(environ: Mapping[str, str]) -> Path | None:
    """The file of the profiles: the one that `ECROSS_CONFIG_FILE` names, else where the system wants such files.

    `None` where the user has no home.
    """
    told = environ.get(CONFIG_FILE_VARIABLE)
    if told:
        return Path(told).absolute()
    folder = folder_of_user(lambda: platformdirs.user_config_path("ecross", appauthor=False))
    return None if folder is None else folder / "config.toml"


class ProfileFile:
    """The profiles of one file and their secrets. Nothing is read before it is asked for."""

    def __init__(self, path: Path, keyring: Keyring) -> None:
        self.path = path
        self._keyring = keyring

    def names(self) -> list[str]:
        """The profiles there are, as they stand in the file."""
        return list(self._profiles())

    def find(self, name: str) -> Profile | None:
        """The profile of that name; `None` if there is none.

        Raises:
            ConfigurationError: if the file or the profile cannot be used.
        """
        content = self._profiles().get(name)
        if content is None:
            return None
        client_id = content.get("client_id")
        return Profile(
            name,
            None if client_id is None else checked_text(client_id, self._setting(name, "client_id")),
            self._endpoints(name, content),
        )

    def find_secret(self, profile: Profile) -> tuple[str, SecretPlace] | None:
        """The secret of the profile's client id, and where it was.

        A keyring that cannot be used counts as one without the secret.

        Raises:
            ConfigurationError: if it is in a file that others can read.
        """
        written = self._profiles()[profile.name].get("client_secret")
        if written is not None:
            self._refuse_open_to_others()
            return checked_text(written, self._setting(profile.name, "client_secret")), SecretPlace.CONFIG_FILE
        if profile.client_id is None:
            return None
        kept = self._secrets().get(_secret_name(profile.name, profile.client_id), {}).get("client_secret")
        if kept is not None:
            setting = f"client_secret of the profile {profile.name} in {self.credentials_path}"
            return checked_text(kept, setting), SecretPlace.CREDENTIALS_FILE
        with contextlib.suppress(KeyringUnusableError):
            secret = self._keyring.get(self._keyring_name(profile.name, profile.client_id))
            if secret is not None:
                return secret, SecretPlace.KEYRING
        return None

    def store(self, name: str, client_id: str, client_secret: str, addresses: Mapping[str, Any]) -> StoredSecret:
        """Keep the profile, in the place of one of that name.

        First the new secret, then the profile, then the old secret goes: cut short at any point, one of the two works.
        """
        self._endpoints(name, addresses)
        with self._locked():
            before = self._profiles().get(name, {}).get("client_id")
            profiles = self._edited(name, {"client_id": client_id, **addresses})
            stored = self._store_secret(name, client_id, client_secret)
            self._folder().replace(self._real_path().name, profiles)
            self._forget_secrets(name, before, kept=client_id, kept_in=stored.place)
        warn_if_git_may_take(self.path)
        return stored

    def remove(self, name: str) -> bool:
        """Forget the profile and its secret; whether there was one."""
        with self._locked():
            content = self._profiles().get(name)
            if content is None:
                return False
            profiles = self._edited(name, None)
            self._folder().replace(self._real_path().name, profiles)
            self._forget_secrets(name, content.get("client_id"))
            return True

    @property
    def credentials_path(self) -> Path:
        """The file of the secrets that the keyring cannot have."""
        real = self._real_path()
        return real.with_name(f"{real.stem}.credentials.toml")

    def _store_secret(self, name: str, client_id: str, client_secret: str) -> StoredSecret:
        try:
            self._keyring.set(self._keyring_name(name, client_id), client_secret)
        except KeyringUnusableError as error:
            self._write_secret(_secret_name(name, client_id), {"client_secret": client_secret})
            warn_if_git_may_take(self.credentials_path)
            return StoredSecret(SecretPlace.CREDENTIALS_FILE, self.credentials_path, str(error))
        return StoredSecret(SecretPlace.KEYRING, None, None)

    def _forget_secrets(
        self, name: str, client_id: object, *, kept: str | None = None, kept_in: SecretPlace | None = None
    ) -> None:
        """Remove the secrets of the profile, but the one that was kept last."""
        kept_name = _secret_name(name, kept) if kept is not None and kept_in is SecretPlace.CREDENTIALS_FILE else None
        for secret_name in self._secrets():
            if secret_name.startswith(_secret_name(name, "")) and secret_name != kept_name:
                self._write_secret(secret_name, None)
        if isinstance(client_id, str) and (client_id != kept or kept_in is not SecretPlace.KEYRING):
            with contextlib.suppress(KeyringUnusableError):
                self._keyring.delete(self._keyring_name(name, client_id))

    def _keyring_name(self, name: str, client_id: str) -> str:
        return f"client secret of {client_id}, profile {name} of {self._real_path()}"

    def _setting(self, name: str, key: str) -> str:
        return f"{key} of the profile {name} in {self.path}"

    def _real_path(self) -> Path:
        # People keep configuration elsewhere and link to it. Path.resolve raises for links in a circle.
        return Path(os.path.realpath(self.path))

    def _folder(self) -> PrivateFolder:
        return PrivateFolder(self._real_path().parent, others_may_look=True)

    def _endpoints(self, name: str, content: Mapping[str, Any]) -> Endpoints | None:
        unknown = sorted(set(content) - _KEYS)
        if unknown:
            raise ConfigurationError(
                f"{self._setting(name, unknown[0])} is unknown. Known: {', '.join(sorted(_KEYS))}."
            )
        told = [key for key in _ADDRESS_KEYS if key in content]
        if len(told) > 1:
            raise ConfigurationError(f"{told[0]} and {self._setting(name, told[1])} contradict each other.")
        if not told:
            return None
        key, value = told[0], content[told[0]]
        setting = self._setting(name, key)
        if key == "base_urls":
            if not isinstance(value, dict):
                raise ConfigurationError(f"{setting} must be a table of services and their addresses.")
            return endpoints_of_base_urls(value, {service: f"{service} in {setting}" for service in SERVICES})
        return (endpoints_of_base_url if key == "base_url" else endpoints_of_environment)(value, setting)

    def _profiles(self) -> dict[str, dict[str, Any]]:
        return self._tables(self._read_config(), self.path, _PROFILES)

    def _secrets(self) -> dict[str, dict[str, Any]]:
        """The secrets in the credentials file; it must be as private as a key."""
        return self._tables(self._read_secrets(), self.credentials_path, _SECRETS)

    def _tables(self, content: bytes, path: Path, section: str) -> dict[str, dict[str, Any]]:
        parsed = self._parse(content, path)
        unknown = sorted(set(parsed) - {section})
        if unknown:
            raise ConfigurationError(f"{unknown[0]} in {path} is unknown. Known: [{section}.NAME].")
        tables = parsed.get(section, {})
        if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
            raise ConfigurationError(f"{section} in {path} must be tables: [{section}.NAME].")
        return tables

    def _parse(self, content: bytes, path: Path) -> dict[str, Any]:
        fault = None
        try:
            return tomllib.loads(content.decode())
        except UnicodeDecodeError:
            fault = "not UTF-8"
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            found = _LINE_NUMBER.search(str(error))  # the place alone: the line itself may hold a secret
            fault = f"no TOML ({found.group() if found else 'at its end'})"
        raise ConfigurationError(f"The file {path} is {fault}.")

    def _read_config(self) -> bytes:
        system = current_system()

        def refuse_changed_by_others(status: os.stat_result) -> None:
            fault = system.told_file_fault(self.path, status)  # whoever writes the addresses gets the secrets
            if fault is not None:
                raise UnsafeFileError(fault)

        try:
            content = read_regular_file(self.path, refuse_changed_by_others, max_bytes=MAX_FILE_BYTES, follow=True)
        except PrivateFileError as error:
            raise ConfigurationError(str(error)) from None
        return content or b""

    def _refuse_open_to_others(self) -> None:
        path = self._real_path()
        fault = current_system().file_fault(path, path.stat())
        if fault is not None:
            raise ConfigurationError(f"{fault} It holds a client secret.")

    def _read_secrets(self) -> bytes:
        try:
            return self._folder().read(self.credentials_path.name, max_bytes=MAX_FILE_BYTES) or b""
        except PrivateFileError as error:
            raise ConfigurationError(str(error)) from None

    def _write_secret(self, secret_name: str, table: Mapping[str, Any] | None) -> None:
        """Write the credentials file anew: no person writes in it, so that there is nothing else to keep."""
        secrets = {name: kept for name, kept in self._secrets().items() if name != secret_name}
        if table is not None:
            secrets[secret_name] = dict(table)
        text = "\n".join(_as_toml(_SECRETS, name, kept) for name, kept in secrets.items())
        self._folder().replace(self.credentials_path.name, text.encode())

    def _edited(self, name: str, table: Mapping[str, Any] | None) -> bytes:
        """The text of the profiles with one exchanged or left out; all else stays as a person wrote it.

        Raises:
            ConfigurationError: if anything else would change: the file is written in a way not known here.
        """
        content = self._read_config()
        expected = {key: value for key, value in self._profiles().items() if key != name}
        text = _without_table(content.decode(), name)
        if table is not None:
            expected[name] = dict(table)
            text = f"{text.rstrip()}\n\n{_as_toml(_PROFILES, name, table)}".lstrip()
        try:
            found: object = tomllib.loads(text).get(_PROFILES, {})
        except tomllib.TOMLDecodeError:
            found = None
        if found != expected:
            raise ConfigurationError(
                f"The profile {name} in {self.path} is written in a way that only a person can change. Edit it there."
            )
        return text.encode()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with self._folder().locked(f"{self._real_path().name}.lock"):
                yield
        except PrivateFileError as error:
            raise ConfigurationError(str(error)) from None


def list_profiles(*, environ: Mapping[str, str] | None = None, keyring: Keyring | None = None) -> list[Profile]:
    """The profiles there are, in the order of the file.

    Raises:
        ConfigurationError: if the file, or a profile in it, cannot be used.
    """
    file = _file(environ, keyring)
    return [profile for name in file.names() if (profile := file.find(name)) is not None]


def store_profile(
    name: str = DEFAULT_PROFILE,
    *,
    client_id: str,
    client_secret: str,
    base_url: str | None = None,
    base_urls: Mapping[str, str] | None = None,
    environment: str | None = None,
    environ: Mapping[str, str] | None = None,
    keyring: Keyring | None = None,
) -> StoredSecret:
    """Keep credentials and addresses under a name, in the place of what was there; where the secret went.

    Raises:
        ConfigurationError: if something told is unfit, or nothing can be kept; then the profile is as it was.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError("The name of a profile is up to 64 letters, digits, hyphens and underscores.")
    checked_text(client_id, "client_id")
    checked_text(client_secret, "client_secret")
    told = {"base_url": base_url, "base_urls": base_urls and dict(base_urls), "environment": environment}
    addresses = {key: value for key, value in told.items() if value is not None}
    return _file(environ, keyring).store(name, client_id, client_secret, addresses)


def remove_profile(
    name: str = DEFAULT_PROFILE, *, environ: Mapping[str, str] | None = None, keyring: Keyring | None = None
) -> bool:
    """Forget a profile and its secret; whether there was one.

    Raises:
        ConfigurationError: if it cannot be forgotten.
    """
    return _file(environ, keyring).remove(name)


def _file(environ: Mapping[str, str] | None, keyring: Keyring | None) -> ProfileFile:
    path = config_file(os.environ if environ is None else environ)
    if path is None:
        raise ConfigurationError(f"There is no home directory to keep profiles in. Set {CONFIG_FILE_VARIABLE}.")
    return ProfileFile(path, keyring or system_keyring())


def _secret_name(profile: str, client_id: str) -> str:
    return f"{profile}/{client_id}"


def _without_table(text: str, name: str) -> str:
    """The text without the lines of the profile and of the tables in it.

    The comment above the next header is that table's and stays.
    """
    own = re.compile(rf'profiles\s*\.\s*("?){re.escape(name)}\1\s*(\.|$)')
    kept: list[str] = []
    dropped: list[str] | None = None
    for line in _LINE_ENDS.split(text):
        header = _HEADER.fullmatch(line.rstrip("\r\n"))
        if header is not None:
            kept += _comment_at_end(dropped or [])
            dropped = [] if own.match(header["path"].strip()) else None
        (kept if dropped is None else dropped).append(line)
    return "".join(kept)


def _comment_at_end(lines: list[str]) -> list[str]:
    start = len(lines)
    while start and (not lines[start - 1].strip() or lines[start - 1].lstrip().startswith("#")):
        start -= 1
    return lines[start:]


def _as_toml(section: str, name: str, table: Mapping[str, Any]) -> str:
    """A table of strings, and of tables of strings."""
    header = name if _NAME.fullmatch(name) else _quoted(name)
    return "".join([f"[{section}.{header}]\n", *(f"{key} = {_value(value)}\n" for key, value in table.items())])


def _value(value: str | Mapping[str, str]) -> str:
    if isinstance(value, str):
        return _quoted(value)
    return f"{{ {', '.join(f'{key} = {_quoted(text)}' for key, text in value.items())} }}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # what it escapes, TOML escapes alike; the rest was checked before
