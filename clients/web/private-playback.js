// @ts-check
/**
 * Plays private Amazon IVS channels in a browser. One file without dependencies: copy it.
 *
 *     import { playPrivate } from './private-playback.js';
 *     const playback = playPrivate(player, async ({ signal }) =>
 *       (await fetch('/my/backend/token', { method: 'POST', signal })).json());
 *     playback.addEventListener('error', ({ detail }) => show(detail.message));
 *
 * `player` is an amazon-ivs-player, an hls.js instance, or a `<video>` in a browser that plays HLS
 * itself. `getPlaybackUrl` returns a playback URL with a token, or the whole response of
 * `POST /v1/tokens`, which also contains the time at which the token is too old to start with.
 *
 * How it handles tokens:
 *
 * - Each load() gets a fresh URL. Use single-use tokens with hls.js only: the other two players may
 *   fetch the multivariant playlist again, and this cannot be prevented.
 * - If the multivariant playlist is refused (403), it tries once more with a fresh URL. A `<video>`
 *   does not report why it failed, so every failure before the start counts as a refusal there.
 * - A viewer who presses play after `refreshAfter` gets a fresh URL first.
 * - A player that is playing is never reloaded, because IVS checks a token only when playback starts.
 *
 *                   refused once, or play after refreshAfter
 *              ┌──────────────────────────┬──────────────────┐
 *              v                          │                  │
 *          fetching ─────> loading ───────┤ autoplay off     │
 *              │              │           │ or blocked       │
 *              │              v           v                  │
 *              │           playing <── waiting ──────────────┘
 *              └──────┬───────┴───────────┘
 *                     v
 *            ended, stopped or failed: final
 */

/** Default of `urlTimeout`, in milliseconds. */
const URL_TIMEOUT = 10_000;

/** Default of `stallTimeout`, in milliseconds. */
const STALL_TIMEOUT = 20_000;

/** A player that starts after this share of a token's lifetime gets a fresh token first. */
const FRESH_SHARE = 2 / 3;

/** How many of the latest single-use URLs are remembered. */
const SPENT_URLS = 1000;

/**
 * @typedef {object} MintResponse The response of the token service; other members are ignored.
 * @property {string} playbackUrl
 * @property {string} [issuedAt] A time, RFC 3339.
 * @property {string} [refreshAfter] The time from which a player that has not started needs a fresh URL.
 * @property {string} [expiresAt]
 *
 * @typedef {object} UrlRequest
 * @property {AbortSignal} signal Aborted when the URL is no longer needed.
 * @property {number} attempt 1 for the first URL of this playback.
 *
 * @typedef {(request: UrlRequest) => string | MintResponse | Promise<string | MintResponse>} GetPlaybackUrl
 *
 * @typedef {object} Options
 * @property {boolean} [autoplay] Whether to start at once (the default), or when the viewer or the page does.
 * @property {number} [urlTimeout] How long getPlaybackUrl may take, in milliseconds (10,000).
 * @property {number} [stallTimeout] How long a `<video>` may stall before it counts as failed, in
 *   milliseconds (20,000). Chromium's own player does not report a session that has ended.
 * @property {AbortSignal} [signal] Stops playback when aborted.
 *
 * @typedef {'fetching' | 'loading' | 'waiting' | 'playing' | 'ended' | 'stopped' | 'failed'} State
 *
 * @typedef {'url_failed' | 'url_timeout' | 'url_invalid' | 'url_reused' | 'refused' |
 *   'player_failed' | 'superseded' | 'stopped'} ErrorCode
 */

/** The reason why playback failed. `code` is stable; `cause` is the thrown value or the player's error. */
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
 * Plays a private channel. A second call for the same player supersedes the first.
 *
 * @param {IvsPlayer | HlsPlayer | HTMLVideoElement} player
 * @param {GetPlaybackUrl} getPlaybackUrl Called for each load; it must not cache.
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
 * A playback. It dispatches `statechange`, and at most once `error` with the {@link PrivatePlaybackError}
 * as `detail`.
 */
export class PrivatePlayback extends EventTarget {
  /** @type {State} */ #state = 'fetching';
  /** @type {PrivatePlaybackError | null} */ #error = null;
  /** @type {Promise<void>} */ #started;
  /** @type {() => void} */ #resolveStarted = () => {};
  /** @type {(error: PrivatePlaybackError) => void} */ #rejectStarted = () => {};
  /** @type {Adapter} */ #adapter;
  /** @type {GetPlaybackUrl} */ #getPlaybackUrl;
  /** @type {() => void} */ #stopListening;
  /** @type {AbortController | null} */ #fetch = null;
  #urlTimeout;
  /** Whether to start as soon as that is possible. */ #wantsPlay;
  /** Whether the player has a URL from this playback that was not refused. */ #isLoaded = false;
  /** When that URL becomes too old to start with; local time in milliseconds. */ #staleAt = Infinity;
  /** Whether the player must not start, because its URL is being replaced. */ #isHeld = false;
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
    // A page that does not await it gets the failure from the event.
    this.#started.catch(() => {});
    const stopListening = adapter.listen({
      started: () => this.#playerStarted(),
      loaded: () => this.#playerLoaded(),
      playRequested: () => void this.#playRequested(),
      blocked: () => this.#playBlocked(),
      ended: () => this.#playerEnded(),
      failed: (isRefusal, cause) => this.#playerFailed(isRefusal, cause),
    });
    const stop = () => this.stop();
    signal?.addEventListener('abort', stop, { once: true });
    this.#stopListening = () => {
      stopListening();
      signal?.removeEventListener('abort', stop);
    };
    if (signal?.aborted) this.#end('stopped', new PrivatePlaybackError('stopped', 'Playback was stopped.'));
    else void this.#loadFresh();
  }

  /** The current state. */
  get state() {
    return this.#state;
  }

  /** The reason why it failed, or was stopped before it started. */
  get error() {
    return this.#error;
  }

  /** Resolves when playback starts for the first time; rejects if it cannot start. */
  get started() {
    return this.#started;
  }

  /**
   * Starts or resumes playback, for players without controls of their own. Returns {@link started}.
   *
   * @returns {Promise<void>}
   */
  play() {
    const mayPlay = this.#playRequested();
    if (mayPlay || this.#state === 'playing') this.#adapter.play();
    return this.#started;
  }

  /** Ends playback, even before it has started. The player can be used again. */
  stop() {
    const hadUrl = this.#isLoaded || this.#isHeld;
    if (this.#end('stopped', new PrivatePlaybackError('stopped', 'Playback was stopped.')) && hadUrl) {
      this.#adapter.stop();
    }
  }

  /** Ends playback and destroys the player. */
  destroy() {
    if (this.#isDestroyed) return;
    this.#isDestroyed = true;
    this.#end('stopped', new PrivatePlaybackError('stopped', 'Playback was stopped.'));
    this.#adapter.destroy();
  }

  /** Releases the player without stopping it, so that another playback can take it over. */
  release() {
    this.#end('stopped', new PrivatePlaybackError('superseded', 'Another playback uses the player now.'));
  }

  /** Fetches a URL and loads it into the player. */
  async #loadFresh() {
    const fetch = new AbortController();
    this.#fetch = fetch;
    this.#enter('fetching');
    // A listener may have stopped this playback, or started another one for the player.
    if (this.#isOver()) return;
    try {
      let url = await this.#freshUrl(fetch.signal);
      // The machine may have slept in the meantime. Only once, because its clock may be wrong.
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
    const requestedAt = Date.now();
    this.#attempt += 1;
    const request = { signal, attempt: this.#attempt };
    const response = await withTimeout(this.#getPlaybackUrl, request, this.#urlTimeout);
    const url = readUrl(response, requestedAt);
    // The URL of a public channel has no token and is the same each time.
    if (url.hasToken && (this.#used.has(url.text) || spent.has(url.text))) {
      throw new PrivatePlaybackError(
        'url_reused',
        'getPlaybackUrl returned a URL that was used before. Mint a new token on each call, and do not cache it.',
      );
    }
    this.#used.add(url.text);
    if (url.isSingleUse) remember(url.text);
    return url;
  }

  #playerStarted() {
    // Ignore what the player played before this playback.
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

  /** The viewer or the page wants to play. Returns whether the player may start with its current URL. */
  #playRequested() {
    const wantedPlay = this.#wantsPlay;
    this.#wantsPlay = true;
    if (this.#isHeld) this.#adapter.hold();
    if (wantedPlay || (this.#state !== 'loading' && this.#state !== 'waiting')) return false;
    if (Date.now() >= this.#staleAt) {
      // The buffer would start playing with the old token.
      this.#isLoaded = false;
      this.#isHeld = true;
      this.#adapter.hold();
      void this.#loadFresh();
      return false;
    }
    this.#enter('loading');
    return this.#state === 'loading';
  }

  /** The browser requires a gesture of the viewer first. */
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
    // While a URL is fetched, the error concerns the URL that is being replaced.
    if (!this.#isLoaded || this.#state === 'fetching') return;
    if (this.#state === 'playing') {
      this.#end(
        'failed',
        new PrivatePlaybackError('player_failed', 'Playback ended because of an error of the player.', cause),
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
          this.#adapter.reportsRefusals
            ? 'Playback was refused twice, the second time with a fresh URL.'
            : 'Playback failed to start twice, the second time with a fresh URL. It was refused, offline or unreachable.',
          cause,
        ),
      );
    } else {
      this.#end('failed', new PrivatePlaybackError('player_failed', 'The player failed to start.', cause));
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
    this.#stopListening();
    this.#fetch?.abort();
    // Stopping a playback that has started is not an error.
    if (state === 'failed' || this.#state !== 'playing') this.#error = error;
    this.#state = state;
    // Has no effect if playback has started.
    if (error) this.#rejectStarted(error);
    this.dispatchEvent(new Event('statechange'));
    if (state === 'failed') this.dispatchEvent(Object.assign(new Event('error'), { detail: error }));
    return true;
  }
}

/** @type {WeakMap<object, PrivatePlayback>} */
const current = new WeakMap();

/** Single-use URLs that players of this page have used. @type {Set<string>} */
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
async function withTimeout(getPlaybackUrl, request, timeout) {
  const { signal } = request;
  /** @type {(() => void) | undefined} */ let settle;
  const timedOut = new Promise((_, reject) => {
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
    return await Promise.race([Promise.resolve(request).then(getPlaybackUrl), timedOut]);
  } catch (error) {
    if (error instanceof PrivatePlaybackError || signal.aborted) throw error;
    const reason = error instanceof Error ? `: ${error.message}` : '.';
    throw new PrivatePlaybackError('url_failed', `getPlaybackUrl failed${reason}`, error);
  } finally {
    settle?.();
  }
}

/**
 * @param {unknown} response
 * @param {number} requestedAt Local time in milliseconds.
 */
function readUrl(response, requestedAt) {
  /** @type {Partial<MintResponse>} */
  const minted =
    typeof response === 'object' && response !== null
      ? response
      : { playbackUrl: /** @type {any} */ (response) };
  const text = minted.playbackUrl;
  if (typeof text !== 'string' || text.trim() === '') {
    throw new PrivatePlaybackError(
      'url_invalid',
      'getPlaybackUrl returned neither a URL nor an object with playbackUrl. It should throw if minting fails.',
    );
  }
  const claims = claimsOf(text);
  return {
    text,
    staleAt: staleAt(minted, claims, requestedAt),
    hasToken: /[?&]token=/.test(text),
    isSingleUse: 'aws:single-use-uuid' in claims,
  };
}

/**
 * Returns when the token is too old to start with, by the local clock. If the response contains both
 * times of the service, only their difference is used, so that a wrong local clock has no effect.
 *
 * @param {Partial<MintResponse>} minted
 * @param {Record<string, unknown>} claims
 * @param {number} requestedAt
 */
function staleAt(minted, claims, requestedAt) {
  const [issued, refresh, expires] = [minted.issuedAt, minted.refreshAfter, minted.expiresAt].map((time) =>
    Date.parse(time ?? ''),
  );
  const span = refresh - issued;
  if (span >= 0) return requestedAt + span;
  if (Number.isFinite(refresh)) return refresh;
  const end = Number.isFinite(expires) ? expires : Number(claims.exp) * 1000;
  return Number.isFinite(end) ? requestedAt + (end - requestedAt) * FRESH_SHARE : Infinity;
}

/**
 * Returns the claims of the token in a URL, or an empty object if there is no token.
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
 * The events of a player that a playback needs.
 *
 * @typedef {object} PlayerListener
 * @property {() => void} started Playback has started.
 * @property {() => void} loaded The multivariant playlist was accepted.
 * @property {() => void} playRequested The viewer or the page pressed play.
 * @property {() => void} ended The stream has ended.
 * @property {() => void} blocked The browser does not allow autoplay.
 * @property {(isRefusal: boolean, cause: unknown) => void} failed
 *
 * @typedef {object} Adapter One interface for the three kinds of player.
 * @property {boolean} reportsRefusals Whether the player distinguishes a refusal from other failures.
 * @property {(url: string, isSingleUse: boolean, startsNow: boolean) => void} load
 * @property {() => void} play
 * @property {() => void} hold Prevents a start with the current URL; another load follows.
 * @property {() => void} stop Stops and drops the current URL.
 * @property {() => void} destroy
 * @property {(listener: PlayerListener) => () => void} listen Returns a function that stops listening.
 *
 * @typedef {object} IvsPlayer The part of amazon-ivs-player that is used here.
 * @property {(url: string) => void} load
 * @property {() => void} play
 * @property {() => void} pause
 * @property {() => void} delete
 * @property {(name: any, listener: (payload: any) => void) => void} addEventListener
 * @property {(name: any, listener: (payload: any) => void) => void} removeEventListener
 *
 * @typedef {object} HlsPlayer The part of hls.js that is used here.
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
    reportsRefusals: true,
    load: (url) => player.load(url),
    play: () => player.play(),
    hold: () => player.pause(),
    stop: () => player.pause(),
    destroy: () => player.delete(),
    listen(listener) {
      /** @type {[string, (payload: any) => void][]} */
      const handlers = [
        ['Ready', listener.loaded],
        ['Playing', listener.started],
        ['Ended', listener.ended],
        ['PlayerPlaybackBlocked', listener.blocked],
        [
          'PlayerError',
          (error) => {
            const isRefusal = error?.type === 'ErrorAuthorization' || error?.code === 403;
            listener.failed(isRefusal && error?.source === 'MasterPlaylist', error);
          },
        ],
      ];
      for (const [name, handler] of handlers) player.addEventListener(name, handler);
      return () => {
        for (const [name, handler] of handlers) player.removeEventListener(name, handler);
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
    reportsRefusals: true,
    load(url, isSingleUse) {
      wantsPlay = false;
      restoreRetries();
      if (isSingleUse) restoreRetries = forbidRetries(hls);
      hls.loadSource(url);
    },
    // Without media to play, the element would fail.
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
    listen(listener) {
      /** @type {HTMLMediaElement | null} */ let media = null;
      let unwatch = () => {};
      const watch = () => {
        if (media === hls.media) return;
        unwatch();
        media = hls.media;
        if (!media) return;
        const { started, playRequested, ended } = listener;
        unwatch = listenTo(media, { playing: started, play: playRequested, ended });
      };
      refusedToPlay = blockedBy(listener);
      const parsed = () => {
        // The multivariant playlist is not requested again.
        restoreRetries();
        listener.loaded();
        start();
      };
      const attached = () => {
        watch();
        start();
      };
      const failed = (/** @type {unknown} */ _, /** @type {any} */ data) => {
        if (!data?.fatal) return;
        listener.failed(data.details === 'manifestLoadError' && data.response?.code === 403, data);
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
 * Disables the retries of hls.js after a time-out or a server error, because they would request a
 * single-use URL twice. Returns a function that restores the setting of the page.
 *
 * @param {HlsPlayer} hls
 */
function forbidRetries(hls) {
  const before = hls.config?.manifestLoadPolicy;
  if (!before?.default) return () => {};
  const without = { default: { ...before.default, timeoutRetry: null, errorRetry: null } };
  hls.config.manifestLoadPolicy = without;
  return () => {
    // Keep a setting that the page has made in the meantime.
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
  /** @type {() => void} */ let readyToPlay = () => {};
  /** @type {(cause: unknown) => void} */ let refusedToPlay = () => {};
  return {
    reportsRefusals: false,
    load(url, _, startsNow) {
      // Chromium's own player cannot start a live stream that it loaded some time ago.
      video.preload = startsNow ? preload : 'none';
      // Set before src: without it, iOS Safari sends no origin, and no page could read the video frames.
      video.crossOrigin = 'anonymous';
      video.src = url;
      if (!startsNow) readyToPlay();
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
    listen(listener) {
      refusedToPlay = blockedBy(listener);
      readyToPlay = listener.loaded;
      /** @type {ReturnType<typeof setTimeout> | undefined} */ let stall;
      const clearStall = () => clearTimeout(stall);
      const stopListening = listenTo(video, {
        loadedmetadata: listener.loaded,
        playing: () => {
          clearStall();
          listener.started();
        },
        play: listener.playRequested,
        // The element does not distinguish a refusal from other errors.
        error: () => listener.failed(true, video.error),
        waiting: () => {
          clearStall();
          stall = setTimeout(() => {
            listener.failed(false, new Error(`Playback has stalled for ${stallTimeout} ms.`));
            // The browser's player may keep sending requests without a pause.
            this.stop();
          }, stallTimeout);
        },
        pause: clearStall,
        ended: () => {
          clearStall();
          listener.ended();
        },
        emptied: clearStall,
      });
      return () => {
        clearStall();
        stopListening();
        video.preload = preload;
      };
    },
  };
}

/**
 * Reports a start that the browser blocks. play() also rejects for other reasons, such as another load
 * or an error that has its own event.
 *
 * @param {PlayerListener} listener
 */
function blockedBy(listener) {
  return (/** @type {any} */ cause) => {
    if (cause?.name === 'NotAllowedError') listener.blocked();
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
