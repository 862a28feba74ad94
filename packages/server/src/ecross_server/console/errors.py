"""Why a page is not shown, or a form not heeded."""

from __future__ import annotations

from ecross_server.kit.errors import ConflictError, Fault, InvalidInputError, NotFoundError


class NotSignedInError(ConflictError):
    """Nobody is signed in, or not any more."""

    code = "not_signed_in"

    def __init__(self) -> None:
        super().__init__("Sign in first: nobody is signed in here, or not any more.")


class NotAllowedError(ConflictError):
    """The operator's role does not include this."""

    code = "role_too_low"

    def __init__(self, role: str) -> None:
        super().__init__(f"This needs the role {role}. Ask an owner to give it to you.")


class ForeignRequestError(ConflictError):
    """The request does not say that a page of the console has sent it."""

    code = "foreign_request"

    def __init__(self) -> None:
        super().__init__(
            "The request did not say that it comes from this console, so nothing was done. Press the button on the "
            "page itself, in a browser of 2023 or newer."
        )


class PageNotFoundError(NotFoundError):
    """There is no such page."""

    code = "page_not_found"

    def __init__(self) -> None:
        super().__init__("There is nothing at this address.")


class UnreadableFormError(InvalidInputError):
    """What was sent is no form of ours."""

    code = "unreadable_form"

    def __init__(self) -> None:
        super().__init__("The form could not be read, so nothing was done. Go back, reload the page and try again.")


class NameNotTypedError(InvalidInputError):
    """An act that takes something away was not confirmed."""

    code = "name_not_typed"

    def __init__(self, name: str) -> None:
        message = f"type {name} exactly, to show that you mean it"
        super().__init__(f"confirm: {message}", (Fault("confirm", message),))


class PasswordsDifferError(InvalidInputError):
    """The password was typed differently the second time."""

    code = "passwords_differ"

    def __init__(self) -> None:
        message = "is not the same as above"
        super().__init__(f"again {message}", (Fault("again", message),))
