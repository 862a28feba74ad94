from __future__ import annotations

from pathlib import Path

import pytest

from ecross_server.app import reloading
from ecross_server.app.assembly import Application
from ecross_server.app.shared import Page
from ecross_server.settings import Settings


@pytest.fixture
def backend() -> str:
    """SQLite alone: nothing here asks the database."""
    return "sqlite"


def changed(settings: Settings, **values: object) -> Settings:
    return Settings.model_validate(settings.model_dump() | values)


def test_what_can_be_taken_is_taken_and_the_rest_named(settings: Settings) -> None:
    new = changed(settings, log_level="error", token_volume_limit="7/second", port=1, page_size=5)
    reload = reloading.compare(settings, new)
    assert reload.taken == ["token_volume_limit", "log_level"]
    assert reload.need_restart == ["port", "page_size"]
    assert (reload.settings.log_level, reload.settings.token_volume_limit) == ("error", "7/second")
    assert (reload.settings.port, reload.settings.page_size) == (settings.port, settings.page_size)


def test_other_certificates_are_taken_but_http_stays_http(settings: Settings) -> None:
    with_tls = changed(settings, tls_cert_file="/a.pem", tls_key_file="/a.key")
    other = changed(settings, tls_cert_file="/b.pem", tls_key_file="/b.key")
    pair = ["tls_cert_file", "tls_key_file"]
    assert reloading.compare(with_tls, other).taken == pair
    assert reloading.compare(with_tls, other).settings.tls_cert_file == Path("/b.pem")
    for present, new in ((settings, with_tls), (with_tls, settings)):
        reload = reloading.compare(present, new)
        assert (reload.taken, reload.need_restart, reload.settings) == ([], pair, present)


def test_a_page_carries_them_and_no_secret(settings: Settings) -> None:
    page = Page()
    new = changed(
        settings, log_format="text", trusted_proxies=["10.0.0.0/8"], limits_mode="observe", tls_cert_file="/a.pem",
        tls_key_file="/a.key",
    )  # fmt: skip
    reloading.show(new, page)
    assert reloading.read(settings, page) == new
    assert b"database" not in page.read()


def test_every_part_of_an_application_gets_them(application: Application, settings: Settings) -> None:
    taken: list[Settings] = []
    application.on_reload += [taken.append, taken.append]
    application.reload(settings)
    assert taken == [settings, settings]
    application.database.close()
