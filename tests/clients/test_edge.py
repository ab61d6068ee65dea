"""The playback edge, with tokens that PyJWT signed: each mistake of public token code is refused for
its own reason, and what is good plays to the segment.
"""

import base64
import concurrent.futures
import json
import re
import time
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from conftest import REPOSITORY, request
from emulator import Emulator

SITE = "https://www.example.com"
OTHER_SITE = "https://other.example.com"
OTHER_CHANNEL = "arn:aws:ivs:us-west-2:210987654321:channel/ZyXwVuTs9876"

KEY = ec.generate_private_key(ec.SECP384R1())
OTHER_KEY = ec.generate_private_key(ec.SECP384R1())
P256_KEY = ec.generate_private_key(ec.SECP256R1())

PLAYLIST = "application/vnd.apple.mpegurl"


def now():
    return int(time.time())


class Edge:
    """An emulator with a live private channel, and a pair whose private half is `KEY`."""

    def __init__(self, binary, folder):
        self.emulator = Emulator(binary, folder, "--auto-live")
        self.ivs = self.emulator.ivs()
        public = KEY.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.ivs.import_playback_key_pair(publicKeyMaterial=public.decode())
        channel = self.ivs.create_channel(name="show", authorized=True)["channel"]
        self.channel, self.url = channel["arn"], channel["playbackUrl"]

    def claims(self, **changes):
        """Good claims with changes; `_` in a name stands for `-`, `None` takes a claim away."""
        changed = {"aws:channel-arn": self.channel, "exp": now() + 300}
        for name, value in changes.items():
            changed["exp" if name == "exp" else "aws:" + name.replace("_", "-")] = value
        return {name: value for name, value in changed.items() if value is not None}

    def sign(self, **changes):
        return sign(self.claims(**changes))

    def play(self, token, **headers):
        return request("GET", f"{self.url}?token={token}", headers=headers)


@pytest.fixture(scope="module")
def edge(binary, tmp_path_factory):
    edge = Edge(binary, tmp_path_factory.mktemp("edge"))
    yield edge
    edge.emulator.stop()


def sign(payload, key=KEY, algorithm="ES384"):
    return jwt.encode(payload, key, algorithm=algorithm)


def sign_by_hand(payload, key=KEY, width=None):
    """A token as made without a JWT library: the signature in DER, or r and s of `width` bytes."""
    def encode(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    header = {"alg": "ES384", "typ": "JWT"}
    message = ".".join(encode(json.dumps(part).encode()) for part in (header, payload))
    signature = key.sign(message.encode(), ec.ECDSA(hashes.SHA384()))
    if width:
        signature = b"".join(
            number.to_bytes(width, "big") for number in decode_dss_signature(signature))
    return f"{message}.{encode(signature)}"


def unprefixed(edge):
    return {name.removeprefix("aws:"): value for name, value in edge.claims().items()}


def origins(count):
    return ",".join([SITE] + [f"https://{n}.example.com" for n in range(1, count)])


@dataclass
class Case:
    """What is sent is made when its test runs, so that no token expires before."""

    name: str
    reason: str | None
    """Why it is refused; none where it plays."""
    token: Callable[[Edge], str]
    headers: dict = field(default_factory=dict)


FROM_SITE = {"origin": SITE}
FROM_OTHER_SITE = {"origin": OTHER_SITE}

MISTAKES = [
    # exp
    Case("exp in milliseconds beside a viewer", "exp_in_milliseconds",
         lambda edge: edge.sign(exp=(now() + 300) * 1000, viewer_id="v")),
    Case("exp in milliseconds beside single use", "exp_in_milliseconds",
         lambda edge: edge.sign(exp=(now() + 300) * 1000, single_use_uuid=str(uuid.uuid4()))),
    Case("no exp", "exp_missing", lambda edge: edge.sign(exp=None)),
    Case("exp as a float", "exp_not_integer", lambda edge: edge.sign(exp=time.time() + 300)),
    Case("exp as text", "exp_not_integer", lambda edge: edge.sign(exp=str(now() + 300))),
    Case("expired", "expired", lambda edge: edge.sign(exp=now() - 1)),
    Case("an hour beside a viewer", "ttl_over_600",
         lambda edge: edge.sign(exp=now() + 3600, viewer_id="v")),
    Case("an hour of single use", "ttl_over_600",
         lambda edge: edge.sign(exp=now() + 3600, single_use_uuid=str(uuid.uuid4()))),
    # Keys and signatures
    Case("P-256", "wrong_curve", lambda edge: sign(edge.claims(), P256_KEY, "ES256")),
    Case("P-256 that says ES384", "wrong_curve",
         lambda edge: sign_by_hand(edge.claims(), P256_KEY, width=32)),
    Case("P-256 padded to 96 bytes", "wrong_curve",
         lambda edge: sign_by_hand(edge.claims(), P256_KEY, width=48)),
    Case("HS256", "wrong_algorithm",
         lambda edge: sign(edge.claims(), "a secret of at least thirty-two bytes", "HS256")),
    Case("alg none", "wrong_algorithm",
         lambda edge: jwt.encode(edge.claims(), None, algorithm="none")),
    Case("DER", "der_signature", lambda edge: sign_by_hand(edge.claims())),
    Case("a key that is not imported", "bad_signature",
         lambda edge: sign(edge.claims(), OTHER_KEY)),
    # Names and types of claims
    Case("claims without aws:", "claim_without_aws_prefix", lambda edge: sign(unprefixed(edge))),
    Case("no channel", "channel_arn_missing", lambda edge: edge.sign(channel_arn=None)),
    Case("another channel", "channel_mismatch", lambda edge: edge.sign(channel_arn=OTHER_CHANNEL)),
    Case("a channel id for its ARN", "channel_mismatch",
         lambda edge: edge.sign(channel_arn=edge.channel.rsplit("/")[-1])),
    Case("a numeric viewer id", "claim_type", lambda edge: edge.sign(viewer_id=42)),
    Case("a session version as text", "claim_type",
         lambda edge: edge.sign(viewer_id="v", viewer_session_version="1")),
    Case("strict as text", "claim_type",
         lambda edge: edge.sign(strict_origin_enforcement="true")),
    Case("a single use that is no UUID", "claim_type",
         lambda edge: edge.sign(single_use_uuid="once")),
    Case("an unknown resolution", "claim_type", lambda edge: edge.sign(maximum_resolution="4K")),
    Case("origins in a list", "claim_type",
         lambda edge: edge.sign(access_control_allow_origin=[SITE])),
    Case("a viewer id too long", "viewer_id_length", lambda edge: edge.sign(viewer_id="v" * 41)),
    Case("an empty viewer id", "viewer_id_length", lambda edge: edge.sign(viewer_id="")),
    # Origins
    Case("an origin with a path", "origin_invalid",
         lambda edge: edge.sign(access_control_allow_origin=SITE + "/watch"), FROM_SITE),
    Case("an origin with /#/", "origin_invalid",
         lambda edge: edge.sign(access_control_allow_origin=SITE + "/#/"), FROM_SITE),
    Case("another origin", "origin_not_allowed",
         lambda edge: edge.sign(access_control_allow_origin=SITE), FROM_OTHER_SITE),
    Case("strict without origins", "strict_without_origin",
         lambda edge: edge.sign(strict_origin_enforcement=True), FROM_SITE),
    Case("six strict origins", "too_many_strict_origins",
         lambda edge: edge.sign(strict_origin_enforcement=True,
                                access_control_allow_origin=origins(6)), FROM_SITE),
    Case("strict, and iOS Safari without crossorigin", "origin_missing",
         lambda edge: edge.sign(strict_origin_enforcement=True,
                                access_control_allow_origin=SITE)),
    # The token as a whole, and its URL
    Case("a token that is cut off", "not_a_jwt",
         lambda edge: edge.sign().rsplit(".", 1)[0]),
    Case("a token with padding", "not_a_jwt", lambda edge: edge.sign() + "=="),
    Case("two tokens", "not_a_jwt", lambda edge: f"{edge.sign()}&token={edge.sign()}"),
    Case("minting failed, and the page played on", "not_a_jwt", lambda edge: "undefined"),
    Case("an empty token", "token_missing", lambda edge: ""),
]


def refusal(answer):
    """The code of IVS and the emulator's own reason, once the body has the form of IVS."""
    assert answer.status == 403, answer.text
    (error,) = answer.json
    assert error["type"] == "error" and error["error"]
    assert error["url"].startswith("/api/video/v1/") and "token" not in error["url"]
    assert answer.headers["cache-control"] == "no-store"
    return error["error_code"], error["emulator_reason"]


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case.name)
def test_each_mistake_is_refused_for_its_own_reason(edge, case):
    answer = edge.play(case.token(edge), **case.headers)
    assert refusal(answer) == ("invalid_playback_auth_token", case.reason)


def test_a_token_in_the_wrong_place_of_the_url_is_none(edge):
    """The front-end example of AWS appends `?token` twice."""
    answer = request("GET", f"{edge.url}?token.m3u8?token={edge.sign()}")
    assert refusal(answer)[1] == "token_missing"
    assert refusal(request("GET", edge.url))[1] == "token_missing"


def test_every_reason_that_is_documented_is_met_here():
    """Three need more than a token, and have tests of their own below."""
    text = (REPOSITORY / "docs/emulator.md").read_text()
    playback = text[text.index("\n## Playback\n") :]
    tables = re.findall(r"`emulator_reason`.*\n\|[-|]+\|\n((?:\|.*\n)+)", playback)
    cells = [row.rstrip("|\n ").rsplit("|", 1)[1] for table in tables
             for row in table.splitlines()]
    documented = set(re.findall(r"`([a-z_0-9]+)`", " ".join(cells)))
    met = {case.reason for case in MISTAKES}
    assert documented == met | {"country_not_allowed", "session_revoked", "single_use_spent"}


GOOD = [
    Case("the least", None, lambda edge: edge.sign()),
    Case("claims of others", None, lambda edge: sign(edge.claims() | {"iat": now(), "iss": "me"})),
    Case("milliseconds without a viewer are merely far ahead", None,
         lambda edge: edge.sign(exp=(now() + 300) * 1000)),
    Case("hours without a viewer", None, lambda edge: edge.sign(exp=now() + 6 * 3600)),
    Case("598 s with a viewer", None, lambda edge: edge.sign(exp=now() + 598, viewer_id="v")),
    Case("the viewer in sub", None, lambda edge: sign(edge.claims() | {"sub": "alice"})),
    Case("origins, and a player that sends none", None,
         lambda edge: edge.sign(access_control_allow_origin=SITE)),
    Case("any origin", None, lambda edge: edge.sign(access_control_allow_origin="*"),
         FROM_OTHER_SITE),
    Case("the most", None,
         lambda edge: edge.sign(
             viewer_id="v" * 40, viewer_session_version=now(), exp=now() + 590,
             single_use_uuid=str(uuid.uuid4()), maximum_resolution="FULL_HD",
             strict_origin_enforcement=True, access_control_allow_origin=origins(5)),
         FROM_SITE),
]


class Player:
    """Follows the URLs of an accepted multivariant playlist, as players do."""

    def __init__(self, url, answer, headers):
        assert answer.status == 200, answer.text
        assert answer.headers["content-type"] == PLAYLIST
        self.headers = headers
        self.variants = [urllib.parse.urljoin(url, line) for line in uris(answer.text)]

    def get(self, url):
        return request("GET", url, headers=self.headers)

    def media(self, variant):
        """The URLs of the initialisation section and of the segments."""
        playlist = self.get(variant)
        assert playlist.status == 200, playlist.text
        (initialization,) = re.findall(r'#EXT-X-MAP:URI="([^"]+)"', playlist.text)
        names = [initialization, *uris(playlist.text)]
        return [urllib.parse.urljoin(variant, name) for name in names]


def uris(playlist):
    assert playlist.startswith("#EXTM3U\n")
    return [line for line in playlist.splitlines() if not line.startswith("#")]


def box_types(content):
    """The types of an MP4 file's boxes, which must fill it exactly."""
    types = []
    while content:
        length = int.from_bytes(content[:4], "big")
        assert 8 <= length <= len(content)
        types.append(content[4:8].decode())
        content = content[length:]
    return types


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_good_tokens_play_to_the_segment(edge, case):
    token = case.token(edge)
    player = Player(edge.url, edge.play(token, **case.headers), case.headers)
    assert len(player.variants) == 3
    for variant in player.variants:
        initialization, *segments = player.media(variant)
        assert len(segments) == 6
        assert box_types(player.get(initialization).content) == ["ftyp", "moov"]
        for url in segments[0], segments[-1]:
            assert token not in url and "token" not in url
            segment = player.get(url)
            assert segment.headers["content-type"] == "video/mp4"
            assert box_types(segment.content) == ["moof", "mdat"]


def test_a_single_use_token_that_is_appended_again_changes_nothing(edge):
    token = edge.sign(single_use_uuid=str(uuid.uuid4()))
    player = Player(edge.url, edge.play(token), {})
    variant = f"{player.variants[0]}?token={token}"
    segment = player.media(variant)[-1]
    assert player.get(f"{segment}?token={token}").content == player.get(segment).content
    assert refusal(edge.play(token)) == ("playback_auth_error", "single_use_spent")
    assert player.get(player.variants[0]).status == 200


def test_of_many_who_spend_one_token_at_once_one_plays(edge):
    token = edge.sign(single_use_uuid=str(uuid.uuid4()))
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: edge.play(token), range(64)))
    played = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status != 200]
    assert (len(played), len(refused)) == (1, 63)
    assert {refusal(answer) for answer in refused} == {("playback_auth_error", "single_use_spent")}
    player = Player(edge.url, played[0], {})
    assert player.get(player.media(player.variants[0])[-1]).status == 200


def test_a_revocation_cuts_off_the_viewer_in_the_claim_and_no_other(edge):
    tokens = {
        "revoked": edge.sign(viewer_id="alice", viewer_session_version=7),
        "later": edge.sign(viewer_id="alice", viewer_session_version=8),
        "other": edge.sign(viewer_id="bob", viewer_session_version=7),
        # The mistake: nothing can revoke a viewer that stands in another claim.
        "in sub": sign(edge.claims() | {"sub": "alice"}),
    }
    players = {name: Player(edge.url, edge.play(token), {}) for name, token in tokens.items()}
    segments = {name: player.media(player.variants[0])[-1] for name, player in players.items()}
    edge.ivs.start_viewer_session_revocation(
        channelArn=edge.channel, viewerId="alice", viewerSessionVersionsLessThanOrEqualTo=7)
    for name, player in players.items():
        for url in player.variants[0], segments[name]:
            answer = player.get(url)
            if name == "revoked":
                assert (answer.status, answer.text) == (403, "Forbidden")
            else:
                assert answer.status == 200, name
    for name, token in tokens.items():
        answer = edge.play(token)
        if name == "revoked":
            assert refusal(answer) == ("invalid_playback_auth_token", "session_revoked")
        else:
            assert answer.status == 200, name


def test_strict_origins_bind_every_request(edge):
    token = edge.sign(strict_origin_enforcement=True, access_control_allow_origin=SITE)
    player = Player(edge.url, edge.play(token, origin=SITE), FROM_SITE)
    variant = player.variants[0]
    for url in [variant, *player.media(variant)[:2]]:
        good = player.get(url)
        assert (good.status, good.headers["access-control-allow-origin"]) == (200, SITE)
        unnamed = request("GET", url)
        assert (unnamed.status, unnamed.text) == (403, "origin required")
        other = request("GET", url, headers=FROM_OTHER_SITE)
        assert other.status == 403
        assert "access-control-allow-origin" not in other.headers


def test_a_maximum_resolution_holds_beyond_the_multivariant_playlist(edge):
    player = Player(edge.url, edge.play(edge.sign(maximum_resolution="SD")), {})
    (variant,) = player.variants
    segment = player.media(variant)[-1]
    for url in variant, segment:
        assert player.get(url).status == 200
        assert player.get(url.replace("360p", "1080p")).status == 403


def test_metadata_reaches_every_player(edge):
    player = Player(edge.url, edge.play(edge.sign()), {})
    text = json.dumps({"score": "2\N{EN DASH}0", "say": '100% "sure"'}, ensure_ascii=False)
    edge.ivs.put_metadata(channelArn=edge.channel, metadata=text)
    for variant in player.variants:
        (told,) = re.findall(
            r'#EXT-X-DATERANGE:ID="\d+",.*X-IVS-METADATA="([^"]*)"', player.get(variant).text)
        assert urllib.parse.unquote(told, errors="strict") == text


def test_a_policy_binds_the_players_of_a_public_channel(edge):
    policy = edge.ivs.create_playback_restriction_policy(
        allowedCountries=["DE"], allowedOrigins=[SITE], enableStrictOriginEnforcement=True)
    channel = edge.ivs.create_channel(
        playbackRestrictionPolicyArn=policy["playbackRestrictionPolicy"]["arn"])["channel"]
    german = {"cloudfront-viewer-country": "DE"}

    def ask(**headers):
        return request("GET", channel["playbackUrl"], headers=headers)

    assert refusal(ask(**FROM_SITE))[1] == "country_not_allowed"
    assert refusal(ask(**FROM_SITE, **{"cloudfront-viewer-country": "FR"}))[1] == (
        "country_not_allowed")
    assert refusal(ask(**german))[1] == "origin_missing"
    assert refusal(ask(**german, **FROM_OTHER_SITE))[1] == "origin_not_allowed"
    player = Player(channel["playbackUrl"], ask(**german, **FROM_SITE), FROM_SITE)
    segment = player.media(player.variants[0])[-1]
    assert box_types(player.get(segment).content) == ["moof", "mdat"]
    assert request("GET", segment).text == "origin required"
