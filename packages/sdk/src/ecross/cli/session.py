"""The client that a command acts with."""

import os
from typing import Final

from ecross._client import Client
from ecross._configuration import SERVICES, Configuration, Credentials, Profile, list_profiles, load_configuration
from ecross._configuration.loading import (
    BASE_URL_VARIABLE,
    CLIENT_ID_VARIABLE,
    CLIENT_SECRET_FILE_VARIABLE,
    CLIENT_SECRET_VARIABLE,
    ENVIRONMENT_VARIABLE,
    PROFILE_VARIABLE,
    URL_VARIABLES,
)
from ecross._configuration.profiles import DEFAULT_PROFILE
from ecross.cli.failures import NotConfiguredError
from ecross.cli.output import hide
from ecross.errors import ConfigurationError

BEFORE_PROFILES: Final = (
    CLIENT_ID_VARIABLE, CLIENT_SECRET_VARIABLE, CLIENT_SECRET_FILE_VARIABLE, BASE_URL_VARIABLE, ENVIRONMENT_VARIABLE,
    *URL_VARIABLES.values(),
)  # fmt: skip
"""The environment variables that come before what is stored."""

NOT_LOGGED_IN: Final = (
    "You are not logged in. Set ECROSS_BASE_URL (or ECROSS_ENVIRONMENT), ECROSS_CLIENT_ID and "
    "ECROSS_CLIENT_SECRET_FILE."
)
NO_CREDENTIALS: Final = (
    "No credentials were told. Set ECROSS_CLIENT_ID, and ECROSS_CLIENT_SECRET_FILE or ECROSS_CLIENT_SECRET."
)


def configure(profile: str | None) -> tuple[Configuration, Credentials]:
    """What the environment and the profile tell.

    Raises:
        NotConfiguredError: if that is not enough, or unfit.
    """
    try:
        is_told = profile or told_variables() or os.environ.get(PROFILE_VARIABLE)
        if not is_told and find_profile(DEFAULT_PROFILE) is None:
            raise NotConfiguredError(NOT_LOGGED_IN)
        configuration = load_configuration(profile=profile)
    except ConfigurationError as error:
        fault = str(error)
    else:
        if configuration.credentials is not None:
            hide(configuration.credentials.client_secret)
            return configuration, configuration.credentials
        fault = NO_CREDENTIALS
    raise NotConfiguredError(f"{fault} Or run: ecross login")


def find_profile(name: str) -> Profile | None:
    """The stored profile of that name. Raises `ConfigurationError` if profiles cannot be read."""
    return next((profile for profile in list_profiles() if profile.name == name), None)


def told_variables() -> list[str]:
    """The environment variables that come before what is stored, as far as they are set."""
    return [name for name in BEFORE_PROFILES if os.environ.get(name)]


def make_client(configuration: Configuration, credentials: Credentials) -> Client:
    """A client with this configuration. It is not looked for again: a keyring may ask a person each time."""
    endpoints = configuration.endpoints
    urls = {service: getattr(endpoints, service) for service in SERVICES}
    return Client(
        client_id=credentials.client_id,
        client_secret=credentials.client_secret,
        base_urls={service: url for service, url in urls.items() if url is not None},
    )


def open_client(profile: str | None) -> Client:
    """A client with what the environment and the profile tell. Raises as `configure`."""
    return make_client(*configure(profile))
