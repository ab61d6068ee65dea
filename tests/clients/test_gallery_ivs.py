"""What only keyring and IVS can tell of a token: tokens of PyJWT, inspected by a running service, and
by the command line with `--config`. And: all galleries together reach every code."""

import json
import re
import urllib.parse

import pytest
from cryptography.hazmat.primitives import serialization

import test_gallery
import test_gallery_node
from conftest import REPOSITORY
from fleet import Fleet, wait_for
from test_gallery import OTHER_KEY, codes, now, sign, single_use

ABSENT = "arn:aws:ivs:us-west-2:123456789012:channel/ZyXwVuTs9876"
ELSEWHERE = "arn:aws:ivs:eu-west-1:123456789012:channel/AbCdEfGh1234"

# The codes, and what `valid` is; in the order in which they come true.
EXPECTED = {
    "the key that signs": ([], True),
    "a public channel": (["channel_public"], True),
    "a public channel's URL, without a token": (["channel_public"], None),
    "a channel that is not there": (["channel_mismatch"], False),
    "a channel of another region": (["key_other_region"], False),
    "a key that nobody knows": (["bad_signature"], False),
    "a key that another signer imported": ([], True),
    "a key that waits": (["key_pending"], True),
    "a key that drains": (["key_draining"], True),
    "a key that was retired": (["key_deleted"], False),
    "a viewer who was revoked": ([], None),
    "a viewer who was revoked, and what the edge said": (["session_revoked"], False),
    "a token that was used": ([], None),
    "a token that was used, and what the edge said": (["single_use_spent"], False),
    "a key that somebody deleted": (["key_unknown_to_ivs"], False),
}


def private_key(path):
    return serialization.load_pem_private_key(path.read_bytes(), None)


def pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


class Story:
    """One keyring through its life, and what two inspectors say at each point of it."""

    def __init__(self, fleet):
        self.fleet = fleet
        self.server = fleet.serve()
        self.seen = {}

    def look(self, name, body):
        """Both inspectors, once the service sees what was just done: it asks IVS every other second."""
        expected, _ = EXPECTED[name]
        answer = {}

        def agrees():
            answer["http"] = self.http(body)
            return codes(answer["http"]) == expected

        try:
            wait_for(agrees, seconds=60, what=name)
        except AssertionError:
            pass  # the tests say what came instead
        self.seen[name] = (answer["http"], self.command_line(body))

    def http(self, body):
        answer = self.fleet.call(self.server, "POST", "/v1/tokens/inspect", body)
        assert answer.status == 200, answer.text
        return answer.json

    def command_line(self, body):
        text = "\n".join(body[part] for part in ("token", "playbackUrl", "edgeError") if part in body)
        done = self.fleet.cli("token", "inspect", text, "--output", "json", check=False)
        assert done.returncode in (0, 1), done.stderr
        report = json.loads(done.stdout)
        assert done.returncode == (1 if report["valid"] is False else 0)
        return report

    def claims(self, channel=None, **more):
        arn = channel or self.fleet.channel["arn"]
        return {"aws:channel-arn": arn, "exp": now() + 300, **more}

    def tell(self):
        fleet, ivs = self.fleet, self.fleet.ivs()
        [path] = fleet.private_keys()
        key = private_key(path)
        token = lambda *claims, **more: {"token": sign(self.claims(*claims, **more), key)}
        self.look("the key that signs", token())

        public = ivs.create_channel(name="public", authorized=False)["channel"]
        self.look("a public channel", token(public["arn"]))
        self.look("a public channel's URL, without a token", {"playbackUrl": public["playbackUrl"]})
        self.look("a channel that is not there", token(ABSENT))
        self.look("a channel of another region", token(ELSEWHERE))

        theirs = {"token": sign(self.claims(), OTHER_KEY)}
        self.look("a key that nobody knows", theirs)
        pair = ivs.import_playback_key_pair(publicKeyMaterial=pem(OTHER_KEY).decode())["keyPair"]
        self.look("a key that another signer imported", theirs)
        ivs.delete_playback_key_pair(arn=pair["arn"])

        viewer = self.claims(**{"aws:viewer-id": "v", "aws:viewer-session-version": 7})
        viewer = {"playbackUrl": f"{fleet.channel['playbackUrl']}?token={sign(viewer, key)}"}
        ivs.start_viewer_session_revocation(
            channelArn=fleet.channel["arn"], viewerId="v", viewerSessionVersionsLessThanOrEqualTo=7
        )
        self.refused("a viewer who was revoked", viewer)
        once = sign(single_use(channel_arn=fleet.channel["arn"]), key)
        assert fleet.play(once).status == 200
        once = {"playbackUrl": f"{fleet.channel['playbackUrl']}?token={once}"}
        self.refused("a token that was used", once)

        made = fleet.call(self.server, "POST", "/v1/key-pairs", {"name": "next"})
        assert made.status == 201, made.text
        [next_path] = set(fleet.private_keys()) - {path}
        key_that_waits = private_key(next_path)
        self.look("a key that waits", {"token": sign(self.claims(), key_that_waits)})

        rotation = fleet.rotate(self.server).json["id"]
        phase = lambda: next(it["phase"] for it in fleet.rotations(self.server) if it["id"] == rotation)
        wait_for(lambda: phase() == "draining", what="the new key")
        self.look("a key that drains", token())
        # It would drain for an hour, so that no look is too late.
        listed = fleet.call(self.server, "GET", "/v1/key-pairs").json["keyPairs"]
        [drains] = [it["arn"] for it in listed if it["state"] == "draining"]
        arn = urllib.parse.quote(drains, safe="")
        deleted = fleet.call(self.server, "DELETE", f"/v1/key-pairs/{arn}?force=true")
        assert deleted.status in (200, 202, 204), deleted.text
        wait_for(lambda: drains not in {it["arn"] for it in fleet.pairs()}, what="its deletion")
        self.look("a key that was retired", token())

        [pair] = fleet.pairs()
        ivs.delete_playback_key_pair(arn=pair["arn"])
        self.look("a key that somebody deleted", {"token": sign(self.claims(), key_that_waits)})
        return self.seen

    def refused(self, name, body):
        token = body["playbackUrl"].split("token=")[1]
        answer = self.fleet.play(token)
        assert answer.status == 403, answer.text
        # What a player has in hand at AWS, which says no more than this.
        said = [{key: it[key] for key in ("url", "error_code", "type")} for it in answer.json]
        self.look(name, body)
        self.look(f"{name}, and what the edge said", {**body, "edgeError": json.dumps(said)})


@pytest.fixture(scope="module")
def seen(binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    fleet = Fleet(binary, folder, {"rotation": {"drain_margin": "1h"}})
    try:
        fleet.cli("keys", "rotate")
        yield Story(fleet).tell()
    finally:
        fleet.close()


@pytest.mark.parametrize("name", EXPECTED)
def test_keyring_and_ivs_tell_this_and_nothing_else(seen, name):
    expected, valid = EXPECTED[name]
    for report in seen[name]:
        assert codes(report) == expected, report
        assert report["valid"] is valid, report
        # Of another region's channel IVS is not asked here.
        unasked = {"channel"} if expected == ["key_other_region"] else set()
        assert {"signature", "keyPair", "channel"} & set(report["notChecked"]) == unasked
        if report["claims"] and expected != ["bad_signature"]:
            assert report["keyPairArn"].startswith("arn:aws:ivs:us-west-2:123456789012:playback-key/")


def catalogue():
    """Every code, as docs/findings.md lists them; a Rust test holds it equal to the code."""
    text = (REPOSITORY / "docs/findings.md").read_text()
    return set(re.findall(r"^### (\w+)$", text, re.MULTILINE))


def test_the_galleries_reach_every_code_and_no_other():
    reached = {code for case in test_gallery.MISTAKES for code in case.codes}
    reached |= {code for _, expected, _ in test_gallery_node.MISTAKES.values() for code in expected}
    reached |= {code for expected, _ in EXPECTED.values() for code in expected}
    assert reached == catalogue()
    assert len(reached) == 35
