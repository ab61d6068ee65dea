// A round trip of channels, key pairs and tags by @aws-sdk/client-ivs against AWS_ENDPOINT_URL_IVS.
// It prints what it saw as one JSON object, which test_node.py judges.
"use strict";

const ivs = require("@aws-sdk/client-ivs");

const client = new ivs.IvsClient({ maxAttempts: 1 });
const send = (name, input) => client.send(new ivs[`${name}Command`](input));

/** What the client makes of a refusal. */
async function refusal(name, input) {
  try {
    await send(name, input);
  } catch (error) {
    return {
      name: error.name,
      status: error.$metadata.httpStatusCode,
      message: error.message,
      exceptionMessage: error.exceptionMessage,
      isTyped: ivs[error.name] !== undefined && error instanceof ivs[error.name],
      hasRequestId: Boolean(error.$metadata.requestId),
    };
  }
  return null;
}

async function main() {
  const publicKeyMaterial = process.env.PUBLIC_KEY;
  const { channel, streamKey } = await send("CreateChannel", {
    name: "node",
    authorized: true,
    tags: { team: "a b" },
  });
  const { arn } = channel;
  const read = await send("GetChannel", { arn });
  const updated = await send("UpdateChannel", { arn, latencyMode: "NORMAL" });
  const batch = await send("BatchGetChannel", { arns: [arn, `${arn}x`] });
  await send("CreateChannel", { name: "node" });
  const pages = [];
  const query = { filterByName: "node" };
  for await (const page of ivs.paginateListChannels({ client, pageSize: 1 }, query)) {
    pages.push(page.channels.map((it) => it.arn));
  }

  await send("TagResource", { resourceArn: arn, tags: { "a:b/c": "x y", é: "+=@" } });
  const tagged = await send("ListTagsForResource", { resourceArn: arn });
  await send("UntagResource", { resourceArn: arn, tagKeys: ["a:b/c", "team"] });
  const untagged = await send("ListTagsForResource", { resourceArn: arn });

  const { keyPair } = await send("ImportPlaybackKeyPair", { name: "pair", publicKeyMaterial });
  const pair = await send("GetPlaybackKeyPair", { arn: keyPair.arn });
  const listed = await send("ListPlaybackKeyPairs", {});
  const again = await refusal("ImportPlaybackKeyPair", { publicKeyMaterial });
  await send("DeletePlaybackKeyPair", { arn: keyPair.arn });

  const stream = `${process.env.AWS_ENDPOINT_URL_IVS}/_emulator/streams/${encodeURIComponent(arn)}`;
  await fetch(stream, { method: "PUT" });
  const live = await send("GetStream", { channelArn: arn });
  await send("PutMetadata", { channelArn: arn, metadata: "hello" });
  const conflict = await refusal("DeleteChannel", { arn });
  await send("StopStream", { channelArn: arn });
  const session = await send("GetStreamSession", { channelArn: arn });

  const deleted = await send("DeleteChannel", { arn });
  const gone = await refusal("GetChannel", { arn });
  const invalid = await refusal("CreateChannel", { name: "not a name" });

  return {
    channel,
    streamKeyChannel: streamKey.channelArn,
    read: read.channel,
    updated: updated.channel,
    batch: { found: batch.channels.length, errors: batch.errors },
    pages,
    tagged: tagged.tags,
    untagged: untagged.tags,
    keyPair,
    pair: pair.keyPair,
    listed: listed.keyPairs,
    again,
    startTimeIsDate: live.stream.startTime instanceof Date,
    endTimeIsDate: session.streamSession.endTime instanceof Date,
    conflict,
    deletedStatus: deleted.$metadata.httpStatusCode,
    gone,
    invalid,
  };
}

main().then(
  (seen) => console.log(JSON.stringify(seen)),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
