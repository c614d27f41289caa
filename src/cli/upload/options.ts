/** The command line of `cdi upload`, parsed once. */
import { parseArgs } from 'node:util'
import { parseChecksum } from '../../../importer/sources/checksum.ts'
import type { Checksum } from '../../../importer/sources/checksum.ts'
import { CdiError } from '../../errors.ts'
import { parseQuantity } from '../../quantity.ts'

export const uploadUsage = `usage: cdi upload FILE --dv NAME [options]      (also: kubectl cdi upload …)
       cdi upload FILE --pvc NAME [options]

  FILE     a disk image (raw, qcow2, vmdk, vdi, vhd, vhdx, also packed with gzip, xz or zstd), with --archive a
           tar file, or - for standard input
  NAME     of the DataVolume or claim; made if it is not there

  -n, --namespace N       where; else that of the context
  --size N                size of the disk (bytes, or 10Gi, 500M …); else what the image needs
  --storage-class C       else the cluster's default
  --access-mode M         ReadWriteOnce, ReadWriteMany, ReadOnlyMany or ReadWriteOncePod; else what the class prefers
  --volume-mode M         filesystem or block; else what the class prefers
  --force-bind            do not wait for a pod that uses the volume (WaitForFirstConsumer)
  --archive               unpack a tar file into the volume
  --checksum ALG:HEX      md5, sha1, sha256 or sha512 of FILE; verified before the volume is handed out
  --uploadproxy-url URL   where the upload proxy is; else what CDIConfig tells
  --ca FILE               trust these certificates (PEM) for the upload proxy
  --insecure              do not verify the upload proxy's certificate
  --kubeconfig F          else KUBECONFIG or ~/.kube/config
  --context C             of the kubeconfig; else its current one
  --wait-secs N           how long the volume may take to become ready; 300
  --parallel N            connections at once, for raw disks; 4
  --verbose               log every step to standard error
  --json                  print one JSON object a line instead of a progress bar

An upload that was stopped goes on where it was when the same command runs again.
`

const accessModes = ['ReadWriteOnce', 'ReadWriteMany', 'ReadOnlyMany', 'ReadWriteOncePod'] as const
const volumeModes = { filesystem: 'Filesystem', block: 'Block' } as const

export interface UploadInput {
  /** Path of the file; `-` for standard input. */
  readonly file: string
  readonly target: { readonly kind: 'dv' | 'pvc'; readonly name: string }
  readonly namespace?: string
  readonly sizeBytes?: number
  readonly storageClass?: string
  readonly accessMode?: (typeof accessModes)[number]
  readonly volumeMode?: 'Filesystem' | 'Block'
  readonly forceBind: boolean
  readonly archive: boolean
  readonly checksum?: Checksum
  readonly proxyUrl?: string
  readonly caFile?: string
  readonly insecure: boolean
  readonly kubeconfig?: string
  readonly context?: string
  readonly waitMs: number
  readonly parallel: number
  readonly verbose: boolean
  readonly json: boolean
}

const flags = {
  dv: { type: 'string' },
  pvc: { type: 'string' },
  namespace: { type: 'string', short: 'n' },
  size: { type: 'string' },
  'storage-class': { type: 'string' },
  'access-mode': { type: 'string' },
  'volume-mode': { type: 'string' },
  'force-bind': { type: 'boolean', default: false },
  archive: { type: 'boolean', default: false },
  checksum: { type: 'string' },
  'uploadproxy-url': { type: 'string' },
  ca: { type: 'string' },
  insecure: { type: 'boolean', default: false },
  kubeconfig: { type: 'string' },
  context: { type: 'string' },
  'wait-secs': { type: 'string', default: '300' },
  parallel: { type: 'string', default: '4' },
  verbose: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

/** Parses arguments; `'help'` if help was asked for. Throws CDI_USAGE and CDI_CHECKSUM_INVALID. */
export function parseUpload(args: readonly string[]): UploadInput | 'help' {
  const { values, positionals } = parse(args)
  if (values.help) return 'help'
  const [file] = positionals
  if (file === undefined || file === '' || positionals.length > 1) {
    throw new CdiError('CDI_USAGE', `expected one FILE, got ${positionals.length} arguments`)
  }
  if (values.insecure && values.ca !== undefined) {
    throw new CdiError('CDI_USAGE', '--ca and --insecure contradict each other')
  }
  const accessMode = values['access-mode']
  const volumeMode = values['volume-mode']
  const archive = values.archive
  if (archive && volumeMode === 'block') {
    throw new CdiError(
      'CDI_USAGE',
      'an archive is unpacked into a file system: --archive needs --volume-mode filesystem',
    )
  }
  return {
    file,
    target: targetOf(values),
    forceBind: values['force-bind'],
    archive,
    insecure: values.insecure,
    waitMs: count('--wait-secs', values['wait-secs'], 1, 7 * 24 * 3600) * 1000,
    parallel: count('--parallel', values.parallel, 1, 16),
    verbose: values.verbose,
    json: values.json,
    ...given('namespace', values.namespace),
    ...given('storageClass', values['storage-class']),
    ...given('proxyUrl', values['uploadproxy-url']),
    ...given('caFile', values.ca),
    ...given('kubeconfig', values.kubeconfig),
    ...given('context', values.context),
    ...given('sizeBytes', values.size === undefined ? undefined : sizeBytes(values.size)),
    ...given('checksum', values.checksum === undefined ? undefined : parseChecksum(values.checksum)),
    ...given('accessMode', accessMode === undefined ? undefined : oneOf('--access-mode', accessMode, accessModes)),
    ...given(
      'volumeMode',
      volumeMode === undefined ? undefined : volumeModes[oneOf('--volume-mode', volumeMode, ['filesystem', 'block'])],
    ),
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: flags, allowPositionals: true })
  } catch (cause) {
    throw new CdiError('CDI_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

function targetOf({ dv, pvc }: { dv?: string; pvc?: string }): UploadInput['target'] {
  if (dv !== undefined && pvc !== undefined) throw new CdiError('CDI_USAGE', 'give --dv or --pvc, not both')
  const name = dv ?? pvc
  if (name === undefined || name === '') throw new CdiError('CDI_USAGE', 'give the volume: --dv NAME or --pvc NAME')
  return { kind: dv === undefined ? 'pvc' : 'dv', name }
}

function given<K extends string, V>(key: K, value: V | undefined): { readonly [P in K]?: V } {
  return (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: V }
}

function sizeBytes(text: string): number {
  try {
    const bytes = parseQuantity(text)
    if (bytes <= 0) throw new RangeError('a disk has at least one byte')
    return bytes
  } catch (cause) {
    throw new CdiError('CDI_USAGE', `--size ${text} is no size; write bytes or a quantity such as 10Gi`, { cause })
  }
}

function count(flag: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (value >= least && value <= most) return value
  throw new CdiError('CDI_USAGE', `${flag} ${text}: use a whole number from ${least} to ${most}`)
}

function oneOf<T extends string>(flag: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate.toLowerCase() === value.toLowerCase())
  if (!found) throw new CdiError('CDI_USAGE', `${flag} ${value}: use one of ${allowed.join(', ')}`)
  return found
}
