/**
 * Source S3. The AWS SDK finds credentials and signs (s3/aws.ts); the bytes come as from any web server (http.ts): by
 * ranges over several connections, resumed after cuts, every range tied to the version by If-Match.
 *
 * s3/address.ts    which object, and where it lies
 * s3/settings.ts   whether credentials are configured
 * s3/authority.ts  signatures, and what heals a refusal
 * s3/aws.ts        the SDK
 * s3/transport.ts  how the SDK gets to token services
 * s3/refusal.ts    what refusals mean
 */
import { CdiError, prefixError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import type { S3Request } from '../request.ts'
import type { Clock } from './clock.ts'
import { openHttp } from './http.ts'
import type { Explain } from './http/status.ts'
import type { PatienceLimits } from './resumable.ts'
import { defaultRegion, inRegion, isAmazon, objectUrl, parseS3Address } from './s3/address.ts'
import type { S3Address } from './s3/address.ts'
import { S3Authority } from './s3/authority.ts'
import type { Identity } from './s3/authority.ts'
import type { AccessKeys, Aws } from './s3/aws.ts'
import { explainS3, isExpiry } from './s3/refusal.ts'
import { mayUseMachineRole, tellsOfCredentials } from './s3/settings.ts'
import type { Environment } from './s3/settings.ts'
import type { Source } from './source.ts'

export interface S3Options {
  readonly request: S3Request
  readonly log: Log
  /** Where it is looked for settings of AWS. What the SDK then reads is this process' own environment. */
  readonly environment?: Environment
  readonly clock?: Clock
  /** Time of day in milliseconds since 1970, for signatures. */
  readonly timeOfDay?: () => number
  readonly random?: () => number
  readonly patience?: PatienceLimits
}

/** A store that names one region after the other does not know what it wants. */
const mostRegions = 3

/**
 * Opens an object. Throws CDI_USAGE for an address and CDI_CREDENTIALS_INVALID for credentials that make no sense, else
 * what openHttp throws, or CDI_SOURCE_ARCHIVED, with `could not get s3 object: "bucket/key": ` in front.
 */
export async function openS3(options: S3Options, signal: AbortSignal): Promise<Source> {
  const address = parseS3Address(options.request)
  const keys = givenKeys(options.request)
  try {
    return await openObject(options, address, keys, signal)
  } catch (error) {
    signal.throwIfAborted()
    throw prefixError(`could not get s3 object: ${JSON.stringify(`${address.bucket}/${address.key}`)}`, error)
  }
}

/** Both empty is none. Secrets made from files often end with a line feed, which no key contains. */
function givenKeys({ credentials }: S3Request): AccessKeys | undefined {
  const accessKeyId = credentials?.accessKeyId.trim() ?? ''
  const secretAccessKey = credentials?.secretAccessKey.trim() ?? ''
  if (accessKeyId === '' && secretAccessKey === '') return undefined
  if (accessKeyId === '' || secretAccessKey === '') {
    const empty = accessKeyId === '' ? 'accessKeyId' : 'secretKey'
    throw new CdiError('CDI_CREDENTIALS_INVALID', `the credentials for S3 are half a pair: their ${empty} is empty`)
  }
  return { accessKeyId, secretAccessKey }
}

async function openObject(
  options: S3Options,
  address: S3Address,
  keys: AccessKeys | undefined,
  signal: AbortSignal,
): Promise<Source> {
  const { request, log, environment = process.env, timeOfDay = Date.now, clock, random, patience } = options
  let loading: Promise<Aws> | undefined
  const loadAws = (): Promise<Aws> =>
    (loading ??= import('./s3/aws.ts').then((module) => module.loadAws({ keys, access: request, log })))

  let url = await locate(address, loadAws)
  const identity = keys === undefined ? await identityOf(environment, url) : 'keys'
  const authority = new S3Authority({ identity, loadAws, timeOfDay, log })
  const explain: Explain = (answer, body) => {
    const refusal = explainS3(answer, body, authority)
    if (refusal !== undefined && isExpiry(refusal)) authority.expired()
    return refusal
  }
  const unsigned = authority.anonymous && address.endpoint !== undefined
  authority.region = address.region ?? (unsigned ? defaultRegion : await (await loadAws()).region())
  const tried = new Set<string>()
  for (;;) {
    tried.add(authority.region)
    try {
      return await openHttp(
        {
          url: url.href,
          authority,
          guard: 'If-Match',
          explain,
          followRedirects: false,
          headers: [],
          secretHeaders: [],
          ca: request.ca,
          insecureSkipVerify: request.insecureSkipVerify,
          proxy: request.proxy,
          log,
          ...(clock === undefined ? {} : { clock }),
          ...(random === undefined ? {} : { random }),
          ...(patience === undefined ? {} : { patience }),
        },
        signal,
      )
    } catch (error) {
      const region = error instanceof CdiError ? error.details['region'] : undefined
      if (typeof region !== 'string' || tried.has(region) || tried.size === mostRegions) throw error
      log.info({ bucket: address.bucket, region }, 'the bucket is in another region, asking there')
      authority.region = region
      url = await locate(inRegion(address, region), loadAws)
    }
  }
}

/** The SDK is loaded only if its settings are needed. */
async function locate(address: S3Address, loadAws: () => Promise<Aws>): Promise<URL> {
  const { endpoint } = address
  if (endpoint !== undefined) return objectUrl({ ...address, endpoint })
  const aws = await loadAws()
  return aws.objectUrl(address, address.region ?? (await aws.region()))
}

async function identityOf(environment: Environment, url: URL): Promise<Identity> {
  if (await tellsOfCredentials(environment)) return 'settings'
  return isAmazon(url) && mayUseMachineRole(environment) ? 'machine' : 'none'
}
