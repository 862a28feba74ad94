"""Secrets in the operating system's own store, through the extra `keyring`, where that can be relied on."""

import functools
import queue
import threading
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, Final, Protocol

__all__ = ["Keyring", "KeyringBackend", "KeyringUnusableError", "system_keyring"]

SERVICE: Final = "ecross"
DEADLINE_SECONDS: Final = 3.0

# Stores that keep nothing, refuse everything, or write files of their own: plain, weakly wrapped, or after a prompt.
_NO_STORES: Final = ("keyring.backends.null", "keyring.backends.fail", "keyrings.alt")


class KeyringUnusableError(Exception):
    """There is no keyring that can be relied on; the message says why and holds no secret."""


class KeyringBackend(Protocol):
    """What is used of `keyring.backend.KeyringBackend`."""

    def get_password(self, service: str, username: str, /) -> str | None:
        """The secret, or `None`."""

    def set_password(self, service: str, username: str, password: str, /) -> None:
        """Keep the secret."""

    def delete_password(self, service: str, username: str, /) -> None:
        """Forget the secret."""


def installed_backend() -> object:
    """The backend that the library `keyring` chooses; loaded only here.

    Raises:
        ImportError: if the extra is not installed.
    """
    return import_module("keyring").get_keyring()


class Keyring:
    """Secrets by name, in the operating system's store.

    A store may hang: it waits for somebody to unlock it. Each act has a deadline, and a store that has missed it is
    not asked again by this process. Every method raises `KeyringUnusableError` where there is no reliable store.
    """

    def __init__(
        self, find_backend: Callable[[], object] = installed_backend, *, deadline_seconds: float = DEADLINE_SECONDS
    ) -> None:
        self._find_backend = find_backend
        self._deadline_seconds = deadline_seconds
        self._fault: str | None = None

    def get(self, name: str) -> str | None:
        """The secret of that name; `None` if there is none."""
        found = self._in_time(lambda backend, _: backend.get_password(SERVICE, name))
        if found is not None and not isinstance(found, str):
            raise KeyringUnusableError("The keyring gave something that is no text.")
        return found

    def set(self, name: str, secret: str) -> None:
        """Keep the secret, and make sure that the store gives it back."""

        def write_and_compare(backend: KeyringBackend, is_given_up: threading.Event) -> bool:
            backend.set_password(SERVICE, name, secret)
            return not is_given_up.is_set() and backend.get_password(SERVICE, name) == secret

        if self._in_time(write_and_compare) is not True:
            raise KeyringUnusableError("The keyring does not give back what it was given.")

    def delete(self, name: str) -> None:
        """Forget the secret of that name, if there is one."""

        def delete_if_there(backend: KeyringBackend, is_given_up: threading.Event) -> None:
            # Asked first: backends differ in the error they raise for a name they do not know.
            if backend.get_password(SERVICE, name) is not None and not is_given_up.is_set():
                backend.delete_password(SERVICE, name)

        self._in_time(delete_if_there)

    def fault(self) -> str | None:
        """Why there is no reliable store, as far as shows without asking it for anything; `None` if there is."""
        try:
            self._in_time(lambda _backend, _given_up: None)
        except KeyringUnusableError as error:
            return str(error)
        return None

    def _in_time(self, act: Callable[[KeyringBackend, threading.Event], object]) -> object:
        """What the act gives.

        It runs in a thread of its own, which is abandoned at the deadline: nothing else ends a call that hangs. Should
        the call come back later, the act finds itself given up and leaves the rest.
        """
        if self._fault is not None:
            raise KeyringUnusableError(self._fault)
        answer: queue.SimpleQueue[tuple[object, str | None]] = queue.SimpleQueue()
        is_given_up = threading.Event()

        def run() -> None:
            try:
                answer.put((act(_reliable(self._find_backend()), is_given_up), None))
            except ImportError:
                answer.put((None, "The extra ecross[keyring] is not installed."))
            except KeyringUnusableError as error:
                answer.put((None, str(error)))
            except BaseException as error:  # noqa: BLE001 - backends raise whatever their libraries do
                # Only the kind: the text might hold what was to be kept.
                answer.put((None, f"The keyring failed ({type(error).__name__})."))

        threading.Thread(target=run, name="ecross-keyring", daemon=True).start()
        try:
            result, fault = answer.get(timeout=self._deadline_seconds)
        except queue.Empty:
            is_given_up.set()
            fault = self._fault = f"The keyring did not answer within {self._deadline_seconds:g} seconds."
            result = None
        if fault is not None:
            raise KeyringUnusableError(fault)
        return result


def _reliable(backend: object) -> KeyringBackend:
    """The backend, or of several in a chain the first that really is a store."""
    # The chain of the library keyring asks its backends in this order. Its own choice may be one that keeps nothing.
    candidates: Iterable[Any] = getattr(backend, "backends", [backend])
    for candidate in candidates:
        if not any(kind.__module__.startswith(_NO_STORES) for kind in type(candidate).__mro__):
            store: KeyringBackend = candidate
            return store
    raise KeyringUnusableError("There is no keyring here that keeps secrets from being read as plain files.")


@functools.cache
def system_keyring() -> Keyring:
    """The keyring of this process's user: one for all, so that a store that hangs is waited for once."""
    return Keyring()
