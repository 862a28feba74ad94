"""The listening sockets."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest

from ecross_server.app.listening import (
    ClearTextError,
    PortTakenError,
    UnusableAddressError,
    listen,
    listen_for_administration,
    listen_for_metrics,
    require_protection,
)
from ecross_server.settings import Settings

Listen = Callable[..., list[socket.socket]]


@pytest.fixture
def listen_on() -> Iterator[Listen]:
    with contextlib.ExitStack() as opened:

        def listen_and_close_later(host: str, port: int, count: int) -> list[socket.socket]:
            return [opened.enter_context(each) for each in listen(host, port, count)]

        yield listen_and_close_later


def port_of(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


@pytest.mark.parametrize("count", [1, 2, 5])
def test_all_listen_on_one_free_port(listen_on: Listen, count: int) -> None:
    sockets = listen_on("127.0.0.1", 0, count)
    assert len(sockets) == count
    assert {port_of(each) for each in sockets} == {port_of(sockets[0])} != {0}
    with socket.create_connection(("127.0.0.1", port_of(sockets[0]))):
        pass


def test_connections_are_spread_over_all(listen_on: Listen) -> None:
    sockets = listen_on("127.0.0.1", 0, 2)
    accepted = []
    with contextlib.ExitStack() as opened:
        for _ in range(64):
            opened.enter_context(socket.create_connection(("127.0.0.1", port_of(sockets[0]))))
        for each in sockets:
            each.settimeout(0)
            number = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    opened.enter_context(each.accept()[0])
                    number += 1
            accepted.append(number)
    assert sum(accepted) == 64
    assert min(accepted) > 8  # a fair coin shows that few once in a thousand million times


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("second", [1, 2])
def test_a_port_where_a_server_listens_is_taken(listen_on: Listen, first: int, second: int) -> None:
    port = port_of(listen_on("127.0.0.1", 0, first)[0])
    with pytest.raises(PortTakenError, match=f"ecross-server serve --port {port + 1}$"):
        listen("127.0.0.1", port, second)


def test_beside_the_last_port_the_one_before_is_offered(listen_on: Listen) -> None:
    with contextlib.suppress(PortTakenError):
        listen_on("127.0.0.1", 65535, 1)
    with pytest.raises(PortTakenError, match="make serve PORT=65534, or"):
        listen("127.0.0.1", 65535, 1)


@pytest.mark.parametrize("count", [1, 2])
def test_a_port_is_free_at_once_after_a_connection_to_it(listen_on: Listen, count: int) -> None:
    sockets = listen_on("127.0.0.1", 0, count)
    port = port_of(sockets[0])
    with socket.create_connection(("127.0.0.1", port)):
        for each in sockets:
            each.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                each.accept()[0].close()  # the side that closes first keeps the port in TIME_WAIT
            each.close()
    assert port_of(listen_on("127.0.0.1", port, count)[0]) == port


@pytest.mark.parametrize("host", ["::1", "localhost", "127.0.0.1", "::"])
def test_any_address_of_this_machine_will_do(listen_on: Listen, host: str) -> None:
    for count in (1, 2):
        assert len(listen_on(host, 0, count)) == count


@pytest.mark.parametrize("host", ["203.0.113.1", "2001:db8::1", "fe80::1%nosuchinterface", "a" * 70, "a..b", "nul\0"])
def test_a_host_that_is_none_of_this_machine_is_told_in_a_sentence(host: str) -> None:
    with pytest.raises(UnusableAddressError, match="Check the settings HOST, PORT and WORKERS") as caught:
        listen(host, 0, 1)
    assert host in caught.value.message


def test_a_port_for_metrics_that_may_not_be_used_names_its_setting(
    few_descriptors: Callable[[int], contextlib.AbstractContextManager[None]],
) -> None:
    settings = Settings.model_validate({"metrics_port": "auto"})
    with few_descriptors(0), pytest.raises(UnusableAddressError, match="Check the setting METRICS_PORT"):
        listen_for_metrics(settings)


@pytest.mark.parametrize("count", [1, 40])
def test_running_out_of_descriptors_is_told_and_leaves_nothing_open(
    count: int, few_descriptors: Callable[[int], contextlib.AbstractContextManager[None]]
) -> None:
    with few_descriptors(0 if count == 1 else 20), pytest.raises(UnusableAddressError, match="Too many open files"):
        listen("127.0.0.1", 0, count)


@pytest.mark.parametrize(
    ("host", "is_private"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),  # noqa: S104 - not listened on
        ("::", False), ("192.0.2.1", False), ("::ffff:192.0.2.1", False), ("fe80::1", False),
    ],
)  # fmt: skip
def test_only_this_machine_is_spoken_to_in_clear(host: str, *, is_private: bool) -> None:
    require_protection(Settings.model_validate({"host": host, "trusted_proxies": ["10.0.0.1"]}))
    require_protection(Settings.model_validate({"host": host, "tls_cert_file": "/a", "tls_key_file": "/b"}))
    settings = Settings.model_validate({"host": host})
    if is_private:
        require_protection(settings)
    else:
        with pytest.raises(ClearTextError, match=f"On {host} secrets and tokens would go over the network in clear"):
            require_protection(settings)


def test_operators_are_not_spoken_to_in_clear_either() -> None:
    elsewhere = {"admin_host": "192.0.2.1"}
    require_protection(Settings.model_validate(elsewhere))  # nothing listens there
    with pytest.raises(ClearTextError, match=r"or listen on 127\.0\.0\.1 \(ECROSS_SERVER_ADMIN_HOST\)\.$"):
        require_protection(Settings.model_validate({**elsewhere, "admin_port": 8001}))


def test_without_a_port_for_operators_nothing_listens() -> None:
    assert listen_for_administration(Settings.model_validate({})) is None


def test_a_port_for_operators_that_cannot_be_used_names_its_settings(
    listen_on: Listen, few_descriptors: Callable[[int], contextlib.AbstractContextManager[None]]
) -> None:
    port = port_of(listen_on("127.0.0.1", 0, 1)[0])
    settings = Settings.model_validate({"admin_port": port})
    with pytest.raises(PortTakenError, match="ECROSS_SERVER_ADMIN_PORT, or --admin-port; 0 for no administration"):
        listen_for_administration(settings)
    with few_descriptors(0), pytest.raises(UnusableAddressError, match="Check the settings ADMIN_HOST and ADMIN_PORT"):
        listen_for_administration(settings)
