/**
 * The environment of an importer pod. One table serves both ends: the controller renders a pod's `env` from it and the
 * worker parses its `process.env` with it, so the two cannot drift apart. Names, order and presence of the variables are
 * those of the contract (recordings in contract/observed; import §2).
 */

export type ContentType = 'kubevirt' | 'archive'

/** What a worker is told. Every value is a plain string; `''` means not given. */
export interface WorkerEnv {
  /** `http`, `s3`, `gcs`, `registry` or `none` (blank). */
  readonly source: string
  /** URL of the source; with pull method node it may be the bare name of an image stream. */
  readonly endpoint: string
  readonly contentType: ContentType
  /** Storage request of the claim as a Kubernetes quantity, e.g. `71135396` or `4Gi`. */
  readonly imageSize: string
  /** UID that the progress metric is labelled with. */
  readonly ownerUid: string
  /** Share of a volume that its file system takes, e.g. `0.06`; `0` for block volumes. */
  readonly filesystemOverhead: string
  /** Do not verify the server's certificate. */
  readonly insecureTls: boolean
  readonly diskId: string
  readonly uuid: string
  /** Of registry sources: `node` (the image runs beside the worker), else `pod` or `''` (the worker reads the registry). */
  readonly pullMethod: string
  /** With pull method node, holds the process id of the image's container once it runs: decimal digits and a newline. */
  readonly readyFile: string
  /** With pull method node, made by the worker when it does not need the image's container any more. */
  readonly doneFile: string
  readonly backingFile: string
  readonly thumbprint: string
  readonly httpProxy: string
  readonly httpsProxy: string
  readonly noProxy: string
  readonly currentCheckpoint: string
  readonly previousCheckpoint: string
  readonly finalCheckpoint: string
  readonly preallocation: boolean
  /** `''` or `TRYNONE`: convert with direct I/O, set after an out-of-memory kill. */
  readonly cacheMode: string
  /** Which image of an index to take, in the words of Go: `amd64`, `arm64`. */
  readonly registryImageArchitecture: string
  /** `algorithm:hex` of the downloaded bytes. */
  readonly checksum: string
}

/** Parts of the environment that come from other objects and are present only when asked for. */
export interface WorkerEnvExtras {
  /** Secret with the keys `accessKeyId` and `secretKey`. */
  readonly secretName?: string
  /** Directory of the mounted certConfigMap. */
  readonly certDir?: string
  /** Full header lines, `Name: value`. */
  readonly extraHeaders?: readonly string[]
  /** Directory of the mounted proxy CA. */
  readonly proxyCertDir?: string
}

/** An entry of a container's `env`. */
export interface EnvVar {
  readonly name: string
  readonly value?: string
  readonly valueFrom?: { readonly secretKeyRef: { readonly name: string; readonly key: string } }
}

const variables = [
  ['source', 'IMPORTER_SOURCE'],
  ['endpoint', 'IMPORTER_ENDPOINT'],
  ['contentType', 'IMPORTER_CONTENTTYPE'],
  ['imageSize', 'IMPORTER_IMAGE_SIZE'],
  ['ownerUid', 'OWNER_UID'],
  ['filesystemOverhead', 'FILESYSTEM_OVERHEAD'],
  ['insecureTls', 'INSECURE_TLS'],
  ['diskId', 'IMPORTER_DISK_ID'],
  ['uuid', 'IMPORTER_UUID'],
  ['pullMethod', 'IMPORTER_PULL_METHOD'],
  ['readyFile', 'IMPORTER_READY_FILE'],
  ['doneFile', 'IMPORTER_DONE_FILE'],
  ['backingFile', 'IMPORTER_BACKING_FILE'],
  ['thumbprint', 'IMPORTER_THUMBPRINT'],
  ['httpProxy', 'http_proxy'],
  ['httpsProxy', 'https_proxy'],
  ['noProxy', 'no_proxy'],
  ['currentCheckpoint', 'IMPORTER_CURRENT_CHECKPOINT'],
  ['previousCheckpoint', 'IMPORTER_PREVIOUS_CHECKPOINT'],
  ['finalCheckpoint', 'IMPORTER_FINAL_CHECKPOINT'],
  ['preallocation', 'PREALLOCATION'],
  ['cacheMode', 'CACHE_MODE'],
  ['registryImageArchitecture', 'IMPORTER_REGISTRY_IMAGE_ARCHITECTURE'],
  ['checksum', 'IMPORTER_CHECKSUM'],
] as const satisfies readonly (readonly [keyof WorkerEnv, string])[]

const certDirVariable = 'IMPORTER_CERT_DIR'
const proxyCertDirVariable = 'IMPORTER_PROXY_CERT_DIR'
const extraHeaderPrefix = 'IMPORTER_EXTRA_HEADER_'
const accessKeyVariable = 'IMPORTER_ACCESS_KEY_ID'
const secretKeyVariable = 'IMPORTER_SECRET_KEY'

/** Where the parts of a worker pod are mounted. */
export const workerPaths = {
  dataDirectory: '/data',
  blockDevice: '/dev/cdi-block-volume',
  scratchDirectory: '/scratch',
  certDirectory: '/certs',
  proxyCertDirectory: '/proxycerts/',
  /** Secret n of secretExtraHeaders is mounted at `<extraHeadersDirectory>/<n>`. */
  extraHeadersDirectory: '/extraheaders',
  /** emptyDir that the containers of a pod with pull method node share. */
  sharedDirectory: '/shared',
  readyFile: '/shared/ready',
  doneFile: '/shared/done',
  /** Secret with `credentials.json` of a service account. */
  googleDirectory: '/google',
  /** emptyDir that survives restarts of the container. */
  journalDirectory: '/var/lib/cdi',
  terminationLog: '/dev/termination-log',
} as const

/** The `env` of an importer container; values that are empty are present without `value`, as clients see them today. */
export function renderPodEnv(env: WorkerEnv, extras: WorkerEnvExtras = {}): EnvVar[] {
  const rendered: EnvVar[] = variables.map(([field, name]) => {
    const value = String(env[field])
    return value === '' ? { name } : { name, value }
  })
  if (extras.secretName) {
    rendered.push(
      { name: accessKeyVariable, valueFrom: { secretKeyRef: { name: extras.secretName, key: 'accessKeyId' } } },
      { name: secretKeyVariable, valueFrom: { secretKeyRef: { name: extras.secretName, key: 'secretKey' } } },
    )
  }
  if (extras.certDir) rendered.push({ name: certDirVariable, value: extras.certDir })
  extras.extraHeaders?.forEach((value, index) => rendered.push({ name: `${extraHeaderPrefix}${index}`, value }))
  if (extras.proxyCertDir) rendered.push({ name: proxyCertDirVariable, value: extras.proxyCertDir })
  return rendered
}

/** What a worker finds in its environment. */
export interface ParsedWorkerEnv extends WorkerEnv {
  readonly accessKeyId: string
  readonly secretKey: string
  readonly certDir: string
  readonly proxyCertDir: string
  readonly extraHeaders: readonly string[]
}

/** Reads a worker's environment; unknown content types count as `kubevirt`, an unknown source is left to the caller. */
export function parsePodEnv(environment: Readonly<Record<string, string | undefined>>): ParsedWorkerEnv {
  const text = Object.fromEntries(variables.map(([field, name]) => [field, environment[name] ?? ''])) as Record<
    keyof WorkerEnv,
    string
  >
  const extraHeaders = Object.keys(environment)
    .filter((name) => name.startsWith(extraHeaderPrefix))
    .sort((a, b) => Number(a.slice(extraHeaderPrefix.length)) - Number(b.slice(extraHeaderPrefix.length)))
    .map((name) => environment[name] ?? '')
  return {
    ...text,
    contentType: text.contentType === 'archive' ? 'archive' : 'kubevirt',
    insecureTls: text.insecureTls === 'true',
    preallocation: text.preallocation === 'true',
    accessKeyId: environment[accessKeyVariable] ?? '',
    secretKey: environment[secretKeyVariable] ?? '',
    certDir: environment[certDirVariable] ?? '',
    proxyCertDir: environment[proxyCertDirVariable] ?? '',
    extraHeaders,
  }
}
