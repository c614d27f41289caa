/**
 * How a source is written on the claim that it is imported into, and read from there: the annotations of
 * contract/datavolume.md §9. A new kind of source adds one entry to {@link writers}.
 */
import { annotations, extraHeaderAnnotation, secretExtraHeaderAnnotation } from '../../api/names.ts'
import type { DataVolume, PersistentVolumeClaim, VolumeImportSource } from '../../api/kinds.ts'
import type { ContentType } from '../../api/podenv.ts'
import { annotationOf, hasAnnotation, isAnnotatedTrue } from './annotated.ts'

type Source = NonNullable<VolumeImportSource['spec']['source']>
type DataVolumeSource = NonNullable<DataVolume['spec']['source']>

/** Sources that an importer pod serves; the others of a DataVolume are uploads and clones. */
const writers: {
  readonly [K in 'http' | 's3' | 'gcs' | 'registry' | 'blank']: (
    source: NonNullable<Source[K]>,
  ) => Record<string, string | undefined>
} = {
  http: (http) => ({
    [annotations.importSource]: 'http',
    [annotations.importEndpoint]: http.url,
    [annotations.importSecretName]: http.secretRef || undefined,
    [annotations.importCertConfigMap]: http.certConfigMap || undefined,
    [annotations.importChecksum]: http.checksum || undefined,
    [annotations.importInsecureSkipVerify]: http.insecureSkipVerify ? 'true' : undefined,
    ...numbered(http.extraHeaders, extraHeaderAnnotation),
    ...numbered(http.secretExtraHeaders, secretExtraHeaderAnnotation),
  }),
  s3: (s3) => ({
    [annotations.importSource]: 's3',
    [annotations.importEndpoint]: s3.url,
    [annotations.importSecretName]: s3.secretRef || undefined,
    [annotations.importCertConfigMap]: s3.certConfigMap || undefined,
  }),
  gcs: (gcs) => ({
    [annotations.importSource]: 'gcs',
    [annotations.importEndpoint]: gcs.url,
    [annotations.importSecretName]: gcs.secretRef || undefined,
  }),
  registry: (registry) => ({
    [annotations.importSource]: 'registry',
    [annotations.importEndpoint]: registry.url || registry.imageStream || undefined,
    [annotations.importRegistryImageStream]: !registry.url && registry.imageStream ? 'true' : undefined,
    [annotations.importRegistryMethod]: registry.pullMethod || undefined,
    [annotations.importRegistryArchitecture]: registry.platform?.architecture || undefined,
    [annotations.importSecretName]: registry.secretRef || undefined,
    [annotations.importCertConfigMap]: registry.certConfigMap || undefined,
  }),
  blank: () => ({ [annotations.importSource]: 'none' }),
}

/** The import source of a DataVolume, or undefined if an importer pod does not serve it. */
export function importSourceOf(source: DataVolumeSource | undefined): Source | undefined {
  if (source?.http) return { http: source.http }
  if (source?.s3) return { s3: source.s3 }
  if (source?.gcs) return { gcs: source.gcs }
  if (source?.registry) return { registry: source.registry }
  if (source?.blank) return { blank: source.blank }
  return undefined
}

/** The annotations that tell an importer what to do; undefined for sources that are not served. */
export function annotationsOfSource(source: Source | undefined): Record<string, string> | undefined {
  const written = source && write(source)
  if (!written) return undefined
  return Object.fromEntries(
    Object.entries(written).filter((entry): entry is [string, string] => entry[1] !== undefined),
  )
}

function write({ http, s3, gcs, registry, blank }: Source): Record<string, string | undefined> | undefined {
  if (http) return writers.http(http)
  if (s3) return writers.s3(s3)
  if (gcs) return writers.gcs(gcs)
  if (registry) return writers.registry(registry)
  if (blank) return writers.blank(blank)
  return undefined
}

/** What a claim's annotations ask an importer to do. */
export interface ImportOrder {
  /** As a worker knows it: `http`, `s3`, `gcs`, `registry`, `none` (blank). */
  readonly source: string
  /** A URL; the bare name of an ImageStream if `isImageStream`. */
  readonly endpoint: string
  readonly contentType: ContentType
  readonly secretName: string | undefined
  readonly certConfigMap: string | undefined
  readonly checksum: string
  /** Of http and imageio only: nobody can switch off verification for a registry but the administrator. */
  readonly insecureSkipVerify: boolean
  /** Who fetches a container image: the worker from its registry, or the kubelet, which then runs it beside the worker. */
  readonly pullMethod: 'pod' | 'node'
  /** The endpoint is the name of an ImageStream of OpenShift in the claim's namespace. Only a kubelet can resolve it. */
  readonly isImageStream: boolean
  /** In the words of Go, e.g. `arm64`; '' is any. */
  readonly architecture: string
  readonly extraHeaders: readonly string[]
  readonly secretExtraHeaders: readonly string[]
}

/** Whether a claim, whoever made it, asks for an import (contract/datavolume.md §8 end). */
export function wantsImport(claim: PersistentVolumeClaim): boolean {
  return (
    !isAnnotatedTrue(claim, annotations.externalPopulation) &&
    (hasAnnotation(claim, annotations.importEndpoint) || hasAnnotation(claim, annotations.importSource))
  )
}

const knownSources = new Set(['http', 's3', 'gcs', 'registry', 'imageio', 'vddk', 'glance', 'none'])
const verificationOptional = new Set(['http', 'imageio'])

/** Reads the order; an unknown or missing source counts as http, an unknown content type as kubevirt. */
export function importOrderOf(claim: PersistentVolumeClaim): ImportOrder {
  const text = (key: string): string | undefined => annotationOf(claim, key) || undefined
  const told = text(annotations.importSource) ?? 'http'
  const source = knownSources.has(told) ? told : 'http'
  const isRegistry = source === 'registry'
  const isImageStream = isRegistry && isAnnotatedTrue(claim, annotations.importRegistryImageStream)
  return {
    source,
    endpoint: text(annotations.importEndpoint) ?? '',
    contentType: text(annotations.contentType) === 'archive' ? 'archive' : 'kubevirt',
    secretName: text(annotations.importSecretName),
    certConfigMap: text(annotations.importCertConfigMap),
    checksum: text(annotations.importChecksum) ?? '',
    insecureSkipVerify:
      verificationOptional.has(source) && isAnnotatedTrue(claim, annotations.importInsecureSkipVerify),
    pullMethod: isImageStream || (isRegistry && text(annotations.importRegistryMethod) === 'node') ? 'node' : 'pod',
    isImageStream,
    architecture: isRegistry ? (text(annotations.importRegistryArchitecture) ?? '') : '',
    extraHeaders: collected(claim, extraHeaderAnnotation(0).slice(0, -1)),
    secretExtraHeaders: collected(claim, secretExtraHeaderAnnotation(0).slice(0, -1)),
  }
}

function numbered(values: readonly string[] | undefined, key: (index: number) => string): Record<string, string> {
  return Object.fromEntries((values ?? []).map((value, index) => [key(index), value]))
}

/** Values of the annotations `<prefix><n>` in the order of n. */
function collected(claim: PersistentVolumeClaim, prefix: string): string[] {
  return Object.entries(claim.metadata.annotations ?? {})
    .filter(([key]) => key.startsWith(prefix))
    .sort(([a], [b]) => Number(a.slice(prefix.length)) - Number(b.slice(prefix.length)))
    .map(([, value]) => value)
}
