"""Questions to a person, and secrets from standard input. Nobody is asked where nobody sits."""

import getpass
import sys
import warnings
from typing import Final

from ecross.cli.failures import NotConfiguredError, UsageError

_LONGEST_SECRET_BYTES: Final = 16 * 1024


def ask(question: str, *, default: str | None, instead: str) -> str:
    """What a person answers on the terminal; `instead` is how to tell it without one.

    Raises:
        NotConfiguredError: if there is no terminal, or no answer.
    """
    _require_terminal(question, instead)
    sys.stderr.write(f"{question}{f' [{default}]' if default else ''}: ")
    sys.stderr.flush()
    return _answered(sys.stdin.readline().strip() or default, question, instead)


def ask_secret(question: str, *, instead: str) -> str:
    """What a person answers without seeing it.

    Raises:
        NotConfiguredError: if there is no terminal, one that cannot hide what is typed, or no answer.
    """
    _require_terminal(question, instead)
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)  # it would go on, and show what is typed
        try:
            answer = getpass.getpass(f"{question} (not shown): ", stream=sys.stderr)
        except getpass.GetPassWarning:
            raise NotConfiguredError(f"This terminal cannot hide what is typed. {instead}") from None
        except EOFError:
            answer = ""
    return _answered(answer.strip(), question, instead)


def read_secret() -> str:
    """The secret from standard input, without the newline at its end.

    Raises:
        UsageError: if standard input is a terminal, which would show it, closed, or no text.
        NotConfiguredError: if it is empty.
    """
    if sys.stdin is None:
        raise UsageError("Standard input is closed, so there is no secret to read.")
    if sys.stdin.isatty():
        raise UsageError("Standard input is a terminal. Leave --secret-stdin out to be asked without echo.")
    try:
        text = sys.stdin.buffer.read(_LONGEST_SECRET_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise UsageError("The secret on standard input is no text in UTF-8.")
    return _answered(text.removesuffix("\n").removesuffix("\r"), "Client secret", "Send it to standard input.")


def _require_terminal(question: str, instead: str) -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        raise NotConfiguredError(f"{question} is missing, and there is no terminal to ask on. {instead}")


def _answered(answer: str | None, question: str, instead: str) -> str:
    if not answer:
        raise NotConfiguredError(f"{question} is missing: nothing was entered. {instead}")
    return answer
