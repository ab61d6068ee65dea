"""The emulated control plane as the real `aws` CLI and boto3 see it."""

import json
import re

import botocore.exceptions
import pytest

from conftest import ERROR_CODE, request

ARN = re.compile(r"arn:aws:ivs:us-west-2:123456789012:[a-z-]+/[A-Za-z0-9]{12}")


def code_of(failure):
    error = failure.value.response["Error"]
    assert error["Message"], "every client must be able to show a sentence"
    assert failure.value.response["ResponseMetadata"]["RequestId"]
    return failure.value.response["ResponseMetadata"]["HTTPStatusCode"], error["Code"]


def test_a_channel_lives_its_life_in_boto3(dev):
    ivs = dev.ivs()
    made = ivs.create_channel(name="life", authorized=True, tags={"team": "a"})
    channel, key = made["channel"], made["streamKey"]
    assert ARN.fullmatch(channel["arn"]) and ARN.fullmatch(key["arn"])
    assert channel["latencyMode"] == "LOW" and channel["type"] == "STANDARD"
    assert channel["tags"] == {"team": "a"} and key["tags"] == {}
    assert key["channelArn"] == channel["arn"]
    assert re.fullmatch(r"sk_us-west-2_[A-Za-z0-9]{12}_[A-Za-z0-9]{30}", key["value"])
    name = channel["arn"].rsplit("/")[-1]
    assert channel["playbackUrl"] == (
        f"{dev.emulator_url}/api/video/v1/us-west-2.123456789012.channel.{name}.m3u8"
    )
    assert ivs.get_channel(arn=channel["arn"])["channel"] == channel

    changed = ivs.update_channel(arn=channel["arn"], latencyMode="NORMAL")["channel"]
    assert changed == {**channel, "latencyMode": "NORMAL"}

    listed = ivs.list_channels(filterByName="life")["channels"]
    assert [it["arn"] for it in listed] == [channel["arn"]]
    assert "playbackUrl" not in listed[0]

    batch = ivs.batch_get_channel(arns=[channel["arn"], f"{channel['arn'][:-12]}AAAAAAAAAAAA"])
    assert [it["arn"] for it in batch["channels"]] == [channel["arn"]]
    assert len(batch["errors"]) == 1

    answer = ivs.delete_channel(arn=channel["arn"])
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert answer["ResponseMetadata"]["RequestId"]
    for call in (ivs.delete_channel, ivs.get_channel):
        with pytest.raises(botocore.exceptions.ClientError) as failure:
            call(arn=channel["arn"])
        assert code_of(failure) == (404, "ResourceNotFoundException")


def test_pages_hold_every_channel_once(dev):
    ivs = dev.ivs(region_name="eu-west-1")
    names = [f"page-{n}" for n in range(7)]
    for name in names:
        ivs.create_channel(name=name)
    pages = ivs.get_paginator("list_channels").paginate(PaginationConfig={"PageSize": 3})
    pages = [page["channels"] for page in pages]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [channel["name"] for page in pages for channel in page] == names
    first = ivs.list_channels(maxResults=3)
    for token in ("x", "", first["nextToken"] + "AAAA"):
        if not token:
            continue
        with pytest.raises(botocore.exceptions.ClientError) as failure:
            ivs.list_channels(nextToken=token)
        assert code_of(failure) == (400, "ValidationException")
    with pytest.raises(botocore.exceptions.ClientError) as failure:
        ivs.list_streams(nextToken=first["nextToken"])
    assert code_of(failure) == (400, "ValidationException")


def test_a_region_sees_its_own_resources_only(dev):
    here, there = dev.ivs(), dev.ivs(region_name="us-east-1")
    channel = here.create_channel(name="here")["channel"]
    assert there.list_channels(filterByName="here")["channels"] == []
    with pytest.raises(botocore.exceptions.ClientError) as failure:
        there.get_channel(arn=channel["arn"])
    assert code_of(failure)[0] in (400, 403, 404)


def test_constraints_are_enforced_by_the_server(dev):
    ivs = dev.ivs()
    for arguments in (
        {"name": "with space"},
        {"name": "x" * 129},
        {"type": "PREMIUM"},
        {"latencyMode": "low"},
        {"tags": {"aws:reserved": "x"}},
        {"recordingConfigurationArn": "nonsense"},
    ):
        with pytest.raises(botocore.exceptions.ClientError) as failure:
            ivs.create_channel(**arguments)
        assert code_of(failure) == (400, "ValidationException"), arguments
        (member,) = arguments
        assert member in failure.value.response["Error"]["Message"]
    with pytest.raises(botocore.exceptions.ClientError) as failure:
        ivs.list_channels(filterByName="a", filterByRecordingConfigurationArn=
                          "arn:aws:ivs:us-west-2:123456789012:recording-configuration/a")  # fmt: skip
    assert code_of(failure) == (409, "ConflictException")


def test_three_key_pairs_and_no_fourth(dev, tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    ivs = dev.ivs(region_name="ap-south-1")

    def public(curve):
        return (
            ec.generate_private_key(curve)
            .public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode()
        )

    for wrong in (public(ec.SECP256R1()), "nonsense", "-----BEGIN PUBLIC KEY-----\nAAAA\n"):
        with pytest.raises(botocore.exceptions.ClientError) as failure:
            ivs.import_playback_key_pair(publicKeyMaterial=wrong)
        assert code_of(failure) == (400, "ValidationException")
        assert "publicKeyMaterial" in failure.value.response["Error"]["Message"]

    first = public(ec.SECP384R1())
    pair = ivs.import_playback_key_pair(publicKeyMaterial=first, name="one")["keyPair"]
    with pytest.raises(botocore.exceptions.ClientError) as failure:
        ivs.import_playback_key_pair(publicKeyMaterial=first)
    assert code_of(failure) == (409, "ConflictException")
    for _ in range(2):
        ivs.import_playback_key_pair(publicKeyMaterial=public(ec.SECP384R1()))
    with pytest.raises(botocore.exceptions.ClientError) as failure:
        ivs.import_playback_key_pair(publicKeyMaterial=public(ec.SECP384R1()))
    assert code_of(failure) == (402, "ServiceQuotaExceededException")

    listed = ivs.list_playback_key_pairs()["keyPairs"]
    assert len(listed) == 3 and "fingerprint" not in listed[0]
    assert ivs.get_playback_key_pair(arn=pair["arn"])["keyPair"] == pair
    ivs.delete_playback_key_pair(arn=pair["arn"])
    with pytest.raises(botocore.exceptions.ClientError) as failure:
        ivs.delete_playback_key_pair(arn=pair["arn"])
    assert code_of(failure) == (404, "ResourceNotFoundException")


def test_tags_travel_in_the_path(dev, aws):
    arn = dev.ivs().create_channel(name="tagged", tags={"a": "1"})["channel"]["arn"]
    aws(dev, "ivs", "tag-resource", "--resource-arn", arn, "--tags", "a:b/c=x y,a=2")
    listed = json.loads(aws(dev, "ivs", "list-tags-for-resource", "--resource-arn", arn).stdout)
    assert listed == {"tags": {"a": "2", "a:b/c": "x y"}}
    aws(dev, "ivs", "untag-resource", "--resource-arn", arn, "--tag-keys", "a:b/c", "none")
    assert dev.ivs().list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "2"}
    assert dev.ivs().get_channel(arn=arn)["channel"]["tags"] == {"a": "2"}


def test_the_aws_cli_shows_errors_with_a_sentence(dev, aws):
    absent = "arn:aws:ivs:us-west-2:123456789012:channel/AAAAAAAAAAAA"
    for arguments, expected in (
        (["get-channel", "--arn", absent], "ResourceNotFoundException"),
        (["get-channel", "--arn", "nonsense"], "ValidationException"),
        (["get-stream", "--channel-arn", absent], "ResourceNotFoundException"),
        (["list-channels", "--max-items", "3", "--page-size", "101"], "ValidationException"),
    ):
        failed = aws(dev, "ivs", *arguments, check=False)
        assert failed.returncode != 0
        found = ERROR_CODE.search(failed.stderr)
        assert found and found.group(1) == expected, failed.stderr
        assert not failed.stderr.rstrip().endswith("operation:"), failed.stderr


def test_a_stream_goes_live_and_off(dev):
    ivs = dev.ivs()
    channel = ivs.create_channel(name="stream", authorized=False)["channel"]
    with pytest.raises(botocore.exceptions.ClientError) as failure:
        ivs.get_stream(channelArn=channel["arn"])
    assert code_of(failure) == (404, "ChannelNotBroadcasting")
    assert request("GET", channel["playbackUrl"]).status == 404

    path = "/_emulator/streams/" + channel["arn"].replace(":", "%3A").replace("/", "%2F")
    assert request("PUT", dev.emulator_url + path).status in (200, 201, 204)
    stream = ivs.get_stream(channelArn=channel["arn"])["stream"]
    assert stream["state"] == "LIVE" and re.fullmatch(r"st-[A-Za-z0-9]{23}", stream["streamId"])
    assert stream["startTime"].tzinfo is not None
    assert channel["arn"] in [it["channelArn"] for it in ivs.list_streams()["streams"]]
    assert request("GET", channel["playbackUrl"]).text.startswith("#EXTM3U")
    with pytest.raises(botocore.exceptions.ClientError) as failure:
        ivs.delete_channel(arn=channel["arn"])
    assert code_of(failure) == (409, "ConflictException")

    assert request("DELETE", dev.emulator_url + path).status in (200, 204)
    with pytest.raises(botocore.exceptions.ClientError) as failure:
        ivs.stop_stream(channelArn=channel["arn"])
    assert code_of(failure) == (404, "ChannelNotBroadcasting")
    ivs.delete_channel(arn=channel["arn"])


def test_calls_before_the_operation_fail_as_at_aws(dev):
    unsigned = request("POST", dev.emulator_url + "/ListChannels", {})
    assert unsigned.status == 403
    assert unsigned.headers["x-amzn-errortype"] == "MissingAuthenticationTokenException"
    signed = {
        "authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-west-2/ivs/aws4_request, "
        "SignedHeaders=host, Signature=0"
    }
    unknown = request("POST", dev.emulator_url + "/MakeChannel", {}, signed)
    assert (unknown.status, unknown.headers["x-amzn-errortype"]) == (
        404,
        "UnknownOperationException",
    )
    broken = request("POST", dev.emulator_url + "/ListChannels", b"{", signed)
    assert (broken.status, broken.headers["x-amzn-errortype"]) == (400, "SerializationException")
    empty = request("POST", dev.emulator_url + "/ListChannels", b"", signed)
    assert empty.status == 200 and empty.headers["x-amzn-requestid"]
