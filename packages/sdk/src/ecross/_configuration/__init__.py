"""Where the credentials and the addresses come from: arguments, the environment, files, the keyring, profiles."""

from ecross._configuration.credentials import Credentials
from ecross._configuration.endpoints import SERVICES, Endpoints
from ecross._configuration.loading import Configuration, load_configuration
from ecross._configuration.profiles import (
    Profile,
    SecretPlace,
    StoredSecret,
    config_file,
    list_profiles,
    remove_profile,
    store_profile,
)

__all__ = [
    "SERVICES",
    "Configuration",
    "Credentials",
    "Endpoints",
    "Profile",
    "SecretPlace",
    "StoredSecret",
    "config_file",
    "list_profiles",
    "load_configuration",
    "remove_profile",
    "store_profile",
]
