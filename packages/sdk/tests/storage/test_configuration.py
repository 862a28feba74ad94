import copy
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecross._configuration import Configuration, Credentials, Endpoints, load_configuration, store_profile
from ecross._keyring import Keyring
from ecross._private_files import GitExposureWarning
from ecross._token_cache import FileCache
from ecross.errors import ConfigurationError

SECRET = "ecs_made_up_secret"
ENVIRONMENT = {"ECROSS_CLIENT_ID": "acme-1", "ECROSS_CLIENT_SECRET": SECRET, "ECROSS_BASE_URL": "https://api.test"}
PUBLISHED = Endpoints(
    "https://auth.api.e-cross.tech",
    "https://product.api.e-cross.tech",
    "https://order.api.e-cross.tech",
    "https://hermes.api.e-cross.tech",
)


def load(environ: Mapping[str, str] | None = None, **arguments: Any) -> Configuration:
    return load_configuration(environ={} if environ is None else environ, **arguments)


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """The file of the profiles, where the system wants it; not made."""
    file = tmp_path / "home" / ".config" / "ecross" / "config.toml"
    file.parent.mkdir(parents=True)
    return file


def test_arguments_come_before_the_environment_and_each_part_tells_its_source() -> None:
    told = load(ENVIRONMENT | {"ECROSS_CACHE_DIR": "/cache"}, base_url="https://argument.test/v1/")

    assert told.endpoints == Endpoints(*["https://argument.test/v1"] * 4)
    assert told.credentials == Credentials("acme-1", SECRET)
    assert told.cache_directory == Path("/cache")
    assert told.profile is None
    assert told.sources == {
        "client_id": "environment variable ECROSS_CLIENT_ID",
        "client_secret": "environment variable ECROSS_CLIENT_SECRET",
        "endpoints": "argument",
        "cache_directory": "environment variable ECROSS_CACHE_DIR",
    }
    assert SECRET not in repr(told)


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    assert load_configuration().credentials == Credentials("acme-1", SECRET)


def test_empty_variables_count_as_missing() -> None:
    told = load(
        dict.fromkeys(["ECROSS_CLIENT_ID", "ECROSS_CLIENT_SECRET_FILE", "ECROSS_PROFILE"], ""),
        base_url="https://a.test",
    )

    assert told.credentials is None
    assert told.cache_directory is None
    assert told.sources == {"endpoints": "argument"}


def test_credentials_neither_show_nor_leave() -> None:
    credentials = Credentials("acme-1", SECRET)

    assert repr(credentials) == "Credentials(client_id='acme-1')"
    with pytest.raises(TypeError, match="hold a secret"):
        pickle.dumps(credentials)
    with pytest.raises(TypeError, match="hold a secret"):
        copy.copy(credentials)


class TestEndpoints:
    def test_no_host_is_a_default(self) -> None:
        with pytest.raises(ConfigurationError, match="No server was told"):
            load(client_id="acme-1", client_secret=SECRET)

    def test_the_published_hosts_are_used_when_they_are_asked_for(self) -> None:
        assert load(environment="production").endpoints == PUBLISHED
        assert load({"ECROSS_ENVIRONMENT": "production"}).endpoints == PUBLISHED
        with pytest.raises(ConfigurationError, match="environment must be one of: production"):
            load(environment="prod")

    def test_a_server_for_each_service(self) -> None:
        urls = {"auth": "https://auth.test", "product": "https://product.test/"}
        variables = {f"ECROSS_{name.upper()}_URL": url for name, url in urls.items()}
        told = load(base_urls=urls)

        assert told.endpoints == Endpoints("https://auth.test", "https://product.test", None, None)
        assert load(variables).endpoints == told.endpoints
        assert load(variables).sources["endpoints"] == "environment variables ECROSS_AUTH_URL, ECROSS_PRODUCT_URL"
        assert told.endpoints.url_of("product") == "https://product.test"

    @pytest.mark.parametrize("service", ["order", "unknown", "url_of"])
    def test_a_service_without_an_address_says_where_to_tell_it(self, service: str) -> None:
        with pytest.raises(ConfigurationError, match=f"ECROSS_{service.upper()}_URL"):
            load(base_urls={"auth": "https://auth.test"}).endpoints.url_of(service)

    @pytest.mark.parametrize(
        ("arguments", "environ", "said"),
        [
            ({"base_url": "https://a.test", "environment": "production"}, {}, "base_url and environment contradict"),
            ({"base_url": "https://a.test", "base_urls": {}}, {}, "base_url and base_urls contradict"),
            ({}, ENVIRONMENT | {"ECROSS_ENVIRONMENT": "production"}, "ECROSS_BASE_URL and ECROSS_ENVIRONMENT"),
            ({}, ENVIRONMENT | {"ECROSS_ORDER_URL": "https://a.test"}, "ECROSS_BASE_URL and ECROSS_ORDER_URL"),
            ({}, {"ECROSS_PRODUCT_URL": "https://a.test"}, "ECROSS_AUTH_URL is missing"),
            ({"base_urls": {"product": "https://a.test"}}, {}, r"base_urls\['auth'\] is missing"),
            ({"base_urls": {"auth": "https://a.test", "oder": "https://a.test"}}, {}, "'oder' is none of the services"),
            ({"base_urls": {"auth": "http://a.test"}}, {}, r"base_urls\['auth'\] must begin with https"),
            ({}, {"ECROSS_AUTH_URL": "https://a.test", "ECROSS_ORDER_URL": "b"}, "ECROSS_ORDER_URL must"),
        ],
    )
    def test_what_contradicts_itself_or_lacks_something_is_refused(
        self, arguments: dict[str, Any], environ: dict[str, str], said: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=said):
            load(environ, **arguments)

    @pytest.mark.parametrize(
        "url",
        ["https://a.test", "https://a.test:8443/base", "http://127.0.0.1:8000", "http://127.9.9.9", "http://[::1]:80",
         "http://localhost:8000", "HTTPS://A.test", "https://[2001:db8::1]"],
    )  # fmt: skip
    def test_fit_addresses(self, url: str) -> None:
        assert load(base_url=f"{url}/").endpoints.auth == url

    @pytest.mark.parametrize(
        "url",
        ["http://a.test", "http://127.0.0.1.a.test", "http://localhost.a.test", "http://[::2]", "http://0.0.0.0",
         "http://127.1", "ftp://a.test", "a.test", "//a.test", "https://", "https:///path", "https://:443",
         "https://user:pw_made_up@a.test", "https://user@a.test", "https://a.test?q=1", "https://a.test?",
         "https://a.test#f", "https://a.test#", "https://a.test/ b", " https://a.test", "https://a.test\n",
         "https://a.test\\@b.test", "https://a.test:port", "https://a.test:0", "https://a.test:70000", "https://a.test:",
         "https://[::1", "https://ä.test", "", 5],
    )  # fmt: skip
    def test_unfit_addresses_are_refused_without_being_shown(self, url: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"^base_url (must|is)") as caught:
            load(base_url=url)

        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert len(str(url)) < 10 or str(url) not in str(caught.value)
        assert "pw_made_up" not in str(caught.value)

    @given(st.text())
    @settings(deadline=None)
    def test_whatever_is_told_is_an_address_or_a_configuration_error(self, text: str) -> None:
        try:
            endpoints = load(base_url=text).endpoints
        except ConfigurationError:
            return
        assert endpoints.auth.lower().startswith(("https://", "http://"))


class TestCredentials:
    @pytest.mark.parametrize(
        ("arguments", "environ", "sources"),
        [
            ({"client_id": "a", "client_secret": "s"}, ENVIRONMENT, ("argument", "argument")),
            ({"client_secret": "s"}, {"ECROSS_CLIENT_ID": "a"}, ("environment variable ECROSS_CLIENT_ID", "argument")),
            (
                {"client_id": "a"},
                {"ECROSS_CLIENT_SECRET": "s"},
                ("argument", "environment variable ECROSS_CLIENT_SECRET"),
            ),
            (
                {"client_id": "a"},
                {"ECROSS_CLIENT_ID": "a", "ECROSS_CLIENT_SECRET": "s"},
                ("argument", "environment variable ECROSS_CLIENT_SECRET"),
            ),
        ],
    )
    def test_halves_that_do_not_belong_elsewhere_are_joined(
        self, arguments: dict[str, Any], environ: dict[str, str], sources: tuple[str, str]
    ) -> None:
        told = load(environ | {"ECROSS_BASE_URL": "https://a.test"}, **arguments)

        assert told.credentials == Credentials("a", "s")
        assert (told.sources["client_id"], told.sources["client_secret"]) == sources

    @pytest.mark.parametrize("arguments", [{"client_id": "another"}, {"client_secret": "another"}])
    def test_an_id_is_never_joined_with_the_secret_of_another(self, arguments: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match="belong to different credentials") as caught:
            load(ENVIRONMENT, **arguments)

        assert SECRET not in str(caught.value)
        assert "another" not in str(caught.value)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"client_id": "a"}, "its client secret was not. Set ECROSS_CLIENT_SECRET or ECROSS_CLIENT_SECRET_FILE"),
            ({"client_secret": SECRET}, "the client id was not. Set ECROSS_CLIENT_ID"),
        ],
    )
    def test_a_half_alone_is_an_error_that_says_where_to_tell_the_other(
        self, arguments: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=said):
            load(base_url="https://a.test", **arguments)

    @pytest.mark.parametrize("text", ["", " made-up", "made-up\n", "made\0up", "s" * 5000, "made\u202eup", 5])
    @pytest.mark.parametrize("name", ["client_id", "client_secret"])
    def test_what_is_no_id_or_secret_is_refused_without_being_shown(self, name: str, text: Any) -> None:
        with pytest.raises(ConfigurationError, match=f"^{name} must be") as caught:
            load(ENVIRONMENT, **{name: text})

        assert not text or str(text) not in str(caught.value)

    def test_variables_are_checked_too(self) -> None:
        for name in ("ECROSS_CLIENT_ID", "ECROSS_CLIENT_SECRET"):
            with pytest.raises(ConfigurationError, match=f"^{name} must be"):
                load(ENVIRONMENT | {name: "two\nlines"})


class TestSecretFile:
    def environ(self, file: Path) -> dict[str, str]:
        kept = {name: value for name, value in ENVIRONMENT.items() if name != "ECROSS_CLIENT_SECRET"}
        return kept | {"ECROSS_CLIENT_SECRET_FILE": str(file)}

    @pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
    @pytest.mark.parametrize("beginning", ["", "\ufeff"])
    def test_a_newline_at_the_end_is_no_part_of_the_secret(self, tmp_path: Path, beginning: str, ending: str) -> None:
        file = tmp_path / "secret"
        file.write_bytes(f"{beginning}{SECRET}{ending}".encode())

        told = load(self.environ(file))

        assert told.credentials == Credentials("acme-1", SECRET)
        assert told.sources["client_secret"] == f"secret file {file}"

    def test_what_kubernetes_lays_into_a_container_is_taken(self, tmp_path: Path) -> None:
        data = tmp_path / "..2026_01_01"
        data.mkdir()
        (data / "client-secret").write_text(SECRET)
        (data / "client-secret").chmod(0o444)
        if os.geteuid() == 0:
            os.chown(data / "client-secret", 1234, 1234)
        (tmp_path / "..data").symlink_to(data.name)
        (tmp_path / "client-secret").symlink_to("..data/client-secret")

        assert load(self.environ(tmp_path / "client-secret")).credentials == Credentials("acme-1", SECRET)

    @pytest.mark.parametrize(
        ("content", "mode", "said"),
        [
            (b"", 0o600, "The content of ECROSS_CLIENT_SECRET_FILE must be text"),
            (b"\n", 0o600, "must be text"),
            (b"two\nlines\n", 0o600, "must be one line"),
            (b"\xff\xfe", 0o600, "must be text"),
            (b"x" * 5000, 0o600, "larger than 4096 bytes"),
            (b"secret", 0o646, "can be changed by anybody"),
        ],
    )
    def test_an_unfit_file_is_refused_without_its_content(
        self, tmp_path: Path, content: bytes, mode: int, said: str
    ) -> None:
        file = tmp_path / "file"
        file.write_bytes(content)
        file.chmod(mode)

        with pytest.raises(ConfigurationError, match=said) as caught:
            load(self.environ(file))
        assert caught.value.__cause__ is None

    def test_what_is_no_file_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")

        for name, said in {
            "missing": "there is no file",
            ".": "not a regular file",
            "pipe": "not a regular file",
        }.items():
            with pytest.raises(ConfigurationError, match=f"^ECROSS_CLIENT_SECRET_FILE: .*{said}"):
                load(self.environ(tmp_path / name))

    def test_secret_and_file_contradict_each_other(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="ECROSS_CLIENT_SECRET and ECROSS_CLIENT_SECRET_FILE contradict"):
            load(ENVIRONMENT | {"ECROSS_CLIENT_SECRET_FILE": str(tmp_path)})

    def test_a_file_that_is_not_needed_is_not_read(self, tmp_path: Path) -> None:
        told = load(self.environ(tmp_path / "missing"), client_id="a", client_secret="s")

        assert told.credentials == Credentials("a", "s")

    def test_a_secret_in_a_work_tree_is_warned_of(self, tmp_path: Path) -> None:
        (tmp_path / ".git").mkdir()
        (tmp_path / "secret").write_text(SECRET)

        with pytest.warns(GitExposureWarning, match="lies in the git work tree"):
            load(self.environ(tmp_path / "secret"))


class TestProfiles:
    def test_the_default_profile_tells_what_nothing_else_does(self, config_file: Path, no_keyring: Keyring) -> None:
        config_file.write_text(
            f'[profiles.default]\nclient_id = "acme-1"\nclient_secret = "{SECRET}"\nbase_url = "https://a.test"\n'
        )
        config_file.chmod(0o600)

        told = load(keyring=no_keyring)

        assert told.credentials == Credentials("acme-1", SECRET)
        assert told.endpoints.auth == "https://a.test"
        assert told.profile == "default"
        assert told.sources == {
            "client_id": "profile default",
            "client_secret": "configuration file (profile default)",
            "endpoints": "profile default",
            "profile": "default",
        }

    def test_a_profile_is_chosen_by_argument_or_environment(self, config_file: Path) -> None:
        config_file.write_text(
            '[profiles.one]\nenvironment = "production"\n[profiles.two]\nbase_urls = { auth = "https://two.test" }\n'
        )

        assert load({"ECROSS_PROFILE": "one"}).endpoints == PUBLISHED
        assert load({"ECROSS_PROFILE": "one"}).sources["profile"] == "environment variable ECROSS_PROFILE"
        told = load({"ECROSS_PROFILE": "one"}, profile="two")
        assert told.endpoints.auth == "https://two.test"
        assert (told.profile, told.sources["profile"]) == ("two", "argument")

    def test_a_profile_that_was_named_must_be_there(self, config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config_file.write_text("[profiles.default]\n")

        with pytest.raises(ConfigurationError, match=r"There is no profile 'prod': the file is .*config\.toml"):
            load(ENVIRONMENT, profile="prod")
        monkeypatch.setenv("HOME", "/nonexistent")
        with pytest.raises(ConfigurationError, match="There is no profile 'prod': there is no home"):
            load(ENVIRONMENT, profile="prod")

    def test_a_container_without_a_home_needs_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/nonexistent")

        assert load(ENVIRONMENT).credentials == Credentials("acme-1", SECRET)
        assert load(base_url="https://a.test").credentials is None

    def test_a_file_that_is_not_needed_is_not_read(self, config_file: Path) -> None:
        config_file.write_text("no TOML at all")

        assert load(ENVIRONMENT).credentials == Credentials("acme-1", SECRET)

    def test_the_environment_beats_what_is_stored(self, config_file: Path, keyring: Keyring) -> None:
        store_profile(
            client_id="stored", client_secret="stored", base_url="https://s.test", environ={}, keyring=keyring
        )
        assert config_file.exists()

        told = load(ENVIRONMENT, keyring=keyring)

        assert told.credentials == Credentials("acme-1", SECRET)
        assert told.endpoints.auth == "https://api.test"

    def test_the_secret_of_a_profile_is_joined_with_its_own_id_alone(self, keyring: Keyring) -> None:
        store_profile(client_id="stored", client_secret="s", base_url="https://s.test", environ={}, keyring=keyring)

        assert load(client_id="stored", keyring=keyring).credentials == Credentials("stored", "s")
        with pytest.raises(ConfigurationError, match="belong to different credentials"):
            load(client_id="another", keyring=keyring)
        with pytest.raises(ConfigurationError, match="belong to different credentials"):
            load({"ECROSS_CLIENT_SECRET": "another"}, keyring=keyring)

    def test_the_id_of_a_profile_is_joined_with_a_secret_told_elsewhere(
        self, config_file: Path, no_keyring: Keyring
    ) -> None:
        config_file.write_text('[profiles.default]\nclient_id = "acme-1"\nbase_url = "https://a.test"\n')

        told = load({"ECROSS_CLIENT_SECRET": SECRET}, keyring=no_keyring)

        assert told.credentials == Credentials("acme-1", SECRET)
        assert told.sources["client_id"] == "profile default"

    def test_halves_that_are_told_twice_are_those_of_the_first_source(
        self, config_file: Path, no_keyring: Keyring
    ) -> None:
        config_file.write_text('[profiles.default]\nclient_id = "stored"\nclient_secret = "stored"\n')
        config_file.chmod(0o600)
        environ = {"ECROSS_BASE_URL": "https://a.test", "ECROSS_CLIENT_ID": "stored"}

        assert load(environ, client_id="stored", keyring=no_keyring).credentials == Credentials("stored", "stored")
        config_file.write_text('[profiles.default]\nclient_id = "a"\n')
        environ = {"ECROSS_BASE_URL": "https://a.test", "ECROSS_CLIENT_SECRET": "second"}
        assert load(environ, client_secret="first", keyring=no_keyring).credentials == Credentials("a", "first")


def test_a_home_written_as_a_tilde_is_the_same_for_client_and_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ECROSS_CACHE_DIR", "~/tokens")

    told = load_configuration(base_url="https://api.example.test", environ={"ECROSS_CACHE_DIR": "~/tokens"})

    assert told.cache_directory == FileCache().directory == tmp_path / "tokens"
