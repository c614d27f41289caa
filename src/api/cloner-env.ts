/**
 * The environment of a clone source pod (role `cloner`) and what stands on the command line of a size detection pod: the
 * controllers render it, the pods parse it, both from these tables. Names are those that clients see today
 * (contract/observed/clone-copy.yaml) where there are any; key and certificates are files and not values, so that they
 * stand in no manifest.
 */
import type { ContentType, EnvVar } from './podenv.ts'

/** What a clone source pod is told. Every value is a plain string; `''` means not given. */
export interface ClonerEnv {
  /** `filesystem`: `source` is the directory that the volume is mounted at. `block`: `source` is the device. */
  readonly volumeMode: 'filesystem' | 'block'
  /** {@link clonerPaths}.mountPoint or {@link clonerPaths}.device. */
  readonly source: string
  readonly contentType: ContentType
  /** Of the upload server of the target: `https://SERVICE.NAMESPACE.svc:8443`; a path behind it means nothing. */
  readonly uploadUrl: string
  /** Client certificate that bears the name which the upload server expects. */
  readonly tlsKeyFile: string
  readonly tlsCertFile: string
  /** PEM bundle that the upload server's certificate is verified against. */
  readonly serverCaFile: string
  /** The target is to be backed by storage as a whole; what is done about it is up to the upload server. */
  readonly preallocation: boolean
  /** UID that the progress metric is labelled with. */
  readonly ownerUid: string
}

const variables = [
  ['volumeMode', 'VOLUME_MODE'],
  ['source', 'MOUNT_POINT'],
  ['contentType', 'CLONE_CONTENT_TYPE'],
  ['uploadUrl', 'UPLOAD_URL'],
  ['tlsKeyFile', 'CLIENT_KEY_FILE'],
  ['tlsCertFile', 'CLIENT_CERT_FILE'],
  ['serverCaFile', 'SERVER_CA_FILE'],
  ['preallocation', 'PREALLOCATION'],
  ['ownerUid', 'OWNER_UID'],
] as const satisfies readonly (readonly [keyof ClonerEnv, string])[]

/** Where the parts of a clone source pod are. The Secret with {@link clonerSecretKeys} is mounted at `tlsDirectory`. */
export const clonerPaths = {
  /** Of a filesystem volume, mounted read-only. */
  mountPoint: '/var/run/cdi/clone/source',
  /** Of a block volume. */
  device: '/dev/cdi-block-volume',
  tlsDirectory: '/etc/tls/',
  tlsKeyFile: '/etc/tls/tls.key',
  tlsCertFile: '/etc/tls/tls.crt',
  serverCaFile: '/etc/tls/ca.crt',
  terminationLog: '/dev/termination-log',
} as const

/** Keys of the Secret of a clone source pod. */
export const clonerSecretKeys = { key: 'tls.key', cert: 'tls.crt', ca: 'ca.crt' } as const

/** Port of the metric `kubevirt_cdi_clone_progress_total`, over HTTPS; its name in the pod is `metrics`. */
export const clonerMetricsPort = 8443

/** The `env` of a clone source container. */
export function renderClonerEnv(env: ClonerEnv): EnvVar[] {
  return variables.map(([field, name]) => {
    const value = String(env[field])
    return value === '' ? { name } : { name, value }
  })
}

/** Reads a clone source pod's environment; unknown content types count as `kubevirt`, unknown modes as `filesystem`. */
export function parseClonerEnv(environment: Readonly<Record<string, string | undefined>>): ClonerEnv {
  const text = Object.fromEntries(variables.map(([field, name]) => [field, environment[name] ?? ''])) as Record<
    keyof ClonerEnv,
    string
  >
  return {
    ...text,
    volumeMode: text.volumeMode === 'block' ? 'block' : 'filesystem',
    contentType: text.contentType === 'archive' ? 'archive' : 'kubevirt',
    preallocation: text.preallocation === 'true',
  }
}

/** The last words of a clone source pod that has sent everything; the second ones if the target was preallocated. */
export const cloneCompleteTexts = {
  plain: 'Clone Complete',
  preallocated: 'Clone Complete, Preallocation applied',
} as const

/** Arguments of the role `size-detection`: the file whose virtual size is asked for. */
export function sizeDetectionArgs({ imagePath }: { imagePath: string }): string[] {
  return ['-image-path', imagePath]
}

/** Where a size detection pod finds the volume, mounted read-only, and in it the disk. */
export const sizeDetectionPaths = { mountPoint: '/data', imagePath: '/data/disk.img' } as const

/** Exit codes of the role `size-detection`, and the reasons that they stand for (contract: clone §4.2). */
export const sizeDetectionExitCodes = {
  ErrBadArguments: 1,
  ErrInvalidFile: 2,
  ErrInvalidPath: 3,
  ErrBadTermFile: 4,
  ErrUnknown: 5,
} as const

export type SizeDetectionReason = keyof typeof sizeDetectionExitCodes

/** The reason behind an exit code; what nobody knows is `ErrUnknown`. */
export function sizeDetectionReason(exitCode: number): SizeDetectionReason {
  const found = Object.entries(sizeDetectionExitCodes).find(([, code]) => code === exitCode)
  return (found?.[0] as SizeDetectionReason | undefined) ?? 'ErrUnknown'
}
