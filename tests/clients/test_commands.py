"""Each command of the `aws ivs` manual page, by the real CLI, when it works and when it is refused.

The emulator verifies signatures here, so that every command shows that the CLI's are understood.
"""

import json
import urllib.parse

import botocore.exceptions
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from conftest import ERROR_CODE, request
from emulator import ACCOUNT, Emulator

COMMANDS = """
    batch-get-channel batch-get-stream-key create-channel create-recording-configuration
    create-stream-key delete-channel delete-playback-key-pair delete-recording-configuration
    delete-stream-key get-channel get-playback-key-pair get-recording-configuration get-stream
    get-stream-key get-stream-session import-playback-key-pair list-channels list-playback-key-pairs
    list-recording-configurations list-stream-keys list-stream-sessions list-streams
    list-tags-for-resource put-metadata stop-stream tag-resource untag-resource update-channel
""".split()
DESTINATION = "s3={bucketName=recordings}"


def absent(kind):
    return f"arn:aws:ivs:us-west-2:{ACCOUNT}:{kind}/AAAAAAAAAAAA"


def public_key():
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def put_live(emulator, channel):
    path = "/_emulator/streams/" + urllib.parse.quote(channel, safe="")
    assert request("PUT", emulator.url + path).status == 200


@pytest.fixture(scope="module")
def emulator(binary, tmp_path_factory):
    server = Emulator(binary, tmp_path_factory.mktemp("emulator"))
    yield server
    server.stop()


def test_every_command_works(emulator, aws):
    used = set()

    def run(command, *arguments):
        used.add(command)
        output = aws(emulator, "ivs", command, *arguments).stdout
        return json.loads(output) if output.strip() else None

    made = run("create-channel", "--name", "show", "--authorized", "--tags", "team=a b")
    channel, key = made["channel"]["arn"], made["streamKey"]["arn"]
    assert channel.startswith(f"arn:aws:ivs:us-west-2:{ACCOUNT}:channel/")
    assert run("get-channel", "--arn", channel)["channel"] == made["channel"]
    batch = run("batch-get-channel", "--arns", channel, absent("channel"))
    assert batch["channels"] == [made["channel"]]
    assert [error["code"] for error in batch["errors"]] == ["404"]
    listed = run("list-channels", "--filter-by-name", "show")["channels"]
    assert [it["arn"] for it in listed] == [channel]
    changed = run("update-channel", "--arn", channel, "--no-authorized", "--type", "BASIC")
    assert (changed["channel"]["authorized"], changed["channel"]["type"]) == (False, "BASIC")

    assert run("get-stream-key", "--arn", key)["streamKey"] == made["streamKey"]
    batch = run("batch-get-stream-key", "--arns", key)
    assert batch["streamKeys"] == [made["streamKey"]] and batch["errors"] == []
    assert "value" not in run("list-stream-keys", "--channel-arn", channel)["streamKeys"][0]
    assert run("delete-stream-key", "--arn", key) is None
    renewed = run("create-stream-key", "--channel-arn", channel)["streamKey"]
    assert renewed["arn"] != key

    run("tag-resource", "--resource-arn", channel, "--tags", "a:b/c=x y,n=1")
    run("untag-resource", "--resource-arn", channel, "--tag-keys", "n", "team")
    tags = run("list-tags-for-resource", "--resource-arn", channel)["tags"]
    assert tags == {"a:b/c": "x y"}

    pair = run("import-playback-key-pair", "--public-key-material", public_key(), "--name", "k")
    pair = pair["keyPair"]
    assert run("get-playback-key-pair", "--arn", pair["arn"])["keyPair"] == pair
    assert run("list-playback-key-pairs")["keyPairs"][0]["arn"] == pair["arn"]
    run("delete-playback-key-pair", "--arn", pair["arn"])

    recording = run(
        "create-recording-configuration", "--destination-configuration", DESTINATION
    )["recordingConfiguration"]
    assert recording["state"] == "CREATING"
    run("update-channel", "--arn", channel, "--recording-configuration-arn", recording["arn"])
    read = run("get-recording-configuration", "--arn", recording["arn"])
    assert read["recordingConfiguration"]["state"] in ("CREATING", "ACTIVE")
    listed = run("list-recording-configurations")["recordingConfigurations"]
    assert [it["arn"] for it in listed] == [recording["arn"]]

    put_live(emulator, channel)
    stream = run("get-stream", "--channel-arn", channel)["stream"]
    assert stream["state"] == "LIVE"
    assert run("list-streams", "--filter-by", "health=HEALTHY")["streams"][0]["channelArn"] == channel
    assert run("put-metadata", "--channel-arn", channel, "--metadata", "goal") is None
    run("stop-stream", "--channel-arn", channel)
    session = run("get-stream-session", "--channel-arn", channel)["streamSession"]
    assert session["streamId"] == stream["streamId"] and session["endTime"]
    assert session["recordingConfiguration"]["arn"] == recording["arn"]
    sessions = run("list-stream-sessions", "--channel-arn", channel)["streamSessions"]
    assert [it["streamId"] for it in sessions] == [stream["streamId"]]

    run("update-channel", "--arn", channel, "--recording-configuration-arn", "")
    assert run("delete-recording-configuration", "--arn", recording["arn"]) is None
    assert run("delete-channel", "--arn", channel) is None
    assert used == set(COMMANDS)


@pytest.fixture(scope="module")
def world(emulator):
    """What the refusals below are about."""
    ivs = emulator.ivs()
    recording = ivs.create_recording_configuration(
        destinationConfiguration={"s3": {"bucketName": "recordings"}}
    )["recordingConfiguration"]["arn"]
    live = ivs.create_channel(recordingConfigurationArn=recording)["channel"]["arn"]
    put_live(emulator, live)
    idle = ivs.create_channel()["channel"]["arn"]
    key = public_key()
    ivs.import_playback_key_pair(publicKeyMaterial=key)
    return {"recording": recording, "live": live, "idle": idle, "key": key}


NOT_FOUND, INVALID = "ResourceNotFoundException", "ValidationException"
CONFLICT, IDLE = "ConflictException", "ChannelNotBroadcasting"
REFUSALS = [
    ("batch-get-channel --arns nonsense", INVALID),
    ("batch-get-stream-key --arns nonsense", INVALID),
    (f"create-channel --recording-configuration-arn {absent('recording-configuration')}", NOT_FOUND),
    ("create-channel --name no+name", INVALID),
    ("create-recording-configuration --destination-configuration s3={bucketName=NO_BUCKET}", INVALID),
    ("create-stream-key --channel-arn {idle}", "ServiceQuotaExceededException"),
    ("delete-channel --arn {live}", CONFLICT),
    (f"delete-playback-key-pair --arn {absent('playback-key')}", NOT_FOUND),
    ("delete-recording-configuration --arn {recording}", CONFLICT),
    (f"delete-stream-key --arn {absent('stream-key')}", NOT_FOUND),
    (f"get-channel --arn {absent('channel')}", NOT_FOUND),
    (f"get-playback-key-pair --arn {absent('playback-key')}", NOT_FOUND),
    (f"get-recording-configuration --arn {absent('recording-configuration')}", NOT_FOUND),
    ("get-stream --channel-arn {idle}", IDLE),
    (f"get-stream-key --arn {absent('stream-key')}", NOT_FOUND),
    ("get-stream-session --channel-arn {idle}", NOT_FOUND),
    ("import-playback-key-pair --public-key-material {key}", CONFLICT),
    ("list-channels --filter-by-name a --filter-by-recording-configuration-arn {recording}", CONFLICT),
    ("list-playback-key-pairs --page-size 101", INVALID),
    ("list-recording-configurations --page-size 101", INVALID),
    (f"list-stream-keys --channel-arn {absent('channel')}", NOT_FOUND),
    (f"list-stream-sessions --channel-arn {absent('channel')}", NOT_FOUND),
    ("list-streams --filter-by health=ILL", INVALID),
    (f"list-tags-for-resource --resource-arn {absent('channel')}", NOT_FOUND),
    ("put-metadata --channel-arn {idle} --metadata a", IDLE),
    ("stop-stream --channel-arn {idle}", IDLE),
    ("tag-resource --resource-arn {idle} --tags aws:a=b", INVALID),
    (f"untag-resource --resource-arn {absent('channel')} --tag-keys a", NOT_FOUND),
    ("update-channel --arn {live} --name a", CONFLICT),
]


def test_every_command_can_be_refused(emulator, aws, world):
    assert {refusal.split()[0] for refusal, _ in REFUSALS} == set(COMMANDS)
    for refusal, code in REFUSALS:
        arguments = [
            argument if "=" in argument else argument.format_map(world)
            for argument in refusal.split()
        ]
        failed = aws(emulator, "ivs", *arguments, check=False)
        found = ERROR_CODE.search(failed.stderr)
        assert failed.returncode != 0 and found, (refusal, failed.stderr)
        assert found.group(1) == code, (refusal, failed.stderr)
        assert not failed.stderr.rstrip().endswith("operation:"), failed.stderr


def test_the_five_paginators(emulator):
    ivs = emulator.ivs("eu-west-1")
    channels = [ivs.create_channel(name=f"n{n}")["channel"]["arn"] for n in range(5)]
    for channel in channels:
        put_live(emulator, channel)
    recordings = [
        ivs.create_recording_configuration(
            destinationConfiguration={"s3": {"bucketName": "recordings"}}
        )["recordingConfiguration"]["arn"]
        for _ in range(5)
    ]
    pairs = [
        ivs.import_playback_key_pair(publicKeyMaterial=public_key())["keyPair"]["arn"]
        for _ in range(3)
    ]
    for operation, member, arn, expected in (
        ("list_channels", "channels", "arn", channels),
        ("list_playback_key_pairs", "keyPairs", "arn", pairs),
        ("list_recording_configurations", "recordingConfigurations", "arn", recordings),
        ("list_streams", "streams", "channelArn", channels),
    ):
        paginator = ivs.get_paginator(operation)
        pages = list(paginator.paginate(PaginationConfig={"PageSize": 2}))
        assert [it[arn] for page in pages for it in page[member]] == expected, operation
        assert [len(page[member]) for page in pages][:-1] == [2] * (len(pages) - 1), operation
        for bad in ({"PageSize": 101}, {"StartingToken": token_of("nextToken", "AAAA")}):
            with pytest.raises(botocore.exceptions.ClientError) as failure:
                list(paginator.paginate(PaginationConfig=bad))
            assert failure.value.response["Error"]["Code"] == INVALID, operation
    paginator = ivs.get_paginator("list_stream_keys")
    pages = list(paginator.paginate(channelArn=channels[0], PaginationConfig={"PageSize": 1}))
    assert [len(page["streamKeys"]) for page in pages] == [1]
    for arguments, code in (
        ({"channelArn": channels[0], "PaginationConfig": {"PageSize": 51}}, INVALID),
        ({"channelArn": absent("channel").replace("us-west-2", "eu-west-1")}, NOT_FOUND),
    ):
        with pytest.raises(botocore.exceptions.ClientError) as failure:
            list(paginator.paginate(**arguments))
        assert failure.value.response["Error"]["Code"] == code


def token_of(name, value):
    """What botocore makes of a token that a service gave."""
    from botocore.paginate import TokenEncoder

    return TokenEncoder().encode({name: value})


def test_a_restriction_policy_in_boto3(emulator):
    ivs = emulator.ivs("ap-south-1")
    policy = ivs.create_playback_restriction_policy(
        allowedCountries=["DE"], allowedOrigins=["https://site.example"], tags={"a": "b"}
    )["playbackRestrictionPolicy"]
    arn = policy["arn"]
    assert ivs.get_playback_restriction_policy(arn=arn)["playbackRestrictionPolicy"] == policy
    changed = ivs.update_playback_restriction_policy(arn=arn, allowedCountries=[])
    assert changed["playbackRestrictionPolicy"] == {**policy, "allowedCountries": []}
    channel = ivs.create_channel(playbackRestrictionPolicyArn=arn)["channel"]["arn"]
    with pytest.raises(botocore.exceptions.ClientError) as failure:
        ivs.delete_playback_restriction_policy(arn=arn)
    assert failure.value.response["Error"]["Code"] == CONFLICT
    ivs.update_channel(arn=channel, playbackRestrictionPolicyArn="")
    ivs.delete_playback_restriction_policy(arn=arn)
    assert ivs.list_playback_restriction_policies()["playbackRestrictionPolicies"] == []


def test_calls_of_others_are_refused(emulator):
    for client, code in (
        (emulator.ivs(secret="another"), "InvalidSignatureException"),
        (emulator.ivs(key_id="OTHERKEY"), "UnrecognizedClientException"),
    ):
        with pytest.raises(botocore.exceptions.ClientError) as failure:
            client.list_channels()
        assert failure.value.response["Error"]["Code"] == code
        assert failure.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_client_gets_over_faults_by_its_own_retries(emulator):
    faults = emulator.url + "/_emulator/faults"
    ivs = emulator.ivs(attempts=3)
    try:
        for kind in ("throttle", "cut", "lost_answer"):
            fault = {"kind": kind, "operations": "ListStreams", "count": 1}
            assert request("POST", faults, fault).status == 201
            ivs.list_streams()
        (throttle, cut, lost) = request("GET", faults).json["faults"]
        assert [fault["struck"] for fault in (throttle, cut, lost)] == [1, 1, 1]
    finally:
        assert request("DELETE", faults).status == 204


def test_operations_that_are_not_emulated_are_refused_by_name(emulator):
    ivs = emulator.ivs()
    for call in (
        ivs.list_ad_configurations,
        lambda: ivs.insert_ad_break(channelArn=absent("channel"), durationSeconds=5),
    ):
        with pytest.raises(botocore.exceptions.ClientError) as failure:
            call()
        error = failure.value.response["Error"]
        assert error["Code"] == "UnknownOperationException"
        assert "does not have" in error["Message"]
