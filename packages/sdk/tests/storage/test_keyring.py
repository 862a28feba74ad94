import importlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from keyring.backends import fail, null

from ecross._keyring import Keyring, KeyringUnusableError, installed_backend, system_keyring

SECRET = "ecs_made_up"


def test_what_is_kept_is_given_back_and_can_be_forgotten(keyring: Keyring, store: Any) -> None:
    keyring.set("name", SECRET)

    assert keyring.get("name") == SECRET
    assert keyring.fault() is None
    assert store.content == {("ecross", "name"): SECRET}
    keyring.delete("name")
    keyring.delete("name")
    assert keyring.get("name") is None


@pytest.mark.parametrize("backend", [null.Keyring, fail.Keyring], ids=["null", "fail"])
def test_a_backend_that_keeps_nothing_is_no_keyring(backend: Any) -> None:
    keyring = Keyring(backend)

    with pytest.raises(KeyringUnusableError, match="There is no keyring here"):
        keyring.set("name", SECRET)
    assert keyring.fault() == "There is no keyring here that keeps secrets from being read as plain files."


def test_a_plain_file_of_keyrings_alt_is_no_keyring_also_when_extended(store: Any) -> None:
    plain = type("PlaintextKeyring", (type(store),), {"__module__": "keyrings.alt.file"})
    extended = type("Extended", (plain,), {"__module__": "somebody"})

    for kind in (plain, extended):
        with pytest.raises(KeyringUnusableError, match="There is no keyring here"):
            Keyring(kind).set("name", SECRET)


def test_of_a_chain_the_first_real_store_is_used(store: Any) -> None:
    kinds: list[Any] = [null.Keyring, fail.Keyring]
    chain = SimpleNamespace(backends=[*(kind() for kind in kinds), store])

    Keyring(lambda: chain).set("name", SECRET)

    assert store.content == {("ecross", "name"): SECRET}


def test_a_chain_of_none_is_no_keyring() -> None:
    with pytest.raises(KeyringUnusableError, match="There is no keyring here"):
        Keyring(lambda: SimpleNamespace(backends=[])).get("name")


def test_a_lying_keyring_is_found_out(lying_store: Any) -> None:
    with pytest.raises(KeyringUnusableError, match="does not give back what it was given"):
        Keyring(lambda: lying_store).set("name", SECRET)


def test_a_keyring_that_gives_no_text_is_not_trusted(changing_store: Any) -> None:
    with pytest.raises(KeyringUnusableError, match="no text"):
        Keyring(lambda: changing_store).get("name")


def test_the_error_of_a_failing_keyring_tells_its_kind_and_no_secret(failing_store: Any) -> None:
    with pytest.raises(KeyringUnusableError) as caught:
        Keyring(lambda: failing_store).set("name", SECRET)

    assert str(caught.value) == "The keyring failed (RuntimeError)."
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_hanging_keyring_is_left_at_the_deadline_and_not_asked_again(hanging_store: Any) -> None:
    keyring = Keyring(lambda: hanging_store, deadline_seconds=0.05)
    with pytest.raises(KeyringUnusableError, match=r"did not answer within 0\.05 seconds"):
        keyring.get("name")

    hanging_store.unlocked.set()

    begun = time.monotonic()
    with pytest.raises(KeyringUnusableError, match="did not answer"):
        keyring.get("name")
    assert time.monotonic() - begun < 0.05


@pytest.mark.parametrize("act", ["set", "delete"])
def test_an_act_that_was_given_up_does_not_go_on_when_the_keyring_is_unlocked(hanging_store: Any, act: str) -> None:
    hanging_store.content["ecross", "name"] = "old"
    keyring = Keyring(lambda: hanging_store, deadline_seconds=0.05)

    with pytest.raises(KeyringUnusableError, match="did not answer"):
        keyring.set("name", SECRET) if act == "set" else keyring.delete("name")
    hanging_store.unlocked.set()
    for thread in threading.enumerate():
        if thread.name == "ecross-keyring":
            thread.join(5)

    assert ("ecross", "name") in hanging_store.content  # not deleted behind the caller's back
    assert hanging_store.calls <= 1 + (act == "set")


def test_without_the_extra_there_is_no_keyring(no_keyring: Keyring) -> None:
    with pytest.raises(KeyringUnusableError, match=r"The extra ecross\[keyring\] is not installed"):
        no_keyring.get("name")


def test_the_library_is_loaded_only_when_a_keyring_is_asked() -> None:
    script = """if True:
        import sys
        import ecross._token_cache, ecross._configuration
        print("keyring" in sys.modules)
    """

    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert run.stdout == "False\n"


def test_the_process_has_one_keyring_the_one_that_the_library_chooses() -> None:
    assert system_keyring() is system_keyring()
    assert type(installed_backend()) is type(importlib.import_module("keyring").get_keyring())


def test_one_process_reads_what_another_has_kept(shared_keyring: tuple[dict[str, str], Path]) -> None:
    environment, file = shared_keyring
    script = """if True:
        import sys
        from ecross._keyring import system_keyring
        print(system_keyring().get("name"))
        system_keyring().set("name", sys.argv[1])
    """

    told = [
        subprocess.run(
            [sys.executable, "-c", script, text], env=environment, check=True, capture_output=True, text=True
        ).stdout
        for text in ("first", "second")
    ]

    assert told == ["None\n", "first\n"]
    assert "second" in file.read_text()
