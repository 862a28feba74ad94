"""What a form says: fields by their names, each once. The names are those that the services' errors give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

from ecross_server.console.errors import NameNotTypedError, UnreadableFormError
from ecross_server.handover.service import Terms, make_terms
from ecross_server.kit.errors import DomainError, Fault, InvalidInputError
from ecross_server.merchants.rules import (
    LABEL_CHARACTERS,
    MERCHANT_READ_SCOPE,
    MERCHANT_SCOPE,
    SCOPES,
    Restrictions,
    check_text,
    read_networks,
    read_scope,
)
from ecross_server.web.own_pages import FORM

LONGEST_BODY: Final = 16_384
MOST_FIELDS: Final = 40
NUL: Final = "\0"

Form = Mapping[str, str]

SCOPE, FROM, ALLOW = "scope", "from", "allow"
SOME: Final = "some"
"""What is chosen for a scope that is ticked word by word; each word is a field of its own."""
ANYWHERE: Final = "anywhere"
LISTED: Final = "networks"
FIELDS_OF_LIMITS: Final = (SCOPE, *SCOPES, FROM, ALLOW)
UNLIMITED: Final[Form] = {SCOPE: MERCHANT_SCOPE, FROM: ANYWHERE}


def read_form(media_type: str, body: bytes) -> Form:
    """The fields of a form's body.

    Raises:
        UnreadableFormError: if it is none, gives a field twice, or has a NUL in one.
    """
    if media_type != FORM or len(body) > LONGEST_BODY:
        raise UnreadableFormError
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise UnreadableFormError from None
    fields = dict(pairs)
    if len(fields) < len(pairs) or any(NUL in value for value in fields.values()):
        raise UnreadableFormError
    return fields


def text_of(form: Form, name: str) -> str:
    """What was typed, without the blanks that a copied text brings along."""
    return form.get(name, "").strip()


def optional(form: Form, name: str) -> str | None:
    """What was typed; `None` where nothing was."""
    return text_of(form, name) or None


def terms_of(form: Form, base: str, *checks: Callable[[], object]) -> Terms:
    """What a link is to be; `base` is what it begins with. The checks are those of the form's other fields.

    Raises:
        InvalidInputError: naming every field that is wrong.
        UnusableBaseError: if nobody could follow the link.
    """
    link_lasts, secret_lasts = optional(form, "hand-over-expires-in"), optional(form, "expires-in")
    secret = None if secret_lasts is None else ("expires-in", secret_lasts)

    def make(link: str | None, secret: tuple[str, str] | None) -> Terms:
        return make_terms(
            base, expires_in=link, code="code" in form, label=optional(form, "label"), secret_expires_in=secret
        )

    require_all(*checks, lambda: _check_label(form), lambda: make(None, secret), lambda: make(link_lasts, None))
    return make(link_lasts, secret)


def limits_of(form: Form) -> Restrictions:
    """What a client is to be limited to, as it is kept.

    What is typed or ticked beneath a choice that is not made is not on the screen, and does not count.

    Raises:
        InvalidInputError: naming the fields that are wrong, and the lines of networks.
    """
    scope, networks = text_of(form, SCOPE), None
    faults: list[Fault] = []
    if scope == SOME:
        scope = " ".join(word for word in SCOPES if word in form)
    try:
        scope = read_scope(scope)
    except InvalidInputError:
        faults.append(Fault(SCOPE, "tick at least one" if text_of(form, SCOPE) == SOME else "choose what it may do"))
    if text_of(form, FROM) == LISTED:
        try:
            networks = _networks(form)
        except InvalidInputError as error:
            faults += error.faults
    elif text_of(form, FROM) != ANYWHERE:
        faults.append(Fault(FROM, "choose from where"))
    if faults:
        raise InvalidInputError(f"{faults[0].path} {faults[0].message}", tuple(faults))
    return Restrictions(scope, networks)


def limits_of_new(form: Form) -> Restrictions:
    """What a new client is to be limited to: where nothing is chosen, to nothing.

    Raises:
        InvalidInputError: as `limits_of`.
    """
    return limits_of({**UNLIMITED, **form})


def form_of(scope: str, networks: Sequence[str] | None) -> Form:
    """The fields in which these limits are chosen."""
    words = scope.split()
    is_whole = words in ([MERCHANT_SCOPE], [MERCHANT_READ_SCOPE])
    return {
        SCOPE: scope if is_whole else SOME, **({} if is_whole else dict.fromkeys(words, "yes")),
        FROM: ANYWHERE if networks is None else LISTED, ALLOW: "\n".join(networks or ()),
    }  # fmt: skip


def _networks(form: Form) -> list[str]:
    lines = [(number, line.strip()) for number, line in enumerate(form.get(ALLOW, "").splitlines(), 1) if line.strip()]
    try:
        return read_networks([line for _, line in lines], ALLOW).split(" ")
    except InvalidInputError as error:
        told = []
        for fault in error.faults:
            _, _, place = fault.path.partition(".")
            told.append(f"line {lines[int(place)][0]} {fault.message}" if place else fault.message)
        raise InvalidInputError(error.message, (Fault(ALLOW, "; ".join(told)),)) from None


def require_typed(form: Form, name: str) -> None:
    """See that the name of what is taken away was typed.

    Raises:
        NameNotTypedError: if not.
    """
    if text_of(form, "confirm") != name:
        raise NameNotTypedError(name)


def require_all(*checks: Callable[[], object]) -> None:
    """Make all the checks, so that whoever has typed learns of every fault at once.

    Raises:
        InvalidInputError: with the faults of all of them.
    """
    faults: list[Fault] = []
    for check in checks:
        try:
            check()
        except InvalidInputError as error:
            faults += error.faults
    if faults:
        raise InvalidInputError("The form has faults.", tuple(faults))


def _check_label(form: Form) -> None:
    """Refuse a label that would disturb a table.

    Raises:
        InvalidInputError: if there is one, and it would.
    """
    if (label := optional(form, "label")) is not None:
        check_text("label", label, LABEL_CHARACTERS)


def faults_of(error: DomainError) -> dict[str, str]:
    """What is wrong with which field; under no name what is wrong with all of it."""
    faults = error.faults if isinstance(error, InvalidInputError) else ()
    return {fault.path: fault.message for fault in faults}
