// Holds clients/web/private-playback.js to the published types of the players. Compiled, never run.

import { create, ErrorType, PlayerEventType, PlayerState } from 'amazon-ivs-player';
import Hls, { ErrorDetails, Events } from 'hls.js';

import { type GetPlaybackUrl, playPrivate } from '../../../clients/web/private-playback.js';

const mint: GetPlaybackUrl = async ({ signal, attempt }) => {
  const answer = await fetch(`/token?attempt=${attempt}`, { method: 'POST', signal });
  return answer.json();
};

// Each player as its own documentation makes it.
const ivs = create({ wasmWorker: '', wasmBinary: '' });
const handles = [
  playPrivate(ivs, mint),
  playPrivate(new Hls(), mint, { autoplay: false }),
  playPrivate(document.createElement('video'), () => 'https://a.example/b.m3u8?token=c'),
];
for (const { state, error, started } of handles) {
  void started.then(() => console.log(state, error?.code));
}

// The names and values that the module knows by heart.
type Is<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;
const names: [
  Is<`${PlayerEventType.ERROR}`, 'PlayerError'>,
  Is<`${PlayerEventType.PLAYBACK_BLOCKED}`, 'PlayerPlaybackBlocked'>,
  Is<`${PlayerState.READY}`, 'Ready'>,
  Is<`${PlayerState.PLAYING}`, 'Playing'>,
  Is<`${ErrorType.AUTHORIZATION}`, 'ErrorAuthorization'>,
  Is<`${Events.ERROR}`, 'hlsError'>,
  Is<`${Events.MANIFEST_PARSED}`, 'hlsManifestParsed'>,
  Is<`${Events.MEDIA_ATTACHED}`, 'hlsMediaAttached'>,
  Is<`${ErrorDetails.MANIFEST_LOAD_ERROR}`, 'manifestLoadError'>,
] = [true, true, true, true, true, true, true, true, true];
void names;
