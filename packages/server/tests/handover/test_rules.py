from __future__ import annotations

import pytest

from ecross_server.handover import rules
from ecross_server.handover.errors import UnusableBaseError
from ecross_server.kit.logs import redact


def test_tokens_have_190_bits_and_a_form_that_logs_blot_out() -> None:
    token = rules.new_token()
    assert rules.TOKEN.fullmatch(token)
    assert token != rules.new_token()
    assert 62**32 > 2**128
    assert redact(f"https://api.example.com/hand-over/{token}.") == "https://api.example.com/hand-over/[redacted]."


def test_codes_can_be_read_out() -> None:
    code = rules.new_code()
    assert len(code) == rules.CODE_CHARACTERS + 1
    assert not set("0189") & set(code)


@pytest.mark.parametrize(
    "url", ["https://api.example.com", "http://127.0.0.1:8000", "http://[::1]:8000", "http://localhost"]
)
def test_links_lead_to_https_or_to_this_machine(url: str) -> None:
    assert rules.check_base(url) == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://api.example.com", "in clear"), ("http://10.0.0.1:8000", "in clear"), ("http://127.0.0.1:0", "port"),
        ("http://0.0.0.0:8000", "no address"), ("https://[::]:8000", "no address"),
    ],
)  # fmt: skip
def test_other_links_are_refused_with_the_setting_to_set(url: str, reason: str) -> None:
    with pytest.raises(UnusableBaseError, match=f"{reason}.*ECROSS_SERVER_PUBLIC_URL"):
        rules.check_base(url)
