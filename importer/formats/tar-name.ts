/** Names of entries are bytes (latin1 strings, one character a byte) that somebody else has chosen. */

const longestShown = 200

/** A name for people: UTF-8 where it is, no control characters, not endless. */
export function shownName(name: string): string {
  return Buffer.from(name.slice(0, longestShown), 'latin1')
    .toString('utf8')
    .replaceAll(/\p{Cc}/gu, '?')
}
