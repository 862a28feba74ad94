from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application, make_api
from ecross_server.app.documentation import CONTENT_SECURITY_POLICY, PAGE, START, openapi_document
from ecross_server.settings import Settings

COMMITTED = Path(__file__).parents[4] / "docs" / "openapi.json"
NOT_DOCUMENTED = ("/docs", "/openapi.json", "/hand-over.css", "/hand-over/{rest")
METHODS = {"get", "put", "post", "delete", "patch"}


@pytest.fixture
def backend() -> str:
    """SQLite alone: nothing here asks the database."""
    return "sqlite"


@pytest.fixture
def document() -> dict[str, Any]:
    return openapi_document(make_api(Settings()))


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert method in METHODS
            yield path, method, operation


def walk(node: Any) -> Iterator[dict[str, Any]]:
    """Every object of the document."""
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


def resolve(document: dict[str, Any], reference: str) -> Any:
    assert reference.startswith("#/")
    node: Any = document
    for name in reference[2:].split("/"):
        node = node[name.replace("~1", "/").replace("~0", "~")]
    return node


def has_example(document: dict[str, Any], content: dict[str, Any]) -> bool:
    """Whether a reader sees an example: beside the schema, or in every property of it."""
    if "example" in content or content.get("examples"):
        return True
    schema = content.get("schema", content)
    while "$ref" in schema:
        schema = resolve(document, schema["$ref"])
    if schema.get("examples"):
        return True
    if schema.get("type") == "array":
        return has_example(document, schema["items"])
    variants = [each for each in schema.get("anyOf", []) if each.get("type") != "null"]
    if variants:
        return any(has_example(document, each) for each in variants)
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        return has_example(document, values)
    properties = schema.get("properties", {})
    required = [properties[name] for name in schema.get("required", [])]
    return bool(required) and all(has_example(document, each) for each in required)


OTHER_ERRORS: dict[str, set[str]] = {
    "list_skus": set(), "upsert_skus": {"409", "415"}, "get_product": {"404"}, "list_inventory": set(),
    "set_inventory": {"409", "415"}, "set_inventory_without_slash": {"409", "415"}, "get_sellable_stock": {"404"},
}  # fmt: skip


class TestDocument:
    def test_it_is_openapi_3_1(self, document: dict[str, Any]) -> None:
        assert document["openapi"].startswith("3.1.")
        assert document["info"]["title"] == "e-CROSS Merchant Integration API"
        assert document["info"]["version"]
        assert set(document) == {"openapi", "info", "paths", "components", "tags"}

    def test_the_committed_one_is_up_to_date(self, document: dict[str, Any]) -> None:
        assert COMMITTED.exists(), "docs/openapi.json is missing: run make openapi"
        assert json.loads(COMMITTED.read_text()) == document, "docs/openapi.json is out of date: run make openapi"

    def test_the_served_one_is_the_same(self, client: TestClient, document: dict[str, Any]) -> None:
        first, second = client.get("/openapi.json"), client.get("/openapi.json")
        assert first.json() == document
        assert first.content == second.content
        assert first.headers["content-type"] == "application/json"

    def test_every_path_that_is_served_is_in_it(self, document: dict[str, Any], application: Application) -> None:
        served = {
            (context.path, method.lower())
            for context in iter_route_contexts(application.api.routes)
            for method in context.methods or ()
            if method != "HEAD" and not (context.path or "").startswith(NOT_DOCUMENTED)
        }
        documented = {(path, method) for path, method, _ in operations(document)}
        assert documented == served | {("/token", "post")}
        assert next(iter(document["paths"])) == "/token"

    def test_every_reference_resolves_and_nothing_is_defined_in_vain(self, document: dict[str, Any]) -> None:
        references = {node["$ref"] for node in walk(document) if isinstance(node.get("$ref"), str)}
        for reference in references:
            assert isinstance(resolve(document, reference), dict)
        defined = {
            f"#/components/{kind}/{name}"
            for kind, parts in document["components"].items()
            for name in parts
            if kind != "securitySchemes"
        }
        assert defined == references

    def test_every_operation_says_who_may_call_it(self, document: dict[str, Any]) -> None:
        assert list(document["components"]["securitySchemes"]) == ["bearer"]
        scheme = document["components"]["securitySchemes"]["bearer"]
        assert (scheme["type"], scheme["scheme"], scheme["bearerFormat"]) == ("http", "bearer", "JWT")
        for path, method, operation in operations(document):
            kind = "read" if method == "get" else "write"
            (group,) = operation["tags"]
            expected: list[Any] = [{"bearer": [f"{group}:{kind}"]}] if path.startswith("/ext/") else []
            assert operation.get("security", []) == expected, path

    def test_every_operation_has_a_name_a_summary_and_a_known_tag(self, document: dict[str, Any]) -> None:
        tags = {tag["name"] for tag in document["tags"]}
        names = [operation["operationId"] for _, _, operation in operations(document)]
        assert len(set(names)) == len(names)
        for _, _, operation in operations(document):
            assert re.fullmatch("[a-z_]+", operation["operationId"])
            assert operation["summary"]
            assert operation["description"]
            assert set(operation["tags"]) <= tags

    def test_every_operation_names_every_error(self, document: dict[str, Any]) -> None:
        for path, method, operation in operations(document):
            expected = {"200"}
            if path == "/token":
                expected |= {"400", "401", "405", "413", "415", "429", "500", "503"}
            elif path.startswith("/ext/"):
                expected |= {"400", "401", "403", "413", "500", "503"} | OTHER_ERRORS[operation["operationId"]]
            elif path == "/hand-over/{token}":
                expected |= {"404", "503"} | ({"403", "413", "429"} if method == "post" else set())
            elif path == "/health/ready":
                expected |= {"503"}
            assert set(operation["responses"]) == expected, path

    def test_every_body_has_a_schema_and_examples(self, document: dict[str, Any]) -> None:
        for path, _, operation in operations(document):
            contents = [
                content for response in operation["responses"].values() for content in response["content"].values()
            ]
            contents += operation.get("requestBody", {}).get("content", {}).values()
            for content in contents:
                assert content["schema"], path
                assert has_example(document, content), (path, content)

    def test_every_answer_has_its_headers(self, document: dict[str, Any]) -> None:
        for path, _, operation in operations(document):
            for status, response in operation["responses"].items():
                names = set(response["headers"])
                assert "X-Request-Id" in names
                assert ("WWW-Authenticate" in names) == (
                    status in {"401", "403"} and not path.startswith("/hand-over")
                ), (path, status)
                assert ("Retry-After" in names) == (status in {"429", "503"}), (path, status)
                assert ("RateLimit" in names) == ("RateLimit-Policy" in names) == (path == "/token"), (path, status)
                assert ("Allow" in names) == (status == "405"), (path, status)

    def test_every_error_of_a_private_path_is_shown_in_both_forms_as_it_is_sent(self, document: dict[str, Any]) -> None:
        for path, _, operation in operations(document):
            if not path.startswith("/ext/"):
                continue
            for status, response in operation["responses"].items():
                if status == "200":
                    continue
                assert list(response["content"]) == ["application/json", "application/problem+json"]
                plain, problem = response["content"].values()
                assert list(plain["examples"]) == list(problem["examples"])
                for code, example in plain["examples"].items():
                    assert example["value"]["code"] == code
                    shown = problem["examples"][code]["value"]
                    assert shown | example["value"] == shown
                    assert (shown["status"], shown["detail"]) == (int(status), example["value"]["message"])

    def test_the_examples_of_refusals_are_what_is_answered(self, client: TestClient, document: dict[str, Any]) -> None:
        def shown(path: str, status: int) -> list[Any]:
            method = "post" if path == "/token" else "get"
            content = document["paths"][path][method]["responses"][str(status)]["content"]["application/json"]
            examples = [example["value"] for example in content.get("examples", {}).values()]
            return examples or [content["example"]]

        json_type = {"Content-Type": "application/json"}
        for answer in (
            client.post("/token", json={}),
            client.post("/token", json={"clientId": "a", "clientSecret": "b"}),
            client.post("/token"),
            client.post("/token", content=b" " * 70_000, headers=json_type),
        ):
            assert answer.json() in shown("/token", answer.status_code)
        assert client.get("/token").json() in shown("/token", 405)
        skus = "/ext/merchant/skus"
        for headers in ({}, {"Authorization": "Bearer"}):
            answer = client.get(skus, headers=headers)
            assert answer.json() in shown(skus, answer.status_code)

    def test_the_examples_of_the_token_s_forms_are_the_published_ones(self, document: dict[str, Any]) -> None:
        operation = document["paths"]["/token"]["post"]
        request = operation["requestBody"]["content"]["application/json"]["example"]
        answer = operation["responses"]["200"]["content"]["application/json"]["example"]
        assert list(request.items()) == [("clientId", "your-client-id"), ("clientSecret", "your-client-secret")]
        assert list(answer.items()) == [
            ("token", "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9..."),
            ("tokenType", "Bearer"),
            ("expiresIn", 28800),
        ]
        for name, example in (("TokenRequest", request), ("TokenResponse", answer)):
            schema = document["components"]["schemas"][name]
            assert list(schema["properties"]) == schema["required"] == list(example)
        refusal = document["paths"]["/token"]["post"]["responses"]["401"]["content"]["application/json"]
        assert refusal["example"] == {"message": "Incorrect username or password."}

    def test_what_the_framework_would_answer_is_not_in_it(self, document: dict[str, Any]) -> None:
        text = json.dumps(document)
        assert "HTTPValidationError" not in text
        assert '"422"' not in text

    def test_it_does_not_depend_on_what_was_made_before(self, document: dict[str, Any]) -> None:
        assert openapi_document(make_api(Settings())) == document
        alone = Settings.model_validate({"services": ("product",)})
        without = openapi_document(make_api(alone), with_token=False)
        assert "/token" not in without["paths"]
        assert [name for name in without["components"]["schemas"] if name.startswith("Token")] == []
        only_tokens = openapi_document(make_api(Settings.model_validate({"services": ("auth",)})))
        assert set(only_tokens["paths"]) == {
            "/token", "/health/live", "/health/ready", "/hand-over/{token}",
        }  # fmt: skip


ADDRESS = re.compile(r"(?:https?:|wss?:)?//[\w.]|\bwww\.|[\w-]+\.(?:com|org|net|io|dev)\b", re.IGNORECASE)


class TestPage:
    def test_it_names_no_outside_address(self, client: TestClient) -> None:
        page, start = client.get("/docs"), client.get("/docs/start.js")
        assert (page.text, start.text) == (PAGE, START)
        for text in (page.text, start.text, CONTENT_SECURITY_POLICY, str(page.headers)):
            assert ADDRESS.findall(text) == []
        sources = re.findall(r'(?:href|src)="([^"]*)"', page.text)
        assert sources == [
            "data:,", "docs/swagger-ui.css", "openapi.json", "docs/swagger-ui-bundle.js", "docs/start.js",
        ]  # fmt: skip

    def test_its_policy_lets_nothing_in_from_elsewhere_and_nothing_written_into_it_run(
        self, client: TestClient
    ) -> None:
        policy = dict(
            directive.strip().partition(" ")[::2]
            for directive in client.get("/docs").headers["content-security-policy"].split(";")
        )
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self' 'unsafe-inline'",
            "img-src": "'self' data:",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|javascript:", PAGE) is None

    @pytest.mark.parametrize(
        ("path", "media_type", "least"),
        [
            ("/docs", "text/html; charset=utf-8", 300),
            ("/docs/start.js", "text/javascript; charset=utf-8", 50),
            ("/docs/swagger-ui.css", "text/css; charset=utf-8", 50_000),
            ("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8", 500_000),
            ("/openapi.json", "application/json", 5_000),
        ],
    )
    def test_all_that_it_needs_is_served_from_here(
        self, client: TestClient, path: str, media_type: str, least: int
    ) -> None:
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == media_type
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert len(answer.content) > least
        assert client.head(path).status_code == 200

    def test_the_bundle_defines_what_the_start_uses(self, client: TestClient) -> None:
        assert "SwaggerUIBundle" in client.get("/docs/swagger-ui-bundle.js").text
        assert "SwaggerUIBundle(" in START
        assert 'id="page"' in PAGE
        assert 'dom_id: "#page"' in START

    @pytest.mark.parametrize(
        "path",
        ["/docs/", "/docs/../openapi.json/x", "/docs/redoc.standalone.js", "/docs/%2e%2e/__init__.py", "/redoc",
         "/docs/oauth2-redirect", "/openapi.yaml"],
    )  # fmt: skip
    def test_nothing_else_is(self, client: TestClient, path: str) -> None:
        assert client.get(path).status_code == 404
