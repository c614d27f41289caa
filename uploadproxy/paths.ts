/** The addresses at which bytes are taken (contract/upload.md §5.2, docs/design/0007-uploads.md). Exact: no slash at the end. */

/** `plain` is what clients do today: one request with the whole body. */
export type UploadProtocol = 'plain' | 'tus' | 'resumable' | 'ranges'

export interface UploadPath {
  readonly protocol: UploadProtocol
  readonly path: string
  /** An upload follows: `path/ID`. */
  readonly hasId?: true
}

const versions = ['v1beta1', 'v1alpha1'] as const
const plainNames = ['upload', 'upload-async', 'upload-form', 'upload-form-async'] as const

export const uploadPaths: readonly UploadPath[] = [
  ...versions.flatMap((version) =>
    plainNames.map((name): UploadPath => ({ protocol: 'plain', path: `/${version}/${name}` })),
  ),
  { protocol: 'tus', path: '/v1beta1/upload-tus' },
  { protocol: 'tus', path: '/v1beta1/upload-tus', hasId: true },
  { protocol: 'resumable', path: '/v1beta1/upload-resumable' },
  { protocol: 'resumable', path: '/v1beta1/upload-resumable', hasId: true },
  { protocol: 'ranges', path: '/v1beta1/upload-ranges' },
]

/** What servers choose as the id of an upload. */
const uploadId = /^[\w-]{1,128}$/

/** The path that was asked for, without its query; undefined if `id` cannot be that of an upload. */
export function requestedPath({ path, hasId }: UploadPath, id: string | undefined): string | undefined {
  if (!hasId) return path
  return id !== undefined && uploadId.test(id) ? `${path}/${id}` : undefined
}

/**
 * Where a request goes at the upload server. Archives have no address of their own at the proxy: what comes on a plain
 * path for a claim of that content type goes to theirs, and is answered when it is unpacked. A form goes where forms are
 * taken apart; the server knows by itself that its claim is for archives.
 */
export function serverPath(protocol: UploadProtocol, path: string, isArchive: boolean): string {
  if (protocol !== 'plain' || !isArchive) return path
  const version = path.includes('alpha') ? 'v1alpha1' : 'v1beta1'
  return `/${version}/${path.includes('-form') ? 'upload-form' : 'upload-archive'}`
}
