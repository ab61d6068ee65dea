"""Runs every command of docs/why-403.md on a token with that fault and compares the reported code with the text."""

import json
import os
import pathlib
import re
import subprocess

import pytest

from conftest import REPOSITORY
from fleet import Fleet
from test_gallery import KEY, OTHER_KEY, P256_KEY, SITE, now, sign
from test_gallery_ivs import pem, private_key

COMMAND = re.compile(r"```sh\n(.*?)\n```\s+This reports `(\w+)`", re.DOTALL)
DOCUMENT = (REPOSITORY / "docs/why-403.md").read_text()


def sections():
    """The commands of each section, with the code that each reports."""
    cases = []
    for section in re.split(r"^#{2,3} ", DOCUMENT, flags=re.MULTILINE)[1:]:
        heading, text = section.split("\n", 1)
        for command, code in COMMAND.findall(text):
            cases.append(pytest.param(heading, command, code, id=f"{heading} {code}"))
    return cases


def test_no_command_is_left_out():
    assert len(sections()) == DOCUMENT.count("```sh\n")


class Place:
    """A service's configuration, and a URL with the fault of each section."""

    def __init__(self, fleet):
        self.fleet = fleet
        fleet.cli("keys", "rotate")
        [path] = fleet.private_keys()
        self.key = private_key(path)
        self.public = fleet.ivs().create_channel(name="public", authorized=False)["channel"]
        (fleet.folder / "public.pem").write_bytes(pem(KEY))

    def claims(self, **changes):
        claims = {"aws:channel-arn": self.fleet.channel["arn"], "exp": now() + 300}
        for name, value in changes.items():
            claims[name if name == "exp" else "aws:" + name.replace("_", "-")] = value
        return claims

    def url(self, token=None, base=None):
        base = base or self.fleet.channel["playbackUrl"]
        return base if token is None else f"{base}?token={token}"

    def of(self, heading):
        sites = {"access_control_allow_origin": SITE}
        strict = {**sites, "strict_origin_enforcement": True}
        other = self.fleet.channel["arn"] + "x"
        match heading:
            case "The token is not in the URL":
                return self.url()
            case "The token is in the wrong place in the URL":
                return self.url() + f"?token.m3u8?token={sign(self.claims(), self.key)}"
            case "The token was signed with the wrong algorithm or key":
                return self.url(sign(self.claims(), P256_KEY, "ES256"))
            case "IVS does not have the key that signed":
                return self.url(sign(self.claims(), OTHER_KEY))
            case "A claim has the wrong name or type":
                claims = {"channel-arn": self.fleet.channel["arn"], "exp": now() + 300}
                return self.url(sign(claims, self.key))
            case "The lifetime is too long":
                return self.url(sign(self.claims(exp=now() + 3600, viewer_id="v"), self.key))
            case "The token is for another channel":
                return self.url(sign(self.claims(channel_arn=other), self.key))
            case "The page was open for a long time":
                return self.url(sign(self.claims(exp=now() - 60), self.key))
            case "After a rotation":
                return self.url(sign(self.claims(), self.retired()))
            case "It fails on one site or on localhost":
                return self.url(sign(self.claims(**sites), self.key))
            case "It fails on iPhones or in the app":
                return self.url(sign(self.claims(**strict), self.key))
            case "It plays although it should not":
                claims = self.claims(channel_arn=self.public["arn"])
                return self.url(sign(claims, self.key), self.public["playbackUrl"])
            case "The token is valid, but IVS refuses it":
                return self.url(sign(self.claims(viewer_id="v"), self.key))
            case "The second playback fails" | "Playback stops in the middle":
                return ""

    def retired(self):
        """A key whose pair a rotation has deleted."""
        self.fleet.cli("keys", "rotate", "--emergency", "--yes")
        [path] = self.fleet.private_keys()
        retired, self.key = self.key, private_key(path)
        return retired


@pytest.fixture(scope="module")
def place(binary, tmp_path_factory):
    fleet = Fleet(binary, tmp_path_factory.mktemp("why"))
    yield Place(fleet)
    fleet.close()


@pytest.mark.parametrize("heading, command, code", sections())
def test_the_command_names_what_the_text_says(place, binary, heading, command, code):
    url = place.of(heading)
    assert url is not None, f"no token for the section {heading!r}"
    environment = {
        **place.fleet.env,
        "PATH": f"{pathlib.Path(binary).parent}:{os.environ['PATH']}",
        "URL": url,
    }
    done = subprocess.run(
        ["sh", "-c", f"{command} --output json"],
        cwd=place.fleet.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert [finding["code"] for finding in report["findings"]] == [code], report
    assert done.returncode == (0 if report["findings"][0]["severity"] == "warning" else 1)
