// @ts-check
/**
 * Plays private Amazon IVS channels in a browser. One file without dependencies: copy it.
 *
 *     import { playPrivate } from './private-playback.js';
 *     const playback = playPrivate(player, async ({ signal }) =>
 *       (await fetch('/my/backend/token', { method: 'POST', signal })).json());
 *     playback.addEventListener('error', ({ detail }) => show(detail.message));
 *
 * `player` is an amazon-ivs-player, an hls.js instance, or a `<video>` where the browser plays HLS
 * itself. `getPlaybackUrl` gives a playback URL that holds a token, or the whole answer of
 * `POST /v1/tokens`, which also tells when a token is too old to begin with.
 *
 * What it does about tokens:
 *
 * - Each load() gets a fresh URL, and none twice. Take single-use tokens with hls.js only: the other
 *   two fetch the multivariant playlist again by themselves, and nothing keeps them from it.
 * - A refusal (403) of the multivariant playlist is tried once more, with a fresh URL. A `<video>`
 *   does not tell why it failed, so there every failure before the start counts as one.
 * - Who presses play after `refreshAfter` gets a fresh URL first.
 * - What plays is never loaded again: IVS checks a token when playback starts, not while it lasts.
 *
 *                   refused, once; or play after refreshAfter
 *              ┌──────────────────────────┬──────────────────┐
 *              v                          │                  │
 *          fetching ─────> loading ───────┤ not to be        │
 *              │              │           │ started yet      │
 *              │              v           v                  │
 *              │           playing <── waiting ──────────────┘
 *              └──────┬───────┴───────────┘
 *                     v
 *            ended, stopped or failed: nothing happens any more
 */

/** How long a URL may take, in milliseconds. */
const URL_TIMEOUT = 10_000;

/** How long a `<video>` may stand still, in milliseconds. */
const STALL_TIMEOUT = 20_000;

/** A player that starts after this share of a token's life gets a fresh one first. */
const FRESH_SHARE = 2 / 3;

/** How many single-use URLs are remembered, the latest ones. */
const SPENT_URLS = 1000;

/**
 * @typedef {object} MintAnswer What the token service answers; further members do not matter.
 * @property {string} playbackUrl
 * @property {string} [issuedAt] An instant, RFC 3339.
 * @property {string} [refreshAfter] From then on a player that has not started needs a fresh URL.
 * @property {string} [expiresAt]
 *
 * @typedef {object} UrlRequest
 * @property {AbortSignal} signal Aborted when the URL is not needed any more.
 * @property {number} attempt 1 for the first URL of this playback.
 *
 * @typedef {(request: UrlRequest) => string | MintAnswer | Promise<string | MintAnswer>} GetPlaybackUrl
 *
 * @typedef {object} Options
 * @property {boolean} [autoplay] Whether to start at once (the default), or when somebody does.
 * @property {number} [urlTimeout] How long getPlaybackUrl may take, in milliseconds (10,000).
 * @property {number} [stallTimeout] How long a `<video>` may stand still before it counts as failed, in
 *   milliseconds (20,000). Chromium's own player does not report a session that has ended.
 * @property {AbortSignal} [signal] Stops playback when aborted.
 *
 * @typedef {'fetching' | 'loading' | 'waiting' | 'playing' | 'ended' | 'stopped' | 'failed'} State
 *
 * @typedef {'url_failed' | 'url_timeout' | 'url_invalid' | 'url_reused' | 'refused' |
 *   'player_failed' | 'superseded' | 'stopped'} ErrorCode
 */

/** Why nothing plays. `code` is stable; `cause` is what was thrown, or the player's own error. */
export class PrivatePlaybackError extends Error {
  /**
   * @param {ErrorCode} code
   * @param {string} message
   * @param {unknown} [cause]
   */
  constructor(code, message, cause) {
    super(message, { cause });
    this.name = 'PrivatePlaybackError';
    /** @type {ErrorCode} */
    this.code = code;
  }
}

/**
 * Plays a private channel. A second call for the same player takes it over from the first.
 *
 * @param {IvsPlayer | HlsPlayer | HTMLVideoElement} player
 * @param {GetPlaybackUrl} getPlaybackUrl Called for each load, so it must not cache.
 * @param {Options} [options]
 * @returns {PrivatePlayback}
 */
export function playPrivate(player, getPlaybackUrl, options = {}) {
  const adapter = adapterOf(player, options.stallTimeout ?? STALL_TIMEOUT);
  if (typeof getPlaybackUrl !== 'function') {
    throw new TypeError('getPlaybackUrl must be a function that returns a playback URL');
  }
  current.get(player)?.release();
  const playback = new PrivatePlayback(adapter, getPlaybackUrl, options);
  current.set(player, playback);
  return playback;
}

/**
 * A playback under way. Events: `statechange`, and `error` with the {@link PrivatePlaybackError} as
 * `detail`, at most once.
 */
export class PrivatePlayback extends EventTarget {
  /** @type {State} */ #state = 'fetching';
  /** @type {PrivatePlaybackError | null} */ #error = null;
  /** @type {Promise<void>} */ #started;
  /** @type {() => void} */ #resolveStarted = () => {};
  /** @type {(error: PrivatePlaybackError) => void} */ #rejectStarted = () => {};
  /** @type {Adapter} */ #adapter;
  /** @type {GetPlaybackUrl} */ #getPlaybackUrl;
  /** @type {() => void} */ #silence;
  /** @type {AbortController | null} */ #fetch = null;
  #urlTimeout;
  /** Whether to start as soon as that is possible. */ #wantsPlay;
  /** Whether the player holds a URL of ours that was not refused. */ #isLoaded = false;
  /** From when on that URL is too old to begin with; local time in milliseconds. */ #staleAt = Infinity;
  /** Whether the player is kept from starting with a URL that is being replaced. */ #isHeld = false;
  #mayRetry = true;
  #isDestroyed = false;
  #attempt = 0;
  /** @type {Set<string>} */ #used = new Set();

  /**
   * Use {@link playPrivate}.
   *
   * @param {Adapter} adapter
   * @param {GetPlaybackUrl} getPlaybackUrl
   * @param {Options} options
   */
  constructor(adapter, getPlaybackUrl, { autoplay = true, urlTimeout = URL_TIMEOUT, signal }) {
    super();
    this.#adapter = adapter;
    this.#getPlaybackUrl = getPlaybackUrl;
    this.#urlTimeout = urlTimeout;
    this.#wantsPlay = autoplay;
    this.#started = new Promise((resolve, reject) => {
      this.#resolveStarted = resolve;
      this.#rejectStarted = reject;
    });
    // Who does not wait for it hears of a failure by the event.
    this.#started.catch(() => {});
    const silence = adapter.listen({
      started: () => this.#playerStarted(),
      loaded: () => this.#playerLoaded(),
      asked: () => void this.#playAsked(),
      blocked: () => this.#playBlocked(),
      ended: () => this.#playerEnded(),
      failed: (isRefusal, cause) => this.#playerFailed(isRefusal, cause),
    });
    const stop = () => this.stop();
    signal?.addEventListener('abort', stop, { once: true });
    this.#silence = () => {
      silence();
      signal?.removeEventListener('abort', stop);
    };
    if (signal?.aborted) this.#end('stopped', new PrivatePlaybackError('stopped', 'Playback was stopped.'));
    else void this.#loadFresh();
  }

  /** What it is doing. */
  get state() {
    return this.#state;
  }

  /** Why it failed, or stopped before it began. */
  get error() {
    return this.#error;
  }

  /** Settled when playback starts for the first time, or cannot any more. */
  get started() {
    return this.#started;
  }

  /**
   * Starts, or resumes: for players without controls of their own. Answers as {@link started}.
   *
   * @returns {Promise<void>}
   */
  play() {
    const mayPlay = this.#playAsked();
    if (mayPlay || this.#state === 'playing') this.#adapter.play();
    return this.#started;
  }

  /** Ends playback, also before it began. The player can be used again. */
  stop() {
    const hadUrl = this.#isLoaded || this.#isHeld;
    if (this.#end('stopped', new PrivatePlaybackError('stopped', 'Playback was stopped.')) && hadUrl) {
      this.#adapter.stop();
    }
  }

  /** Ends playback and the player with it. */
  destroy() {
    if (this.#isDestroyed) return;
    this.#isDestroyed = true;
    this.#end('stopped', new PrivatePlaybackError('stopped', 'Playback was stopped.'));
    this.#adapter.destroy();
  }

  /** Lets go of the player and leaves it as it is, for another playback to take over. */
  release() {
    this.#end('stopped', new PrivatePlaybackError('superseded', 'Another playback took the player over.'));
  }

  /** Fetches a URL and gives it to the player. */
  async #loadFresh() {
    const fetch = new AbortController();
    this.#fetch = fetch;
    this.#enter('fetching');
    // A listener may have stopped it, or given the player to another playback.
    if (this.#isOver()) return;
    try {
      let url = await this.#freshUrl(fetch.signal);
      // The machine may have slept meanwhile. Once only: its clock may be wrong as well.
      if (Date.now() >= url.staleAt) url = await this.#freshUrl(fetch.signal);
      if (fetch.signal.aborted) return;
      this.#fetch = null;
      this.#staleAt = url.staleAt;
      this.#isLoaded = true;
      this.#isHeld = false;
      this.#enter('loading');
      if (this.#isOver()) return;
      this.#adapter.load(url.text, url.isSingleUse, this.#wantsPlay);
      if (this.#wantsPlay && this.#state === 'loading') this.#adapter.play();
    } catch (error) {
      if (fetch.signal.aborted) return;
      this.#end(
        'failed',
        error instanceof PrivatePlaybackError
          ? error
          : new PrivatePlaybackError('player_failed', 'The player could not load the URL.', error),
      );
    }
  }

  /** @param {AbortSignal} signal */
  async #freshUrl(signal) {
    const askedAt = Date.now();
    this.#attempt += 1;
    const request = { signal, attempt: this.#attempt };
    const answer = await bounded(this.#getPlaybackUrl, request, this.#urlTimeout);
    const url = readUrl(answer, askedAt);
    // One without a token, of a public channel, is the same each time.
    if (url.hasToken && (this.#used.has(url.text) || spent.has(url.text))) {
      throw new PrivatePlaybackError(
        'url_reused',
        'getPlaybackUrl returned a URL that was used before. Mint a new token at each call, and let no cache keep it.',
      );
    }
    this.#used.add(url.text);
    if (url.isSingleUse) remember(url.text);
    return url;
  }

  #playerStarted() {
    // What the player played before is not ours.
    if (!this.#isLoaded || this.#state === 'playing') return;
    this.#enter('playing');
    this.#resolveStarted();
  }

  #playerLoaded() {
    if (this.#state === 'loading' && !this.#wantsPlay) this.#enter('waiting');
  }

  /** The stream ended, or the recording. */
  #playerEnded() {
    if (this.#state === 'playing') this.#end('ended');
  }

  /** Somebody pressed play. Answers whether the player may, with the URL that it has. */
  #playAsked() {
    const wasAsked = this.#wantsPlay;
    this.#wantsPlay = true;
    if (this.#isHeld) this.#adapter.hold();
    if (wasAsked || (this.#state !== 'loading' && this.#state !== 'waiting')) return false;
    if (Date.now() >= this.#staleAt) {
      // What it has buffered would start with the old token.
      this.#isLoaded = false;
      this.#isHeld = true;
      this.#adapter.hold();
      void this.#loadFresh();
      return false;
    }
    this.#enter('loading');
    return this.#state === 'loading';
  }

  /** The browser wants to see a gesture of the viewer first. */
  #playBlocked() {
    if (this.#state !== 'loading') return;
    this.#wantsPlay = false;
    this.#enter('waiting');
  }

  /**
   * @param {boolean} isRefusal
   * @param {unknown} cause
   */
  #playerFailed(isRefusal, cause) {
    // While a URL is fetched, the error is about one that is being replaced.
    if (!this.#isLoaded || this.#state === 'fetching') return;
    if (this.#state === 'playing') {
      this.#end(
        'failed',
        new PrivatePlaybackError('player_failed', 'Playback ended by an error of the player.', cause),
      );
    } else if (isRefusal && this.#mayRetry) {
      this.#mayRetry = false;
      this.#isLoaded = false;
      void this.#loadFresh();
    } else if (isRefusal) {
      this.#end(
        'failed',
        new PrivatePlaybackError(
          'refused',
          this.#adapter.tellsRefusals
            ? 'Playback was refused twice, the second time with a fresh URL.'
            : 'Playback did not start, twice, the second time with a fresh URL: refused, offline or unreachable.',
          cause,
        ),
      );
    } else {
      this.#end('failed', new PrivatePlaybackError('player_failed', 'The player could not start.', cause));
    }
  }

  /** @param {State} state */
  #enter(state) {
    if (this.#state === state || this.#isOver()) return;
    this.#state = state;
    this.dispatchEvent(new Event('statechange'));
  }

  #isOver() {
    return this.#state === 'stopped' || this.#state === 'failed' || this.#state === 'ended';
  }

  /**
   * @param {'stopped' | 'failed' | 'ended'} state
   * @param {PrivatePlaybackError | null} error
   */
  #end(state, error = null) {
    if (this.#isOver()) return false;
    this.#silence();
    this.#fetch?.abort();
    // Who stops what played has no error to hear of.
    if (state === 'failed' || this.#state !== 'playing') this.#error = error;
    this.#state = state;
    // Does nothing where it has started.
    if (error) this.#rejectStarted(error);
    this.dispatchEvent(new Event('statechange'));
    if (state === 'failed') this.dispatchEvent(Object.assign(new Event('error'), { detail: error }));
    return true;
  }
}

/** @type {WeakMap<object, PrivatePlayback>} */
const current = new WeakMap();

/** Single-use URLs that were given to a player of this page. @type {Set<string>} */
const spent = new Set();

/** @param {string} url */
function remember(url) {
  spent.add(url);
  for (const oldest of spent) {
    if (spent.size <= SPENT_URLS) break;
    spent.delete(oldest);
  }
}

/**
 * @param {GetPlaybackUrl} getPlaybackUrl
 * @param {UrlRequest} request
 * @param {number} timeout
 */
async function bounded(getPlaybackUrl, request, timeout) {
  const { signal } = request;
  /** @type {(() => void) | undefined} */ let settle;
  const late = new Promise((_, reject) => {
    const timer = setTimeout(() => {
      reject(new PrivatePlaybackError('url_timeout', `getPlaybackUrl took longer than ${timeout} ms.`));
    }, timeout);
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    settle = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    };
  });
  try {
    return await Promise.race([Promise.resolve(request).then(getPlaybackUrl), late]);
  } catch (error) {
    if (error instanceof PrivatePlaybackError || signal.aborted) throw error;
    const reason = error instanceof Error ? `: ${error.message}` : '.';
    throw new PrivatePlaybackError('url_failed', `getPlaybackUrl failed${reason}`, error);
  } finally {
    settle?.();
  }
}

/**
 * @param {unknown} answer
 * @param {number} askedAt Local time in milliseconds.
 */
function readUrl(answer, askedAt) {
  /** @type {Partial<MintAnswer>} */
  const minted =
    typeof answer === 'object' && answer !== null ? answer : { playbackUrl: /** @type {any} */ (answer) };
  const text = minted.playbackUrl;
  if (typeof text !== 'string' || text.trim() === '') {
    throw new PrivatePlaybackError(
      'url_invalid',
      'getPlaybackUrl returned neither a URL nor an object with playbackUrl. Let it throw where minting fails.',
    );
  }
  const claims = claimsOf(text);
  return {
    text,
    staleAt: staleAt(minted, claims, askedAt),
    hasToken: /[?&]token=/.test(text),
    isSingleUse: 'aws:single-use-uuid' in claims,
  };
}

/**
 * When the token is too old to begin with, by the local clock. Spans are taken from the service's own
 * instants where it tells both, so that a local clock that is wrong does no harm.
 *
 * @param {Partial<MintAnswer>} minted
 * @param {Record<string, unknown>} claims
 * @param {number} askedAt
 */
function staleAt(minted, claims, askedAt) {
  const [issued, refresh, expires] = [minted.issuedAt, minted.refreshAfter, minted.expiresAt].map((it) =>
    Date.parse(it ?? ''),
  );
  const span = refresh - issued;
  if (span >= 0) return askedAt + span;
  if (Number.isFinite(refresh)) return refresh;
  const end = Number.isFinite(expires) ? expires : Number(claims.exp) * 1000;
  return Number.isFinite(end) ? askedAt + (end - askedAt) * FRESH_SHARE : Infinity;
}

/**
 * What the token in a URL says; nothing where there is none.
 *
 * @param {string} url
 * @returns {Record<string, unknown>}
 */
function claimsOf(url) {
  try {
    const token = new URL(url, 'https://relative.invalid').searchParams.get('token') ?? '';
    const payload = (token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const claims = JSON.parse(atob(payload));
    return typeof claims === 'object' && claims !== null ? claims : {};
  } catch {
    return {};
  }
}

/**
 * What a playback hears from its player.
 *
 * @typedef {object} Ears
 * @property {() => void} started Pictures move.
 * @property {() => void} loaded The multivariant playlist was accepted.
 * @property {() => void} asked Somebody pressed play.
 * @property {() => void} ended There is nothing more to play.
 * @property {() => void} blocked The browser does not let it start by itself.
 * @property {(isRefusal: boolean, cause: unknown) => void} failed
 *
 * @typedef {object} Adapter One interface for the three kinds of player.
 * @property {boolean} tellsRefusals Whether a refusal is told from what else keeps it from starting.
 * @property {(url: string, isSingleUse: boolean, startsNow: boolean) => void} load
 * @property {() => void} play
 * @property {() => void} hold Does not start with what it has; the next load follows.
 * @property {() => void} stop Gives up what it has.
 * @property {() => void} destroy
 * @property {(ears: Ears) => () => void} listen Answers with what ends it.
 *
 * @typedef {object} IvsPlayer What is used of amazon-ivs-player.
 * @property {(url: string) => void} load
 * @property {() => void} play
 * @property {() => void} pause
 * @property {() => void} delete
 * @property {(name: any, listener: (payload: any) => void) => void} addEventListener
 * @property {(name: any, listener: (payload: any) => void) => void} removeEventListener
 *
 * @typedef {object} HlsPlayer What is used of hls.js.
 * @property {(url: string) => void} loadSource
 * @property {() => void} stopLoad
 * @property {() => void} destroy
 * @property {HTMLMediaElement | null} media
 * @property {any} [config]
 * @property {(event: any, listener: (event: any, data: any) => void) => void} on
 * @property {(event: any, listener: (event: any, data: any) => void) => void} off
 */

/**
 * @param {any} player
 * @param {number} stallTimeout
 * @returns {Adapter}
 */
function adapterOf(player, stallTimeout) {
  const has = (/** @type {string[]} */ ...names) =>
    names.every((name) => typeof player?.[name] === 'function');
  if (has('loadSource', 'on', 'off')) return hlsAdapter(player);
  if (has('canPlayType', 'play', 'addEventListener')) return videoAdapter(player, stallTimeout);
  if (has('load', 'play', 'addEventListener')) return ivsAdapter(player);
  throw new TypeError('player must be an amazon-ivs-player, an hls.js instance or a <video>');
}

/**
 * @param {IvsPlayer} player
 * @returns {Adapter}
 */
function ivsAdapter(player) {
  return {
    tellsRefusals: true,
    load: (url) => player.load(url),
    play: () => player.play(),
    hold: () => player.pause(),
    stop: () => player.pause(),
    destroy: () => player.delete(),
    listen(ears) {
      /** @type {[string, (payload: any) => void][]} */
      const listeners = [
        ['Ready', ears.loaded],
        ['Playing', ears.started],
        ['Ended', ears.ended],
        ['PlayerPlaybackBlocked', ears.blocked],
        [
          'PlayerError',
          (error) => {
            const isRefusal = error?.type === 'ErrorAuthorization' || error?.code === 403;
            ears.failed(isRefusal && error?.source === 'MasterPlaylist', error);
          },
        ],
      ];
      for (const [name, listener] of listeners) player.addEventListener(name, listener);
      return () => {
        for (const [name, listener] of listeners) player.removeEventListener(name, listener);
      };
    },
  };
}

/**
 * @param {HlsPlayer} hls
 * @returns {Adapter}
 */
function hlsAdapter(hls) {
  let wantsPlay = false;
  let restoreRetries = () => {};
  /** @type {(cause: unknown) => void} */ let refusedToPlay = () => {};
  const start = () => {
    if (wantsPlay) hls.media?.play()?.catch(refusedToPlay);
  };
  return {
    tellsRefusals: true,
    load(url, isSingleUse) {
      wantsPlay = false;
      restoreRetries();
      if (isSingleUse) restoreRetries = forbidRetries(hls);
      hls.loadSource(url);
    },
    // Before there is media to play, the element would answer with an error.
    play: () => {
      wantsPlay = true;
      start();
    },
    hold() {
      wantsPlay = false;
      hls.media?.pause();
    },
    stop() {
      restoreRetries();
      hls.stopLoad();
      hls.media?.pause();
    },
    destroy: () => hls.destroy(),
    listen(ears) {
      /** @type {HTMLMediaElement | null} */ let media = null;
      let unwatch = () => {};
      const watch = () => {
        if (media === hls.media) return;
        unwatch();
        media = hls.media;
        if (media) unwatch = listenTo(media, { playing: ears.started, play: ears.asked, ended: ears.ended });
      };
      refusedToPlay = blockedBy(ears);
      const parsed = () => {
        // It is not asked for again.
        restoreRetries();
        ears.loaded();
        start();
      };
      const attached = () => {
        watch();
        start();
      };
      const failed = (/** @type {unknown} */ _, /** @type {any} */ data) => {
        if (!data?.fatal) return;
        ears.failed(data.details === 'manifestLoadError' && data.response?.code === 403, data);
      };
      watch();
      hls.on('hlsManifestParsed', parsed);
      hls.on('hlsMediaAttached', attached);
      hls.on('hlsError', failed);
      return () => {
        unwatch();
        restoreRetries();
        hls.off('hlsManifestParsed', parsed);
        hls.off('hlsMediaAttached', attached);
        hls.off('hlsError', failed);
      };
    },
  };
}

/**
 * hls.js asks again by itself after a time-out or a server's error, which would spend a single-use
 * URL twice. Answers with what gives the page its setting back.
 *
 * @param {HlsPlayer} hls
 */
function forbidRetries(hls) {
  const before = hls.config?.manifestLoadPolicy;
  if (!before?.default) return () => {};
  const without = { default: { ...before.default, timeoutRetry: null, errorRetry: null } };
  hls.config.manifestLoadPolicy = without;
  return () => {
    // Unless the page has set another meanwhile.
    if (hls.config.manifestLoadPolicy === without) hls.config.manifestLoadPolicy = before;
  };
}

/**
 * @param {HTMLVideoElement} video
 * @param {number} stallTimeout
 * @returns {Adapter}
 */
function videoAdapter(video, stallTimeout) {
  const preload = video.preload;
  /** @type {() => void} */ let waits = () => {};
  /** @type {(cause: unknown) => void} */ let refusedToPlay = () => {};
  return {
    tellsRefusals: false,
    load(url, _, startsNow) {
      // Chromium's own player cannot start a live stream that it loaded and then let stand for a while.
      video.preload = startsNow ? preload : 'none';
      // Before src: without it iOS Safari sends no origin, and no page could read the pictures.
      video.crossOrigin = 'anonymous';
      video.src = url;
      if (!startsNow) waits();
    },
    play: () => void video.play()?.catch(refusedToPlay),
    hold: () => video.pause(),
    stop() {
      video.pause();
      video.removeAttribute('src');
      video.load();
    },
    destroy() {
      this.stop();
    },
    listen(ears) {
      refusedToPlay = blockedBy(ears);
      waits = ears.loaded;
      /** @type {ReturnType<typeof setTimeout> | undefined} */ let stall;
      const moves = () => clearTimeout(stall);
      const silence = listenTo(video, {
        loadedmetadata: ears.loaded,
        playing: () => {
          moves();
          ears.started();
        },
        play: ears.asked,
        // The element does not tell a refusal from anything else.
        error: () => ears.failed(true, video.error),
        waiting: () => {
          moves();
          stall = setTimeout(() => {
            ears.failed(false, new Error(`It has stood still for ${stallTimeout} ms.`));
            // It may go on asking for what it does not get, without a pause.
            this.stop();
          }, stallTimeout);
        },
        pause: moves,
        ended: () => {
          moves();
          ears.ended();
        },
        emptied: moves,
      });
      return () => {
        moves();
        silence();
        video.preload = preload;
      };
    },
  };
}

/**
 * play() is rejected for other reasons, too: a load that came between, or an error that has an event.
 *
 * @param {Ears} ears
 */
function blockedBy(ears) {
  return (/** @type {any} */ cause) => {
    if (cause?.name === 'NotAllowedError') ears.blocked();
  };
}

/**
 * @param {EventTarget} target
 * @param {Record<string, () => void>} listeners
 */
function listenTo(target, listeners) {
  const entries = Object.entries(listeners);
  for (const [name, listener] of entries) target.addEventListener(name, listener);
  return () => {
    for (const [name, listener] of entries) target.removeEventListener(name, listener);
  };
}
