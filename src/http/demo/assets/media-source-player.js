// @ts-check
/**
 * A small HLS player on Media Source Extensions, for browsers that do not play HLS themselves. It plays
 * one rendition of a live stream of fragmented MP4, with audio and video in one source buffer.
 *
 * It has the part of the hls.js interface that `private-playback.js` uses, so that the module controls
 * both in the same way. In addition, its errors contain the response of the edge, which the page
 * explains, and it emits `dateRange` when playback reaches one.
 */

import { readMedia, readMultivariant } from './playlist.js';

/** How much is kept before the current position, in seconds. */
const KEPT_BEHIND = 20;
/** Nothing is fetched while more than this is buffered ahead, in seconds. */
const ENOUGH_AHEAD = 20;
/** How many segments before the end of the playlist playback starts. */
const SEGMENTS_BEHIND_LIVE = 3;
/** The number of attempts for a fetch, unless it is refused. */
const TRIES = 4;
/** How long a fetch may take, in milliseconds. */
const FETCH_TIMEOUT = 10_000;

/** A fetch that failed. */
class FetchError extends Error {
  /**
   * @param {number} code The HTTP status; 0 if there was none, or the page may not read it.
   * @param {string} text
   */
  constructor(code, text) {
    super(code === 0 ? 'no response that this page may read' : `HTTP ${code}`);
    this.response = { code, text };
  }
}

export class MediaSourcePlayer {
  /** @type {HTMLMediaElement | null} */ media = null;
  /** @type {Map<string, Set<(event: string, data?: any) => void>>} */ #listeners = new Map();
  #stopped = new AbortController();
  /** @type {import('./playlist.js').DateRange[]} */ #upcoming = [];
  /** @type {Set<string>} */ #seenRanges = new Set();
  /** The time at position 0, in milliseconds since 1970. */ #zeroAt = NaN;

  /** Whether this browser supports the player. */
  static isSupported() {
    return (
      'MediaSource' in globalThis && MediaSource.isTypeSupported('video/mp4; codecs="avc1.4d401f,mp4a.40.2"')
    );
  }

  /**
   * Sets the element to play in. `hlsMediaAttached` follows when there is something to play.
   *
   * @param {HTMLMediaElement} media
   */
  attachMedia(media) {
    this.media = media;
  }

  /**
   * Starts to load another stream.
   *
   * @param {string} url
   */
  loadSource(url) {
    this.stopLoad();
    this.#stopped = new AbortController();
    this.#upcoming = [];
    this.#seenRanges.clear();
    this.#zeroAt = NaN;
    void this.#run(url, this.#stopped.signal);
  }

  stopLoad() {
    this.#stopped.abort();
  }

  destroy() {
    this.stopLoad();
    this.media?.removeAttribute('src');
    this.media?.load();
    this.media = null;
    this.#listeners.clear();
  }

  /**
   * @param {string} event
   * @param {(event: string, data?: any) => void} listener
   */
  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
  }

  /**
   * @param {string} event
   * @param {(event: string, data?: any) => void} listener
   */
  off(event, listener) {
    this.#listeners.get(event)?.delete(listener);
  }

  /**
   * @param {string} event
   * @param {any} [data]
   */
  #emit(event, data) {
    for (const listener of this.#listeners.get(event) ?? []) listener(event, data);
  }

  /**
   * @param {string} url
   * @param {AbortSignal} signal
   */
  async #run(url, signal) {
    let details = 'manifestLoadError';
    try {
      // Fetch only once: the token may be for single use.
      const variants = readMultivariant(await (await get(url, signal)).text(), url);
      const variant = this.#choose(variants);
      if (!variant) throw new Error('the playlist has no rendition that this browser plays');
      this.#emit('hlsManifestParsed', { levels: variants });
      details = 'bufferAddCodecError';
      const [source, buffer] = await this.#open(variant.codecs, signal);
      const timer = setInterval(() => this.#tend(buffer), 250);
      signal.addEventListener('abort', () => clearInterval(timer), { once: true });
      details = 'levelLoadError';
      await this.#feed(variant, source, buffer, signal, (now) => (details = now));
    } catch (error) {
      if (signal.aborted) return;
      this.stopLoad();
      const isNetwork = error instanceof FetchError;
      this.#emit('hlsError', {
        type: isNetwork ? 'networkError' : 'mediaError',
        details,
        fatal: true,
        error,
        url,
        response: isNetwork ? error.response : undefined,
      });
    }
  }

  /**
   * Returns the best rendition for the size of the element.
   *
   * @param {import('./playlist.js').Variant[]} variants
   */
  #choose(variants) {
    const playable = variants.filter(({ codecs }) => MediaSource.isTypeSupported(mediaType(codecs)));
    const room = (this.media?.clientHeight ?? 0) * (globalThis.devicePixelRatio || 1);
    return playable.find(({ height }) => height <= Math.max(room, 360)) ?? playable.at(-1);
  }

  /**
   * @param {string} codecs
   * @param {AbortSignal} signal
   * @returns {Promise<[MediaSource, SourceBuffer]>}
   */
  async #open(codecs, signal) {
    const { media } = this;
    if (!media) throw new Error('no element is attached');
    const source = new MediaSource();
    const url = URL.createObjectURL(source);
    media.src = url;
    await happens(source, 'sourceopen', signal);
    URL.revokeObjectURL(url);
    const buffer = source.addSourceBuffer(mediaType(codecs));
    // Positions start at 0 whatever the stream's own clock says, and continue across discontinuities.
    buffer.mode = 'sequence';
    this.#emit('hlsMediaAttached', { media });
    return [source, buffer];
  }

  /**
   * @param {import('./playlist.js').Variant} variant
   * @param {MediaSource} source
   * @param {SourceBuffer} buffer
   * @param {AbortSignal} signal
   * @param {(details: string) => void} doing Called with the `details` of an error in the next step.
   */
  async #feed(variant, source, buffer, signal, doing) {
    let next = -1;
    let map = '';
    for (;;) {
      doing('levelLoadError');
      const playlist = readMedia(await (await persist(variant.url, signal)).text(), variant.url);
      const first = playlist.segments.at(-SEGMENTS_BEHIND_LIVE) ?? playlist.segments[0];
      const oldest = playlist.segments[0]?.sequence ?? next;
      // At the start, and if playback fell behind the window.
      if (first && next < oldest) next = first.sequence;
      this.#addRanges(playlist.dateRanges);
      for (const segment of playlist.segments.filter(({ sequence }) => sequence >= next)) {
        if (ahead(this.media, buffer) > ENOUGH_AHEAD) break;
        doing('fragLoadError');
        if (segment.map && segment.map !== map) {
          await append(buffer, await bytes(segment.map, signal), signal);
          map = segment.map;
        }
        const data = await bytes(segment.url, signal);
        doing('bufferAppendError');
        if (Number.isNaN(this.#zeroAt)) this.#zeroAt = segment.at;
        await append(buffer, data, signal);
        next = segment.sequence + 1;
      }
      doing('bufferAppendError');
      await this.#removeOld(buffer, signal);
      if (playlist.ended && next > (playlist.segments.at(-1)?.sequence ?? -1)) {
        source.endOfStream();
        return;
      }
      await pause((playlist.targetDuration * 1000) / 2, signal);
    }
  }

  /** @param {import('./playlist.js').DateRange[]} ranges */
  #addRanges(ranges) {
    for (const range of ranges) {
      if (this.#seenRanges.has(range.id)) continue;
      this.#seenRanges.add(range.id);
      this.#upcoming.push(range);
    }
  }

  /**
   * Emits the date ranges that playback has reached, and skips a gap.
   *
   * @param {SourceBuffer} buffer
   */
  #tend(buffer) {
    const { media } = this;
    if (!media) return;
    const now = this.#zeroAt + media.currentTime * 1000;
    const due = this.#upcoming.filter(({ at }) => at <= now);
    this.#upcoming = this.#upcoming.filter(({ at }) => !(at <= now));
    for (const range of due) {
      // Skip metadata from before this player started.
      if (range.at >= this.#zeroAt) this.#emit('dateRange', range);
    }
    if (media.paused || media.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA) return;
    for (let index = 0; index < buffer.buffered.length; index += 1) {
      const start = buffer.buffered.start(index);
      if (start > media.currentTime) {
        media.currentTime = start;
        return;
      }
    }
  }

  /**
   * @param {SourceBuffer} buffer
   * @param {AbortSignal} signal
   */
  async #removeOld(buffer, signal) {
    const end = (this.media?.currentTime ?? 0) - KEPT_BEHIND;
    if (buffer.buffered.length === 0 || buffer.buffered.start(0) >= end) return;
    buffer.remove(0, end);
    await happens(buffer, 'updateend', signal);
  }
}

/** @param {string} codecs */
function mediaType(codecs) {
  return `video/mp4; codecs="${codecs}"`;
}

/**
 * @param {HTMLMediaElement | null} media
 * @param {SourceBuffer} buffer
 */
function ahead(media, buffer) {
  const { length } = buffer.buffered;
  return length === 0 ? 0 : buffer.buffered.end(length - 1) - (media?.currentTime ?? 0);
}

/**
 * @param {SourceBuffer} buffer
 * @param {ArrayBuffer} data
 * @param {AbortSignal} signal
 */
async function append(buffer, data, signal) {
  buffer.appendBuffer(data);
  await happens(buffer, 'updateend', signal);
}

/**
 * @param {string} url
 * @param {AbortSignal} signal
 */
async function bytes(url, signal) {
  return (await persist(url, signal)).arrayBuffer();
}

/**
 * Fetches, and retries if the network failed but not if the edge refused.
 *
 * @param {string} url
 * @param {AbortSignal} signal
 */
async function persist(url, signal) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await get(url, signal);
    } catch (error) {
      if (signal.aborted || tries >= TRIES) throw error;
      if (error instanceof FetchError && [401, 403, 410].includes(error.response.code)) throw error;
      await pause(500 * tries, signal);
    }
  }
}

/**
 * @param {string} url
 * @param {AbortSignal} signal
 */
async function get(url, signal) {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(FETCH_TIMEOUT)]);
  let response;
  try {
    response = await fetch(url, { credentials: 'omit', cache: 'no-store', signal: bounded });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new FetchError(0, '');
  }
  if (!response.ok) throw new FetchError(response.status, await response.text().catch(() => ''));
  return response;
}

/**
 * @param {EventTarget} target
 * @param {string} name
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function happens(target, name, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const until = new AbortController();
    const settle = (/** @type {() => void} */ how) => () => {
      until.abort();
      how();
    };
    target.addEventListener(name, settle(resolve), { signal: until.signal });
    target.addEventListener(
      'error',
      settle(() => reject(new Error('the browser cannot decode the stream'))),
      {
        signal: until.signal,
      },
    );
    signal.addEventListener(
      'abort',
      settle(() => reject(signal.reason)),
      { signal: until.signal },
    );
  });
}

/**
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', abort);
      resolve();
    }, milliseconds);
    signal.addEventListener('abort', abort, { once: true });
  });
}
