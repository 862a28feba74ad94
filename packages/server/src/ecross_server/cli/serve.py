"""`ecross-server serve`: makes what is missing, then serves until it is told to stop."""

from __future__ import annotations

import contextlib
import shlex
import signal
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ecross_server.cli.demo import ensure_demo_merchant
from ecross_server.cli.main import collector_off
from ecross_server.cli.output import AsJson, UnwritableOutputError, print_json, say
from ecross_server.cli.setup import check_files, check_tls, opened_database, prepared_meanwhile
from ecross_server.kit.clock import utc_now
from ecross_server.kit.folder_use import shared_use
from ecross_server.kit.logs import configure_logs
from ecross_server.settings import Configuration, Settings, load_settings

if TYPE_CHECKING:
    from ecross_server.app.supervisor import Started

WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on
"""What to call where the server listens on every address."""


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: HOST, 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port, 0 for a free one (default: PORT, 8000).")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve (default: WORKERS, 1).")] = None,
    services: Annotated[
        str | None, typer.Option(help="What to serve (default: SERVICES, which is auth,product).")
    ] = None,
    admin_port: Annotated[
        int | None, typer.Option(help="Port for operators, 0 for none (default: ADMIN_PORT, 0).")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Register a demo merchant the first time.")] = False,
    as_json: AsJson = False,
) -> None:
    """Serve the API. On an empty data folder, make all that it needs first."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    options = {"host": host, "port": port, "workers": workers, "services": services, "admin_port": admin_port}
    configuration = load_settings(options)
    settings = configuration.settings
    configure_logs(settings.log_format, settings.log_level)
    with prepared_meanwhile(settings), collector_off():
        from ecross_server.app.listening import require_protection
        from ecross_server.app.supervisor import Supervisor
    check_files(settings)
    _look_after_feeds(configuration)
    has_demo = demo and ensure_demo_merchant(configuration)

    def announce(started: Started) -> None:
        url = _url(settings, started.port)
        metrics_url = f"http://127.0.0.1:{started.metrics_port}/metrics" if started.metrics_port else None
        admin_url = None
        if started.admin_port is not None:
            admin_url = f"{_url(settings, started.admin_port, settings.admin_host)}/admin"
        # Whoever started the server may have stopped reading what it says: no reason to stop serving.
        with contextlib.suppress(BrokenPipeError, UnwritableOutputError):
            if as_json:
                facts = {"url": url, "workers": settings.workers, "dataDir": str(settings.data_dir)}
                print_json({**facts, "metricsUrl": metrics_url, "adminUrl": admin_url})
            else:
                say(_banner(settings, url, has_demo=has_demo, metrics_url=metrics_url, admin_url=admin_url))

    def load_again() -> Configuration:
        again = load_settings(options)
        check_tls(again.settings)
        require_protection(again.settings)
        return again

    with shared_use(settings.data_dir):  # a restore waits until nothing serves
        Supervisor(configuration, announce, load_again).run()


def _look_after_feeds(configuration: Configuration) -> None:
    from ecross_server.publication.service import queue_lost_feeds

    with opened_database(configuration) as (database, settings), database.write() as session:
        queue_lost_feeds(session, settings.feeds_folder, now=utc_now())


def _url(settings: Settings, port: int, host: str | None = None) -> str:
    host = host or settings.host
    host = WILDCARDS.get(host, host)
    shown = f"[{host}]" if ":" in host else host
    return f"{'http' if settings.tls_cert_file is None else 'https'}://{shown}:{port}"


def _administration(admin_url: str | None) -> list[str]:
    if admin_url is None:
        return []
    return [
        f"Console: {admin_url.removesuffix('/admin')}/console (operators: ecross-server operators add)",
        f"Administration: {admin_url}/docs",
    ]


def _banner(
    settings: Settings, url: str, *, has_demo: bool, metrics_url: str | None = None, admin_url: str | None = None
) -> str:
    processes = "1 worker" if settings.workers == 1 else f"{settings.workers} workers"
    lines = [
        "",
        f"e-CROSS serves on {url} ({processes}; data in {settings.data_dir})",
        f"Documentation: {url}/docs",
        *([f"Metrics: {metrics_url}"] if metrics_url else []),
        *_administration(admin_url),
        "",
    ]
    if "auth" in settings.services:
        lines += _how_to_call(settings, url) if has_demo else _how_to_begin(url)
    else:
        lines += ["Tokens come from another server: this one serves no POST /token.", ""]
    return "\n".join([*lines, "Stop with Ctrl-C."])


def _how_to_call(settings: Settings, url: str) -> list[str]:
    ask = (
        f"curl -sS {url}/token -H 'Content-Type: application/json' "
        f"-d @{shlex.quote(str(settings.demo_credentials_file))}"
    )
    lines = ["Get a token for the demo merchant:", "", f"  {ask}", ""]
    if "product" in settings.services:
        lines += [
            "List its SKUs (the token goes from one command to the other, not through the process list):",
            "",
            f"  {ask} \\",
            """    | sed 's/.*"token":"\\([^"]*\\)".*/Authorization: Bearer \\1/' \\""",
            f"    | curl -sS {url}/ext/merchant/skus -H @-",
            "",
        ]
    return lines


def _how_to_begin(url: str) -> list[str]:
    return [
        "Register a merchant and get its credentials:",
        "",
        "  ecross-server merchants register ACME --name 'Acme'",
        "",
        'Get a token with them, from a file {"clientId": "...", "clientSecret": "..."}:',
        "",
        f"  curl -sS {url}/token -H 'Content-Type: application/json' -d @credentials.json",
        "",
    ]
