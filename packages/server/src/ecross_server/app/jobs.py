"""The kinds of all domains' jobs, put together."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from ecross_server.jobs.tasks import Kind
from ecross_server.localization import tasks as localization
from ecross_server.localization.service import load_rule_books
from ecross_server.publication import tasks as publication
from ecross_server.publication.feeds import FeedFile
from ecross_server.settings import Settings


def make_kinds(settings: Settings) -> Mapping[str, Kind]:
    """Every kind of job that this version runs, as the settings say.

    Raises:
        UnusableRulesError: if the rules of localization cannot be used.
    """
    return join_kinds(
        localization.make_kinds(load_rule_books()),
        publication.make_kinds(functools.partial(FeedFile.opened, settings.feeds_folder)),
    )


def join_kinds(*domains: Mapping[str, Kind]) -> dict[str, Kind]:
    """The kinds of all of them.

    Raises:
        ValueError: if two have one name.
    """
    joined: dict[str, Kind] = {}
    for kinds in domains:
        if twice := sorted(joined.keys() & kinds.keys()):
            raise ValueError(f"named twice: {', '.join(twice)}")
        joined.update(kinds)
    return joined
