import subprocess
import sys
from importlib.metadata import version

import pytest

import ecross
from ecross import errors, jws, types, verifier


def test_the_public_names_are_these() -> None:
    assert ecross.__all__ == [
        "AccessToken", "AsyncClient", "Claims", "Client", "CredentialExpiryWarning", "EcrossAuth", "EcrossError",
        "FileCache", "GitExposureWarning", "InvalidTokenError", "MemoryCache", "TokenCache", "TokenVerifier",
        "__version__",
    ]  # fmt: skip
    assert set(ecross.__all__) <= set(dir(ecross))


def test_what_calls_take_and_give_has_these_names() -> None:
    assert types.__all__ == [
        "AccessToken", "ChannelStatus", "InventoryRecord", "Page", "ReturnedOrder", "SaleChannelData", "SellableStock",
        "Sku", "SkuAttribute", "SkuDraft", "SyncFailure", "SyncFault", "SyncProgress", "SyncRefusal", "SyncReport",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [ecross.Client, ecross.AsyncClient])
def test_both_clients_have_the_same_subjects_with_the_same_methods(kind: type) -> None:
    client = kind(client_id="i", client_secret="s", base_url="http://127.0.0.1:9", token_cache=ecross.MemoryCache())
    found = {
        subject: {name for name in dir(getattr(client, subject)) if not name.startswith("_")}
        for subject in vars(client)
        if not subject.startswith("_")
    }

    assert found == {
        "skus": {"list", "upsert"}, "products": {"get"}, "inventory": {"set", "list", "get_sellable", "sync"},
        "catalog": {"sync"},
    }  # fmt: skip


def test_public_names_lead_to_their_homes() -> None:
    assert ecross.TokenVerifier is verifier.TokenVerifier
    assert ecross.Claims is verifier.Claims
    assert ecross.EcrossError is errors.EcrossError
    assert ecross.InvalidTokenError is errors.InvalidTokenError is jws.InvalidTokenError is verifier.InvalidTokenError


def test_the_client_and_its_parts_are_found_at_the_top() -> None:
    homes = {name: getattr(ecross, name).__module__.split(".")[1] for name in ecross.__all__[:-1]}

    assert homes == {
        "AccessToken": "types", "AsyncClient": "_client", "Claims": "verifier", "Client": "_client",
        "CredentialExpiryWarning": "_auth", "EcrossAuth": "_client", "EcrossError": "errors",
        "FileCache": "_token_cache", "GitExposureWarning": "_private_files", "InvalidTokenError": "errors",
        "MemoryCache": "_token_cache",
        "TokenCache": "_token_cache", "TokenVerifier": "verifier",
    }  # fmt: skip


def test_the_version_is_the_installed_one() -> None:
    assert ecross.__version__ == version("ecross")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        _ = ecross.Clint  # type: ignore[attr-defined]  # the point of the test


def test_the_signature_check_loads_the_standard_library_only_and_not_the_rest_of_the_client() -> None:
    script = """if True:
        import sys
        before = set(sys.modules)
        import ecross.jws
        loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
        print(sorted(loaded - set(sys.stdlib_module_names)), "ecross.verifier" in sys.modules)
    """

    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert run.stdout.strip() == "['ecross'] False"


def test_a_client_that_brings_no_whole_source_does_not_load_what_that_needs() -> None:
    script = """if True:
        import sys
        before = set(sys.modules)
        from ecross import Client
        loaded = set(sys.modules) - before
        print([name for name in loaded if name == "sqlite3" or name.startswith("ecross._bulk.")])
    """

    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert run.stdout.strip() == "['ecross._bulk.places']"
