/** Which URL a GCS address means (contract: import §10). */
import { CdiError } from '../../../src/errors.ts'
import { encodeKey, encodePart, troubleWithKey } from '../object-key.ts'

export interface GcsAddress {
  readonly url: URL
  /** The store is Google's, or says that it behaves like it; otherwise it may be any web server. */
  readonly google: boolean
}

const googleHost = 'storage.googleapis.com'

/**
 * `gs://bucket/object…` is taken literally, as Google's programs do, and is with Google, or where STORAGE_EMULATOR_HOST
 * says. http(s) URLs stay as they are. Throws CDI_USAGE.
 */
export function parseGcsAddress(
  text: string,
  environment: Readonly<Record<string, string | undefined>> = {},
): GcsAddress {
  const { bucket, key } = /^gs:\/\/(?<bucket>[^/]*)\/?(?<key>.*)$/is.exec(text.trim())?.groups ?? {}
  if (bucket === undefined || key === undefined) return webAddress(text.trim())
  if (!/^[a-z0-9][\w.-]{1,221}$/i.test(bucket)) throw unusable('it names no bucket; write gs://bucket/object')
  const trouble = troubleWithKey(key)
  if (trouble !== undefined) throw unusable(`${trouble}; write gs://bucket/object`)
  const origin = emulator(environment['STORAGE_EMULATOR_HOST']) ?? `https://${googleHost}`
  return { url: new URL(`${origin}/${encodePart(bucket)}/${encodeKey(key)}`), google: true }
}

function webAddress(text: string): GcsAddress {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol)) throw unusable('it is neither gs:// nor http(s)://')
  if (url.pathname === '/') throw unusable('it names no object; write http(s)://host/bucket/object')
  return { url, google: url.hostname === googleHost || url.hostname.endsWith(`.${googleHost}`) }
}

/** `host:port`, or a URL. */
function emulator(value: string | undefined): string | undefined {
  if (!value) return undefined
  const url = URL.parse(value.includes('://') ? value : `http://${value}`)
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new CdiError('CDI_USAGE', 'STORAGE_EMULATOR_HOST is neither host:port nor an http(s) URL')
  }
  return url.origin
}

function unusable(text: string): CdiError {
  // The URL may hold a secret, so it is not quoted.
  return new CdiError('CDI_USAGE', `the address of the GCS object cannot be used: ${text}`)
}
