/**
 * What the AWS SDK is used for: to find credentials, region and endpoint where its users keep them, and to sign. The
 * requests themselves go over our own connections. Loading it takes 100 ms and 20 to 35 MB, so this module is imported only when
 * something is to be signed or looked up; a signature then takes 0.1 ms.
 */
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { CdiError } from '../../../src/errors.ts'
import type { Log } from '../../../src/log.ts'
import type { Access } from '../../request.ts'
import type { AuthorityRequest } from '../http/client.ts'
import type { HeaderLine } from '../http/head.ts'
import { defaultRegion, isAmazon } from './address.ts'
import { sdkTransport } from './transport.ts'

export interface AccessKeys {
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

export interface AwsOptions {
  /** Given outright; absent: the SDK looks for credentials in the variables and files of this process. */
  readonly keys?: AccessKeys | undefined
  readonly access: Access
  readonly log: Log
}

export interface Signing {
  readonly method: AuthorityRequest['method']
  readonly url: URL
  readonly region: string
  readonly date: Date
}

export interface Aws {
  /** Of the settings (AWS_REGION, profile), else Amazon's first. */
  region(): Promise<string>
  /** Where the settings say that this object of an `s3://` URL lies, if its bucket is in `region`. */
  objectUrl(object: { readonly bucket: string; readonly key: string }, region: string): Promise<URL>
  /** Headers that prove who asks, good for a quarter of an hour. Throws what {@link credentialsFault} says. */
  sign(signing: Signing): Promise<HeaderLine[]>
  /** Gets credentials anew although the present ones have not expired. */
  renew(): Promise<void>
}

/** The SDK's chatter would show whole requests; what matters comes as errors. */
const mute = { trace: () => {}, debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

/** For clients that are only asked where something is. */
const noKeys: AccessKeys = { accessKeyId: '-', secretAccessKey: '-' }

export async function loadAws({ keys, access, log }: AwsOptions): Promise<Aws> {
  const common = { requestHandler: sdkTransport({ access, log }), logger: mute }
  const region = (): Promise<string> =>
    new S3Client({ ...common, credentials: noKeys }).config.region().catch(() => defaultRegion)
  // The client's own region is that of the token service; signatures get theirs one by one.
  const client = new S3Client(
    keys === undefined
      ? { ...common, region: await region() }
      : { ...common, region: defaultRegion, credentials: keys },
  )
  const signer = await client.config.signer()
  return {
    region,
    async objectUrl(object, inRegion) {
      const found = await endpointUrl(new S3Client({ ...common, credentials: noKeys, region: inRegion }), object)
      // Few other stores know a name for each bucket.
      const pathStyle = { ...common, credentials: noKeys, region: inRegion, forcePathStyle: true }
      return isAmazon(found) ? found : endpointUrl(new S3Client(pathStyle), object)
    },
    async sign({ method, url, region: signingRegion, date }) {
      const request = {
        method,
        protocol: url.protocol,
        hostname: url.hostname,
        ...(url.port === '' ? {} : { port: Number(url.port) }),
        path: url.pathname,
        query: Object.fromEntries(url.searchParams),
        headers: { host: url.host },
      }
      try {
        const signed = await signer.sign(request, { signingDate: date, signingRegion, signingService: 's3' })
        return Object.entries(signed.headers).filter(([name]) => name !== 'host')
      } catch (error) {
        throw credentialsFault(error)
      }
    },
    async renew() {
      try {
        await client.config.credentials({ forceRefresh: true })
      } catch (error) {
        throw credentialsFault(error)
      }
    },
  }
}

/** The SDK's way to a URL ends before anything is signed or sent. */
async function endpointUrl(client: S3Client, object: { bucket: string; key: string }): Promise<URL> {
  const command = new GetObjectCommand({ Bucket: object.bucket, Key: object.key })
  const found = Promise.withResolvers<URL>()
  command.middlewareStack.add(
    () => (args) => {
      const { protocol, hostname, port, path } = args.request as SdkPlace
      found.resolve(new URL(`${protocol}//${hostname}${port === undefined ? '' : `:${port}`}${path}`))
      return Promise.resolve({ response: undefined, output: { $metadata: {} } })
    },
    { step: 'build', priority: 'high', name: 'cdiEndpoint' },
  )
  try {
    await client.send(command)
  } catch (cause) {
    throw new CdiError('CDI_USAGE', `S3 cannot be found by the settings for AWS: ${textOf(cause)}`, { cause })
  }
  return found.promise
}

interface SdkPlace {
  readonly protocol: string
  readonly hostname: string
  readonly port?: number
  readonly path: string
}

/** Faults of our connections as they are; a refusal of the token service may heal, a setting that is wrong does not. */
function credentialsFault(error: unknown): CdiError {
  if (error instanceof CdiError) return error
  const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode
  if (status !== undefined) {
    return new CdiError('CDI_SOURCE_STATUS', `no credentials from AWS: ${textOf(error)}`, {
      cause: error,
      details: { status },
    })
  }
  return new CdiError(
    'CDI_CREDENTIALS_INVALID',
    `no credentials from the settings for AWS (AWS_PROFILE and other variables, files in ~/.aws): ${textOf(error)}`,
    { cause: error },
  )
}

function textOf(error: unknown): string {
  const { name, message } = error instanceof Error ? error : { name: 'Error', message: String(error) }
  const text = name === 'Error' || name === 'CredentialsProviderError' ? message : `${name}: ${message}`
  return text.replaceAll(/\s+/g, ' ').slice(0, 400)
}
