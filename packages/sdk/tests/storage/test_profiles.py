import os
import stat
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecross._configuration import (
    Endpoints,
    Profile,
    SecretPlace,
    StoredSecret,
    config_file,
    list_profiles,
    load_configuration,
    remove_profile,
    store_profile,
)
from ecross._keyring import Keyring
from ecross._private_files import GitExposureWarning
from ecross.errors import ConfigurationError

SECRET = "ecs_made_up_secret"

STORE_MANY = """
import os, sys
from ecross._configuration import store_profile
children = []
for number in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        store_profile(f"profile{number}", client_id=f"id{number}", client_secret=f"secret{number}")
        os._exit(0)
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children])
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of the profiles; not made."""
    return tmp_path / "config" / "our.toml"


@pytest.fixture
def credentials_file(file: Path) -> Path:
    return file.with_name("our.credentials.toml")


@pytest.fixture
def environ(file: Path) -> dict[str, str]:
    return {"ECROSS_CONFIG_FILE": str(file)}


@pytest.fixture
def write(file: Path) -> Callable[..., None]:
    """Writes the file as a person would."""

    def write_text(text: str, mode: int = 0o600) -> None:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    return write_text


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def secret_of(name: str, environ: dict[str, str], keyring: Keyring) -> str | None:
    told = load_configuration(profile=name, base_url="https://a.test", environ=environ, keyring=keyring).credentials
    return None if told is None else told.client_secret


def test_a_secret_goes_into_the_keyring_where_there_is_one(
    file: Path, environ: dict[str, str], keyring: Keyring, store: Any
) -> None:
    went = store_profile(
        client_id="acme-1", client_secret=SECRET, base_url="https://a.test/", environ=environ, keyring=keyring
    )

    assert went == StoredSecret(SecretPlace.KEYRING, None, None)
    assert list(store.content.values()) == [SECRET]
    assert secret_of("default", environ, keyring) == SECRET
    assert {path.name: mode_of(path) for path in file.parent.iterdir()} == {"our.toml": 0o600, "our.toml.lock": 0o600}
    assert SECRET not in file.read_text()
    assert tomllib.loads(file.read_text()) == {
        "profiles": {"default": {"client_id": "acme-1", "base_url": "https://a.test/"}}
    }


def test_else_it_goes_into_a_file_of_its_own_that_nobody_else_can_read(
    file: Path, credentials_file: Path, environ: dict[str, str], no_keyring: Keyring
) -> None:
    went = store_profile(client_id="acme-1", client_secret=SECRET, environ=environ, keyring=no_keyring)

    assert went.place is SecretPlace.CREDENTIALS_FILE
    assert went.path == credentials_file
    assert went.why_not_better == "The extra ecross[keyring] is not installed."
    assert mode_of(credentials_file) == 0o600
    assert mode_of(file.parent) == 0o700
    assert SECRET not in file.read_text()
    assert secret_of("default", environ, no_keyring) == SECRET


def test_profiles_are_listed_in_order_and_without_secrets(environ: dict[str, str], no_keyring: Keyring) -> None:
    urls = {"auth": "https://auth.test", "product": "https://product.test"}
    assert list_profiles(environ=environ, keyring=no_keyring) == []
    store_profile("two", client_id="b", client_secret=SECRET, base_urls=urls, environ=environ, keyring=no_keyring)
    store_profile("one", client_id="a", client_secret=SECRET, environ=environ, keyring=no_keyring)

    profiles = list_profiles(environ=environ, keyring=no_keyring)

    assert profiles == [
        Profile("two", "b", Endpoints("https://auth.test", "https://product.test", None, None)),
        Profile("one", "a", None),
    ]
    assert SECRET not in repr(profiles)


def test_storing_again_replaces_that_profile_and_its_secret_and_nothing_else(
    environ: dict[str, str], keyring: Keyring, no_keyring: Keyring, store: Any, credentials_file: Path
) -> None:
    store_profile("other", client_id="o", client_secret="other", environ=environ, keyring=no_keyring)
    for number, used in enumerate([no_keyring, keyring, keyring, no_keyring]):
        store_profile("mine", client_id=f"id{number // 2}", client_secret=f"s{number}", environ=environ, keyring=used)
        assert secret_of("mine", environ, keyring if used is keyring else no_keyring) == f"s{number}"
        assert f's{number}"' in credentials_file.read_text() or f"s{number}" in store.content.values()

    assert secret_of("other", environ, no_keyring) == "other"
    assert credentials_file.read_text().count("client_secret") == 2


def test_a_secret_that_moves_into_the_keyring_does_not_stay_in_the_file(
    environ: dict[str, str], keyring: Keyring, no_keyring: Keyring, store: Any, credentials_file: Path
) -> None:
    store_profile(client_id="a", client_secret="old", environ=environ, keyring=no_keyring)
    store_profile(client_id="a", client_secret="new", environ=environ, keyring=keyring)

    assert "old" not in credentials_file.read_text()
    assert secret_of("default", environ, keyring) == "new"
    store_profile(client_id="b", client_secret="newer", environ=environ, keyring=keyring)
    assert list(store.content.values()) == ["newer"]


def test_a_profile_that_was_given_another_id_by_hand_does_not_go_on_with_the_old_secret(
    file: Path, environ: dict[str, str], keyring: Keyring
) -> None:
    store_profile(client_id="a", client_secret=SECRET, environ=environ, keyring=keyring)
    file.write_text(file.read_text().replace('"a"', '"b"'))

    with pytest.raises(ConfigurationError, match="its client secret was not"):
        secret_of("default", environ, keyring)


@pytest.mark.parametrize("kind", ["keyring", "no_keyring"])
def test_a_removed_profile_is_forgotten_with_its_secret(
    environ: dict[str, str], request: pytest.FixtureRequest, store: Any, credentials_file: Path, kind: str
) -> None:
    used: Keyring = request.getfixturevalue(kind)
    store_profile("mine", client_id="a", client_secret=SECRET, environ=environ, keyring=used)
    store_profile("other", client_id="a", client_secret="other", environ=environ, keyring=used)

    assert remove_profile("mine", environ=environ, keyring=used)
    assert not remove_profile("mine", environ=environ, keyring=used)

    assert [profile.name for profile in list_profiles(environ=environ, keyring=used)] == ["other"]
    assert secret_of("other", environ, used) == "other"
    assert SECRET not in store.content.values()
    assert not credentials_file.exists() or SECRET not in credentials_file.read_text()


def test_a_profile_without_an_id_can_be_removed(
    write: Callable[..., None], environ: dict[str, str], no_keyring: Keyring
) -> None:
    write('[profiles.default]\nbase_url = "https://a.test"\n')

    assert load_configuration(environ=environ, keyring=no_keyring).credentials is None
    assert remove_profile(environ=environ, keyring=no_keyring)
    assert list_profiles(environ=environ, keyring=no_keyring) == []


def test_what_a_person_wrote_stays_as_it_was(
    write: Callable[..., None], file: Path, environ: dict[str, str], no_keyring: Keyring
) -> None:
    write(
        "# ours\n\n[profiles.mine] # mine\nclient_id = 'old' # old\n[profiles.mine.base_urls]\nauth='https://a.test'\n\n"
        "# the real one\n[profiles.production]\nclient_id = 'acme-1'  # ask Ann\nenvironment = 'production'\n"
    )

    store_profile("mine", client_id="new", client_secret=SECRET, environ=environ, keyring=no_keyring)

    assert file.read_text() == (
        "# ours\n\n\n# the real one\n[profiles.production]\nclient_id = 'acme-1'  # ask Ann\n"
        "environment = 'production'\n\n[profiles.mine]\nclient_id = \"new\"\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "profiles = { mine = { client_id = 'a' }, other = { client_id = 'b' } }\n",
        "profiles.mine.client_id = 'a'\n",
        "[profiles]\nmine.client_id = 'a'\n",
        "[profiles.other]\nclient_id = '''\n[profiles.mine]\n'''\n",
        "[profiles.other]\nclient_id = '''\n[profiles.mine]\n[other]\n'''\n",
    ],
)
def test_what_only_a_person_can_change_safely_is_left_to_them(
    write: Callable[..., None], file: Path, environ: dict[str, str], store: Any, text: str
) -> None:
    write(text)

    with pytest.raises(ConfigurationError, match="only a person can change"):
        store_profile("mine", client_id="new", client_secret=SECRET, environ=environ, keyring=Keyring(lambda: store))
    assert file.read_text() == text
    assert store.content == {}


TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)


@given(secret=TEXT, client_id=TEXT)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
def test_whatever_can_be_typed_comes_back_as_it_was(
    secret: str, client_id: str, environ: dict[str, str], no_keyring: Keyring
) -> None:
    store_profile("mine", client_id=client_id, client_secret=secret, environ=environ, keyring=no_keyring)

    told = load_configuration(profile="mine", base_url="https://a.test", environ=environ, keyring=no_keyring)

    assert told.credentials is not None
    assert (told.credentials.client_id, told.credentials.client_secret) == (client_id, secret)


def test_profiles_stored_at_once_by_many_processes_are_all_there(
    environ: dict[str, str], no_keyring: Keyring, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    told, _ = spawn(STORE_MANY, 8, environment=os.environ | environ).communicate()

    assert told == f"{[0] * 8}\n"
    for number in range(8):
        assert secret_of(f"profile{number}", environ, no_keyring) == f"secret{number}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[profiles.default]\nclient_idd = 'a'\n", "client_idd of the profile default in .* is unknown"),
        ("[profile.default]\n", r"profile in .* is unknown. Known: \[profiles.NAME\]"),
        ("profiles = 5\n", "must be tables"),
        ("[profiles]\ndefault = 5\n", "must be tables"),
        ("[profiles.default]\nclient_id = 5\n", "client_id of the profile default in .* must be text"),
        ("[profiles.default]\nbase_url = 5\n", "base_url of the profile default in .* must be text"),
        ("[profiles.default]\nbase_urls = 'https://a.test'\n", "must be a table"),
        ("[profiles.default]\nbase_urls = { auth = 5 }\n", "auth in base_urls of the profile default .* must be text"),
        ("[profiles.default]\nenvironment = [5]\n", "environment of the profile default in .* must be one of"),
        ("[profiles.default]\nenvironment = 'a'\nbase_url = 'b'\n", "base_url and environment of .* contradict"),
        ("[profiles.default]\nclient_secret = ecs_made_up\n", r"no TOML \(line 2\)"),
        ("[profiles.default", r"no TOML \(line 1\)|no TOML \(at its end\)"),
        ("a = " + "[" * 100_000, "no TOML"),
    ],
)  # fmt: skip
def test_a_faulty_file_is_refused_with_the_place_and_without_values(
    write: Callable[..., None], environ: dict[str, str], keyring: Keyring, text: str, said: str
) -> None:
    write(text)

    with pytest.raises(ConfigurationError, match=said) as caught:
        load_configuration(environ=environ, keyring=keyring)

    assert "ecs_" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_file_in_another_encoding_or_beyond_all_measure_is_refused(
    write: Callable[..., None], file: Path, environ: dict[str, str]
) -> None:
    write("")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_configuration(environ=environ)
    file.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigurationError, match="larger than"):
        load_configuration(environ=environ)


def test_a_secret_in_a_file_that_others_can_read_is_refused(
    write: Callable[..., None], environ: dict[str, str], keyring: Keyring
) -> None:
    text = f"[profiles.default]\nclient_id = 'a'\nclient_secret = '{SECRET}'\nbase_url = 'https://a.test'\n"
    write(text, 0o640)
    with pytest.raises(ConfigurationError, match=r"chmod 600 .* It holds a client secret") as caught:
        load_configuration(environ=environ, keyring=keyring)
    assert SECRET not in str(caught.value)

    write(text, 0o600)
    assert load_configuration(environ=environ, keyring=keyring).credentials is not None


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_addresses_that_others_can_change_are_refused(
    write: Callable[..., None], environ: dict[str, str], mode: int
) -> None:
    write("[profiles.default]\nbase_url = 'https://a.test'\n", mode)

    with pytest.raises(ConfigurationError, match="can be changed by others"):
        load_configuration(environ=environ)


def test_a_credentials_file_that_others_can_read_is_refused(
    environ: dict[str, str], no_keyring: Keyring, credentials_file: Path
) -> None:
    store_profile(client_id="a", client_secret=SECRET, environ=environ, keyring=no_keyring)
    credentials_file.chmod(0o644)

    with pytest.raises(ConfigurationError, match="chmod 600"):
        secret_of("default", environ, no_keyring)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        store_profile(client_id="a", client_secret=SECRET, environ=environ, keyring=no_keyring)


def test_a_folder_that_others_may_look_into_is_left_as_it_is_and_one_they_may_change_is_refused(
    file: Path, environ: dict[str, str], no_keyring: Keyring
) -> None:
    file.parent.mkdir()
    file.parent.chmod(0o755)
    store_profile(client_id="a", client_secret=SECRET, environ=environ, keyring=no_keyring)
    assert mode_of(file.parent) == 0o755

    file.parent.chmod(0o777)
    with pytest.raises(ConfigurationError, match="can be changed by others"):
        store_profile(client_id="a", client_secret=SECRET, environ=environ, keyring=no_keyring)


def test_two_tables_of_a_profile_and_a_quoted_name_are_its_own(
    write: Callable[..., None], file: Path, environ: dict[str, str], no_keyring: Keyring
) -> None:
    write(
        "[ profiles . \"mine\" ]\nclient_id = 'a'\n[profiles.mine.base_urls]\nauth = 'https://a.test'\n[profiles.mine2]\n"
    )

    assert remove_profile("mine", environ=environ, keyring=no_keyring)

    assert file.read_text() == "[profiles.mine2]\n"


def test_a_link_to_the_file_is_followed_and_stays_one(
    file: Path, environ: dict[str, str], no_keyring: Keyring, tmp_path: Path
) -> None:
    real = tmp_path / "dotfiles" / "real.toml"
    real.parent.mkdir()
    real.write_text("# mine\n")
    file.parent.mkdir()
    file.symlink_to(real)

    store_profile(client_id="a", client_secret=SECRET, environ=environ, keyring=no_keyring)

    assert file.is_symlink()
    assert real.read_text().startswith("# mine\n")
    assert real.with_name("real.credentials.toml").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "a/b"},
        {"name": ""},
        {"name": "a" * 65},
        {"client_id": ""},
        {"client_secret": "two\nlines"},
        {"base_url": "http://a.test"},
        {"base_url": "https://a.test", "environment": "production"},
        {"environment": "prod"},
    ],
)
def test_what_is_unfit_is_not_stored(
    file: Path, environ: dict[str, str], keyring: Keyring, store: Any, arguments: dict[str, str]
) -> None:
    fit = {"name": "mine", "client_id": "a", "client_secret": SECRET}

    with pytest.raises(ConfigurationError):
        store_profile(**(fit | arguments), environ=environ, keyring=keyring)  # type: ignore[arg-type]  # the point

    assert not file.exists()
    assert store.content == {}


def test_where_nothing_can_be_kept_the_error_says_why(
    environ: dict[str, str], file: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.parent.touch()
    with pytest.raises(ConfigurationError, match=r"Not a directory|cannot be"):
        store_profile(client_id="a", client_secret=SECRET, environ=environ, keyring=keyring)

    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(ConfigurationError, match=r"no home directory to keep profiles in\. Set ECROSS_CONFIG_FILE"):
        store_profile(client_id="a", client_secret=SECRET, environ={}, keyring=keyring)


def test_the_file_is_where_the_system_wants_it_or_where_it_is_told(tmp_path: Path) -> None:
    assert config_file({}) == tmp_path / "home" / ".config" / "ecross" / "config.toml"
    assert config_file({"ECROSS_CONFIG_FILE": "/told"}) == Path("/told")


def test_a_profile_stored_in_a_work_tree_is_warned_of(
    file: Path, environ: dict[str, str], no_keyring: Keyring, keyring: Keyring, tmp_path: Path
) -> None:
    (tmp_path / ".git").mkdir()

    with pytest.warns(GitExposureWarning) as caught:
        store_profile(client_id="a", client_secret=SECRET, environ=environ, keyring=no_keyring)
    assert [str(file.parent) in str(one.message) for one in caught] == [True, True]
    store_profile(client_id="a", client_secret=SECRET, environ=environ, keyring=keyring)


def test_links_in_a_circle_lead_to_no_file(file: Path, environ: dict[str, str], no_keyring: Keyring) -> None:
    file.parent.mkdir()
    file.symlink_to(file)

    with pytest.raises(ConfigurationError, match="Too many levels of symbolic links"):
        load_configuration(environ=environ, keyring=no_keyring)
    with pytest.raises(ConfigurationError, match="Too many levels of symbolic links"):
        store_profile(client_id="a", client_secret=SECRET, environ=environ, keyring=no_keyring)
