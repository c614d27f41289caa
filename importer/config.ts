/** From a worker's environment and mounts to a request: the only place of the importer that reads them. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { parsePodEnv, workerPaths } from '../src/api/podenv.ts'
import type { ParsedWorkerEnv } from '../src/api/podenv.ts'
import { CdiError } from '../src/errors.ts'
import { parseQuantity } from '../src/quantity.ts'
import type { ImportRequest, SourceRequest } from './request.ts'
import { parseChecksum } from './sources/checksum.ts'

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
        // CAs of the proxy are trusted for servers too, and the other way round (contract: import §18).
        ca: (await Promise.all([env.certDir, env.proxyCertDir].filter(Boolean).map(readTexts))).flat(),
        insecureSkipVerify: env.insecureTls,
        proxy: { httpProxy: env.httpProxy, httpsProxy: env.httpsProxy, noProxy: env.noProxy },
        ...(env.accessKeyId && env.secretKey
          ? { credentials: { user: env.accessKeyId, password: env.secretKey } }
          : {}),
      }
    default:
      throw new CdiError('CDI_USAGE', `Unknown data source: ${env.source}`)
  }
}

function requestedBytes(quantity: string): number {
  try {
    return parseQuantity(quantity)
  } catch (cause) {
    throw new CdiError('CDI_USAGE', `the size of the claim is no quantity: ${quantity}`, { cause })
  }
}

/** Texts of all files of a mounted ConfigMap or Secret, whatever they are called; dot entries are the kubelet's. */
async function readTexts(directory: string): Promise<string[]> {
  const names = (await readdir(directory)).filter((name) => !name.startsWith('.')).sort()
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
