/**
 * Which object an S3 URL means, and where it lies as far as the URL says it (contract: import §9).
 *
 * http(s)://host[:port]/bucket/key…   path style, whatever the host; percent-decoded, as URLs are
 * https://bucket.s3.region.amazonaws.com/key…   Amazon's virtual-hosted style
 * s3://bucket/key…                    taken literally, as the AWS programs do; the endpoint is told elsewhere
 * s3://host:port/bucket/key…          the same as https (so did the Go importer read it), Amazon's hosts too
 */
import { CdiError } from '../../../src/errors.ts'
import { encodeKey, encodePart, troubleWithKey } from '../object-key.ts'

export interface S3Address {
  readonly bucket: string
  readonly key: string
  /** Scheme, host, port and perhaps a prefix of the path; absent: the ecosystem's settings decide. */
  readonly endpoint?: URL
  /** The host name names the bucket already. */
  readonly virtualHosted: boolean
  /** To sign for; absent: the ecosystem's settings decide. */
  readonly region?: string
  /** `versionId` of the URL's query. */
  readonly version?: string
}

/** Where buckets are when nobody says so. */
export const defaultRegion = 'us-east-1'

/** Hosts of Amazon: bucket in front or not, FIPS, acceleration, dual stack, old names with a dash. */
const amazon =
  /^(?:(?<bucket>.+)\.)?(?<service>s3(?:-fips|-accelerate)?(?:\.dualstack)?)(?:[.-](?<region>[a-z]{2}(?:-[a-z]+)+-\d+|external-1))?\.(?<suffix>(?:vpce\.)?amazonaws\.com(?:\.cn)?)$/

interface AmazonHost {
  /** What stands in front of the service, if anything. */
  readonly before: string | undefined
  readonly service: string
  readonly region: string | undefined
  readonly suffix: string
}

function amazonHost(host: string): AmazonHost | undefined {
  const parts = amazon.exec(host.toLowerCase())?.groups
  if (parts === undefined) return undefined
  const { bucket: before, service = '', region, suffix = '' } = parts
  return { before, service, region: region === 'external-1' ? undefined : region, suffix }
}

/** True for hosts that belong to Amazon, where instances may have a role and regions stand in host names. */
export function isAmazon(url: URL): boolean {
  return amazonHost(url.hostname) !== undefined
}

/** Reads the URL of a request. Throws CDI_USAGE. */
export function parseS3Address({ url, endpoint }: { url: string; endpoint?: string | undefined }): S3Address {
  const parts = /^(?<scheme>s3|https?):\/\/(?<authority>[^/?#]*)(?<path>\/.*)?$/is.exec(url.trim())?.groups
  if (parts === undefined) throw unusable('it is neither http(s)://host/bucket/key nor s3://bucket/key')
  const { authority = '', path = '' } = parts
  const scheme = (parts['scheme'] ?? '').toLowerCase()
  if (scheme !== 's3') return parseWebAddress(`${scheme}://${authority}`, path)
  if (authority.includes(':') || amazon.test(authority)) return parseWebAddress(`https://${authority}`, path)
  const place = endpoint === undefined ? undefined : parseOrigin(endpoint, 'the endpoint of S3')
  const region = place && amazonHost(place.hostname)?.region
  return checked({
    bucket: authority,
    key: path.slice(1),
    virtualHosted: false,
    ...(place === undefined ? {} : { endpoint: place }),
    ...(region === undefined ? {} : { region }),
  })
}

function parseWebAddress(origin: string, text: string): S3Address {
  const endpoint = parseOrigin(origin, 'the address of the source')
  // By hand, since URL would take a/../b for b, and keys may contain a backslash.
  const { path = '', query = '' } = /^(?<path>[^?#]*)(?:\?(?<query>[^#]*))?/.exec(text)?.groups ?? {}
  const decoded = decodePath(path.slice(1))
  const version = new URLSearchParams(query).get('versionId')
  const host = amazonHost(endpoint.hostname)
  const virtualHosted = host?.before !== undefined && !host.suffix.startsWith('vpce')
  const slash = decoded.indexOf('/')
  const object = virtualHosted
    ? { bucket: host.before, key: decoded }
    : { bucket: decoded.slice(0, Math.max(slash, 0)), key: slash === -1 ? '' : decoded.slice(slash + 1) }
  return checked({
    ...object,
    endpoint,
    virtualHosted,
    region: host === undefined ? firstLabel(endpoint) : (host.region ?? defaultRegion),
    ...(version ? { version } : {}),
  })
}

function parseOrigin(text: string, what: string): URL {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol)) throw new CdiError('CDI_USAGE', `${what} is not an http(s) URL`)
  if (url.username !== '' || url.password !== '') {
    throw new CdiError('CDI_USAGE', `${what} holds credentials; S3 takes access keys from a secret, not from the URL`)
  }
  return url
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch (cause) {
    throw unusable('it has a % that begins no UTF-8 escape; write %25 for a percent sign', cause)
  }
}

/** The Go importer signs for the first label of the host's name. */
function firstLabel({ hostname }: URL): string {
  const [label = ''] = hostname.toLowerCase().split('.', 1)
  return isRegion(label) ? label : defaultRegion
}

function checked(address: S3Address): S3Address {
  const { bucket, key } = address
  if (!/^[\w.-]{1,255}$/.test(bucket)) throw unusable('it names no bucket; write …/bucket/key or s3://bucket/key')
  const trouble = troubleWithKey(key)
  if (trouble !== undefined) throw unusable(trouble)
  return address
}

function unusable(text: string, cause?: unknown): CdiError {
  // The URL may hold a secret, so it is not quoted.
  return new CdiError('CDI_USAGE', `the address of the S3 object cannot be used: ${text}`, { cause })
}

/** True for what may stand in a signature and in a host name. */
export function isRegion(text: string): boolean {
  return /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text)
}

/** The same object asked for in another region: the name of Amazon's host changes with it, any other host stays. */
export function inRegion(address: S3Address, region: string): S3Address {
  if (address.endpoint === undefined) return { ...address, region }
  const endpoint = new URL(address.endpoint)
  const host = amazonHost(endpoint.hostname)
  // Accelerated hosts are the same everywhere, private ones belong to a region.
  if (host !== undefined && !host.service.includes('accelerate') && !host.suffix.startsWith('vpce')) {
    const before = host.before === undefined ? '' : `${host.before}.`
    endpoint.hostname = `${before}${host.service}.${region}.${host.suffix}`
  }
  return { ...address, endpoint, region }
}

/** The URL to ask for, written as signatures want it. */
export function objectUrl(address: S3Address & { readonly endpoint: URL }): URL {
  const { bucket, key, endpoint, virtualHosted, version } = address
  const path = encodeKey(virtualHosted ? key : `${bucket}/${key}`)
  const url = new URL(`${endpoint.origin}${endpoint.pathname.replace(/\/+$/, '')}/${path}`)
  if (version !== undefined) url.search = `?versionId=${encodePart(version)}`
  return url
}
