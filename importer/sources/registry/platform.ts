/** Which image of an index is the right one, and whether a lone one is (contract: import §11). Pure. */
import { CdiError } from '../../../src/errors.ts'
import type { Descriptor, ImageIndex } from './manifest.ts'

/** Where Go and Node have different words. */
const goWords: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le', mipsel: 'mipsle' }

/** The architecture of this machine in the words of Go, which images use; `nodeArch` is `process.arch`. */
export function goArchitecture(nodeArch: string): string {
  return goWords[nodeArch] ?? nodeArch
}

/**
 * Chooses by architecture among the Linux images; one without a variant goes before those with one, which differ in what
 * their programs need and not in a disk. If none fits, an image that claims no platform at all is taken. Throws
 * CDI_REGISTRY_PLATFORM with the words of the contract.
 */
export function chooseInstance({ members, noun }: ImageIndex, architecture: string): Descriptor {
  const images = members.filter((member) => !isAttestation(member))
  const fitting = images.filter(
    ({ platform }) => platform?.architecture === architecture && platform.os.toLowerCase() === 'linux',
  )
  const chosen =
    fitting.find(({ platform }) => platform?.variant === '') ??
    fitting[0] ??
    images.find(({ platform }) => platform === undefined)
  if (chosen !== undefined) return chosen
  throw new CdiError(
    'CDI_REGISTRY_PLATFORM',
    `Error retrieving image: choosing image instance: no image found in ${noun} for architecture ` +
      `"${architecture}", variant "", OS "linux"`,
    { details: { architecture, available: [...new Set(images.map(nameOf))].slice(0, 20) } },
  )
}

/** What build tools say about an image lies beside it in the index, as a platform that is none. */
function isAttestation({ platform, annotations }: Descriptor): boolean {
  if (annotations['vnd.docker.reference.type'] === 'attestation-manifest') return true
  return platform?.architecture === 'unknown' || platform?.os === 'unknown'
}

function nameOf({ platform }: Descriptor): string {
  if (platform === undefined) return 'none'
  const { os, architecture, variant } = platform
  return [os, architecture, ...(variant === '' ? [] : [variant])].join('/')
}

/**
 * Throws CDI_REGISTRY_PLATFORM if an image that stands alone says that it is of another architecture than the one that
 * was asked for. Artifacts say nothing.
 */
export function assertArchitecture({ found, wanted }: { found: string | undefined; wanted: string | undefined }): void {
  if (wanted === undefined || found === undefined || found === wanted) return
  throw new CdiError(
    'CDI_REGISTRY_PLATFORM',
    `Error validating architecture: manifest image architecture: "${found}" doesn't match requested architecture: "${wanted}"`,
    { details: { found, wanted } },
  )
}
