// clients/web/private-playback.js against fakes of the players' interfaces. That the fakes are like
// the players is held by types.ts (the published types) and by the browser test (hls.js, <video>).

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

import { PrivatePlaybackError, playPrivate } from '../../../clients/web/private-playback.js';

/** What every fake notes: the URLs that were loaded, and what was called. */
class Fake extends EventTarget {
  loads = [];
  calls = [];
}

class FakeIvs {
  loads = [];
  calls = [];
  listeners = new Map();

  load(url) {
    this.loads.push(url);
  }

  play() {
    this.calls.push('play');
  }

  pause() {
    this.calls.push('pause');
  }

  delete() {
    this.calls.push('delete');
  }

  addEventListener(name, listener) {
    this.listeners.set(name, [...(this.listeners.get(name) ?? []), listener]);
  }

  removeEventListener(name, listener) {
    this.listeners.set(
      name,
      this.listeners.get(name).filter((it) => it !== listener),
    );
  }

  emit(name, payload) {
    for (const listener of this.listeners.get(name) ?? []) listener(payload);
  }

  starts() {
    this.emit('Ready');
    this.emit('Playing');
  }

  refuses() {
    this.emit('PlayerError', {
      type: 'ErrorAuthorization',
      code: 403,
      source: 'MasterPlaylist',
      message: '',
    });
  }

  breaks() {
    this.emit('PlayerError', { type: 'ErrorNetwork', code: 500, source: 'Segment', message: '' });
  }

  get listening() {
    return [...this.listeners.values()].flat().length;
  }
}

class FakeVideo extends Fake {
  error = null;
  crossOrigin = null;
  preload = 'metadata';
  #listening = 0;
  playRejects = null;

  set src(url) {
    assert.equal(this.crossOrigin, 'anonymous', 'crossorigin comes before src');
    this.loads.push(url);
  }

  addEventListener(...all) {
    this.#listening += 1;
    super.addEventListener(...all);
  }

  removeEventListener(...all) {
    this.#listening -= 1;
    super.removeEventListener(...all);
  }

  canPlayType() {
    return 'maybe';
  }

  play() {
    this.calls.push('play');
    this.dispatchEvent(new Event('play'));
    return this.playRejects ? Promise.reject(this.playRejects) : Promise.resolve();
  }

  pause() {
    this.calls.push('pause');
  }

  removeAttribute(name) {
    this.calls.push(`remove ${name}`);
  }

  load() {
    this.calls.push('load');
  }

  starts() {
    this.dispatchEvent(new Event('loadedmetadata'));
    this.dispatchEvent(new Event('playing'));
  }

  refuses() {
    this.error = { code: 4 };
    this.dispatchEvent(new Event('error'));
  }

  breaks() {
    this.refuses();
  }

  get listening() {
    return this.#listening;
  }
}

class FakeHls {
  loads = [];
  calls = [];
  config = { manifestLoadPolicy: { default: { maxLoadTimeMs: 1, timeoutRetry: {}, errorRetry: {} } } };
  media = new FakeVideo();
  listeners = new Map();

  loadSource(url) {
    this.loads.push(url);
  }

  stopLoad() {
    this.calls.push('stopLoad');
  }

  destroy() {
    this.calls.push('destroy');
  }

  on(name, listener) {
    this.listeners.set(name, [...(this.listeners.get(name) ?? []), listener]);
  }

  off(name, listener) {
    this.listeners.set(
      name,
      this.listeners.get(name).filter((it) => it !== listener),
    );
  }

  emit(name, data) {
    for (const listener of this.listeners.get(name) ?? []) listener(name, data);
  }

  starts() {
    this.emit('hlsManifestParsed', {});
    this.media?.dispatchEvent(new Event('playing'));
  }

  refuses() {
    this.emit('hlsError', {
      type: 'networkError',
      details: 'manifestLoadError',
      fatal: true,
      response: { code: 403 },
    });
  }

  breaks() {
    this.emit('hlsError', {
      type: 'networkError',
      details: 'manifestLoadError',
      fatal: true,
      response: { code: 404 },
    });
  }

  get listening() {
    return [...this.listeners.values()].flat().length + (this.media?.listening ?? 0);
  }
}

const PLAYERS = { 'amazon-ivs-player': FakeIvs, 'hls.js': FakeHls, '<video>': FakeVideo };

/** A token that IVS would not accept, with these claims. */
function url(number, claims = {}) {
  const payload = Buffer.from(JSON.stringify({ exp: 4e9, ...claims })).toString('base64url');
  return `https://edge.example/${number}.m3u8?token=e30.${payload}.c2ln`;
}

/** Mints URL 1, URL 2, and so on. */
function minter(answer = (number) => url(number)) {
  const mint = mock.fn(() => answer(mint.mock.callCount() + 1));
  return mint;
}

/** Sets the clock of this test. */
function clock(context, start) {
  let now = start;
  context.mock.method(Date, 'now', () => now);
  return { setTime: (time) => (now = time) };
}

/** Until everything that is ready to happen has happened. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

function codeOf(code) {
  return (error) => error instanceof PrivatePlaybackError && error.code === code;
}

for (const [name, Player] of Object.entries(PLAYERS)) {
  test(`${name}: plays with the URL it was given`, async () => {
    const player = new Player();
    const mint = minter();
    const playback = playPrivate(player, mint);
    assert.equal(playback.state, 'fetching');
    await settled();
    assert.deepEqual(player.loads, [url(1)]);
    assert.equal(playback.state, 'loading');
    player.starts();
    await playback.started;
    assert.equal(playback.state, 'playing');
    assert.ok((player.media ?? player).calls.includes('play'));
    const [{ signal, attempt }] = mint.mock.calls[0].arguments;
    assert.ok(signal instanceof AbortSignal && attempt === 1);
  });

  test(`${name}: a refusal is tried once more, with a fresh URL`, async () => {
    const player = new Player();
    const playback = playPrivate(player, minter());
    await settled();
    player.refuses();
    await settled();
    assert.deepEqual(player.loads, [url(1), url(2)]);
    player.starts();
    await playback.started;
  });

  test(`${name}: a second refusal is the end`, async () => {
    const player = new Player();
    const mint = minter();
    const playback = playPrivate(player, mint);
    const errors = [];
    playback.addEventListener('error', ({ detail }) => errors.push(detail));
    await settled();
    player.refuses();
    await settled();
    player.refuses();
    await assert.rejects(playback.started, codeOf('refused'));
    await settled();
    assert.equal(mint.mock.callCount(), 2);
    assert.equal(playback.state, 'failed');
    assert.deepEqual(errors, [playback.error]);
    assert.equal(player.listening, 0);
  });

  test(`${name}: what plays is never loaded again`, async () => {
    const player = new Player();
    const playback = playPrivate(player, minter());
    await settled();
    player.starts();
    await playback.started;
    player.refuses();
    await settled();
    assert.deepEqual(player.loads, [url(1)]);
    assert.equal(playback.state, 'failed');
    assert.equal(playback.error.code, 'player_failed');
  });

  test(`${name}: stop before the URL is there`, async () => {
    const player = new Player();
    let signal;
    const playback = playPrivate(player, (request) => {
      ({ signal } = request);
      return new Promise(() => {});
    });
    await settled();
    playback.stop();
    assert.ok(signal.aborted);
    await assert.rejects(playback.started, codeOf('stopped'));
    assert.deepEqual([player.loads, player.calls, player.listening], [[], [], 0]);
    assert.equal(playback.state, 'stopped');
  });

  test(`${name}: stop while it plays leaves the player usable`, async () => {
    const player = new Player();
    const first = playPrivate(player, minter());
    await settled();
    player.starts();
    first.stop();
    assert.ok((player.media ?? player).calls.includes('pause'));
    assert.equal(player.listening, 0);
    assert.equal(first.error, null);
    const second = playPrivate(
      player,
      minter(() => url('again')),
    );
    await settled();
    player.starts();
    await second.started;
  });

  test(`${name}: a second call takes the player over from one that loads`, async () => {
    const player = new Player();
    let give;
    const first = playPrivate(player, () => new Promise((resolve) => (give = resolve)));
    await settled();
    const second = playPrivate(player, minter());
    give(url('late'));
    await assert.rejects(first.started, codeOf('superseded'));
    await settled();
    assert.deepEqual(player.loads, [url(1)]);
    player.starts();
    await second.started;
    first.stop();
    assert.equal(second.state, 'playing');
  });

  test(`${name}: a signal that is aborted stops it`, async () => {
    const player = new Player();
    const controller = new AbortController();
    const playback = playPrivate(player, minter(), { signal: controller.signal });
    await settled();
    player.starts();
    controller.abort();
    assert.equal(playback.state, 'stopped');
    assert.equal(playPrivate(player, minter(), { signal: controller.signal }).state, 'stopped');
    await settled();
    assert.deepEqual(player.loads, [url(1)]);
  });

  test(`${name}: who presses play after refreshAfter gets a fresh URL first`, async (context) => {
    const time = clock(context, 1_000_000);
    const player = new Player();
    const answer = (number) => ({
      playbackUrl: url(number),
      // The service's clock is an hour ahead of this one.
      issuedAt: new Date(4_600_000).toISOString(),
      refreshAfter: new Date(4_800_000).toISOString(),
    });
    const playback = playPrivate(player, minter(answer), { autoplay: false });
    await settled();
    if (player instanceof FakeIvs) player.emit('Ready');
    else if (player instanceof FakeHls) player.emit('hlsManifestParsed', {});
    else player.dispatchEvent(new Event('loadedmetadata'));
    assert.equal(playback.state, 'waiting');
    assert.ok(!(player.media ?? player).calls.includes('play'));

    time.setTime(1_199_999);
    assert.deepEqual(player.loads, [url(1)]);
    time.setTime(1_200_000);
    playback.play();
    await settled();
    assert.deepEqual(player.loads, [url(1), url(2)]);
    player.starts();
    await playback.started;
    time.setTime(9_000_000);
    playback.play();
    await settled();
    assert.deepEqual(player.loads, [url(1), url(2)], 'what plays is resumed, not loaded');
  });

  test(`${name}: who presses play in time gets what was loaded`, async () => {
    const player = new Player();
    const playback = playPrivate(player, minter(), { autoplay: false });
    await settled();
    playback.play();
    player.starts();
    await playback.started;
    assert.deepEqual(player.loads, [url(1)]);
  });

  test(`${name}: a stream that ends is over, and no failure`, async () => {
    const player = new Player();
    const playback = playPrivate(player, minter());
    await settled();
    const end = () => {
      if (player instanceof FakeIvs) player.emit('Ended');
      else (player.media ?? player).dispatchEvent(new Event('ended'));
    };
    end();
    assert.equal(playback.state, 'loading', 'what it played before is not ours');
    player.starts();
    end();
    assert.equal(playback.state, 'ended');
    assert.equal(playback.error, null);
    assert.equal(player.listening, 0);
    await playback.started;
  });

  test(`${name}: a listener that stops it keeps it from loading`, async () => {
    for (const [state, loads] of [
      ['fetching', 1],
      ['loading', 0],
    ]) {
      const player = new Player();
      const mint = minter();
      const playback = playPrivate(player, mint);
      playback.addEventListener('statechange', () => {
        if (playback.state === state) playback.stop();
      });
      await settled();
      if (state === 'fetching') player.refuses();
      await settled();
      assert.equal(playback.state, 'stopped');
      assert.equal(player.loads.length, loads, state);
      assert.equal(mint.mock.callCount(), 1);
    }
  });

  test(`${name}: a listener that plays anew does so once`, async () => {
    const player = new Player();
    const first = playPrivate(player, minter());
    await settled();
    let second;
    first.addEventListener('statechange', () => {
      if (first.state === 'fetching') second = playPrivate(player, () => url('second'));
    });
    player.refuses();
    await settled();
    assert.deepEqual(player.loads, [url(1), url('second')]);
    player.starts();
    await second.started;
  });

  test(`${name}: destroy ends the player, once`, async () => {
    const player = new Player();
    const playback = playPrivate(player, minter());
    await settled();
    playback.destroy();
    const calls = player.calls.length;
    playback.destroy();
    assert.ok(calls > 0);
    assert.equal(player.calls.length, calls);
    assert.equal(playback.state, 'stopped');
  });
}

for (const name of ['amazon-ivs-player', 'hls.js']) {
  test(`${name}: an error that is no refusal of the multivariant playlist is not tried again`, async () => {
    const player = new PLAYERS[name]();
    const mint = minter();
    const playback = playPrivate(player, mint);
    await settled();
    player.breaks();
    await assert.rejects(playback.started, codeOf('player_failed'));
    assert.equal(mint.mock.callCount(), 1);
    assert.ok(playback.error.cause);
  });
}

test('amazon-ivs-player: a refusal of anything but the multivariant playlist is the end', async () => {
  const player = new FakeIvs();
  const playback = playPrivate(player, minter());
  await settled();
  player.emit('PlayerError', { type: 'ErrorAuthorization', code: 7, source: 'MediaPlaylist', message: '' });
  await assert.rejects(playback.started, codeOf('player_failed'));
});

test('amazon-ivs-player: the code of a refusal does not matter where its type says it', async () => {
  const player = new FakeIvs();
  playPrivate(player, minter());
  await settled();
  player.emit('PlayerError', { type: 'ErrorAuthorization', code: 7, source: 'MasterPlaylist', message: '' });
  await settled();
  assert.equal(player.loads.length, 2);
});

test('amazon-ivs-player: a browser that blocks autoplay makes it wait', async () => {
  const player = new FakeIvs();
  const playback = playPrivate(player, minter());
  await settled();
  player.emit('PlayerPlaybackBlocked');
  assert.equal(playback.state, 'waiting');
  playback.play();
  assert.deepEqual(player.calls, ['play', 'play']);
});

test('hls.js: an error that it recovers from by itself does not matter', async () => {
  const player = new FakeHls();
  const playback = playPrivate(player, minter());
  await settled();
  player.emit('hlsError', { type: 'mediaError', details: 'bufferStalledError', fatal: false });
  assert.equal(playback.state, 'loading');
});

test('hls.js: media may be attached later', async () => {
  const player = new FakeHls();
  const media = player.media;
  player.media = null;
  const playback = playPrivate(player, minter());
  await settled();
  player.emit('hlsManifestParsed', {});
  player.media = media;
  player.emit('hlsMediaAttached', { media });
  assert.ok(media.calls.includes('play'));
  player.starts();
  await playback.started;
  playback.stop();
  assert.equal(player.listening, 0);
});

test('hls.js: it does not ask for a single-use URL again by itself', async () => {
  for (const [claims, isOff] of [
    [{}, false],
    [{ 'aws:single-use-uuid': 'x' }, true],
  ]) {
    const player = new FakeHls();
    playPrivate(player, () => url(`policy-${isOff}`, claims));
    await settled();
    const { errorRetry, timeoutRetry, maxLoadTimeMs } = player.config.manifestLoadPolicy.default;
    assert.deepEqual([errorRetry === null, timeoutRetry === null, maxLoadTimeMs], [isOff, isOff, 1]);
  }
});

test('hls.js: after a single-use URL it has its own retries again', async () => {
  const ends = [
    (player) => player.emit('hlsManifestParsed', {}),
    (player) => player.breaks(),
    (player, playback) => playback.stop(),
    (player, playback) => playback.release(),
    (player, playback) => playback.destroy(),
  ];
  for (const [number, end] of ends.entries()) {
    const player = new FakeHls();
    const before = player.config.manifestLoadPolicy;
    const playback = playPrivate(player, () => url(`retries-${number}`, { 'aws:single-use-uuid': 'x' }));
    await settled();
    assert.notEqual(player.config.manifestLoadPolicy, before);
    end(player, playback);
    assert.equal(player.config.manifestLoadPolicy, before);
  }
});

test('<video>: a browser that blocks autoplay makes it wait, and controls start it', async (context) => {
  const time = clock(context, 0);
  const player = new FakeVideo();
  player.playRejects = Object.assign(new Error('no gesture'), { name: 'NotAllowedError' });
  const answer = (number) => ({
    playbackUrl: url(number),
    refreshAfter: new Date(number * 200_000).toISOString(),
  });
  const playback = playPrivate(player, minter(answer));
  await settled();
  assert.equal(playback.state, 'waiting');
  player.playRejects = null;
  time.setTime(200_000);
  player.dispatchEvent(new Event('play'));
  await settled();
  assert.deepEqual(player.loads, [url(1), url(2)]);
  player.starts();
  await playback.started;
});

test('<video>: play() that is interrupted by a load is no failure', async () => {
  const player = new FakeVideo();
  player.playRejects = Object.assign(new Error('interrupted'), { name: 'AbortError' });
  const playback = playPrivate(player, minter());
  await settled();
  assert.equal(playback.state, 'loading');
});

for (const [name, Player] of [
  ['hls.js', FakeHls],
  ['<video>', FakeVideo],
]) {
  test(`${name}: controls that are used after refreshAfter do not start the old URL`, async (context) => {
    const time = clock(context, 0);
    const player = new Player();
    const video = player.media ?? player;
    let mint;
    const playback = playPrivate(
      player,
      ({ attempt }) => {
        if (attempt > 1) return new Promise((resolve) => (mint = () => resolve(url(2))));
        return { playbackUrl: url(1), refreshAfter: new Date(1000).toISOString() };
      },
      { autoplay: false },
    );
    await settled();
    if (player === video) video.dispatchEvent(new Event('loadedmetadata'));
    else player.emit('hlsManifestParsed', {});
    time.setTime(1000);
    video.dispatchEvent(new Event('play'));
    // What was buffered had begun before it was paused.
    video.dispatchEvent(new Event('playing'));
    await settled();
    assert.equal(playback.state, 'fetching');
    assert.deepEqual(video.calls, ['pause']);
    video.dispatchEvent(new Event('play'));
    assert.deepEqual(video.calls, ['pause', 'pause'], 'whoever presses again waits, too');
    time.setTime(1500);
    mint();
    await settled();
    assert.deepEqual(player.loads, [url(1), url(2)]);
    player.starts();
    await playback.started;
    assert.equal(video.calls.at(-1), 'play');
  });
}

test('<video>: one that waits asks for nothing until somebody presses play', async () => {
  const player = new FakeVideo();
  const playback = playPrivate(player, minter(), { autoplay: false });
  await settled();
  assert.deepEqual([playback.state, player.preload], ['waiting', 'none']);
  player.dispatchEvent(new Event('play'));
  assert.equal(playback.state, 'loading');
  player.refuses();
  await settled();
  assert.deepEqual([player.loads.length, player.preload], [2, 'metadata']);
  player.starts();
  await playback.started;
  playback.stop();
  assert.equal(player.preload, 'metadata');
});

test('<video>: stop while a fresh URL is fetched gives up the old one', async (context) => {
  const time = clock(context, 0);
  const player = new FakeVideo();
  const answer = (number) =>
    number > 1
      ? new Promise(() => {})
      : { playbackUrl: url(1), refreshAfter: new Date(1000).toISOString() };
  const playback = playPrivate(player, minter(answer), { autoplay: false });
  await settled();
  player.dispatchEvent(new Event('loadedmetadata'));
  time.setTime(1000);
  player.dispatchEvent(new Event('play'));
  playback.stop();
  assert.deepEqual(player.calls, ['pause', 'pause', 'remove src', 'load']);
});

test('<video>: a failure to start is not called a refusal', async () => {
  for (const mint of [minter(), () => 'https://edge.example/public.m3u8']) {
    const player = new FakeVideo();
    const playback = playPrivate(player, mint);
    await settled();
    player.refuses();
    await settled();
    player.refuses();
    await assert.rejects(playback.started, codeOf('refused'));
    assert.match(playback.error.message, /failed to start twice/);
  }
});

test('<video>: one that stands still has failed, and is stopped', async () => {
  const player = new FakeVideo();
  const playback = playPrivate(player, minter(), { stallTimeout: 5 });
  await settled();
  player.starts();
  player.dispatchEvent(new Event('waiting'));
  player.dispatchEvent(new Event('playing'));
  player.dispatchEvent(new Event('waiting'));
  player.dispatchEvent(new Event('pause'));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(playback.state, 'playing');
  player.dispatchEvent(new Event('waiting'));
  await new Promise((resolve) => playback.addEventListener('error', resolve));
  assert.equal(playback.error.code, 'player_failed');
  await settled();
  assert.deepEqual(player.calls.slice(-3), ['pause', 'remove src', 'load']);
  assert.deepEqual(player.loads, [url(1)]);
});

test('<video>: what it played before is not taken for a start', async () => {
  const player = new FakeVideo();
  const playback = playPrivate(player, () => new Promise(() => {}));
  await settled();
  player.dispatchEvent(new Event('playing'));
  player.refuses();
  assert.equal(playback.state, 'fetching');
  playback.stop();
});

test('a lifetime is read from the token where nothing else tells it', async (context) => {
  const time = clock(context, 0);
  const player = new FakeIvs();
  const playback = playPrivate(
    player,
    minter((number) => url(number, { exp: 300 })),
    { autoplay: false },
  );
  await settled();
  player.emit('Ready');
  time.setTime(200_000);
  playback.play();
  await settled();
  assert.equal(player.loads.length, 2);
});

test('a URL that is stale on arrival is fetched again, once', async (context) => {
  clock(context, 10_000);
  const player = new FakeIvs();
  const mint = minter((number) => ({ playbackUrl: url(number), refreshAfter: new Date(5000).toISOString() }));
  playPrivate(player, mint);
  await settled();
  assert.deepEqual(player.loads, [url(2)]);
});

test('a URL that was used before is refused', async () => {
  const player = new FakeIvs();
  const playback = playPrivate(player, () => url('cached'));
  await settled();
  player.refuses();
  await assert.rejects(playback.started, codeOf('url_reused'));
  assert.equal(player.loads.length, 1);
});

test('a single-use URL goes to one player of the page', async () => {
  const once = url('once', { 'aws:single-use-uuid': '6f1c' });
  const shared = url('shared');
  playPrivate(new FakeIvs(), () => once);
  playPrivate(new FakeIvs(), () => shared);
  await settled();
  const other = new FakeVideo();
  await assert.rejects(playPrivate(other, () => once).started, codeOf('url_reused'));
  assert.deepEqual(other.loads, []);
  const player = new FakeIvs();
  playPrivate(player, () => shared);
  await settled();
  assert.deepEqual(player.loads, [shared]);
});

test('a getPlaybackUrl that fails says so', async () => {
  const cause = new Error('HTTP 429');
  for (const fail of [
    () => Promise.reject(cause),
    () => {
      throw cause;
    },
  ]) {
    const player = new FakeIvs();
    const { started } = playPrivate(player, fail);
    await assert.rejects(
      started,
      (error) => codeOf('url_failed')(error) && error.cause === cause && /HTTP 429/.test(error.message),
    );
    assert.equal(player.listening, 0);
  }
});

test('a getPlaybackUrl that hangs is given up', async () => {
  let signal;
  const hang = (request) => {
    ({ signal } = request);
    return new Promise(() => {});
  };
  const { started } = playPrivate(new FakeIvs(), hang, { urlTimeout: 5 });
  await assert.rejects(started, codeOf('url_timeout'));
  assert.ok(signal.aborted);
});

test('an answer without a URL is no URL', async () => {
  for (const answer of [undefined, null, '', '  ', 5, {}, { playbackUrl: 1 }, { code: 'rate_limited' }, []]) {
    await assert.rejects(playPrivate(new FakeIvs(), () => answer).started, codeOf('url_invalid'));
  }
});

test('URLs without a token, or with one that cannot be read, are played all the same', async () => {
  for (const text of [
    '/relative.m3u8',
    'https://a.example/x.m3u8',
    'https://a.example/?token=a.%%%.c',
    'https://a.example/?token=a.bnVsbA.c',
  ]) {
    const player = new FakeIvs();
    playPrivate(player, () => text);
    await settled();
    assert.deepEqual(player.loads, [text]);
  }
});

test('a player that throws is a player that failed', async () => {
  const player = new FakeIvs();
  player.load = () => {
    throw new Error('deleted');
  };
  await assert.rejects(playPrivate(player, minter()).started, codeOf('player_failed'));
});

test('what is no player, and no function, is a mistake of the page', () => {
  for (const player of [null, undefined, {}, 'video', { load() {} }]) {
    assert.throws(() => playPrivate(player, minter()), TypeError);
  }
  assert.throws(() => playPrivate(new FakeIvs(), 'https://a.example'), TypeError);
});

test('a failure that nobody waits for is no unhandled rejection', async () => {
  const unhandled = mock.fn();
  process.on('unhandledRejection', unhandled);
  playPrivate(new FakeIvs(), () => Promise.reject(new Error('no')));
  await settled();
  await settled();
  process.off('unhandledRejection', unhandled);
  assert.equal(unhandled.mock.callCount(), 0);
});
