/**
 * Addresses of container images: `docker://[registry/]repository[:tag|@digest]` by the rules of Docker, and
 * `oci-archive:path[:reference]` (contract: import §11; OCI distribution specification, "Pulling manifests"). Pure.
 */
import { CdiError } from '../../../src/errors.ts'
import { isDigest } from './digest.ts'

export interface DockerReference {
  readonly transport: 'docker'
  /** As people know it, `host[:port]`: `docker.io`, `quay.io`, `registry.example:5000`. */
  readonly registry: string
  /** Where its API is, `host[:port]`. */
  readonly apiHost: string
  /** `library/fedora` */
  readonly repository: string
  /** Tag or digest: what the manifest is asked for by. */
  readonly version: string
  /** The same, if it is a digest. */
  readonly digest?: string
  /** For people: everything that was left out is in it. */
  readonly name: string
}

export interface ArchiveReference {
  readonly transport: 'oci-archive'
  readonly path: string
  /** Which of the images in it; absent: the only one. */
  readonly image?: string
  readonly name: string
}

export type Reference = DockerReference | ArchiveReference

const hub = 'docker.io'
/** Older names of Docker Hub. */
const hubAliases: ReadonlySet<string> = new Set(['index.docker.io', 'registry-1.docker.io'])
const hubApiHost = 'registry-1.docker.io'

/** Longer than any that means something; a host name has 253, a repository 255, a tag 128 and a path 4096 characters. */
const longestReferenceChars = 5000
const longestRepositoryChars = 255

const label = '[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?'
const registryPattern = new RegExp(`^(?:${label}(?:\\.${label})*|\\[[0-9A-Fa-f:.]+\\])(?::[0-9]{1,5})?$`)
const componentPattern = /^[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*$/
const tagPattern = /^\w[\w.-]{0,127}$/

/** Throws CDI_REGISTRY_REFERENCE, `Could not parse image: …` (contract: import §11). */
export function parseReference(given: string): Reference {
  const text = given.trim()
  if (text.length > longestReferenceChars) throw unparsable('it is too long')
  if (/^docker:\/\//i.test(text)) return parseDocker(text.slice('docker://'.length))
  if (/^oci-archive:/i.test(text)) return parseArchive(text.slice('oci-archive:'.length))
  throw unparsable('it begins neither with docker:// nor with oci-archive:')
}

function parseDocker(text: string): DockerReference {
  const { rest, digest } = splitDigest(text)
  const { registry, path } = splitRegistry(rest)
  const { repository, tag } = splitTag(path)
  if (digest !== undefined && tag !== undefined) {
    throw unparsable('Docker references with both a tag and digest are currently not supported')
  }
  const isHub = registry === hub
  const named = isHub && !repository.includes('/') && repository !== '' ? `library/${repository}` : repository
  checkRepository(named)
  if (tag !== undefined && !tagPattern.test(tag)) throw unparsable(`invalid tag ${JSON.stringify(tag)}`)
  const version = digest ?? tag ?? 'latest'
  return {
    transport: 'docker',
    registry,
    apiHost: isHub ? hubApiHost : registry,
    repository: named,
    version,
    ...(digest === undefined ? {} : { digest }),
    name: `docker://${registry}/${named}${digest === undefined ? ':' : '@'}${version}`,
  }
}

function splitDigest(text: string): { rest: string; digest?: string } {
  const at = text.indexOf('@')
  if (at === -1) return { rest: text }
  const digest = text.slice(at + 1)
  // Not quoted: it may be a password before the name of a host.
  if (!isDigest(digest)) {
    throw unparsable(
      'behind the @ there must be a digest, sha256: and 64 or sha512: and 128 lower-case hexadecimal digits',
    )
  }
  return { rest: text.slice(0, at), digest }
}

/** The first component is a registry if it looks like a host: with a dot or a port, or `localhost`. */
function splitRegistry(text: string): { registry: string; path: string } {
  const slash = text.indexOf('/')
  const first = slash === -1 ? '' : text.slice(0, slash)
  if (!/[.:]/.test(first) && first !== 'localhost') return { registry: hub, path: text }
  const path = text.slice(slash + 1)
  if (hubAliases.has(first)) return { registry: hub, path }
  if (!registryPattern.test(first) || URL.parse(`https://${first}/`) === null) {
    throw unparsable(`invalid registry ${JSON.stringify(first)}`)
  }
  return { registry: first, path }
}

function splitTag(path: string): { repository: string; tag?: string } {
  const colon = path.indexOf(':')
  return colon === -1 ? { repository: path } : { repository: path.slice(0, colon), tag: path.slice(colon + 1) }
}

function checkRepository(repository: string): void {
  if (repository === '') throw unparsable('it names no repository')
  if (repository.length > longestRepositoryChars) {
    throw unparsable(`the repository has more than ${longestRepositoryChars} characters`)
  }
  const wrong = repository.split('/').find((component) => !componentPattern.test(component))
  if (wrong === undefined) return
  const hint = componentPattern.test(wrong.toLowerCase()) ? ': it must be lowercase' : ''
  throw unparsable(`invalid repository name${hint} (${JSON.stringify(wrong)})`)
}

function parseArchive(text: string): ArchiveReference {
  const colon = text.indexOf(':')
  const path = colon === -1 ? text : text.slice(0, colon)
  const image = colon === -1 ? undefined : text.slice(colon + 1)
  if (path === '' || path.includes('\0')) throw unparsable('oci-archive: is not followed by the path of a file')
  if (image === '') throw unparsable('the reference behind the path is empty')
  return {
    transport: 'oci-archive',
    path,
    ...(image === undefined ? {} : { image }),
    name: `oci-archive:${text}`,
  }
}

function unparsable(why: string): CdiError {
  return new CdiError('CDI_REGISTRY_REFERENCE', `Could not parse image: ${why}`)
}
