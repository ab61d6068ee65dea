"""The OpenAPI document describes what the service accepts and returns, no more and no less."""

import json
import os
import pathlib
import subprocess
import sys

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from conftest import request


@pytest.fixture(scope="module")
def document(dev):
    return request("GET", dev.url + "/openapi.json").json


@pytest.fixture(scope="module")
def schemas(document):
    return document["components"]["schemas"]


def errors(document, schema, value):
    """What is wrong with a value, by a schema of the document."""
    validator = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
    return [error.message for error in validator.iter_errors(value)]


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method} {path}", operation


def test_document_is_valid_openapi(document):
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_command_prints_a_valid_document_too(binary):
    printed = subprocess.run([binary, "openapi"], capture_output=True, text=True, check=True)
    assert printed.stderr == ""
    document = json.loads(printed.stdout)
    OpenAPIV31SpecValidator(document).validate()
    # It knows no configuration.
    assert "enum" not in document["components"]["schemas"]["KeyPairBody"]["properties"]["region"]


def test_examples_are_valid(document, schemas):
    count = 0

    def check(schema, place):
        nonlocal count
        for example in [schema["example"]] if "example" in schema else schema.get("examples", []):
            assert errors(document, schema, example) == [], place
            count += 1
        for name, member in schema.get("properties", {}).items():
            check(member, f"{place}.{name}")

    for name, schema in schemas.items():
        check(schema, name)
    for name, header in document["components"]["headers"].items():
        assert errors(document, header["schema"], header["example"]) == [], name
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            if "example" in parameter:
                assert errors(document, parameter["schema"], parameter["example"]) == [], name
                count += 1
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in [content for body in bodies for content in body.get("content", {}).values()]:
            named = content["schema"].get("$ref")
            assert not named or "example" in schemas[named.rsplit("/", 1)[-1]], (name, named)
    assert count > 20


def test_a_member_is_either_omitted_or_null(schemas):
    """An optional member is never null, and a member that can be null is always there."""
    for name, schema in schemas.items():
        for member, described in schema.get("properties", {}).items():
            nullable = "null" in str(described.get("type")) or {"type": "null"} in [
                *described.get("oneOf", []), *described.get("anyOf", []),
            ]  # fmt: skip
            required = member in schema.get("required", [])
            assert not nullable or required, f"{name}.{member}"
    assert "null" in schemas["InspectResponse"]["properties"]["valid"]["type"]
    assert {"type": "null"} in schemas["RotationBody"]["properties"]["error"]["oneOf"]


def resolve(schemas, schema):
    while "$ref" in schema or "oneOf" in schema:
        if "oneOf" in schema:
            [schema] = [choice for choice in schema["oneOf"] if choice != {"type": "null"}]
        else:
            schema = schemas[schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def test_enumerable_values_are_enums(schemas):
    def enum(name, member):
        return resolve(schemas, schemas[name]["properties"][member]).get("enum")

    assert "channel_not_found" in enum("Problem", "code")
    assert enum("SessionError", "code") == enum("Problem", "code")
    assert "exp_in_milliseconds" in enum("InspectFinding", "code")
    assert enum("InspectFinding", "severity") == ["error", "warning"]
    assert {"channel_not_private", "token_over_2kb"} <= set(enum("WarningBody", "code"))
    assert enum("MintResponse", "channelFreshness") == ["fresh", "stale", "unverified"]
    assert enum("ChannelBody", "freshness") == ["fresh", "stale"]
    assert enum("KeyPairBody", "state") == [
        "pending", "active", "draining", "retiring", "foreign", "missing",
    ]  # fmt: skip
    assert enum("RotationBody", "mode") == ["graceful", "emergency"]
    assert enum("StartRotationRequest", "mode") == ["graceful", "emergency"]
    assert enum("RotationBody", "phase") == [
        "generating", "importing", "propagating", "draining", "retiring", "done", "cancelled", "failed",
    ]  # fmt: skip
    assert enum("RotationBody", "nextStep") == ["import", "activate", "release", "retire", "delete"]
    assert enum("RevokedSession", "denied") == ["shared", "local", "no"]
    assert enum("ReadyBody", "status") == ["ready", "degraded", "unready"]
    assert enum("HealthBody", "status") == ["ok"]
    not_checked = schemas["InspectResponse"]["properties"]["notChecked"]["items"]
    assert "signature" in resolve(schemas, not_checked)["enum"]


ARN = "arn:aws:ivs:us-west-2:123456789012:playback-key/AbCdEfGh1234"

ORIGINS = [
    "https://www.example.com", "HTTP://localhost:3000", "https://*.example.com:8443", "https://192.0.2.1",
    "http://[::1]:3000", "https://[2001:db8::1]", "https://a_b.example.com", "https://example.com.",
]  # fmt: skip
NO_ORIGINS = [
    "", "example.com", "https://", "https://a.example/", "https://a,b", "ftp://a.example", "https://*",
    "https://a.*.example", "https://a.example:0", "https://a.example:65536", "https://256.1.1.1",
    "https://u@a.example", "https://[::1", "https://[1:2]", "https://a b", "null",
]  # fmt: skip


@pytest.mark.parametrize(
    "path, body, accepted",
    [
        *[("/v1/tokens", {"channel": "demo", "allowedOrigins": [it]}, True) for it in ORIGINS],
        *[("/v1/tokens", {"channel": "demo", "allowedOrigins": [it]}, False) for it in NO_ORIGINS],
        ("/v1/tokens", {"channel": "demo", "allowedOrigins": ["*"]}, True),
        ("/v1/tokens", {"channel": "demo", "allowedOrigins": ["*", ORIGINS[0]]}, False),
        ("/v1/tokens", {"channel": "demo", "allowedOrigins": []}, False),
        ("/v1/tokens", {"channel": "demo", "viewerSessionVersion": 1}, False),
        ("/v1/tokens", {"channel": "demo", "ttlSeconds": 3600}, True),
        ("/v1/tokens", {"channel": "demo", "ttlSeconds": 3601}, False),
        ("/v1/tokens", {"channel": "demo", "ttlSeconds": 601, "viewerId": "v"}, False),
        ("/v1/tokens", {"channel": "demo", "ttlSeconds": 601, "singleUse": True}, False),
        ("/v1/tokens", {"channel": "demo", "ttlSeconds": 601, "singleUse": False}, True),
        ("/v1/tokens", {"channel": "demo", "strictOriginEnforcement": True}, False),
        ("/v1/tokens", {"channel": "demo", "strictOriginEnforcement": False}, True),
        ("/v1/tokens", {"channel": "demo", "viewerId": None}, False),
        *[
            ("/v1/tokens", {"channel": "demo", "strictOriginEnforcement": True, "allowedOrigins": origins}, ok)
            for origins, ok in [
                (["*"], False),
                (["https://a.example"], True),
                ([f"https://{n}.example" for n in "abcdef"], False),
            ]
        ],
        ("/v1/tokens/inspect", {}, False),
        ("/v1/tokens/inspect", {"token": "a"}, True),
        ("/v1/tokens/inspect", {"edgeError": "Forbidden", "playbackUrl": "https://a.example"}, True),
        ("/v1/tokens/inspect", {"token": "a", "playbackUrl": "https://a.example"}, False),
        ("/v1/tokens/inspect", {"origin": "https://a.example"}, False),
        ("/v1/key-pairs", {"region": ""}, False),
        ("/v1/key-pairs", {"region": "eu-west-1"}, False),
        ("/v1/key-pairs", {"publicKeyMaterial": ""}, False),
        ("/v1/key-pairs", {"name": "a b"}, False),
        ("/v1/key-pairs", {"tags": {"aws:a": ""}}, False),
        ("/v1/key-pairs", {"tags": {"": ""}}, False),
        ("/v1/key-pairs", {"tags": {"a": "x" * 257}}, False),
        ("/v1/key-pairs/rotations", {"region": "us-east-1"}, False),
        ("/v1/key-pairs/rotations", {"mode": "gentle"}, False),
    ],
)  # fmt: skip
def test_bodies_are_valid_exactly_if_the_service_accepts_them(dev, document, path, body, accepted):
    operation = document["paths"][path]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert (errors(document, schema, body) == []) == accepted
    answer = dev.call("POST", path, body)
    assert answer.status == (200 if accepted else 422), answer.text


@pytest.mark.parametrize(
    "method, name, valid",
    [
        ("GET", ARN, True),
        ("GET", "98:0d:1a:a0:19:96:1e:ea:0a:0a:2c:9a:42:19:2b:e7", True),
        ("GET", "name", False),
        ("GET", ARN.replace("us-west-2", "eu-west-1"), False),
        ("DELETE", ARN, True),
        ("DELETE", "98:0d:1a:a0:19:96:1e:ea:0a:0a:2c:9a:42:19:2b:e7", False),
        ("DELETE", ARN.replace("playback-key", "channel"), False),
        ("DELETE", ARN.replace("123456789012", "111122223333"), False),
    ],
)
def test_paths_of_key_pairs_have_a_pattern(dev, document, method, name, valid):
    [parameter] = [
        parameter
        for parameter in document["paths"]["/v1/key-pairs/{keyPair}"][method.lower()]["parameters"]
        if parameter["name"] == "keyPair"
    ]
    assert (errors(document, parameter["schema"], name) == []) == valid
    path = "/v1/key-pairs/" + name.replace("/", "%2F")
    answer = dev.call(method, path)
    # A pair that IVS does not have is 404; so is a text that cannot name one.
    assert answer.status == 404 if valid or name == "name" else answer.status == 422, answer.text


def test_null_is_not_a_value_of_a_request(schemas):
    for name in ["MintRequest", "InspectRequest", "CreateKeyPairRequest", "StartRotationRequest"]:
        assert schemas[name]["additionalProperties"] is False
        for member, schema in schemas[name]["properties"].items():
            assert "null" not in str(schema), f"{name}.{member}"


def test_minted_token_has_the_documented_members(dev, document, schemas):
    minted = dev.mint(viewerId="alice", singleUse=True)
    assert errors(document, schemas["MintResponse"], minted) == []
    assert set(minted) <= set(schemas["MintResponse"]["properties"])


HOOKS = pathlib.Path(__file__).parent / "schemathesis"


def test_generated_requests_are_answered_as_documented(dev, tmp_path):
    """schemathesis with every check: no 500, and every answer is as the document says."""
    report = subprocess.run(
        [
            pathlib.Path(sys.executable).parent / "schemathesis",
            "--config-file", HOOKS / "schemathesis.toml",
            "run", dev.url + "/openapi.json",
            "--header", f"Authorization: Bearer {dev.credential}",
            # Stateful runs add a minute and repeat what the tests of rotations do.
            "--phases", "examples,coverage,fuzzing", "--seed", "1", "--max-examples", "10",
            "--generation-database", "none", "--request-timeout", "120", "--no-color",
        ],  # fmt: skip
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS / "hooks.py"), "PYTHONPATH": str(HOOKS)},
        capture_output=True,
        text=True,
    )
    assert report.returncode == 0, report.stdout + report.stderr
