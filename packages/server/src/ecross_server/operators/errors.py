"""What can be wrong with operators, their invitations and their signing in."""

from __future__ import annotations

from ecross_server.kit.errors import ConflictError, NotFoundError, UnavailableError


class OperatorNotFoundError(NotFoundError):
    """No operator has this id."""

    code = "operator_not_found"

    def __init__(self) -> None:
        # What was given may be a password in the wrong place: it is not repeated.
        super().__init__("There is no such operator. List them with: ecross-server operators list")


class OperatorExistsError(ConflictError):
    """The id is taken."""

    code = "operator_exists"

    def __init__(self, operator_id: str) -> None:
        super().__init__(
            f"There is an operator {operator_id} already. "
            f"For a new password: ecross-server operators reinvite {operator_id}"
        )


class OperatorDisabledError(ConflictError):
    """A disabled operator gets neither an invitation nor a token."""

    code = "operator_disabled"

    def __init__(self, operator_id: str) -> None:
        super().__init__(f"The operator {operator_id} is disabled. First: ecross-server operators enable {operator_id}")


class NotEnrolledError(ConflictError):
    """Who was invited has not enrolled yet."""

    code = "operator_not_enrolled"

    def __init__(self, operator_id: str) -> None:
        super().__init__(f"The operator {operator_id} has not used the invitation yet.")


class LastOwnerError(ConflictError):
    """Without this one, nobody could manage operators any more."""

    code = "last_owner"

    def __init__(self, operator_id: str) -> None:
        super().__init__(
            f"The operator {operator_id} is the only active owner. First let another one enroll: "
            "ecross-server operators add ID --name NAME --role owner"
        )


class InvitationNotFoundError(NotFoundError):
    """The invitation is unknown, used, replaced or too old: strangers cannot tell which."""

    code = "invitation_not_found"

    def __init__(self) -> None:
        super().__init__(
            "This invitation cannot be used: it is not known here, was used, or is too old. Ask an owner for a new one."
        )


class WrongCodeError(ConflictError):
    """The code of the authenticator does not fit; the invitation stays as it was."""

    code = "wrong_code"

    def __init__(self) -> None:
        super().__init__(
            "This is not the code that the authenticator shows now. Look at it again; the clocks of both must be right."
        )


class SignInRefusedError(ConflictError):
    """Operator, password or code is wrong, or the operator may not sign in: nobody is told which."""

    code = "sign_in_refused"

    def __init__(self) -> None:
        super().__init__("Incorrect operator, password or code.")


class PasskeyRefusedError(ConflictError):
    """The passkey is unknown, ended or not the operator's, or its answer is wrong: nobody is told which."""

    code = "passkey_refused"

    def __init__(self) -> None:
        super().__init__("This passkey opens nothing here. Sign in with your password and a code.")


class PasskeyTooLateError(ConflictError):
    """The challenge was made too long ago."""

    code = "passkey_too_late"

    def __init__(self) -> None:
        super().__init__("This page has waited for too long. Try again.")


class PasskeyUnusableError(ConflictError):
    """What the browser has made is no passkey as it was asked for."""

    code = "passkey_unusable"

    def __init__(self) -> None:
        super().__init__("The browser has made no passkey that can be used here. Nothing was added. Try again.")


class TooManyPasskeysError(ConflictError):
    """An operator has as many as are allowed."""

    code = "too_many_passkeys"

    def __init__(self, most: int) -> None:
        super().__init__(f"There are {most} passkeys already. Remove one of them first.")


class PasskeyNotFoundError(NotFoundError):
    """The operator has no such passkey."""

    code = "passkey_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such passkey. List them with: ecross-server operators passkeys ID")


class PasskeysNeedANameError(ConflictError):
    """Browsers make passkeys for names of hosts, never for addresses."""

    code = "passkeys_need_a_name"

    def __init__(self) -> None:
        super().__init__("Passkeys need a name instead of an address: set ECROSS_SERVER_CONSOLE_URL.")


class TooManySignInsError(ConflictError):
    """Somebody at this address tries too often."""

    code = "too_many_sign_ins"

    def __init__(self, seconds: float) -> None:
        super().__init__("Too many attempts came from your address. Wait, then try again.")
        self.retry_after_seconds = seconds


class SignInsBusyError(UnavailableError):
    """So many passwords are being checked that this one would have waited for too long."""

    code = "sign_ins_busy"

    def __init__(self) -> None:
        super().__init__("Too many are signing in at this moment. Try again shortly.")


class SessionNotFoundError(NotFoundError):
    """The operator has no such session."""

    code = "session_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such session. List them with: ecross-server operators sessions ID")
