"""All commands of `ecross`, how they are called, and the form in which they fail.

What they do is loaded when they are run: a person waits for `--help`, and the shell for each completion.
"""

import traceback
from typing import Annotated, Any

import typer

from ecross.cli.failures import OUR_BUG, USAGE, details, error_code, exit_code
from ecross.cli.output import forget_hidden, plain, plain_lines, print_error, redact, say, warn
from ecross.errors import EcrossError

AsJson = Annotated[bool, typer.Option("--json", help="Print the result alone, as JSON.")]
ProfileName = Annotated[
    str | None, typer.Option("--profile", metavar="NAME", help="Which stored credentials, if there are several.")
]
UpdatedSince = Annotated[
    str | None,
    typer.Option("--updated-since", metavar="TIME", help="Only those updated after it, as 2026-01-31T08:00:00Z."),
]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many.")]
AsSkuLines = Annotated[
    bool, typer.Option("--json", help="Print JSON Lines: each SKU on a line of its own, as the API gives it.")
]

SourceFile = Annotated[str, typer.Argument(metavar="FILE", help="JSON Lines or CSV; - for standard input.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Send nothing; tell what would be, and what is at fault.")]
Full = Annotated[bool, typer.Option("--full", help="Send all of it, also what the server has already.")]
Workers = Annotated[int, typer.Option("--workers", metavar="N", min=1, max=64, help="How many calls at once.")]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Call the e-CROSS Merchant Integration API from a shell. Begin with: ecross login",
    epilog="Exit codes: 0 done, 1 our bug, 2 usage, 3 wrong or missing credentials, 4 rate limited, 5 unreachable, "
    "6 refused by the API, 130 interrupted.",
)
catalog = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Bring the merchant's catalog to the server.")
stock = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Bring the merchant's stock to the server.")
skus = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="See the merchant's SKUs.")
products = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="See the merchant's products.")
inventory = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="See and set the merchant's stock.")


@app.command()
def login(
    *,
    base_url: Annotated[
        str | None, typer.Option("--base-url", metavar="URL", help="The server, as https://api.example.com.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", metavar="NAME", help="production: the published server.")
    ] = None,
    client_id: Annotated[str | None, typer.Option("--client-id", metavar="ID", help="The client id.")] = None,
    from_stdin: Annotated[
        bool, typer.Option("--secret-stdin", help="Read the client secret from standard input, for scripts.")
    ] = False,
    no_check: Annotated[bool, typer.Option("--no-check", help="Store without asking the server first.")] = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Store your credentials, once the server has accepted them.

    Asks for what the options do not tell. The client secret is typed without echo; it is never an argument, where every
    user of the machine could read it. It is kept in the keyring of the operating system, or in a file that only you can
    read.
    """
    from ecross.cli.login import log_in

    log_in(
        profile, base_url=base_url, environment=environment, client_id=client_id, from_stdin=from_stdin,
        is_checked=not no_check, as_json=as_json,
    )  # fmt: skip


@app.command()
def redeem(
    link: Annotated[
        str | None,
        typer.Argument(metavar="[LINK]", help="The link; asked for where it is left out."),
    ] = None,
    *,
    from_stdin: Annotated[
        bool, typer.Option("--stdin", help="Read the link from standard input, and on the next line its code.")
    ] = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Store the client secret of a one-time link, without showing it.

    The link is used up. The secret is kept as by ecross login: in the keyring of the operating system, or in a file
    that only you can read. If the link has a code, it is asked for.
    """
    from ecross.cli.redeem import redeem as redeem_link

    redeem_link(profile, link, from_stdin=from_stdin, as_json=as_json)


@app.command()
def logout(*, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Forget stored credentials.

    The profile goes, with its client secret and its cached token. The token itself lives on at the server until it
    expires; only the representative can end it sooner.
    """
    from ecross.cli.login import log_out

    log_out(profile, as_json=as_json)


@app.command()
def token(
    *,
    raw: Annotated[bool, typer.Option("--raw", help="Print the token alone.")] = False,
    header: Annotated[bool, typer.Option("--header", help="Print it as a header: Authorization: Bearer ...")] = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Print an access token.

    It is the cached one while that lives, else a new one. Whoever has the token is the merchant until it expires, so it
    is printed only when told how: --raw or --header.

    With curl: ecross token --header | curl -H @- URL
    """
    from ecross.cli.tokens import print_token

    print_token(profile, raw=raw, header=header, as_json=as_json)


@app.command()
def whoami(*, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Show whom the token speaks for, and how long it lives.

    The claims are read, not verified: only the server and services that hold its keys can verify them.
    """
    from ecross.cli.tokens import print_claims

    print_claims(profile, as_json=as_json)


@app.command()
def doctor(*, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Check all that a client needs, with advice for each fault.

    Asks the server for one new token: only that shows that the credentials are good. Secrets are not shown. The exit
    code is that of the first fault.
    """
    from ecross.cli.doctor import print_checks

    print_checks(profile, as_json=as_json)


@skus.command("list")
def list_(
    *,
    updated_since: UpdatedSince = None,
    limit: Limit = None,
    profile: ProfileName = None,
    as_json: AsSkuLines = False,
) -> None:
    """List the merchant's SKUs, all pages of them.

    With --json each SKU is printed as soon as its page is there, and none is kept in memory. A list that breaks off
    ends with an exit code other than 0.
    """
    from ecross.cli.skus import print_skus

    print_skus(profile, updated_since=updated_since, limit=limit, as_json=as_json)


@products.command("get")
def get_product(
    product_id: Annotated[str, typer.Argument(metavar="PRODUCT_ID", help="Your own id of the product.")],
    *,
    profile: ProfileName = None,
    as_json: AsSkuLines = False,
) -> None:
    """Show the SKUs of a product.

    Each with how far it is on its way to the sales channels.
    """
    from ecross.cli.skus import print_product

    print_product(profile, product_id, as_json=as_json)


@inventory.command("list")
def list_inventory(
    *,
    updated_since: UpdatedSince = None,
    limit: Limit = None,
    profile: ProfileName = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON Lines: each record on a line of its own, as the API gives it.")
    ] = False,
) -> None:
    """List the merchant's stock records, all pages of them.

    A SKU has one for each warehouse and type.
    """
    from ecross.cli.inventory import print_inventory

    print_inventory(profile, updated_since=updated_since, limit=limit, as_json=as_json)


@inventory.command("set")
def set_inventory(
    sku_id: Annotated[str, typer.Argument(metavar="SKU", help="Your own id of the SKU, registered or not yet.")],
    quantity: Annotated[
        int, typer.Argument(metavar="QUANTITY", min=0, help="All pieces that are there; 0 takes the SKU off sale.")
    ],
    *,
    warehouse: Annotated[int, typer.Option("--warehouse", metavar="ID", help="Where they lie.")] = 1,
    type_: Annotated[str, typer.Option("--type", metavar="TYPE", help="AVAILABLE or DAMAGED.")] = "AVAILABLE",
    profile: ProfileName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON, as the API gives it.")] = False,
) -> None:
    """Set how many pieces of a SKU there are.

    The number is set, not added: the last call wins.
    """
    from ecross.cli.inventory import set_inventory as set_it

    set_it(profile, sku_id, quantity, warehouse_id=warehouse, inventory_type=type_, as_json=as_json)


app.add_typer(skus, name="skus")
app.add_typer(products, name="products")
app.add_typer(inventory, name="inventory")


@catalog.command("push")
def push_catalog(
    file: SourceFile,
    *,
    dry_run: DryRun = False,
    full: Full = False,
    workers: Workers = 4,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> int:
    """Bring a catalog to the server.

    Each product becomes what the file has of it: a SKU that the file lacks is deleted from its product. Products that
    the file lacks are left alone. Only what differs is sent; a push that was stopped goes on when it is run again.

    FILE is JSON Lines, a SKU on each line as the API takes it, or CSV with a header of the API's names.
    """
    from ecross.cli.push import push_catalog as push

    return push(profile, file, workers=workers, is_dry_run=dry_run, is_full=full, as_json=as_json)


app.add_typer(catalog, name="catalog")


@stock.command("push")
def push_stock(
    file: SourceFile,
    *,
    dry_run: DryRun = False,
    full: Full = False,
    workers: Workers = 4,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> int:
    """Bring stock to the server.

    Quantities are absolute. What the file does not tell is left alone. Only what differs is sent.

    FILE is JSON Lines or CSV, with skuId and quantity, and where they are not 1 and AVAILABLE, warehouseId and
    inventoryType.
    """
    from ecross.cli.push import push_stock as push

    return push(profile, file, workers=workers, is_dry_run=dry_run, is_full=full, as_json=as_json)


app.add_typer(stock, name="stock")


@app.command()
def api(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, PUT, PATCH or DELETE.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="As /ext/merchant/skus, without a query.")],
    *,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="FILE", help="The JSON to send, from a file; - for standard input."),
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option("--query", metavar="NAME=VALUE", help="A parameter of the query; may be given several times."),
    ] = None,
    service: Annotated[
        str, typer.Option("--service", metavar="NAME", help="product, order, hermes or auth.")
    ] = "product",
    profile: ProfileName = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print errors as JSON. The body is printed as it came in any case.")
    ] = False,
) -> None:
    """Call the API, and print the answer's body as it came.

    The request has the access token. The body of a refusal is printed as well, with a sentence on standard error; the
    exit code tells what kind it is. Redirects are not followed. Nothing is sent a second time but after a 401, with a
    new token.
    """
    from ecross.cli.api import call_api

    del as_json  # seen where errors are printed
    call_api(profile, method, path, data=data, query=query or [], service=service)


def _print_version(asked: bool) -> None:  # noqa: FBT001 - Typer's way of calling
    if asked:
        from importlib.metadata import version

        say(f"ecross {version('ecross')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What stands before a command."""


def run_command(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    as_json = "--json" in arguments
    forget_hidden()
    try:
        return _call(arguments)
    except typer.TyperException as error:
        message = error.format_message()
        if message.startswith("Usage:"):  # no command was told: this is the help
            warn(message)
        else:
            print_error("usage", message, as_json=as_json)
        return USAGE
    except EcrossError as error:
        more = details(error)
        print_error(error_code(error), str(error), as_json=as_json, **more)
        if not as_json:
            for fault in more.get("errors", ()):
                warn(plain(redact(f"  {fault['path']}: {fault['message']}")))
        return exit_code(error)
    except SystemExit:  # Typer's way to say that the reader of our output has gone, or that a shell has its completion
        return 0
    except Exception:  # noqa: BLE001 - the last place where a bug can be told from an ending
        return _report_bug(redact(traceback.format_exc()), as_json=as_json)


def _call(arguments: list[str]) -> int:
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        raise typer.TyperException("The arguments must be UTF-8.") from None
    return int(app(arguments, prog_name="ecross", standalone_mode=False) or 0)


def _report_bug(trace: str, *, as_json: bool) -> int:
    more: dict[str, Any] = {"traceback": trace} if as_json else {}
    if not as_json:
        warn(plain_lines(trace))
    print_error("bug", "This is a bug in ecross; please report it with its traceback.", as_json=as_json, **more)
    return OUR_BUG
