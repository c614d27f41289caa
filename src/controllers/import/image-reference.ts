/** What the control plane has to know of the URL of a container image; the rest is the importer's business. */

const dockerHub = 'docker.io'

/** Names under which Docker Hub is written in references, URLs and settings. */
const dockerHubNames: readonly string[] = [dockerHub, 'index.docker.io', 'registry-1.docker.io']

/** The image as a kubelet takes it: `docker://host/repository:tag` without its scheme; a bare name stays what it is. */
export function imageOfUrl(url: string): string {
  return url.trim().replace(/^[a-z][a-z0-9+.-]*:\/\//i, '')
}

/** `host[:port]` of the registry of a `docker://` URL; undefined for others, which are not in a registry. */
export function registryOfUrl(url: string): string | undefined {
  if (!/^\s*docker:\/\//i.test(url)) return undefined
  const [first = '', ...rest] = imageOfUrl(url).split('/')
  // As docker reads references: without a dot, a port or a well-known name it is a part of Docker Hub.
  const isHost = rest.length > 0 && (/[.:]/.test(first) || first === 'localhost')
  return isHost ? first : dockerHub
}

/**
 * Whether the registry of a URL is one of those whose certificates are not verified: `host[:port]`, compared exactly
 * (contract/platform.md §7), but Docker Hub is Docker Hub under each of its names.
 */
export function isInsecureRegistry(url: string, insecureRegistries: readonly string[]): boolean {
  const registry = registryOfUrl(url)
  if (registry === undefined) return false
  const names = dockerHubNames.includes(registry) ? dockerHubNames : [registry]
  return insecureRegistries.some((entry) => names.includes(entry))
}
