"""The mistakes that public token code makes, each made by PyJWT and named by `token inspect`.

No server runs: inspection needs the token alone. Every case must get exactly its own codes, so that
nobody is sent after a fault that is not there.
"""

import base64
import contextlib
import json
import os
import pty
import re
import resource
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

CHANNEL = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234"
OTHER_CHANNEL = "arn:aws:ivs:us-west-2:123456789012:channel/ZyXwVuTs9876"
PLAYBACK_URL = (
    "https://a1b2c3d4e5f6.us-west-2.playback.live-video.net"
    "/api/video/v1/us-west-2.123456789012.channel.AbCdEfGh1234.m3u8"
)
SITE = "https://www.example.com"

KEY = ec.generate_private_key(ec.SECP384R1())
OTHER_KEY = ec.generate_private_key(ec.SECP384R1())
P256_KEY = ec.generate_private_key(ec.SECP256R1())


def now():
    return int(time.time())


def claims(**changes):
    """Good claims with changes; `_` in a name stands for `-`, `None` takes a claim away."""
    changed = {"aws:channel-arn": CHANNEL, "exp": now() + 300}
    for name, value in changes.items():
        changed["exp" if name == "exp" else "aws:" + name.replace("_", "-")] = value
    return {name: value for name, value in changed.items() if value is not None}


def sign(payload, key=KEY, algorithm="ES384"):
    return jwt.encode(payload, key, algorithm=algorithm)


def sign_by_hand(payload):
    """A token as made without a JWT library: signed by `cryptography`, which returns DER."""
    def encode(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    header = {"alg": "ES384", "typ": "JWT"}
    message = ".".join(encode(json.dumps(part).encode()) for part in (header, payload))
    return f"{message}.{encode(KEY.sign(message.encode(), ec.ECDSA(hashes.SHA384())))}"


def sign_text(payload):
    """A token whose claims are this text, whatever it is."""
    payload = payload if isinstance(payload, bytes) else payload.encode()
    return jwt.api_jws.encode(payload, KEY, algorithm="ES384")


def tampered(token):
    """The token with one bit of its signature changed."""
    message, signature = token.rsplit(".", 1)
    other = "B" if signature[10] == "A" else "A"
    return f"{message}.{signature[:10]}{other}{signature[11:]}"


@dataclass
class Case:
    """What is inspected is made when its test runs, so that no token expires before."""

    name: str
    text: Callable[[], str]
    codes: list
    options: list = field(default_factory=list)
    severity: str | None = None


def single_use(**changes):
    return claims(single_use_uuid=str(uuid.uuid4()), **changes)


def origins(count):
    return ",".join(f"https://{n}.example.com" for n in range(count))


def unprefixed():
    payload = claims(access_control_allow_origin=SITE, strict_origin_enforcement=True)
    return {name.removeprefix("aws:"): value for name, value in payload.items()}


MISTAKES = [
    # exp
    Case("exp in milliseconds", lambda: sign(claims(exp=(now() + 300) * 1000)),
         ["exp_in_milliseconds"], severity="warning"),
    Case("exp in milliseconds beside a viewer",
         lambda: sign(claims(exp=(now() + 300) * 1000, viewer_id="v")),
         ["exp_in_milliseconds"], severity="error"),
    Case("exp in milliseconds beside single use",
         lambda: sign(single_use(exp=(now() + 300) * 1000)),
         ["exp_in_milliseconds"], severity="error"),
    Case("no exp", lambda: sign(claims(exp=None)), ["exp_missing"]),
    Case("exp as a float", lambda: sign(claims(exp=time.time() + 300)), ["exp_not_integer"]),
    Case("exp as text", lambda: sign(claims(exp=str(now() + 300))), ["exp_not_integer"]),
    Case("expired", lambda: sign(claims(exp=now() - 60)), ["expired"]),
    Case("an hour beside a viewer", lambda: sign(claims(exp=now() + 3600, viewer_id="v")),
         ["ttl_over_600"]),
    Case("an hour of single use", lambda: sign(single_use(exp=now() + 3600)), ["ttl_over_600"]),
    Case("hours without a viewer", lambda: sign(claims(exp=now() + 6 * 3600)),
         ["long_lived_without_viewer"], severity="warning"),
    # Keys and signatures
    Case("P-256", lambda: sign(claims(), P256_KEY, "ES256"), ["wrong_curve"]),
    Case("HS256", lambda: sign(claims(), "a secret of at least thirty-two bytes", "HS256"),
         ["wrong_algorithm"]),
    Case("alg none", lambda: jwt.encode(claims(), None, algorithm="none"), ["wrong_algorithm"]),
    Case("DER", lambda: sign_by_hand(claims()), ["der_signature"]),
    Case("another key", lambda: sign(claims(), OTHER_KEY), ["bad_signature"]),
    Case("a changed signature", lambda: tampered(sign(claims())), ["bad_signature"]),
    # Names and types of claims
    Case("claims without aws:", lambda: sign(unprefixed()), ["claim_without_aws_prefix"]),
    Case("viewer id without aws:", lambda: sign(claims() | {"viewer-id": "v"}),
         ["claim_without_aws_prefix"]),
    Case("a claim in camel case", lambda: sign(claims() | {"viewerId": "v"}),
         ["claim_without_aws_prefix"]),
    Case("no channel", lambda: sign({"exp": now() + 300}), ["channel_arn_missing"]),
    Case("another channel", lambda: sign(claims(channel_arn=OTHER_CHANNEL)), ["channel_mismatch"],
         options=["--channel", CHANNEL]),
    Case("a channel id for its ARN", lambda: sign(claims(channel_arn="AbCdEfGh1234")),
         ["channel_mismatch"]),
    Case("an unknown claim", lambda: sign(claims(viewerid="v")), ["unknown_aws_claim"],
         severity="warning"),
    Case("a numeric viewer id", lambda: sign(claims(viewer_id=42)), ["claim_type"]),
    Case("a viewer id of JSON", lambda: sign(claims(viewer_id={"id": ["v"]})), ["claim_type"]),
    Case("strict as text", lambda: sign(claims(strict_origin_enforcement="true")), ["claim_type"]),
    Case("a viewer id too long", lambda: sign(claims(viewer_id="v" * 41)), ["viewer_id_length"]),
    Case("the viewer in sub", lambda: sign(claims() | {"sub": "alice"}), ["viewer_in_sub"],
         severity="warning"),
    # Origins
    Case("an origin with a path", lambda: sign(claims(access_control_allow_origin=SITE + "/watch")),
         ["origin_invalid"]),
    Case("an origin with /#/", lambda: sign(claims(access_control_allow_origin=SITE + "/#/")),
         ["origin_invalid"]),
    Case("an origin of no browser",
         lambda: sign(claims(access_control_allow_origin="https://www..example.com:0")),
         ["origin_invalid"]),
    Case("another origin", lambda: sign(claims(access_control_allow_origin=SITE)),
         ["origin_not_allowed"], options=["--origin", "https://example.com"]),
    Case("strict without an origin", lambda: sign(claims(strict_origin_enforcement=True)),
         ["strict_without_origin"]),
    Case("six strict origins",
         lambda: sign(claims(strict_origin_enforcement=True,
                     access_control_allow_origin=origins(6))),
         ["too_many_strict_origins"]),
    Case("strict, and players that may send no origin",
         lambda: sign(claims(strict_origin_enforcement=True, access_control_allow_origin=SITE)),
         ["strict_origin_needs_header"], severity="warning"),
    # The token as a whole, and its URL
    Case("a token over 2 KB",
         lambda: sign(claims(access_control_allow_origin=origins(99))),
         ["token_over_2kb"], severity="warning"),
    Case("a token that is cut off", lambda: sign(claims()).rsplit(".", 1)[0], ["not_a_jwt"]),
    Case("a header with extensions that must be understood",
         lambda: jwt.encode(claims(), KEY, algorithm="ES384", headers={"crit": ["b64"]}),
         ["not_a_jwt"]),
    Case("a claim twice", lambda: sign_text('{"exp": 1, "exp": 2}'), ["not_a_jwt"]),
    Case("claims that are no object", lambda: sign_text("[]"), ["not_a_jwt"]),
    Case("claims that are not UTF-8", lambda: sign_text(b'{"exp": "\xff"}'), ["not_a_jwt"]),
    Case("claims nested too deep",
         lambda: sign_text('{"exp": ' + "[" * 500 + "]" * 500 + "}"), ["not_a_jwt"]),
    Case("an empty token", lambda: f"{PLAYBACK_URL}?token=", ["token_missing"]),
    Case("a token with padding", lambda: sign(claims()) + "==", ["not_a_jwt"]),
    Case("the token appended twice", lambda: f"{PLAYBACK_URL}?token.m3u8?token={sign(claims())}",
         ["url_malformed"]),
    Case("two tokens", lambda: f"{PLAYBACK_URL}?token={sign(claims())}&token={sign(claims())}",
         ["url_malformed"]),
    Case("a single-use token on a segment",
         lambda: f"https://video-edge.example.net/v1/segment/1.ts?token={sign(single_use())}",
         ["url_malformed"]),
    Case("another channel's URL",
         lambda: f"{PLAYBACK_URL}?token={sign(claims(channel_arn=OTHER_CHANNEL))}",
         ["channel_mismatch"]),
    Case("a URL without its token", lambda: PLAYBACK_URL, ["token_missing"]),
    Case("minting failed, and the page played on", lambda: f"{PLAYBACK_URL}?token=undefined",
         ["not_a_jwt"]),
    Case("no origin was sent",
         lambda: f"curl '{PLAYBACK_URL}?token="
         f"{sign(claims(strict_origin_enforcement=True, access_control_allow_origin=SITE))}'",
         ["origin_missing"]),
    # What the edge says
    Case("no token reached the edge",
         lambda: '[{"url":"/x.m3u8","error":"token contains an invalid number of segments",'
         '"error_code":"invalid_playback_auth_token","type":"error"}]',
         ["token_missing"]),
    Case("a single-use token again",
         lambda: '[{"url":"/x.m3u8","error_code":"playback_auth_error","type":"error"}]',
         ["single_use_spent"]),
    Case("a segment without an origin", lambda: "origin required", ["origin_missing"]),
    Case("a session that is over", lambda: "Forbidden", ["session_revoked"]),
]

GOOD = [
    Case("the least", lambda: sign(claims()), []),
    Case("the most",
         lambda: sign(single_use(access_control_allow_origin=f"{SITE},https://*.example.com",
                         strict_origin_enforcement=True, viewer_id="v" * 40,
                         viewer_session_version=now(), maximum_resolution="FULL_HD",
                         exp=now() + 590)),
         [], options=["--origin", SITE]),
    Case("with claims of others",
         lambda: sign(claims() | {"iat": now(), "iss": "me", "jti": "1"}), []),
    Case("any origin", lambda: sign(claims(access_control_allow_origin="*")), []),
    Case("a playback URL", lambda: f"{PLAYBACK_URL}?token={sign(claims(viewer_id='v'))}", []),
    Case("an hour without a viewer", lambda: sign(claims(exp=now() + 3600)), []),
]


@pytest.fixture(scope="module")
def public_key(tmp_path_factory):
    path = tmp_path_factory.mktemp("gallery") / "public.pem"
    path.write_bytes(KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return path


def inspect(binary, text, *options, stdin=False):
    """The exit code and the findings; `text` is an argument, or standard input."""
    argument = "-" if stdin else text
    done = subprocess.run(
        [binary, "token", "inspect", argument, "--output", "json", *map(str, options)],
        input=text if stdin else None, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def codes(report):
    return sorted({finding["code"] for finding in report["findings"]})


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case.name)
def test_each_mistake_gets_its_finding_and_no_other(binary, public_key, case):
    exit_code, report = inspect(binary, case.text(), "--public-key", public_key, *case.options)
    assert codes(report) == case.codes
    severities = {finding["severity"] for finding in report["findings"]}
    assert severities == {case.severity or "error"}
    if "error" in severities:
        assert report["valid"] is False
        assert exit_code == 1
    for finding in report["findings"]:
        assert finding["detail"]


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_good_tokens_get_no_finding(binary, public_key, case):
    _, report = inspect(binary, case.text(), "--public-key", public_key, *case.options)
    assert report["findings"] == []
    assert report["valid"] is not False
    assert "signature" not in report["notChecked"]
    assert report["header"] == {"alg": "ES384", "typ": "JWT"}
    assert report["claims"]["aws:channel-arn"] == CHANNEL


def test_without_a_key_the_signature_is_said_to_be_unchecked(binary):
    _, report = inspect(binary, sign(claims()))
    assert report["valid"] is None
    assert report["findings"] == []
    assert "signature" in report["notChecked"]


def test_the_key_may_come_as_a_jwk_set(binary, tmp_path):
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key()))
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [jwk | {"use": "sig", "alg": "ES384"}]}))
    _, good = inspect(binary, sign(claims()), "--jwks", jwks)
    _, bad = inspect(binary, sign(claims(), OTHER_KEY), "--jwks", jwks)
    assert codes(good) == []
    assert codes(bad) == ["bad_signature"]


def test_text_may_come_from_standard_input(binary):
    _, report = inspect(binary, f"\n{sign(claims(exp=None))}\n", stdin=True)
    assert codes(report) == ["exp_missing"]


def on_a_terminal(binary, text, **environment):
    """What `token inspect` writes to a terminal."""
    reader, terminal = pty.openpty()
    process = subprocess.Popen([binary, "token", "inspect", text], stdout=terminal,
                               env={"TERM": "xterm", **environment})
    os.close(terminal)
    shown = b""
    # A terminal that nobody writes to any more ends with an error.
    with contextlib.suppress(OSError):
        while part := os.read(reader, 4096):
            shown += part
    os.close(reader)
    process.wait(timeout=300)
    return shown.decode().replace("\r\n", "\n")


def test_what_is_wrong_is_marked_and_coloured_on_a_terminal_alone(binary):
    url = f"{PLAYBACK_URL}?token.m3u8?token={sign(claims(viewer_id=42))}"
    piped = subprocess.run([binary, "token", "inspect", url], capture_output=True, text=True)
    assert piped.returncode == 1 and "\x1b" not in piped.stdout
    lines = piped.stdout.splitlines()
    outline = next(n for n, line in enumerate(lines) if line.startswith("URL "))
    start, marks = lines[outline].index("?token.m3u8?token="), lines[outline + 1]
    assert marks == " " * start + "^" * len("?token.m3u8?token=…")
    assert any(line.startswith("! aws:viewer-id") and "claim_type" in line for line in lines)
    assert url.rsplit(".", 1)[1] not in piped.stdout, "no signature is shown"

    coloured = on_a_terminal(binary, url)
    assert "\x1b[1;31merror" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == piped.stdout
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert on_a_terminal(binary, url, **environment) == piped.stdout


def test_text_need_not_be_unicode(binary):
    done = subprocess.run([binary, "token", "inspect", "-", "--output", "json"],
                          input=b"\xff\xfe.\x00.\x80", capture_output=True)
    assert done.returncode == 1
    assert codes(json.loads(done.stdout)) == ["not_a_jwt"]


@pytest.mark.parametrize("text", [
    "x" * (1 << 20),
    "." * (1 << 20),
    f"{PLAYBACK_URL}?" + "token=a.b.c&" * (1 << 16),
    "curl '" + "\\" * (1 << 20),
], ids=["letters", "dots", "tokens", "backslashes"])
def test_a_mebibyte_of_anything_is_answered_at_once(binary, text):
    began = spent()
    inspect_any = subprocess.run(
        [binary, "token", "inspect", "-", "--output", "json"],
        input=text, capture_output=True, text=True, timeout=300)
    assert inspect_any.returncode in (1, 2), inspect_any.stderr
    assert spent() - began < 5


def spent():
    """Seconds of processor time of the processes that have ended; waiting for a processor is none."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
