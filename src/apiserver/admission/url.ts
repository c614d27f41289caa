/**
 * Addresses of sources, as strictly as the existing service reads them (Go's net/url) and no stricter: what is refused here
 * never becomes a DataVolume. WHATWG's parser is of no use, it repairs what it does not understand.
 */

export interface SourceUrl {
  /** Lower case; empty for a path. */
  readonly scheme: string
  /** With user information and port; empty when there is none. */
  readonly authority: string
}

const schemePattern = /^([A-Za-z][A-Za-z0-9+.-]*):/
// oxlint-disable-next-line no-control-regex -- exactly these are refused
const controlCharacters = /[\u0000-\u001f\u007f]/
const badEscape = /%(?![0-9A-Fa-f]{2})/
const hostPattern = /^(\[[0-9A-Fa-f:.%~\w-]+\]|[^\s[\]<>"`{}|\\^:/?#@]*)(:\d*)?$/

/** The parts of a URL or a relative reference; undefined when it is neither. */
export function parseReference(text: string): SourceUrl | undefined {
  if (controlCharacters.test(text)) return undefined
  const scheme = schemePattern.exec(text)?.[1]?.toLowerCase() ?? ''
  if (text.startsWith(':')) return undefined
  const rest = (scheme === '' ? text : text.slice(scheme.length + 1)).split(/[?#]/, 1)[0] ?? ''
  if (!rest.startsWith('/')) {
    if (scheme !== '') return { scheme, authority: '' }
    return (rest.split('/', 1)[0] ?? '').includes(':') ? undefined : { scheme: '', authority: '' }
  }
  if (!rest.startsWith('//')) return badEscape.test(rest) ? undefined : { scheme, authority: '' }
  const authority = rest.slice(2).split('/', 1)[0] ?? ''
  const host = authority.slice(authority.lastIndexOf('@') + 1)
  if (!hostPattern.test(host) || badEscape.test(rest)) return undefined
  return { scheme, authority }
}

/** Like {@link parseReference}, but only for what may stand in a request line: a URL or an absolute path. */
export function parseRequestUri(text: string): SourceUrl | undefined {
  const url = parseReference(text)
  return url && (url.scheme !== '' || text.startsWith('/')) ? url : undefined
}
