"""Files that only their user can read, changed as a whole, under locks. What they hold is not known here."""

from ecross._private_files.files import PrivateFolder
from ecross._private_files.git import GitExposureWarning, warn_if_git_may_take
from ecross._private_files.homes import folder_of_user
from ecross._private_files.locks import FileLock
from ecross._private_files.systems import (
    OversizedFileError,
    PrivateFileError,
    System,
    UnsafeFileError,
    current_system,
    read_regular_file,
)

__all__ = [
    "FileLock",
    "GitExposureWarning",
    "OversizedFileError",
    "PrivateFileError",
    "PrivateFolder",
    "System",
    "UnsafeFileError",
    "current_system",
    "folder_of_user",
    "read_regular_file",
    "warn_if_git_may_take",
]
