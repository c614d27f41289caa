/** From a worker's environment and mounts to a request: the only place of the importer that reads them. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { parsePodEnv, workerPaths } from '../src/api/podenv.ts'
import type { ParsedWorkerEnv } from '../src/api/podenv.ts'
import { CdiError } from '../src/errors.ts'
import { parseQuantity } from '../src/quantity.ts'
import type { Access, ImportRequest, SourceRequest } from './request.ts'
import { parseChecksum } from './sources/checksum.ts'

/** The key that the Secret of a gcs source must have (contract: import §10). */
const googleKeyFile = 'credentials.json'

export interface WorkerConfig {
  readonly request: ImportRequest
  /** UID that the progress metric is labelled with. */
  readonly ownerUid: string
}

export interface WorkerPaths {
  readonly dataDirectory: string
  readonly blockDevice: string
  readonly scratchDirectory: string
  readonly extraHeadersDirectory: string
  readonly googleDirectory: string
}

/**
 * Reads what the controller has told this pod. Throws CDI_USAGE for values that make no sense and CDI_CHECKSUM_INVALID
 * for a checksum that is none.
 */
export async function loadWorkerConfig(
  environment: Readonly<Record<string, string | undefined>>,
  paths: WorkerPaths = workerPaths,
): Promise<WorkerConfig> {
  const env = parsePodEnv(environment)
  const block = await exists(paths.blockDevice)
  const scratch = await exists(paths.scratchDirectory)
  const targetPath = block
    ? paths.blockDevice
    : env.contentType === 'archive'
      ? paths.dataDirectory
      : join(paths.dataDirectory, 'disk.img')
  return {
    ownerUid: env.ownerUid,
    request: {
      source: await sourceOf(env, paths),
      contentType: env.contentType,
      targetPath,
      filesystemOverhead: block ? '0' : env.filesystemOverhead || '0',
      resize: !block,
      preallocate: env.preallocation,
      directIo: env.cacheMode === 'TRYNONE',
      ...(env.imageSize === '' ? {} : { requestedBytes: requestedBytes(env.imageSize) }),
      ...(env.checksum === '' ? {} : { checksum: parseChecksum(env.checksum) }),
      ...(scratch ? { scratchDirectory: paths.scratchDirectory } : {}),
    },
  }
}

async function sourceOf(env: ParsedWorkerEnv, paths: WorkerPaths): Promise<SourceRequest> {
  switch (env.source) {
    case 'none':
      return { type: 'blank' }
    case 'http':
      return {
        type: 'http',
        url: env.endpoint,
        headers: env.extraHeaders,
        secretHeaders: await readNested(paths.extraHeadersDirectory),
        ...(await accessOf(env)),
        ...keys(env, (user, password) => ({ credentials: { user, password } })),
      }
    case 'registry':
      if (env.pullMethod === 'node') {
        return { type: 'containerDisk', readyFile: env.readyFile, doneFile: env.doneFile }
      }
      return {
        type: 'registry',
        url: env.endpoint,
        ...(await accessOf(env, isCertificateFile)),
        ...(env.registryImageArchitecture ? { architecture: env.registryImageArchitecture } : {}),
        ...keys(env, (user, password) => ({ credentials: { user, password } })),
      }
    case 's3':
      return {
        type: 's3',
        url: env.endpoint,
        ...(await accessOf(env)),
        // Half a pair is a mistake, which the source tells; it must not end in anonymous requests.
        ...(env.accessKeyId || env.secretKey
          ? { credentials: { accessKeyId: env.accessKeyId, secretAccessKey: env.secretKey } }
          : {}),
      }
    case 'gcs':
      return {
        type: 'gcs',
        url: env.endpoint,
        ...(await accessOf(env)),
        ...(await googleKey(paths.googleDirectory)),
      }
    default:
      throw new CdiError('CDI_USAGE', `Unknown data source: ${env.source}`)
  }
}

/** CAs of the proxy are trusted for servers too, and the other way round (contract: import §18). */
async function accessOf(env: ParsedWorkerEnv, isWanted: (name: string) => boolean = () => true): Promise<Access> {
  const directories = [env.certDir, env.proxyCertDir].filter(Boolean)
  const texts = await Promise.all(directories.map((directory) => readTexts(directory, isWanted)))
  return {
    ca: texts.flat(),
    insecureSkipVerify: env.insecureTls,
    proxy: { httpProxy: env.httpProxy, httpsProxy: env.httpsProxy, noProxy: env.noProxy },
  }
}

/** For registries other names do not count (contract: import §11), unlike for web servers. */
function isCertificateFile(name: string): boolean {
  return name.endsWith('.crt') || name.endsWith('.pem')
}

/** Credentials, if both halves are there. */
function keys<T>({ accessKeyId, secretKey }: ParsedWorkerEnv, make: (first: string, second: string) => T): T | object {
  return accessKeyId && secretKey ? make(accessKeyId, secretKey) : {}
}

async function googleKey(directory: string): Promise<{ serviceAccount?: string }> {
  if (!(await exists(directory))) return {}
  try {
    return { serviceAccount: await readFile(join(directory, googleKeyFile), 'utf8') }
  } catch (cause) {
    throw new CdiError('CDI_CREDENTIALS_INVALID', `the secret of the source has no key ${googleKeyFile}`, { cause })
  }
}

function requestedBytes(quantity: string): number {
  try {
    return parseQuantity(quantity)
  } catch (cause) {
    throw new CdiError('CDI_USAGE', `the size of the claim is no quantity: ${quantity}`, { cause })
  }
}

/** Texts of the files of a mounted ConfigMap or Secret; dot entries are the kubelet's. */
async function readTexts(directory: string, isWanted: (name: string) => boolean = () => true): Promise<string[]> {
  const names = (await readdir(directory)).filter((name) => !name.startsWith('.') && isWanted(name)).sort()
  return Promise.all(names.map((name) => readFile(join(directory, name), 'utf8')))
}

/** Header lines of all mounted header Secrets: each value of each Secret is one line. */
async function readNested(directory: string): Promise<string[]> {
  if (!(await exists(directory))) return []
  const mounts = (await readdir(directory)).sort((a, b) => Number(a) - Number(b))
  const texts = await Promise.all(mounts.map((mount) => readTexts(join(directory, mount))))
  return texts.flat().map((line) => line.trim())
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch {
    return false
  }
}
