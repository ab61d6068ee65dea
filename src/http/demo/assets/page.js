// @ts-check
/** The demo page: the actions of its buttons, and the display of the responses. */

import { MediaSourcePlayer } from './media-source-player.js';
import { followPlaylist, followTracks, textOf, tracksHaveMetadata } from './metadata.js';
import { playPrivate } from './private-playback.js';
import { ServiceError, call } from './service.js';
import { decode, explain, recognise } from './token.js';

/** How long a player may stall, in milliseconds. Short, because everything is on one machine. */
const STALL_TIMEOUT = 3000;

/** How often keys are refreshed, in milliseconds: during a rotation, and otherwise. */
const REFRESH_OFTEN = 1000;
const REFRESH_RARELY = 10_000;

const PHASES = ['generating', 'importing', 'propagating', 'draining', 'retiring', 'done'];
const OVER = ['done', 'cancelled', 'failed'];

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);
/** @type {HTMLVideoElement} */
const video = $('video');

/** Whether this is a public visitor, who cannot see or change keys. */
const isPublic = 'public' in document.body.dataset;

/** The current playback, with a function that ends it and everything that belongs to it. @type {{ end: () => void } | null} */
let watching = null;
/** The response to the last mint. @type {any} */
let minted = null;

// ---- Channels and tokens

async function loadChannels() {
  const { channels } = await call('GET', '/channels');
  const chosen = $('channel').value;
  $('channel').replaceChildren(
    ...channels.map((/** @type {any} */ channel) => {
      const name = channel.name || channel.arn.split('/').at(-1);
      return new Option(channel.live ? name : `${name} (offline)`, channel.arn);
    }),
  );
  if (channels.some((/** @type {any} */ channel) => channel.arn === chosen)) $('channel').value = chosen;
  if (channels.length === 0)
    throw new ServiceError({
      title: 'No private channel',
      detail: 'Create one with `aws ivs create-channel --authorized`.',
    });
}

/** Returns the form as the body of `POST /v1/tokens`. */
function readForm() {
  const form = new FormData($('mint-form'));
  const text = (/** @type {string} */ name) => String(form.get(name) ?? '').trim();
  const origins = text('origins')
    .split(/[\s,]+/)
    .filter(Boolean);
  return {
    channel: text('channel'),
    ...(text('viewerId') && { viewerId: text('viewerId') }),
    ...(origins.length > 0 && { allowedOrigins: origins }),
    ...(form.has('strictOriginEnforcement') && { strictOriginEnforcement: true }),
    ...(form.has('singleUse') && { singleUse: true }),
    ...(text('maximumResolution') && { maximumResolution: text('maximumResolution') }),
    ...(text('ttlSeconds') && { ttlSeconds: Number(text('ttlSeconds')) }),
  };
}

/**
 * @param {object} request
 * @param {AbortSignal} [signal]
 */
async function mint(request, signal) {
  minted = await call('POST', '/v1/tokens', request, signal);
  showToken();
  showKeys();
  return minted;
}

function showToken() {
  const { header, claims } = decode(minted.token) ?? { header: {}, claims: {} };
  $('token-empty').hidden = true;
  $('token').hidden = false;
  $('claims').replaceChildren(
    ...explain(claims).map(({ claim, value, meaning }) =>
      element(
        'tr',
        {},
        element('td', {}, element('code', {}, claim)),
        element('td', {}, element('code', {}, value)),
        element('td', {}, meaning),
      ),
    ),
  );
  const facts = {
    Header: JSON.stringify(header),
    'Signed by': minted.keyPairArn,
    'Token id': minted.tokenId,
    'Refresh after': new Date(minted.refreshAfter).toLocaleTimeString(),
    Warnings: minted.warnings.map((/** @type {any} */ warning) => warning.detail).join(' '),
  };
  const shown = Object.entries(facts).filter(([, value]) => value);
  $('token-facts').replaceChildren(
    ...shown.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]),
  );
  $('token-text').textContent = minted.token;
}

// ---- Playback

/** Plays as the form requests; resolves when playback has started, failed, or waits for the viewer. */
async function play() {
  watching?.end();
  const request = readForm();
  const isNative = $('player').value === 'native';
  const player = isNative ? null : new MediaSourcePlayer();
  /** @type {(() => void)[]} */
  const ends = [];
  /** The response of the edge, if the page may read it. @type {any} */
  let refusal = null;
  player?.on('hlsError', (_, data) => (refusal = data));
  player?.attachMedia(video);
  const playback = playPrivate(player ?? video, ({ signal }) => mint(request, signal), {
    stallTimeout: STALL_TIMEOUT,
  });
  watching = {
    end() {
      playback.stop();
      player?.destroy();
      for (const end of ends) end();
      if (watching === this) watching = null;
    },
  };
  const mine = watching;
  const isCurrent = () => watching === mine;
  $('playback-problem').replaceChildren();
  $('revocation').textContent = '';
  $('arrived').replaceChildren();
  const states = {
    fetching: 'Minting…',
    loading: 'Loading…',
    waiting: 'Press play: this browser does not start playback automatically.',
    playing: 'Playing.',
    ended: 'The stream has ended.',
    stopped: 'Stopped.',
    failed: 'Not playing.',
  };
  let hasStarted = false;
  const show = () => {
    if (!isCurrent()) return;
    if (playback.state === 'playing' && !hasStarted) {
      hasStarted = true;
      ends.push(...followMetadata(player, request));
    }
    $('playback').textContent = states[playback.state];
    $('stop').disabled = ['ended', 'stopped', 'failed'].includes(playback.state);
    if (playback.state === 'ended') for (const end of ends) end();
    $('revoke').disabled = !minted?.viewerId;
  };
  playback.addEventListener('statechange', show);
  playback.addEventListener('error', (event) => {
    const { detail: error } = /** @type {CustomEvent} */ (event);
    if (!isCurrent()) return;
    // The buffer would play for some more seconds.
    video.pause();
    showPlaybackError(error, refusal);
    for (const end of ends) end();
  });
  show();
  await new Promise((resolve) => {
    playback.addEventListener('statechange', () => {
      if (playback.state !== 'fetching' && playback.state !== 'loading') resolve(null);
    });
  });
}

/**
 * Follows metadata during playback, in the way that the player supports. Returns functions that end it.
 *
 * @param {MediaSourcePlayer | null} player
 * @param {object} request
 */
function followMetadata(player, request) {
  const show = (/** @type {string | null} */ text) => {
    if (text !== null) $('arrived').append(element('li', {}, element('code', {}, text)));
  };
  if (player) {
    player.on('dateRange', (_, range) => show(textOf(range)));
    return [];
  }
  if (tracksHaveMetadata()) return [followTracks(video, show)];
  return [followPlaylist(() => call('POST', '/v1/tokens', request), show)];
}

/**
 * @param {import('./private-playback.js').PrivatePlaybackError} error
 * @param {any} refusal
 */
function showPlaybackError(error, refusal) {
  if (error.cause instanceof ServiceError) {
    showProblem('playback-problem', error.cause);
    return;
  }
  const { code, text } = refusal?.response ?? {};
  const answer = code
    ? ` The edge returned ${code}: ${text}`
    : refusal
      ? ' The edge sent no response that this page may read: either it refused the origin, or it cannot be reached.'
      : '';
  const hint =
    refusal || $('player').value !== 'native'
      ? ''
      : " The browser's own player does not report the reason; the Media Source player does.";
  const where = showProblem('playback-problem', {
    title: 'Not playing',
    detail: error.message + answer + hint,
  });
  if (!minted) return;
  const why = element('button', { type: 'button', class: 'plain' }, 'Why?');
  // The response of the edge is about the URL that was requested.
  why.addEventListener('click', () => {
    $('pasted').value = text || minted.playbackUrl;
    void act(why, 'inspect-problem', () =>
      inspect({ playbackUrl: minted.playbackUrl, ...(text && { edgeError: text }) }),
    );
  });
  where.append(why);
}

async function revoke() {
  const { channelArn, viewerId } = minted;
  const viewerSessions = [{ channel: channelArn, viewerId }];
  const answer = await call('POST', '/v1/viewer-sessions/revocations', { viewerSessions });
  const [failed] = answer.errors;
  if (failed) throw new ServiceError({ title: 'Not revoked', detail: failed.message, code: failed.code });
  $('revocation').textContent =
    `Revoked up to version ${answer.results[0].version}. The player stops at its next request. A new token from this service plays at once.`;
}

async function putMetadata() {
  await call('POST', '/metadata', { channel: $('channel').value, metadata: $('metadata').value });
}

// ---- Keys

/** @type {any} */ let rotation = null;
/** @type {any[]} */ let pairs = [];
let refreshTimer = 0;

/** Refreshes the keys now, and schedules the next refresh. */
async function refreshKeys() {
  if (isPublic) return;
  clearTimeout(refreshTimer);
  try {
    if (!document.hidden) {
      const [{ keyPairs }, { rotations }] = await Promise.all([
        call('GET', '/v1/key-pairs'),
        call('GET', '/v1/key-pairs/rotations'),
      ]);
      rotation = rotations[0] ?? null;
      pairs = keyPairs;
      showKeys();
      showRotation();
    }
  } finally {
    const isBusy = rotation && !OVER.includes(rotation.phase) && rotation.phase !== 'draining';
    clearTimeout(refreshTimer);
    refreshTimer = setTimeout(() => void refreshKeys().catch(() => {}), isBusy ? REFRESH_OFTEN : REFRESH_RARELY);
  }
}

function showKeys() {
  const rows = pairs.map((pair) => {
    const arn = pair.arn ?? '';
    const signed = arn && arn === minted?.keyPairArn ? ' Signed the token above.' : '';
    const until = pair.retiresAt ? new Date(pair.retiresAt).toLocaleTimeString() : '';
    const row = element(
      'tr',
      {},
      element('td', {}, element('span', { class: `state ${pair.state}` }, pair.state)),
      element('td', {}, element('code', {}, arn.split('/').at(-1) || pair.fingerprint), signed),
      element('td', {}, until && `until ${until}`),
      element('td', {}),
    );
    if (pair.state === 'draining' && arn) {
      const button = element('button', { type: 'button', class: 'plain' }, 'Delete now');
      button.addEventListener('click', async () => {
        await act(button, 'keys-problem', () =>
          call('DELETE', `/v1/key-pairs/${encodeURIComponent(arn)}?force=true`),
        );
        await refreshKeys().catch(() => {});
      });
      row.lastElementChild?.append(button);
    }
    return row;
  });
  // Do not replace a button while its action runs.
  if ($('pairs').querySelector('[aria-busy=true]')) return;
  const text = (/** @type {Element[]} */ of) => of.map((row) => row.textContent).join();
  if (text(rows) === text([...$('pairs').children])) return;
  const hadFocus = $('pairs').contains(document.activeElement);
  $('pairs').replaceChildren(...rows);
  if (hadFocus) $('pairs').closest('[tabindex]').focus({ preventScroll: true });
}

function showRotation() {
  const isOpen = rotation !== null && !OVER.includes(rotation.phase);
  $('cancel').hidden = !isOpen || !PHASES.slice(0, 3).includes(rotation.phase);
  $('phases').hidden = rotation === null;
  if (rotation === null) return;
  const phases = PHASES.includes(rotation.phase) ? PHASES : [...PHASES.slice(0, 3), rotation.phase];
  $('phases').replaceChildren(
    ...phases.map((phase) =>
      element('li', phase === rotation.phase ? { 'aria-current': 'step' } : {}, phase),
    ),
  );
  const next =
    isOpen && rotation.nextStep && rotation.nextAt
      ? `Next: ${rotation.nextStep} at ${new Date(rotation.nextAt).toLocaleTimeString()}.`
      : '';
  const text = rotation.error ? `${rotation.error.detail} ${next}` : next;
  // Screen readers announce every change, so change it only when the text differs.
  if ($('rotation').textContent !== text) $('rotation').textContent = text;
}

/** @param {'graceful' | 'emergency'} mode */
async function rotate(mode) {
  await call('POST', '/v1/key-pairs/rotations', { mode });
  await refreshKeys();
}

// ---- Inspection

/** @param {object} subject */
async function inspect(subject) {
  const isHere = new FormData($('inspect-form')).has('here');
  const found = await call('POST', '/v1/tokens/inspect', {
    ...subject,
    ...(isHere && { origin: location.origin }),
  });
  const [state, verdict] =
    found.valid === true
      ? ['valid', 'Valid: no problems found.']
      : found.valid === false
        ? ['invalid', 'Invalid: IVS refuses it.']
        : found.findings.length === 0 && found.notChecked.includes('token')
          ? ['unclear', 'No token and no 403 body found in this input.']
          : ['unclear', 'No problems found, but not everything was checked.'];
  const findings = found.findings.map((/** @type {any} */ finding) =>
    element('li', {}, element('span', { class: `state ${finding.severity}` }, finding.code), ` ${finding.detail}`),
  );
  const unchecked =
    found.notChecked.length > 0 ? [element('p', {}, `Not checked: ${found.notChecked.join(', ')}.`)] : [];
  $('findings').replaceChildren(
    element('p', {}, element('span', { class: `state ${state}` }, verdict)),
    element('ul', { class: 'findings' }, ...findings),
    ...unchecked,
  );
  $('inspect').scrollIntoView({ block: 'nearest' });
}

// ---- The page

/**
 * Runs the action of a button, once at a time, and shows its error.
 *
 * @param {any} button
 * @param {string} problems The id of the element that shows the error.
 * @param {() => Promise<unknown>} action
 */
async function act(button, problems, action) {
  if (button.getAttribute('aria-busy') === 'true') return;
  const hadFocus = document.activeElement === button;
  button.setAttribute('aria-busy', 'true');
  button.disabled = true;
  $(problems).replaceChildren();
  try {
    await action();
  } catch (error) {
    showProblem(problems, error);
  } finally {
    button.removeAttribute('aria-busy');
    button.disabled = false;
    // A disabled button loses the focus, and keyboard users would lose their place.
    if (hadFocus && document.activeElement === document.body) button.focus({ preventScroll: true });
  }
}

/**
 * @param {string} id
 * @param {any} error A ServiceError, or an object with a title and a detail.
 * @returns {Element}
 */
function showProblem(id, error) {
  const problem =
    error instanceof ServiceError
      ? error.problem
      : { title: error.title ?? 'The action failed', detail: error.detail ?? error.message };
  const shown = $('problem-template').content.cloneNode(true).firstElementChild;
  shown.querySelector('strong').textContent = problem.code
    ? `${problem.title} (${problem.code})`
    : problem.title;
  shown.querySelector('p').textContent = problem.detail ?? '';
  const errors = (problem.errors ?? []).map((/** @type {any} */ member) =>
    element('li', {}, `${member.pointer}: ${member.detail}`),
  );
  shown.querySelector('ul').replaceChildren(...errors);
  if (problem.type?.startsWith('/docs/')) shown.querySelector('a').href = problem.type;
  $(id).replaceChildren(shown);
  return shown;
}

/**
 * @param {string} name
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children
 */
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/**
 * @param {string} id
 * @param {string} problems
 * @param {() => Promise<unknown>} action
 */
function onClick(id, problems, action) {
  $(id).addEventListener('click', () => void act($(id), problems, action));
}

/**
 * @param {string} id
 * @param {string} problems
 * @param {() => Promise<unknown>} action
 */
function onSubmit(id, problems, action) {
  $(id).addEventListener('submit', (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    void act($(id).querySelector('[type=submit]'), problems, action);
  });
}

function offerPlayers() {
  const isNative = video.canPlayType('application/vnd.apple.mpegurl') !== '';
  const native = new Option("Browser", 'native', isNative, isNative);
  const own = new Option('Media Source', 'media-source', !isNative, !isNative);
  native.disabled = !isNative;
  own.disabled = !MediaSourcePlayer.isSupported();
  $('player').replaceChildren(native, own);
}

function closeKeys() {
  $('keys-closed').hidden = false;
  for (const id of ['rotate', 'emergency']) $(id).disabled = true;
}

if (isPublic) closeKeys();
offerPlayers();
$('origins').value = location.origin;
onClick('channels-again', 'mint-problem', loadChannels);
onSubmit('mint-form', 'mint-problem', play);
onClick('mint-only', 'mint-problem', () => mint(readForm()));
onClick('revoke', 'revoke-problem', revoke);
onClick('rotate', 'keys-problem', () => rotate('graceful'));
onClick('emergency', 'keys-problem', async () => {
  if (confirm('Delete the active key pair now? Tokens that it signed can no longer start playback.'))
    await rotate('emergency');
});
onClick('cancel', 'keys-problem', async () => {
  await call('DELETE', `/v1/key-pairs/rotations/${rotation.id}`);
  await refreshKeys();
});
onClick('copy', 'mint-problem', () => navigator.clipboard.writeText(minted.playbackUrl));
onClick('inspect-token', 'inspect-problem', () => {
  $('pasted').value = minted.token;
  return inspect({ token: minted.token });
});
onSubmit('metadata-form', 'metadata-problem', putMetadata);
onSubmit('inspect-form', 'inspect-problem', () => inspect(recognise($('pasted').value)));
$('stop').addEventListener('click', () => watching?.end());
document.addEventListener('visibilitychange', () => !document.hidden && void refreshKeys().catch(() => {}));
void act($('channels-again'), 'mint-problem', loadChannels);
void refreshKeys().catch((error) => showProblem('keys-problem', error));
