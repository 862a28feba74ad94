"""The page that shows a secret once, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Error

if TYPE_CHECKING:
    from processes import ServerProcess, StartServer
    from tests.browser.conftest import Visit, Visitor

PHONE = (360, 740)
SECRET = re.compile(r"ecs_[0-9A-Za-z]{49}")
SHOW = "Show the secret, once"


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    started = start_server(ECROSS_SERVER_PUBLIC_URL="https://api.example.com")
    started.environment["ECROSS_SERVER_PUBLIC_URL"] = started.url
    return started


@pytest.fixture
def link(server: ServerProcess) -> str:
    url: str = server.json("merchants", "register", "ACME", "--name", "Acme", "--hand-over")["handOverUrl"]
    return url


def test_who_presses_the_button_sees_the_secret_and_nobody_sees_it_again(
    server: ServerProcess, link: str, visitor: Visitor, wait_for: Callable[[Callable[[], object]], None]
) -> None:
    page = visitor.page
    page.goto(link)
    assert "Looking at this page uses nothing up" in page.inner_text("main")
    visitor.draw("hand-over-link")
    page.get_by_role("button", name=SHOW).press("Enter")
    secret = page.get_by_label("Client secret").inner_text()
    assert SECRET.fullmatch(secret)
    credentials = {"clientId": page.locator("dd").first.inner_text(), "clientSecret": secret}
    wait_for(lambda: server.token(credentials).status_code == 200)
    visitor.draw("hand-over-secret", hidden=".secret")

    page.go_back()
    assert "The secret was shown already" in page.inner_text("h1")
    # Forward lies the answer to a form, and it was not kept: the browser asks whether to send the form again.
    with pytest.raises(Error, match="ERR_CACHE_MISS"):
        page.go_forward()
    page = visitor.page = visitor.context.new_page()
    page.goto(link)
    page.reload()
    assert "The secret was shown already" in page.inner_text("h1")
    assert secret not in page.content()
    visitor.draw("hand-over-spent")
    assert (visitor.hosts(), visitor.complaints) == ({link.split("/")[2]}, [])


def test_a_second_window_that_was_open_before_gets_nothing(link: str, visit: Visit) -> None:
    first, second = visit().page, visit().page
    for page in (first, second):
        page.goto(link)
    first.get_by_role("button", name=SHOW).click()
    second.get_by_role("button", name=SHOW).click()
    assert SECRET.search(first.inner_text("main"))
    assert "The secret was shown already" in second.inner_text("h1")


def test_it_works_without_javascript_and_who_it_was_not_ends_it(server: ServerProcess, link: str, visit: Visit) -> None:
    page = visit(java_script_enabled=False).page
    page.goto(link)
    page.get_by_role("button", name=SHOW).click()
    secret = page.get_by_label("Client secret").inner_text()
    client_id = page.locator("dd").first.inner_text()
    page.goto(link)
    page.get_by_role("button", name="Not me: end this secret").click()
    assert page.inner_text("h1") == "The secret was ended"
    listed = server.json("credentials", "list", "ACME")["credentials"]
    assert [(each["clientId"], each["secrets"][0]["status"]) for each in listed] == [(client_id, "revoked")]
    assert SECRET.fullmatch(secret)


def test_a_page_in_a_frame_of_another_is_not_shown(link: str, visitor: Visitor) -> None:
    visitor.page.route("http://elsewhere.test/", lambda route: route.fulfill(
        content_type="text/html", body=f'<iframe src="{link}" width="600" height="600"></iframe>'
    ))  # fmt: skip
    visitor.page.goto("http://elsewhere.test/")
    visitor.page.wait_for_load_state("networkidle")
    framed = visitor.page.frames[1]
    assert SHOW not in framed.content()


def test_a_form_on_another_page_reveals_nothing(server: ServerProcess, link: str, visitor: Visitor) -> None:
    visitor.page.goto(link)
    nonce = visitor.page.locator("input[name=nonce]").input_value()
    form = (
        f'<form method="post" action="{link}"><input name="act" value="reveal"><input name="nonce" value="{nonce}">'
        "<button>Win a prize</button></form>"
    )
    visitor.page.route("http://elsewhere.test/", lambda route: route.fulfill(content_type="text/html", body=form))
    visitor.page.goto("http://elsewhere.test/")
    visitor.page.get_by_role("button").click()
    assert SECRET.search(visitor.page.content()) is None
    assert server.json("hand-overs", "list")["handOvers"][0]["state"] == "open"


def test_everybody_can_use_it_in_every_state(server: ServerProcess, visitor: Visitor) -> None:
    def offer(merchant_id: str, *options: str) -> dict[str, Any]:
        made: dict[str, Any] = server.json(
            "merchants", "register", merchant_id, "--name", "A" * 60, "--hand-over", *options
        )
        return made

    def look(name: str) -> None:
        assert visitor.faults() == [], name
        assert visitor.too_wide(*PHONE) == [], name

    page = visitor.page
    with_code = offer("ACME", "--code")
    page.goto(with_code["handOverUrl"])
    look("asks for a code")
    page.keyboard.press("Tab")
    page.keyboard.type("wrong-wrong")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    look("wrong code")
    page.get_by_label("The code").fill(with_code["handOverCode"])
    page.get_by_role("button", name=SHOW).click()
    look("shows the secret")
    page.goto(with_code["handOverUrl"])
    look("spent")
    page.get_by_role("button", name="Not me").click()
    look("denied")
    cancelled = offer("BETA")
    server.json("hand-overs", "cancel", cancelled["handOverId"])
    page.goto(cancelled["handOverUrl"])
    look("cancelled")
    page.goto(cancelled["handOverUrl"][:-1] + "0")
    look("unknown")
    assert visitor.complaints == []
