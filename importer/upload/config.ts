/** From the environment and the mounts of an upload server's pod to what it works with; nothing else reads them. */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { ContentType } from '../../src/api/podenv.ts'
import { parseUploadEnv } from '../../src/api/upload-env.ts'
import { CdiError } from '../../src/errors.ts'
import { parseQuantity } from '../../src/quantity.ts'
import { parseTlsProfile } from '../../src/tls-profile.ts'
import type { TlsProfile } from '../../src/tls-profile.ts'
import type { WorkerPaths } from '../config.ts'
import { parseChecksum } from '../sources/checksum.ts'
import type { Checksum } from '../sources/checksum.ts'
import type { Volume } from './transfer.ts'

export type UploadPaths = Pick<WorkerPaths, 'dataDirectory' | 'blockDevice' | 'scratchDirectory'>

/** PEM texts, or the files that hold them. */
export interface ServerIdentity {
  readonly key: string
  readonly cert: string
  /** Authorities of clients. */
  readonly clientCa: string
}

export interface UploadServerConfig {
  readonly volumes: Readonly<Record<ContentType, Volume>>
  readonly contentType: ContentType
  readonly checksums: readonly Checksum[]
  readonly identity: ServerIdentity
  /** Where the identity was read; the kubelet may put another one there. */
  readonly identityFiles: ServerIdentity
  readonly clientName: string
  readonly tls: TlsProfile
  /** Milliseconds since the epoch. */
  readonly deadlineMs?: number
  /** What an earlier pod has made durable, as JSON; empty if there is nothing. */
  readonly resumption: string
  readonly isCloneTarget: boolean
}

/**
 * Reads what the controller has told this pod. Throws CDI_USAGE for values that make no sense, CDI_CHECKSUM_INVALID for
 * a checksum that is none.
 */
export async function loadUploadConfig(
  environment: Readonly<Record<string, string | undefined>>,
  paths: UploadPaths,
): Promise<UploadServerConfig> {
  const env = parseUploadEnv(environment)
  const isBlock = await exists(paths.blockDevice)
  const isClone = env.isCloneTarget ?? false
  const common = {
    filesystemOverhead: isBlock ? '0' : env.filesystemOverhead || '0',
    // A copy is what its source is, as a clone by the storage is.
    resize: !isBlock && !isClone,
    preallocate: env.preallocation,
    directIo: false,
    // A copy may promise as much as its source does; that its data fits shows itself.
    mayOvercommit: isClone && !env.preallocation,
    ...(env.imageSize === '' ? {} : { requestedBytes: sizeOf(env.imageSize) }),
    ...((await exists(paths.scratchDirectory)) ? { scratchDirectory: paths.scratchDirectory } : {}),
  }
  const target = (path: string): string => (isBlock ? paths.blockDevice : path)
  return {
    volumes: {
      kubevirt: { ...common, contentType: 'kubevirt', targetPath: target(join(paths.dataDirectory, 'disk.img')) },
      archive: { ...common, contentType: 'archive', targetPath: target(paths.dataDirectory) },
    },
    contentType: env.contentType,
    checksums: env.checksum === '' ? [] : [parseChecksum(env.checksum)],
    identityFiles: { key: env.tlsKeyFile, cert: env.tlsCertFile, clientCa: env.clientCaFile },
    identity: {
      key: await readText('TLS_KEY_FILE', env.tlsKeyFile),
      cert: await readText('TLS_CERT_FILE', env.tlsCertFile),
      clientCa: await readText('CLIENT_CERT_FILE', env.clientCaFile),
    },
    clientName: env.clientName,
    tls: parseTlsProfile({ ciphers: env.tlsCiphers, minVersion: env.tlsMinVersion }),
    resumption: env.resumption,
    isCloneTarget: isClone,
    ...(env.deadline === '' ? {} : { deadlineMs: timeOf(env.deadline) }),
  }
}

function sizeOf(quantity: string): number {
  try {
    return parseQuantity(quantity)
  } catch (cause) {
    throw new CdiError('CDI_USAGE', `the size of the claim is no quantity: ${quantity}`, { cause })
  }
}

function timeOf(text: string): number {
  const ms = Date.parse(text)
  if (Number.isNaN(ms)) throw new CdiError('CDI_USAGE', `DEADLINE is no time: ${text}`)
  return ms
}

async function readText(variable: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new CdiError('CDI_USAGE', `${variable} cannot be read: ${path}`, { cause })
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch {
    return false
  }
}
