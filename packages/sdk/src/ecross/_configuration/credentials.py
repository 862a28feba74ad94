"""Client id and client secret, and the file that holds nothing but a secret."""

import os
import shlex
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from ecross._private_files import PrivateFileError, UnsafeFileError, read_regular_file, warn_if_git_may_take
from ecross.errors import ConfigurationError

MAX_TEXT_CHARACTERS: Final = 4096


@dataclass(frozen=True, slots=True)
class Credentials:
    """What e-CROSS gave to the merchant. The secret shows in no `repr`, and the whole is not pickled."""

    client_id: str
    client_secret: str = field(repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("Credentials are neither copied nor pickled: they hold a secret")


def checked_text(value: object, setting: str) -> str:
    """The value, if it is fit to be an id or a secret.

    Raises:
        ConfigurationError: if it is empty, too long, or holds what cannot be typed; names the setting, not the value.
    """
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{setting} must be text that is not empty.")
    if len(value) > MAX_TEXT_CHARACTERS or not value.isprintable() or value != value.strip():
        raise ConfigurationError(f"{setting} must be one line without spaces around it, as it was handed over.")
    return value


def read_secret_file(path: Path, setting: str) -> str:
    """The secret that the file holds, without the newline at its end.

    Made for what Kubernetes, Docker and systemd lay into a container: links to files of root or whoever, of mode 0444,
    in a folder that only the container has. So links are followed, and neither owners nor readers are judged; refused
    is what anybody may write, and what is no file.

    Raises:
        ConfigurationError: if there is no fit file.
    """

    def refuse_written_by_all(status: os.stat_result) -> None:
        if status.st_mode & stat.S_IWOTH:
            raise UnsafeFileError(f"The file {path} can be changed by anybody. Run: chmod o-w {shlex.quote(str(path))}")

    warn_if_git_may_take(path)
    try:
        content = read_regular_file(path, refuse_written_by_all, max_bytes=MAX_TEXT_CHARACTERS, follow=True)
    except PrivateFileError as error:
        raise ConfigurationError(f"{setting}: {error}") from None
    if content is None:
        raise ConfigurationError(f"{setting}: there is no file {path}.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = ""
    return checked_text(text.removesuffix("\n").removesuffix("\r"), f"The content of {setting}")
