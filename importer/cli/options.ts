/** The command line of `cdi import` and `cdi inspect`, parsed once into a request. */
import { dirname, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { CdiError } from '../../src/errors.ts'
import { parseQuantity } from '../../src/quantity.ts'
import type { DiskFormat } from '../formats/detect.ts'
import type { ImportRequest } from '../request.ts'
import { parseChecksum } from '../sources/checksum.ts'
import { sourceFlags, sourceRequest } from './source-options.ts'

export const importUsage = `usage: cdi import SOURCE TARGET [options]

  SOURCE   http(s)://…                 a web server
           docker://registry/repo:tag  the disk in a container image, or a disk artifact
           oci-archive:FILE[:REF]      the same in a file
           s3://bucket/key             Amazon S3, or with --s3-endpoint another store
           gs://bucket/object          Google Cloud Storage
           FILE, or -                  a file, standard input
  TARGET   a block device, a file to be made, or for archives a directory

  --size N                grow the disk to N (bytes, or 10Gi, 500M …); also the most it may have
  --format F              take the source as raw, qcow2, vmdk, vdi, vhd or vhdx instead of looking
  --checksum ALG:HEX      md5, sha1, sha256 or sha512 of the downloaded bytes
  --content-type T        kubevirt (a disk, the default) or archive (tar, unpacked into TARGET)
  --secret-file FILE      user name and password (S3: access key and secret key), one a line
  --ca-file FILE          trust these certificates (PEM) too; may be repeated
  --header 'Name: value'  send this header too; may be repeated
  --header-file FILE      headers to send, one a line, never shown
  --insecure-skip-verify  do not verify the server's certificate
  --insecure-registry H   the same for this registry (host:port) only, and plain http as a last resort; may be repeated
  --docker-config FILE    logins of registries; else those of docker and podman
  --arch A                amd64, arm64, … of images for several; else this machine's
  --s3-endpoint URL       where S3 is; else AWS_ENDPOINT_URL or Amazon. Keys: --secret-file, else AWS_* and profiles
  --google-credentials F  key of a service account; else GOOGLE_APPLICATION_CREDENTIALS
  --preallocate           back every byte of the target by storage
  --scratch DIR           where images may be staged that cannot be converted as they arrive
  --verbose               log every step to standard error
  --json                  print one JSON object a line instead of a progress bar
`

export const inspectUsage = `usage: cdi inspect SOURCE [options]

Shows format, encodings, virtual size and the route an import would take. SOURCE and the options
--format --content-type --verbose --json and all that concern the source are those of 'cdi import'.
`

const diskFormats = ['raw', 'qcow2', 'vmdk', 'vdi', 'vhd', 'vhdx'] as const satisfies readonly DiskFormat[]

export interface CliInput {
  readonly request: ImportRequest
  readonly json: boolean
  readonly verbose: boolean
}

const flags = {
  size: { type: 'string' },
  format: { type: 'string' },
  checksum: { type: 'string' },
  'content-type': { type: 'string', default: 'kubevirt' },
  ...sourceFlags,
  preallocate: { type: 'boolean', default: false },
  scratch: { type: 'string' },
  verbose: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const

/** Parses arguments and reads the files that they name. `'help'` if help was asked for; throws CDI_USAGE otherwise. */
export async function parseCli(
  args: readonly string[],
  command: 'import' | 'inspect',
  environment: Readonly<Record<string, string | undefined>>,
): Promise<CliInput | 'help'> {
  const { values, positionals } = parse(args)
  if (values.help) return 'help'
  const wanted = command === 'import' ? 2 : 1
  if (positionals.length !== wanted) {
    throw new CdiError(
      'CDI_USAGE',
      `expected ${wanted === 2 ? 'SOURCE and TARGET' : 'SOURCE'}, got ${positionals.length} arguments`,
    )
  }
  const [source = '', target = ''] = positionals
  const contentType = oneOf('--content-type', values['content-type'], ['kubevirt', 'archive'] as const)
  const format = values.format === undefined ? undefined : oneOf('--format', values.format, diskFormats)
  return {
    json: values.json,
    verbose: values.verbose,
    request: {
      source: await sourceRequest({ source, options: values, environment }),
      contentType,
      targetPath: resolve(target),
      requireEmptyDirectory: true,
      resize: values.size !== undefined,
      preallocate: values.preallocate,
      directIo: false,
      scratchDirectory: values.scratch ?? dirname(resolve(target)),
      ...(values.size === undefined ? {} : { requestedBytes: sizeBytes(values.size) }),
      ...(values.checksum === undefined ? {} : { checksum: parseChecksum(values.checksum) }),
      ...(format === undefined ? {} : { format }),
    },
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: flags, allowPositionals: true })
  } catch (cause) {
    throw new CdiError('CDI_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
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

function oneOf<T extends string>(flag: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === value)
  if (!found) throw new CdiError('CDI_USAGE', `${flag} ${value}: use one of ${allowed.join(', ')}`)
  return found
}
