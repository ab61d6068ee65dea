// @ts-check
/** Reads viewer tokens, and says what each claim means. Proves nothing: the service inspects. */

/** What IVS makes of each claim, by name. */
const MEANINGS = {
  'aws:channel-arn': () => 'Plays this channel and no other.',
  'aws:access-control-allow-origin': () =>
    'Only pages of these origins may read the multivariant playlist. Binds browsers alone, unless strict.',
  'aws:strict-origin-enforcement': () =>
    'The origin is checked on playlists and segments, too, and every player must send one.',
  'aws:single-use-uuid': () =>
    'Starts playback once. A second fetch of the multivariant playlist is refused.',
  'aws:viewer-id': () => 'The viewer, so that the session can be revoked. No personal data belongs here.',
  'aws:viewer-session-version': (/** @type {number} */ value) =>
    `Revoking this version or a later one ends the session. As an instant: ${instant(value)}.`,
  'aws:maximum-resolution': () =>
    'Higher renditions are left out: SD is up to 480p, HD up to 720p, FULL_HD up to 1080p.',
  exp: (/** @type {number} */ value) =>
    `Playback must start before ${instant(value)}. What plays then plays on.`,
};

/**
 * @param {string} token
 * @returns {{ header: any, claims: any } | null}
 */
export function decode(token) {
  const [header, claims] = token.split('.').map(part);
  return header && claims ? { header, claims } : null;
}

/**
 * @param {Record<string, unknown>} claims
 * @returns {{ claim: string, value: string, meaning: string }[]}
 */
export function explain(claims) {
  return Object.entries(claims).map(([claim, value]) => {
    const meaning = /** @type {Record<string, (value: any) => string>} */ (MEANINGS)[claim];
    return {
      claim,
      value: typeof value === 'string' ? value : JSON.stringify(value),
      meaning: meaning ? meaning(value) : 'IVS does not know this claim.',
    };
  });
}

/**
 * What somebody pasted, as the member of `POST /v1/tokens/inspect` that takes it.
 *
 * @param {string} text
 * @returns {{ token: string } | { playbackUrl: string } | { edgeError: string }}
 */
export function recognise(text) {
  const trimmed = text
    .trim()
    .replace(/^Bearer\s+/i, '')
    .replace(/^(["'`])(.*)\1$/s, '$2');
  // "Copy as cURL" of a browser: the first URL is the one that was asked.
  const copied = /^curl\b[^]*?(https?:\/\/[^\s'"^]+)/.exec(trimmed);
  if (copied) return { playbackUrl: copied[1] };
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed)) return { playbackUrl: trimmed };
  if (/^[[{<]/.test(trimmed) || /\s/.test(trimmed) || /^forbidden$/i.test(trimmed))
    return { edgeError: text.trim() };
  return { token: trimmed };
}

/** @param {string} text */
function part(text) {
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) =>
      c.charCodeAt(0),
    );
    const value = JSON.parse(new TextDecoder().decode(bytes));
    return typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}

/** @param {number} seconds */
function instant(seconds) {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? 'none' : date.toLocaleString();
}
