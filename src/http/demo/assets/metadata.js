// @ts-check
/**
 * Reads timed metadata (`EXT-X-DATERANGE`) from the stream.
 *
 * The Media Source player reads it itself. Safari's own player provides it as cues of a text track.
 * Chromium's own player does not provide it; there, a second session of the same viewer, with its own
 * token, reads one variant playlist. It shows metadata when it is published, a few seconds before the
 * player reaches it.
 */

import { pause } from './media-source-player.js';
import { readMedia, readMultivariant } from './playlist.js';

/** The attribute of a date range that contains the metadata. */
const TEXT = 'X-IVS-METADATA';

/**
 * Returns the text of a date range, or null if it is another kind of range.
 *
 * @param {import('./playlist.js').DateRange} range
 */
export function textOf(range) {
  const text = range.attributes[TEXT];
  return text === undefined ? null : decoded(text);
}

/**
 * Follows the tracks of a native player that provides metadata. Returns a function that ends it.
 *
 * @param {HTMLMediaElement} media
 * @param {(text: string) => void} show
 */
export function followTracks(media, show) {
  const until = new AbortController();
  const { signal } = until;
  const follow = (/** @type {TextTrack} */ track) => {
    if (track.kind !== 'metadata') return;
    // A hidden track has cues, a disabled one has none.
    track.mode = 'hidden';
    track.addEventListener(
      'cuechange',
      () => {
        for (const cue of track.activeCues ?? []) {
          const value = /** @type {any} */ (cue).value;
          if (value?.key === TEXT) show(decoded(String(value.data)));
        }
      },
      { signal },
    );
  };
  for (const track of media.textTracks) follow(track);
  media.textTracks.addEventListener('addtrack', ({ track }) => track && follow(track), { signal });
  return () => until.abort();
}

/** Whether the native player of this browser provides metadata. */
export function tracksHaveMetadata() {
  return 'WebKitDataCue' in globalThis || 'DataCue' in globalThis;
}

/**
 * Reads metadata in a separate session. Returns a function that ends it.
 *
 * @param {() => Promise<{ playbackUrl: string }>} mint
 * @param {(text: string) => void} show
 */
export function followPlaylist(mint, show) {
  const until = new AbortController();
  const { signal } = until;
  const seen = new Set();
  const read = async (/** @type {string} */ url) => {
    const response = await fetch(url, { credentials: 'omit', cache: 'no-store', signal });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    return response.text();
  };
  const follow = async () => {
    const { playbackUrl } = await mint();
    const variant = readMultivariant(await read(playbackUrl), playbackUrl).at(-1);
    let isFirst = true;
    while (variant) {
      const playlist = readMedia(await read(variant.url), variant.url);
      for (const range of playlist.dateRanges) {
        const isNew = !seen.has(range.id);
        seen.add(range.id);
        const text = textOf(range);
        // The first playlist also lists metadata from before this session.
        if (isNew && !isFirst && text !== null) show(text);
      }
      isFirst = false;
      if (playlist.ended) return;
      await pause((playlist.targetDuration * 1000) / 2, signal);
    }
  };
  // It ends when the player's own session does (stopped, revoked, offline), and the player reports the reason.
  follow().catch(() => {});
  return () => until.abort();
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
