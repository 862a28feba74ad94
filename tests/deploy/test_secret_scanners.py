"""The rule files for secret scanners find what the server issues, and nothing that only looks like it.

The scanners themselves are no part of the tests: their patterns are in the part of the syntax that Go's and Python's
engines share.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from ecross_server.merchants.rules import CLIENT_SECRET, new_client_secret

FOLDER = Path(__file__).parents[2] / "deploy/secret-scanners"


class Rule(NamedTuple):
    """What a scanner looks for: texts near a keyword that fit, and whose captured part is varied enough."""

    pattern: str
    keywords: list[str]
    entropy: float

    def finds(self, text: str) -> list[str]:
        """As both scanners do it: keywords in any case, then the pattern, then the entropy of the secret."""
        if not any(keyword.lower() in text.lower() for keyword in self.keywords):
            return []
        return [found for found in re.findall(self.pattern, text, re.ASCII) if entropy_of(found) >= self.entropy]


def entropy_of(text: str) -> float:
    """Shannon's, in bits a character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


def gitleaks() -> Rule:
    content = tomllib.loads((FOLDER / "gitleaks.toml").read_text())
    assert content["extend"] == {"useDefault": True}
    [rule] = content["rules"]
    assert rule["id"]
    assert rule["secretGroup"] == 1
    return Rule(rule["regex"], rule["keywords"], rule["entropy"])


def trufflehog() -> Rule:
    [detector] = yaml.safe_load((FOLDER / "trufflehog.yaml").read_text())["detectors"]
    assert detector["name"]
    [pattern] = detector["regex"].values()
    return Rule(pattern, detector["keywords"], detector["entropy"])


@pytest.mark.parametrize("rule", [gitleaks(), trufflehog()], ids=["gitleaks", "trufflehog"])
class TestRule:
    @pytest.mark.parametrize(
        "around", ["{}", "SECRET={}\n", '{{"clientSecret":"{}"}}', "'{}'", "https://x?s={}&t", "-{}."]
    )
    def test_finds_a_fresh_secret_wherever_it_stands(self, rule: Rule, around: str) -> None:
        for _ in range(200):
            secret = new_client_secret()
            assert rule.finds(around.format(secret)) == [secret]

    def test_does_not_find_what_only_looks_like_one(self, rule: Rule) -> None:
        secret = new_client_secret()
        for text in (
            secret[:-1], secret + "x", secret + "_", "x" + secret, secret.replace("ecs_", "ecs-"), secret.upper(),
            secret[:20] + "-" + secret[21:], "ecs_" + "a" * 49, "ecs_", "",
        ):  # fmt: skip
            assert rule.finds(text) == []

    def test_is_the_published_form(self, rule: Rule) -> None:
        assert rule.pattern == rf"\b({CLIENT_SECRET.pattern})\b"


def test_every_file_is_tested() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"gitleaks.toml", "trufflehog.yaml"}
