"""The main job: a minted token verifies with PyJWT and plays at the edge, and only it does."""

import base64
import json
import subprocess
import time

import jwt
import pytest

from conftest import request

DEMO = {"channel": "demo"}


def verified(dev, token):
    """The claims, after PyJWT verified the token with the published JWK Set."""
    jwks = jwt.PyJWKSet.from_dict(request("GET", dev.url + "/.well-known/jwks.json").json)
    assert len(jwks.keys) == 1
    key = jwks.keys[0]
    return jwt.decode(token, key, algorithms=["ES384"])


def test_the_printed_curl_line_mints_as_is(dev):
    lines = [line.strip() for line in dev.output if line.strip().startswith("curl ")]
    assert len(lines) == 1, dev.output
    output = subprocess.run(["sh", "-c", lines[0]], stdout=subprocess.PIPE, check=True).stdout
    minted = json.loads(output)
    assert request("GET", minted["playbackUrl"]).text.startswith("#EXTM3U")
    assert dev.credential not in "\n".join(dev.output)


def test_a_token_holds_what_was_asked_for_and_nothing_else(dev):
    before = int(time.time())
    minted = dev.mint(viewerId="alice")
    assert jwt.get_unverified_header(minted["token"]) == {"alg": "ES384", "typ": "JWT"}
    header = base64.urlsafe_b64decode(minted["token"].split(".")[0] + "==")
    assert header == b'{"alg":"ES384","typ":"JWT"}'
    claims = verified(dev, minted["token"])
    assert claims == {
        "aws:channel-arn": minted["channelArn"],
        "aws:viewer-id": "alice",
        "aws:viewer-session-version": claims["exp"] - 300,
        "exp": claims["exp"],
    }
    assert isinstance(claims["exp"], int)
    assert before < claims["exp"] <= int(time.time()) + 600
    assert minted["viewerSessionVersion"] == claims["aws:viewer-session-version"]

    plain = dev.mint()
    assert set(verified(dev, plain["token"])) == {"aws:channel-arn", "exp"}
    assert set(plain) == {
        "token", "tokenId", "issuedAt", "expiresAt", "expiresIn", "refreshAfter", "channelArn",
        "channelFreshness", "playbackUrl", "keyPairArn", "warnings",
    }  # fmt: skip


def test_every_option_reaches_the_claims(dev):
    minted = dev.mint(
        viewerId="bob",
        viewerSessionVersion=7,
        allowedOrigins=["https://Example.com:443", "http://*.example.org:8080"],
        strictOriginEnforcement=True,
        singleUse=True,
        maximumResolution="FULL_HD",
        ttlSeconds=600,
    )
    claims = verified(dev, minted["token"])
    exp = claims.pop("exp")
    assert exp - int(time.time()) <= 600
    assert claims == {
        "aws:channel-arn": minted["channelArn"],
        "aws:access-control-allow-origin": "https://example.com,http://*.example.org:8080",
        "aws:strict-origin-enforcement": True,
        "aws:single-use-uuid": minted["singleUseUuid"],
        "aws:viewer-id": "bob",
        "aws:viewer-session-version": 7,
        "aws:maximum-resolution": "FULL_HD",
    }


def refusal(url, **headers):
    answer = request("GET", url, headers=headers)
    assert answer.status == 403, answer.text
    (body,) = answer.json
    assert body["type"] == "error" and body["error_code"] and body["error"]
    return body["error_code"], body["emulator_reason"]


def test_the_edge_takes_the_token_and_nothing_less(dev):
    url = dev.mint(viewerId="carol")["playbackUrl"]
    answer = request("GET", url)
    assert answer.status == 200 and answer.text.startswith("#EXTM3U")

    bare, token = url.split("?token=")
    assert refusal(bare)[0] == "invalid_playback_auth_token"

    signed, signature = token.rsplit(".", 1)
    raw = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
    for bit in (0, 200, 767):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << (bit % 8)
        changed = base64.urlsafe_b64encode(bytes(flipped)).decode().rstrip("=")
        assert refusal(f"{bare}?token={signed}.{changed}")[1] == "bad_signature"

    other = dev.ivs().create_channel(name="other", authorized=True)["channel"]
    assert refusal(f"{other['playbackUrl']}?token={token}")[1] == "channel_mismatch"


def test_a_single_use_token_plays_once(dev):
    url = dev.mint(singleUse=True)["playbackUrl"]
    assert request("GET", url).status == 200
    assert refusal(url) == ("playback_auth_error", "single_use_spent")


@pytest.fixture(scope="module")
def own_key(dev, aws, tmp_path_factory):
    """A pair made by openssl and imported by the aws CLI."""
    folder = tmp_path_factory.mktemp("key")
    private, public = folder / "private.pem", folder / "public.pem"
    run = lambda command: subprocess.run(  # noqa: E731
        command, shell=True, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ).stdout
    run(f"openssl ecparam -name secp384r1 -genkey -noout -out {private}")
    run(f"openssl ec -in {private} -pubout -out {public}")
    md5 = run(f"openssl pkey -pubin -in {public} -outform DER | md5sum").split()[0]
    imported = json.loads(
        aws(
            dev, "ivs", "import-playback-key-pair", "--name", "own",
            "--public-key-material", public.read_text(),
        ).stdout
    )  # fmt: skip
    fingerprint = imported["keyPair"]["fingerprint"]
    assert fingerprint == ":".join(md5[i : i + 2] for i in range(0, 32, 2))
    openssl = run(f"openssl pkey -pubin -in {public} -outform DER | openssl md5 -c")
    assert openssl.split("= ")[1].strip() == fingerprint
    return private.read_text()


def test_a_foreign_token_is_judged_by_the_edge(dev, own_key):
    channel = dev.demo_channel()
    now = int(time.time())

    def judge(claims, **options):
        token = jwt.encode(claims, own_key, algorithm="ES384", **options)
        return f"{channel['playbackUrl']}?token={token}"

    good = {"aws:channel-arn": channel["arn"], "exp": now + 300}
    assert request("GET", judge(good)).text.startswith("#EXTM3U")
    assert request("GET", judge({**good, "iat": now})).status == 200
    assert request("GET", judge({**good, "exp": (now + 300) * 1000})).status == 200

    assert refusal(judge({**good, "exp": now - 1}))[1] == "expired"
    named = {**good, "aws:viewer-id": "dave"}
    assert request("GET", judge(named)).status == 200
    assert refusal(judge({**named, "exp": (now + 300) * 1000}))[1] == "exp_in_milliseconds"
    assert refusal(judge({**named, "exp": now + 700}))[1] == "ttl_over_600"
    assert refusal(judge({"aws:channel-arn": channel["arn"]}))[1] == "exp_missing"
    assert refusal(judge({**named, "aws:viewer-id": "x" * 41}))[1] == "viewer_id_length"
    assert refusal(judge({"exp": now + 300}))[1] == "channel_arn_missing"


def test_origins_are_checked_as_a_browser_sends_them(dev):
    url = dev.mint(allowedOrigins=["https://*.example.com"])["playbackUrl"]
    assert request("GET", url).status == 200, "without strictness it binds browsers only"
    answer = request("GET", url, headers={"origin": "https://www.example.com"})
    assert answer.headers["access-control-allow-origin"] in ("*", "https://www.example.com")
    assert refusal(url, origin="https://example.org")[1] == "origin_not_allowed"

    strict = dev.mint(allowedOrigins=["https://example.com"], strictOriginEnforcement=True)
    assert refusal(strict["playbackUrl"])[1] == "origin_missing"
    answer = request("GET", strict["playbackUrl"], headers={"origin": "https://example.com"})
    assert answer.status == 200
