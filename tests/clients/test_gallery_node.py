"""The mistakes that Node code makes with jsonwebtoken, and those that the library itself prevents."""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import time
import uuid

import pytest
from cryptography.hazmat.primitives import serialization

from test_gallery import (
    CHANNEL, KEY, OTHER_CHANNEL, OTHER_KEY, P256_KEY, PLAYBACK_URL, SITE, claims, codes, inspect,
    now, origins, public_key, unprefixed,
)  # fmt: skip

SCRIPT = pathlib.Path(__file__).parent / "node/sign_tokens.cjs"


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def node(*requests):
    """What jsonwebtoken makes of each request, all in one process."""
    assert os.environ.get("NODE_PATH") and shutil.which("node"), "run tests/run clients"
    done = subprocess.run(
        ["node", str(SCRIPT)], input=json.dumps(requests), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def request(payload, key=KEY, **options):
    key = key if isinstance(key, str) else pem(key)
    return {"key": key, "payload": payload, "options": {"algorithm": "ES384", **options}}


def without_exp(**changes):
    return claims(exp=None, **changes)


# What is signed; the codes; the severity, where it is no error.
MISTAKES = {
    "Date.now() for exp": (lambda: request(claims(exp=int(time.time() * 1000) + 300_000)),
                           ["exp_in_milliseconds"], "warning"),
    "Date.now() for exp, and a viewer": (
        lambda: request(claims(exp=int(time.time() * 1000) + 300_000, viewer_id="v")),
        ["exp_in_milliseconds"], None),
    "expiresIn forgotten": (lambda: request(without_exp()), ["exp_missing"], None),
    "Date.now() / 1000 for exp": (lambda: request(claims(exp=time.time() + 300.5)),
                                  ["exp_not_integer"], None),
    "expiresIn in the past": (lambda: request(without_exp(), expiresIn=-5), ["expired"], None),
    "expiresIn 6h": (lambda: request(without_exp(), expiresIn="6h"),
                     ["long_lived_without_viewer"], "warning"),
    "expiresIn 1h and a viewer": (lambda: request(without_exp(viewer_id="v"), expiresIn="1h"),
                                  ["ttl_over_600"], None),
    "the viewer as subject": (lambda: request(claims(), subject="alice"), ["viewer_in_sub"],
                              "warning"),
    "no algorithm named": (lambda: request(claims(), "a secret of some length", algorithm="HS256"),
                           ["wrong_algorithm"], None),
    "algorithm none": (lambda: request(claims(), "", algorithm="none"), ["wrong_algorithm"], None),
    "a P-256 key": (lambda: request(claims(), P256_KEY, algorithm="ES256"), ["wrong_curve"], None),
    "a P-256 key passed off as P-384": (
        lambda: request(claims(), P256_KEY, allowInvalidAsymmetricKeyTypes=True),
        ["wrong_curve"], None),
    "another key": (lambda: request(claims(), OTHER_KEY), ["bad_signature"], None),
    "claims without aws:": (lambda: request(unprefixed()), ["claim_without_aws_prefix"], None),
    "camelCase": (lambda: request({"channelArn": CHANNEL, "exp": now() + 300}),
                  ["claim_without_aws_prefix"], None),
    "no channel": (lambda: request({"exp": now() + 300}), ["channel_arn_missing"], None),
    "another channel": (lambda: request(claims(channel_arn=OTHER_CHANNEL)), ["channel_mismatch"],
                        None),
    "a numeric viewer id": (lambda: request(claims(viewer_id=42)), ["claim_type"], None),
    "an array of origins": (lambda: request(claims(access_control_allow_origin=[SITE])),
                            ["claim_type"], None),
    "a long viewer id": (lambda: request(claims(viewer_id="v" * 41)), ["viewer_id_length"], None),
    "location.href as origin": (
        lambda: request(claims(access_control_allow_origin=SITE + "/#/")), ["origin_invalid"], None),
    "strict, and no origin": (lambda: request(claims(strict_origin_enforcement=True)),
                              ["strict_without_origin"], None),
    "strict, and six origins": (
        lambda: request(claims(strict_origin_enforcement=True,
                               access_control_allow_origin=origins(6))),
        ["too_many_strict_origins"], None),
    "strict, and native players": (
        lambda: request(claims(strict_origin_enforcement=True, access_control_allow_origin=SITE)),
        ["strict_origin_needs_header"], "warning"),
    "a claim of one's own": (lambda: request(claims() | {"aws:viewer": "v"}), ["unknown_aws_claim"],
                             "warning"),
    "a hundred origins": (lambda: request(claims(access_control_allow_origin=origins(99))),
                          ["token_over_2kb"], "warning"),
}

GOOD = {
    "the least": lambda: request(claims()),
    "expiresIn 5m, with the iat that it adds": lambda: request(without_exp(), expiresIn="5m"),
    "with a viewer": lambda: request(without_exp(viewer_id="v", viewer_session_version=now()),
                                     expiresIn=590),
    "single use": lambda: request(without_exp(single_use_uuid=str(uuid.uuid4())), expiresIn=590),
    "with a kid": lambda: request(claims(), keyid="1"),
}


@pytest.fixture(scope="module")
def tokens():
    """Every token of the tables, by name."""
    makers = {name: make for name, (make, _, _) in MISTAKES.items()} | GOOD
    made = node(*(make() for make in makers.values()))
    for name, answer in zip(makers, made):
        assert "token" in answer, f"{name}: {answer}"
    return {name: answer["token"] for name, answer in zip(makers, made)}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_gets_its_finding_and_no_other(binary, public_key, tokens, name):
    _, expected, severity = MISTAKES[name]
    url = f"{PLAYBACK_URL}?token={tokens[name]}"
    exit_code, report = inspect(binary, url, "--public-key", public_key)
    assert codes(report) == expected
    assert {finding["severity"] for finding in report["findings"]} == {severity or "error"}
    assert (report["valid"], exit_code) == ((False, 1) if severity is None else (None, 0))


@pytest.mark.parametrize("name", GOOD)
def test_good_tokens_get_no_finding(binary, public_key, tokens, name):
    _, report = inspect(binary, tokens[name], "--public-key", public_key)
    assert report["findings"] == []
    assert "signature" not in report["notChecked"]


def test_der_is_what_nodes_own_crypto_makes(binary, public_key):
    script = (
        "const [key, text] = JSON.parse(require('node:fs').readFileSync(0));"
        "process.stdout.write(require('node:crypto').sign('sha384', Buffer.from(text), key)"
        ".toString('base64url'))"
    )
    parts = ({"alg": "ES384", "typ": "JWT"}, claims())
    encoded = [base64.urlsafe_b64encode(json.dumps(it).encode()).rstrip(b"=") for it in parts]
    text = b".".join(encoded).decode()
    done = subprocess.run(["node", "-e", script], input=json.dumps([pem(KEY), text]),
                          capture_output=True, text=True, check=True)
    _, report = inspect(binary, f"{text}.{done.stdout}", "--public-key", public_key)
    assert codes(report) == ["der_signature"]


def test_the_library_refuses_the_rest():
    for answer, words in zip(
        node(request(claims(), P256_KEY), request(claims(exp="soon")), request(claims(), "no PEM")),
        ("curve", "exp", "secretOrPrivateKey"),
    ):
        assert words in answer["error"]
