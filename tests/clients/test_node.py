"""The AWS SDK for JavaScript, in a round trip of channels, key pairs and tags."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from emulator import Emulator

SCRIPTS = pathlib.Path(__file__).parent / "node"


@pytest.fixture(scope="module")
def seen(binary, tmp_path_factory):
    """What the script says that it saw."""
    assert os.environ.get("NODE_PATH") and shutil.which("node"), "run tests/run clients"
    emulator = Emulator(binary, tmp_path_factory.mktemp("emulator"))
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    environment = emulator.environment()
    environment["NODE_PATH"] = os.environ["NODE_PATH"]
    environment["PUBLIC_KEY"] = pem.decode()
    try:
        done = subprocess.run(
            ["node", str(SCRIPTS / "round_trip.cjs")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=600,
        )
    finally:
        emulator.stop()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_channel_reads_as_it_was_made(seen):
    channel = seen["channel"]
    assert channel["arn"].startswith("arn:aws:ivs:us-west-2:210987654321:channel/")
    assert (channel["name"], channel["authorized"], channel["tags"]) == ("node", True, {"team": "a b"})
    assert seen["read"] == channel
    assert seen["updated"] == {**channel, "latencyMode": "NORMAL"}
    assert seen["streamKeyChannel"] == channel["arn"]
    assert seen["batch"]["found"] == 1 and seen["batch"]["errors"][0]["code"] == "404"
    assert [len(page) for page in seen["pages"]] == [1, 1]
    assert seen["pages"][0] == [channel["arn"]]
    assert seen["deletedStatus"] == 204


def test_tags_survive_the_path_and_the_query(seen):
    assert seen["tagged"] == {"team": "a b", "a:b/c": "x y", "é": "+=@"}
    assert seen["untagged"] == {"é": "+=@"}


def test_a_key_pair_is_imported_once(seen):
    assert seen["pair"] == seen["keyPair"] and len(seen["pair"]["fingerprint"]) == 47
    assert [(pair["arn"], pair["name"]) for pair in seen["listed"]] == [(seen["pair"]["arn"], "pair")]


def test_instants_are_dates(seen):
    assert seen["startTimeIsDate"] and seen["endTimeIsDate"]


@pytest.mark.parametrize(
    "refusal, status, name",
    [
        ("again", 409, "ConflictException"),
        ("conflict", 409, "ConflictException"),
        ("gone", 404, "ResourceNotFoundException"),
        ("invalid", 400, "ValidationException"),
    ],
)
def test_a_refusal_has_its_type_and_a_message(seen, refusal, status, name):
    error = seen[refusal]
    assert (error["status"], error["name"], error["isTyped"]) == (status, name, True)
    assert error["message"] and error["message"] == error["exceptionMessage"]
    assert error["hasRequestId"]
