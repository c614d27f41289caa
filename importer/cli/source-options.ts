/**
 * Which source a command line means, and with which credentials: those of the files that it names, else those in the
 * places where the programs of that world keep them.
 */
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { CdiError } from '../../src/errors.ts'
import type { Access, SourceRequest } from '../request.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** Options that concern the source; the same for `import` and `inspect`. */
export const sourceFlags = {
  'secret-file': { type: 'string' },
  'ca-file': { type: 'string', multiple: true, default: [] as string[] },
  header: { type: 'string', multiple: true, default: [] as string[] },
  'header-file': { type: 'string', multiple: true, default: [] as string[] },
  'insecure-skip-verify': { type: 'boolean', default: false },
  'insecure-registry': { type: 'string', multiple: true, default: [] as string[] },
  'docker-config': { type: 'string' },
  arch: { type: 'string' },
  's3-endpoint': { type: 'string' },
  'google-credentials': { type: 'string' },
} as const

export interface SourceOptions {
  readonly 'secret-file'?: string | undefined
  readonly 'ca-file': readonly string[]
  readonly header: readonly string[]
  readonly 'header-file': readonly string[]
  readonly 'insecure-skip-verify': boolean
  readonly 'insecure-registry': readonly string[]
  readonly 'docker-config'?: string | undefined
  readonly arch?: string | undefined
  readonly 's3-endpoint'?: string | undefined
  readonly 'google-credentials'?: string | undefined
}

interface Wanted {
  readonly source: string
  readonly options: SourceOptions
  readonly environment: Environment
}

/** Reads the files that the options and the environment name. Throws CDI_USAGE. */
export async function sourceRequest(wanted: Wanted): Promise<SourceRequest> {
  const { source } = wanted
  if (source === '-') return { type: 'stdin' }
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(source)?.[1]?.toLowerCase() ?? ''
  switch (scheme) {
    case 'docker':
    case 'oci-archive':
      return registryRequest(wanted)
    case 's3':
      return s3Request(wanted)
    case 'gs':
      return gcsRequest(wanted)
    default:
      return source.includes('://') && scheme !== '' ? httpRequest(wanted) : { type: 'file', path: resolve(source) }
  }
}

async function httpRequest({ source, options, environment }: Wanted): Promise<SourceRequest> {
  const texts = await Promise.all(options['header-file'].map((path) => readText('--header-file', path)))
  return {
    type: 'http',
    url: source,
    headers: options.header,
    secretHeaders: texts.flatMap(lines),
    ...(await accessOf(options, environment)),
    ...(await secretOf(options, (user, password) => ({ credentials: { user, password } }))),
  }
}

async function registryRequest({ source, options, environment }: Wanted): Promise<SourceRequest> {
  const access = await accessOf(options, environment)
  const registry = /^docker:\/\/([^/]+)\//i.exec(source)?.[1]
  const dockerConfig = await dockerConfigOf(options, environment)
  return {
    type: 'registry',
    url: source,
    ...access,
    insecureSkipVerify:
      access.insecureSkipVerify || (registry !== undefined && options['insecure-registry'].includes(registry)),
    ...(options.arch === undefined ? {} : { architecture: options.arch }),
    ...(dockerConfig === undefined ? {} : { dockerConfig }),
    ...(await secretOf(options, (user, password) => ({ credentials: { user, password } }))),
  }
}

async function s3Request({ source, options, environment }: Wanted): Promise<SourceRequest> {
  const endpoint = options['s3-endpoint']
  return {
    type: 's3',
    url: source,
    ...(await accessOf(options, environment)),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(await secretOf(options, (accessKeyId, secretAccessKey) => ({ credentials: { accessKeyId, secretAccessKey } }))),
  }
}

async function gcsRequest({ source, options, environment }: Wanted): Promise<SourceRequest> {
  const serviceAccount = await googleCredentialsOf(options, environment)
  return {
    type: 'gcs',
    url: source,
    ...(await accessOf(options, environment)),
    ...(serviceAccount === undefined ? {} : { serviceAccount }),
  }
}

async function accessOf(options: SourceOptions, environment: Environment): Promise<Access> {
  const variable = (name: string): string => environment[name] ?? environment[name.toUpperCase()] ?? ''
  return {
    ca: await Promise.all(options['ca-file'].map((path) => readText('--ca-file', path))),
    insecureSkipVerify: options['insecure-skip-verify'],
    proxy: {
      httpProxy: variable('http_proxy'),
      httpsProxy: variable('https_proxy'),
      noProxy: variable('no_proxy'),
    },
  }
}

async function secretOf<T>(
  { 'secret-file': path }: SourceOptions,
  make: (first: string, second: string) => T,
): Promise<T | undefined> {
  if (path === undefined) return undefined
  const [first, second] = lines(await readText('--secret-file', path))
  if (!first || !second) {
    throw new CdiError(
      'CDI_USAGE',
      `--secret-file ${path} must hold user name and password (or access key and secret key), one a line`,
    )
  }
  return make(first, second)
}

/** The file that is named, else those that podman and docker keep, the first that is there. */
async function dockerConfigOf(options: SourceOptions, environment: Environment): Promise<string | undefined> {
  const named = options['docker-config']
  if (named !== undefined) return readText('--docker-config', named)
  const { REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR, DOCKER_CONFIG, HOME } = environment
  return readFirst([
    REGISTRY_AUTH_FILE,
    XDG_RUNTIME_DIR && join(XDG_RUNTIME_DIR, 'containers/auth.json'),
    DOCKER_CONFIG && join(DOCKER_CONFIG, 'config.json'),
    HOME && join(HOME, '.docker/config.json'),
  ])
}

/** The file that is named, else application default credentials as Google's programs look for them. */
async function googleCredentialsOf(options: SourceOptions, environment: Environment): Promise<string | undefined> {
  const named = options['google-credentials']
  if (named !== undefined) return readText('--google-credentials', named)
  const { GOOGLE_APPLICATION_CREDENTIALS: variable, HOME } = environment
  if (variable) return readText('GOOGLE_APPLICATION_CREDENTIALS', variable)
  return readFirst([HOME && join(HOME, '.config/gcloud/application_default_credentials.json')])
}

async function readFirst(paths: readonly (string | undefined)[]): Promise<string | undefined> {
  for (const path of paths) {
    if (!path) continue
    try {
      return await readFile(path, 'utf8')
    } catch (error) {
      const absent = error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
      if (!absent) throw new CdiError('CDI_USAGE', `${path} cannot be read`, { cause: error })
    }
  }
  return undefined
}

async function readText(flag: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new CdiError('CDI_USAGE', `${flag} ${path} cannot be read`, { cause })
  }
}

function lines(text: string): string[] {
  return text.split(/\r?\n/).filter((line) => line !== '')
}
