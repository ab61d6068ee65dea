// @ts-check
/** Parses HLS playlists (RFC 8216), as far as a live stream of fragmented MP4 needs it. */

/**
 * @typedef {object} Variant
 * @property {string} url
 * @property {number} bandwidth Bits per second.
 * @property {number} height
 * @property {string} codecs
 *
 * @typedef {object} Segment
 * @property {number} sequence
 * @property {string} url
 * @property {number} duration Seconds.
 * @property {string} map The URL of its initialisation section.
 * @property {number} at When it was recorded, in milliseconds since 1970; NaN if the playlist does not say.
 *
 * @typedef {object} DateRange
 * @property {string} id
 * @property {number} at Milliseconds since 1970.
 * @property {Record<string, string>} attributes
 *
 * @typedef {object} MediaPlaylist
 * @property {number} targetDuration Seconds.
 * @property {boolean} ended
 * @property {Segment[]} segments
 * @property {DateRange[]} dateRanges
 */

/**
 * @param {string} text
 * @param {string} base
 * @returns {Variant[]} The highest bandwidth first.
 */
export function readMultivariant(text, base) {
  const variants = [];
  let pending = null;
  for (const line of lines(text)) {
    if (line.startsWith('#EXT-X-STREAM-INF:')) pending = attributes(line);
    else if (pending && !line.startsWith('#')) {
      variants.push({
        url: new URL(line, base).href,
        bandwidth: Number(pending.BANDWIDTH ?? 0),
        height: Number(pending.RESOLUTION?.split('x')[1] ?? 0),
        codecs: pending.CODECS ?? '',
      });
      pending = null;
    }
  }
  return variants.sort((a, b) => b.bandwidth - a.bandwidth);
}

/**
 * @param {string} text
 * @param {string} base
 * @returns {MediaPlaylist}
 */
export function readMedia(text, base) {
  /** @type {MediaPlaylist} */
  const playlist = { targetDuration: 2, ended: false, segments: [], dateRanges: [] };
  let sequence = 0;
  let duration = 0;
  let map = '';
  let at = NaN;
  for (const line of lines(text)) {
    const [tag, value] = split(line);
    if (tag === '#EXT-X-TARGETDURATION') playlist.targetDuration = Number(value);
    else if (tag === '#EXT-X-MEDIA-SEQUENCE') sequence = Number(value);
    else if (tag === '#EXT-X-ENDLIST') playlist.ended = true;
    else if (tag === '#EXT-X-MAP') map = new URL(attributes(line).URI ?? '', base).href;
    else if (tag === '#EXT-X-PROGRAM-DATE-TIME') at = Date.parse(value);
    else if (tag === '#EXTINF') duration = Number.parseFloat(value);
    else if (tag === '#EXT-X-DATERANGE') {
      const found = attributes(line);
      playlist.dateRanges.push({
        id: found.ID ?? '',
        at: Date.parse(found['START-DATE'] ?? ''),
        attributes: found,
      });
    } else if (!line.startsWith('#')) {
      playlist.segments.push({ sequence, url: new URL(line, base).href, duration, map, at });
      sequence += 1;
      at += duration * 1000;
    }
  }
  return playlist;
}

/** @param {string} text */
function lines(text) {
  return text.split(/\r?\n/).filter((line) => line !== '');
}

/**
 * @param {string} line
 * @returns {[string, string]}
 */
function split(line) {
  const colon = line.indexOf(':');
  return colon < 0 ? [line, ''] : [line.slice(0, colon), line.slice(colon + 1)];
}

/**
 * @param {string} line
 * @returns {Record<string, string>}
 */
function attributes(line) {
  /** @type {Record<string, string>} */
  const found = {};
  for (const [, name, quoted, plain] of split(line)[1].matchAll(/([A-Z0-9-]+)=(?:"([^"]*)"|([^",]*))/g)) {
    found[name] = quoted ?? plain ?? '';
  }
  return found;
}
