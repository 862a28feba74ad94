"""A secret from the representative's command to the merchant's keyring, through the real server; nobody sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from processes import StartServer

NO_KEYRING = "keyring.backends.fail.Keyring"


def test_a_link_is_looked_at_and_redeemed_and_leaves_no_trace(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(ECROSS_SERVER_LOG_FORMAT="json")
    server.environment["ECROSS_SERVER_PUBLIC_URL"] = server.url
    offer = server.json("merchants", "register", "ACME", "--name", "Acme", "--hand-over", "--code")
    link = offer["handOverUrl"]
    for _ in range(3):
        answer = server.get(link.removeprefix(server.url))
        assert (answer.status_code, "Show the secret, once" in answer.text) == (200, True)

    def ecross(*arguments: str, stdin: str = "") -> str:
        ended = subprocess.run(
            [str(Path(sys.executable).with_name("ecross")), *arguments],
            input=stdin, capture_output=True, text=True, check=False, timeout=60,
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHON_KEYRING_BACKEND": NO_KEYRING},
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return ended.stdout + ended.stderr

    printed = ecross("redeem", "--stdin", "--json", stdin=f"{link}\n{offer['handOverCode'].upper()}\n")
    result = json.loads(printed)
    assert (result["clientId"], result["isChecked"]) == (offer["clientId"], True)
    secret = next(word for word in Path(result["secretFile"]).read_text().split('"') if word.startswith("ecs_"))
    assert ecross("token", "--raw").startswith("eyJ")
    again = server.get(link.removeprefix(server.url))
    assert (again.status_code, "The secret was shown already" in again.text) == (404, True)
    server.stop()
    told = printed + server.log_file.read_text()
    for hidden in (link.rpartition("/")[2], secret, offer["handOverCode"]):
        assert hidden not in told
    assert '"path": "/hand-over/{token}"' in told
