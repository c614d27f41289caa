/**
 * The environment of an upload server pod: the controller renders it, the pod parses it, both from this one table. Names
 * are those that clients see today (contract/observed/upload-qcow2.yaml); those below the line are ours.
 */
import type { ContentType } from './podenv.ts'
import type { EnvVar } from './podenv.ts'

/** What an upload server is told. Every value is a plain string; `''` means not given. */
export interface UploadServerEnv {
  readonly tlsKeyFile: string
  readonly tlsCertFile: string
  /** PEM bundle that client certificates are verified against. */
  readonly clientCaFile: string
  /** Share of the volume that its file system takes, e.g. `0.06`; `0` for block volumes. */
  readonly filesystemOverhead: string
  /** Storage request of the claim as a Kubernetes quantity. */
  readonly imageSize: string
  /** Common name that a client certificate must bear. */
  readonly clientName: string
  readonly preallocation: boolean
  /** OpenSSL names, comma-separated; `''` is Node's default. */
  readonly tlsCiphers: string
  /** `VersionTLS10` … `VersionTLS13`. */
  readonly tlsMinVersion: string
  /** RFC 3339; an idle server ends then. `''` is never. */
  readonly deadline: string
  // --- ours
  readonly contentType: ContentType
  /** `algorithm:hex` of the bytes as uploaded, from the annotation of the claim. */
  readonly checksum: string
  /** What an earlier pod has made durable ({@link UploadResumption} as JSON). */
  readonly resumption: string
  /** The volume is the target of a host-assisted clone: it takes the stream of its cloner, and no uploads. */
  readonly isCloneTarget?: boolean
}

/**
 * What a resumable upload has made durable on the volume: handed from a pod by the controller to the next one, because
 * an emptyDir does not outlive its pod. Ranges are half-open, in bytes of the disk, ordered, not touching.
 */
export interface UploadResumption {
  /** Id of the upload, the last part of its address. */
  readonly id: string
  /** Length of the whole upload; a raw disk, so also that of the disk. Absent while the client has not told it. */
  readonly length?: number
  readonly ranges: readonly (readonly [start: number, end: number])[]
  /** What the client told of the whole, `algorithm:hex`. */
  readonly checksum?: string
  /** RFC 3339: the upload is given up if nothing has come by then. */
  readonly expires: string
  /** Its pieces are sent to `/v1beta1/upload-ranges`, whose client says itself when all is there. */
  readonly byRanges?: boolean
}

/** Whether half-open ranges have the shape, are in order, do not touch, and end at `end` at the latest. */
export function areRangesApart(
  ranges: readonly unknown[],
  end = Number.MAX_SAFE_INTEGER,
): ranges is UploadResumption['ranges'] {
  let before = -1
  for (const range of ranges) {
    if (!Array.isArray(range) || range.length !== 2) return false
    const [start, stop] = range as unknown[]
    if (!isByteCount(start) || !isByteCount(stop) || start <= before || stop <= start || stop > end) return false
    before = stop
  }
  return true
}

/** A number of bytes that JSON has carried whole. */
export function isByteCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

const variables = [
  ['tlsKeyFile', 'TLS_KEY_FILE'],
  ['tlsCertFile', 'TLS_CERT_FILE'],
  ['clientCaFile', 'CLIENT_CERT_FILE'],
  ['filesystemOverhead', 'FILESYSTEM_OVERHEAD'],
  ['imageSize', 'UPLOAD_IMAGE_SIZE'],
  ['clientName', 'CLIENT_NAME'],
  ['preallocation', 'PREALLOCATION'],
  ['tlsCiphers', 'TLS_CIPHERS'],
  ['tlsMinVersion', 'TLS_MIN_VERSION'],
  ['deadline', 'DEADLINE'],
  ['contentType', 'UPLOAD_CONTENT_TYPE'],
  ['checksum', 'UPLOAD_CHECKSUM'],
  ['resumption', 'UPLOAD_RESUMPTION'],
  ['isCloneTarget', 'UPLOAD_CLONE_TARGET'],
] as const satisfies readonly (readonly [keyof UploadServerEnv, string])[]

/** Where the parts of an upload server pod are mounted, besides {@link import('./podenv.ts').workerPaths}. */
export const uploadServerPaths = {
  tlsDirectory: '/etc/tls/',
  tlsKeyFile: '/etc/tls/tls.key',
  tlsCertFile: '/etc/tls/tls.crt',
  clientCaFile: '/etc/tls/ca.crt',
} as const

/** Where an upload server tells its {@link UploadResumption} as JSON (204 if there is none); clients need a certificate. */
export const resumptionPath = '/v1beta1/upload-resumption'

/**
 * Answer header in which an upload server names the fault by its code (`CDI_…` of src/errors.ts), so that a client need
 * not guess from status and text whether trying again makes sense.
 */
export const uploadErrorHeader = 'cdi-error-code'

/**
 * Request headers of uploads in ranges. The first guards a piece: it belongs to the upload of this id and to no other one
 * (410). The second gives the upload an id that the client has chosen (22 base64url characters), if the piece is the first one:
 * two clients of disks of the same length, who begin in the same moment, are told apart by it (409). The third says that the
 * range of `Content-Range` is all zeros, which are not sent.
 */
export const rangesUploadIdHeader = 'cdi-upload-id'
export const rangesBeginHeader = 'cdi-upload-begin'
export const rangesZerosHeader = 'cdi-zeros'

/** Answer header of tus that tells how far the volume is: `open`, `processing` or `done`. */
export const uploadStateHeader = 'cdi-upload-state'

/** The port of upload servers and of their Services. */
export const uploadServerPort = 8443

/** Common name of the certificate with which the proxy comes. */
export const uploadProxyClientName = 'client.upload-server.cdi.kubevirt.io'

/** The `env` of an upload server's container; what is not told at all has no entry. */
export function renderUploadEnv(env: UploadServerEnv): EnvVar[] {
  return variables.flatMap(([field, name]) => {
    if (env[field] === undefined) return []
    const value = String(env[field])
    return [value === '' ? { name } : { name, value }]
  })
}

/** Reads an upload server's environment; unknown content types count as `kubevirt`. */
export function parseUploadEnv(environment: Readonly<Record<string, string | undefined>>): UploadServerEnv {
  const text = Object.fromEntries(variables.map(([field, name]) => [field, environment[name] ?? ''])) as Record<
    keyof UploadServerEnv,
    string
  >
  return {
    ...text,
    contentType: text.contentType === 'archive' ? 'archive' : 'kubevirt',
    preallocation: text.preallocation === 'true',
    isCloneTarget: text.isCloneTarget === 'true',
  }
}
