// @ts-check
/** Decodes viewer tokens and explains their claims. It does not verify them; the service does. */

/** The meaning of each claim for IVS, by name. */
const MEANINGS = {
  'aws:channel-arn': () => 'The token plays only this channel.',
  'aws:access-control-allow-origin': () =>
    'Only pages of these origins may read the multivariant playlist. Without strict enforcement, this applies only to browsers.',
  'aws:strict-origin-enforcement': () =>
    'The origin is also checked for variant playlists and segments, and every player must send one.',
  'aws:single-use-uuid': () =>
    'The token starts playback once. IVS refuses a second request for the multivariant playlist.',
  'aws:viewer-id': () => 'The viewer, so that the session can be revoked. It must not contain personal data.',
  'aws:viewer-session-version': (/** @type {number} */ value) =>
    `A revocation of this version or a later one ends the session. As a time: ${instant(value)}.`,
  'aws:maximum-resolution': () =>
    'Higher renditions are omitted. SD is up to 480p, HD up to 720p, and FULL_HD up to 1080p.',
  exp: (/** @type {number} */ value) =>
    `Playback must start before ${instant(value)}. A player that is already playing continues.`,
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
 * Returns pasted text as the matching member of `POST /v1/tokens/inspect`.
 *
 * @param {string} text
 * @returns {{ token: string } | { playbackUrl: string } | { edgeError: string }}
 */
export function recognise(text) {
  const trimmed = text
    .trim()
    .replace(/^Bearer\s+/i, '')
    .replace(/^(["'`])(.*)\1$/s, '$2');
  // "Copy as cURL" of a browser: the first URL is the one that was requested.
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
