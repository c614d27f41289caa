/**
 * The one registry of faults that a user can meet. Everything that fails on purpose throws a {@link CdiError}; its code
 * decides, by the table below and never by its text, whether a retry can help, what the command line exits with and
 * where the documentation stands. `docs/errors.md` is generated from this table (`npm run generate`).
 */

/**
 * What may be done about a fault: `transient` heals by itself (retry with back-off), `terminal` does not (tell the user
 * and stop), `needsScratch` asks the controller to start the worker again with a scratch volume.
 */
export type ErrorKind = 'transient' | 'terminal' | 'needsScratch'

/** Exit codes of the command line; a worker pod exits 1 for all of them (contract: import §15). */
export const exitCodes = { internal: 1, usage: 2, source: 3, image: 4, integrity: 5, target: 6 } as const

export interface ErrorFacts {
  readonly kind: ErrorKind
  readonly exit: keyof typeof exitCodes
  /** One sentence: what happened. */
  readonly summary: string
  /** One sentence: what the user can do about it. */
  readonly remedy: string
}

export const errorTable = {
  CDI_INTERNAL: {
    kind: 'transient',
    exit: 'internal',
    summary: 'The program met a situation that it does not know.',
    remedy: 'Report it with the log; the transfer is tried again.',
  },
  CDI_USAGE: {
    kind: 'terminal',
    exit: 'usage',
    summary: 'The command line or the environment of a worker makes no sense.',
    remedy: 'Run `cdi --help`; in a cluster, check the annotations of the claim.',
  },
  CDI_ABORTED: {
    kind: 'transient',
    exit: 'internal',
    summary: 'The transfer was stopped from outside (signal or deletion).',
    remedy: 'Start it again.',
  },
  CDI_SOURCE_UNREACHABLE: {
    kind: 'transient',
    exit: 'source',
    summary: 'No connection to the source could be made (name, network, proxy).',
    remedy: 'Check the URL, the network policy and the proxy settings; from inside the cluster the host must resolve.',
  },
  CDI_SOURCE_TLS: {
    kind: 'transient',
    exit: 'source',
    summary: 'The certificate of the source or of the proxy was not accepted.',
    remedy:
      'Put the CA into the certConfigMap (any key; for registries one that ends in .crt or .pem) or, in a proxy set-up, into trustedCAProxy.',
  },
  CDI_SOURCE_STATUS: {
    kind: 'transient',
    exit: 'source',
    summary: 'The source answered with a status other than the expected one.',
    remedy: 'Open the URL yourself: 401/403 wants a secretRef, 404 another path.',
  },
  CDI_SOURCE_ARCHIVED: {
    kind: 'terminal',
    exit: 'source',
    summary: 'The object lies in an archive class of the object store, from which it cannot be read at once.',
    remedy:
      'Restore it (`aws s3api restore-object`) or copy it to a standard class, and start again once that is done.',
  },
  CDI_SOURCE_REDIRECT: {
    kind: 'terminal',
    exit: 'source',
    summary: 'The source redirects too often or to something that is not http(s).',
    remedy: 'Use the final URL.',
  },
  CDI_SOURCE_INTERRUPTED: {
    kind: 'transient',
    exit: 'source',
    summary: 'The connection broke and could not be resumed within the retry budget.',
    remedy: 'Nothing, it is tried again; a server with ETag and ranges lets it continue where it stopped.',
  },
  CDI_SOURCE_STALLED: {
    kind: 'transient',
    exit: 'source',
    summary: 'The source sent no byte for the idle limit.',
    remedy: 'Check the server and the network in between; the transfer is tried again.',
  },
  CDI_SOURCE_CHANGED: {
    kind: 'transient',
    exit: 'source',
    summary: 'The source changed while it was read, or cannot prove that it did not.',
    remedy: 'Nothing, the transfer starts anew; publish images under names that do not change.',
  },
  CDI_SOURCE_TRUNCATED: {
    kind: 'transient',
    exit: 'integrity',
    summary: 'The source ended before the announced length.',
    remedy: 'Upload the image to the server again if this persists.',
  },
  CDI_CREDENTIALS_INVALID: {
    kind: 'terminal',
    exit: 'usage',
    summary: 'The credentials are not written as the source needs them.',
    remedy:
      'S3 wants accessKeyId and secretKey, GCS credentials.json of a service account, a registry user and password.',
  },
  CDI_REGISTRY_REFERENCE: {
    kind: 'terminal',
    exit: 'usage',
    summary: 'The address of the container image cannot be parsed.',
    remedy:
      'Write docker://[registry/]repository[:tag] or …@sha256:digest (not both), or oci-archive:path[:reference].',
  },
  CDI_REGISTRY_PULL: {
    kind: 'transient',
    exit: 'source',
    summary: 'The registry did not hand out the image.',
    remedy:
      'Try `skopeo inspect` with the same reference: name and tag, secretRef, certConfigMap and insecureRegistries decide.',
  },
  CDI_REGISTRY_PLATFORM: {
    kind: 'terminal',
    exit: 'source',
    summary: 'The container image was not built for the wanted architecture.',
    remedy: 'Set platform.architecture to one of the architectures that `skopeo inspect --raw` lists.',
  },
  CDI_REGISTRY_MANIFEST: {
    kind: 'terminal',
    exit: 'image',
    summary: 'The manifest of the container image is of a kind that is not supported, or contradicts itself.',
    remedy: 'Push the image anew as OCI or Docker v2 schema 2, for example with `skopeo copy --format oci`.',
  },
  CDI_REGISTRY_NO_DISK: {
    kind: 'terminal',
    exit: 'image',
    summary: 'The container image holds no disk.',
    remedy: 'Put exactly one file below /disk: `FROM scratch` and `ADD --chown=107:107 disk.qcow2 /disk/`.',
  },
  CDI_REGISTRY_BOOTC: {
    kind: 'terminal',
    exit: 'image',
    summary: 'The container image is a bootable one (bootc), not one that holds a disk.',
    remedy: 'Build a disk of it with bootc-image-builder and put that into a container image, or import it directly.',
  },
  CDI_REGISTRY_DIGEST: {
    kind: 'transient',
    exit: 'integrity',
    summary: 'The registry sent bytes that do not have the digest they were asked for by.',
    remedy: 'Push the image again if this persists; a cache or proxy in between may be damaged.',
  },
  CDI_CHECKSUM_INVALID: {
    kind: 'terminal',
    exit: 'usage',
    summary: 'The checksum is not written as algorithm:hex.',
    remedy: 'Use md5:, sha1:, sha256: or sha512: followed by 32, 40, 64 or 128 hexadecimal digits.',
  },
  CDI_CHECKSUM_MISMATCH: {
    kind: 'terminal',
    exit: 'integrity',
    summary: 'The downloaded bytes do not have the expected checksum.',
    remedy: "Compare the checksum with the publisher's; it is that of the file as downloaded, before decompression.",
  },
  CDI_DECODE_CORRUPT: {
    kind: 'terminal',
    exit: 'integrity',
    summary: 'The compressed data is damaged or followed by something foreign.',
    remedy: 'Download and unpack the file by hand; if that fails too, publish it again.',
  },
  CDI_DECODE_TRUNCATED: {
    kind: 'terminal',
    exit: 'integrity',
    summary: 'The compressed data ends in the middle.',
    remedy: 'Publish the file again: it is incomplete on the server.',
  },
  CDI_DECODE_WINDOW: {
    kind: 'terminal',
    exit: 'image',
    summary: 'The compressed data needs more memory to unpack than a worker has.',
    remedy: 'Compress it with a smaller window (zstd: no --long above 27; xz: -9 or less).',
  },
  CDI_ENCODING_UNSUPPORTED: {
    kind: 'terminal',
    exit: 'image',
    summary: 'The data is packed in a way that is recognised but not supported.',
    remedy: 'Pack it with gzip, xz or zstd, or not at all.',
  },
  CDI_FORMAT_INVALID: {
    kind: 'terminal',
    exit: 'image',
    summary: 'The header of the disk image is damaged, contradicts itself or asks for something absurd.',
    remedy: 'Check it with `qemu-img check` and convert it again.',
  },
  CDI_FORMAT_UNSUPPORTED: {
    kind: 'terminal',
    exit: 'image',
    summary: 'The disk image uses a format or feature that is not supported.',
    remedy: 'Convert it with `qemu-img convert -O qcow2` and import that.',
  },
  CDI_IMAGE_BACKING_FILE: {
    kind: 'terminal',
    exit: 'image',
    summary: 'The disk image refers to a backing file or to data outside of itself.',
    remedy: 'Flatten it with `qemu-img convert -O qcow2 in.qcow2 out.qcow2` and import the result.',
  },
  CDI_IMAGE_ENCRYPTED: {
    kind: 'terminal',
    exit: 'image',
    summary: 'The disk image is encrypted by its format.',
    remedy: 'Decrypt it with `qemu-img convert`; encryption inside of the guest is no trouble.',
  },
  CDI_IMAGE_TOO_LARGE: {
    kind: 'terminal',
    exit: 'target',
    summary: 'The virtual size of the image is larger than the volume.',
    remedy: 'Ask for a larger volume: at least the virtual size that `cdi inspect` or `qemu-img info` tells.',
  },
  CDI_CONVERT_FAILED: {
    kind: 'terminal',
    exit: 'image',
    summary: 'qemu-img could not convert the image.',
    remedy: 'Check it with `qemu-img check`; the message quotes what qemu-img said.',
  },
  CDI_ARCHIVE_INVALID: {
    kind: 'terminal',
    exit: 'image',
    summary: 'The archive is not a tar file, is damaged, or ends in the middle.',
    remedy: 'List it with `tar -tvf`; for a disk image use contentType kubevirt.',
  },
  CDI_ARCHIVE_UNSAFE: {
    kind: 'terminal',
    exit: 'image',
    summary: 'An entry of the archive points outside of the volume.',
    remedy: 'Pack it anew with relative paths and without links that leave the tree.',
  },
  CDI_TARGET_FULL: {
    kind: 'terminal',
    exit: 'target',
    summary: 'The volume is full or its quota is used up.',
    remedy: 'Ask for a larger volume.',
  },
  CDI_TARGET_INVALID: {
    kind: 'terminal',
    exit: 'target',
    summary: 'The target is not a usable file, directory or block device.',
    remedy: 'Name a block device or a path in an existing directory that the user may write.',
  },
  CDI_TARGET_IO: {
    kind: 'transient',
    exit: 'target',
    summary: 'Writing to the volume failed.',
    remedy: 'Check the storage; the transfer is tried again.',
  },
  CDI_SCRATCH_REQUIRED: {
    kind: 'needsScratch',
    exit: 'target',
    summary: 'This source can only be converted from a local copy and no scratch space is there.',
    remedy: 'In a cluster it is made by itself; on the command line give --scratch DIR.',
  },
  CDI_UPLOAD_EMPTY: {
    kind: 'terminal',
    exit: 'usage',
    summary: 'The body of the upload is empty.',
    remedy: 'Send the file itself: `curl --data-binary @FILE` (or `-T FILE`), and look whether it has a size.',
  },
  CDI_UPLOAD_MALFORMED: {
    kind: 'terminal',
    exit: 'usage',
    summary: 'The upload request is not written as its protocol wants it.',
    remedy: 'The message names the header or the part; `docs/uploads.md` shows what each address takes.',
  },
  CDI_CLUSTER_API: {
    kind: 'transient',
    exit: 'target',
    summary: 'The Kubernetes API could not be reached or did not do what it was asked for.',
    remedy: 'Try `kubectl get datavolumes` with the same context: address, credentials and rights decide.',
  },
  CDI_UPLOAD_FORBIDDEN: {
    kind: 'terminal',
    exit: 'usage',
    summary: 'The cluster does not allow you to upload into this namespace.',
    remedy: 'Ask for the role `admin` or `edit` in the namespace: it may create uploadtokenrequests and datavolumes.',
  },
  CDI_UPLOAD_TARGET: {
    kind: 'terminal',
    exit: 'target',
    summary: 'The volume takes no upload: it is filled already, or was made for something else.',
    remedy: 'Choose another name, or delete the DataVolume or claim first.',
  },
  CDI_UPLOAD_WAITS_FOR_CONSUMER: {
    kind: 'terminal',
    exit: 'target',
    summary: 'The storage class gives a volume only when a pod uses it, so there is nothing to upload into yet.',
    remedy: 'Start the virtual machine that uses it, or delete it and upload again with --force-bind.',
  },
  CDI_UPLOAD_NOT_READY: {
    kind: 'transient',
    exit: 'target',
    summary: 'The volume did not become ready for an upload in time.',
    remedy: 'Look at the events with `kubectl describe`; wait longer with --wait-secs.',
  },
  CDI_UPLOAD_NO_PROXY: {
    kind: 'terminal',
    exit: 'usage',
    summary: 'Nothing tells at which address the upload proxy is reached.',
    remedy:
      'Give --uploadproxy-url, or let an administrator set spec.uploadProxyURLOverride of CDIConfig or make an Ingress.',
  },
  CDI_UPLOAD_UNREACHABLE: {
    kind: 'transient',
    exit: 'target',
    summary: 'No connection to the upload proxy could be made (name, network, proxy).',
    remedy:
      'Check --uploadproxy-url and the network; `kubectl port-forward -n cdi svc/cdi-uploadproxy 8443:443` helps.',
  },
  CDI_UPLOAD_TLS: {
    kind: 'terminal',
    exit: 'target',
    summary: 'The certificate of the upload proxy was not accepted.',
    remedy: 'Give its CA with --ca, or for a test --insecure.',
  },
  CDI_UPLOAD_INTERRUPTED: {
    kind: 'transient',
    exit: 'target',
    summary: 'The upload was cut off again and again and no byte got through within the retry budget.',
    remedy: 'Run the same command again: it goes on where it stopped.',
  },
  CDI_UPLOAD_REFUSED: {
    kind: 'terminal',
    exit: 'target',
    summary: 'The upload server refused the upload.',
    remedy: 'The message quotes it; `cdi inspect FILE` shows what the image is and how large its disk.',
  },
  CDI_UPLOAD_LOST: {
    kind: 'terminal',
    exit: 'target',
    summary: 'The server lost what had arrived, and the bytes cannot be sent anew (standard input).',
    remedy: 'Upload a file instead, or start the pipe again.',
  },
  CDI_UPLOAD_FAILED: {
    kind: 'terminal',
    exit: 'target',
    summary: 'All bytes arrived, but the volume was not finished.',
    remedy: 'Look at the conditions and events with `kubectl describe`.',
  },
  CDI_CLONE_SOURCE: {
    kind: 'transient',
    exit: 'source',
    summary: 'The volume that is cloned cannot be read.',
    remedy: 'Look at the storage of the source and at the events of its pods; the copy is tried again.',
  },
  CDI_CLONE_NO_DISK: {
    kind: 'terminal',
    exit: 'source',
    summary: 'The source of a clone holds no disk that could be written to a block volume.',
    remedy: 'Clone it into a volume with volumeMode Filesystem, or check that the source holds disk.img.',
  },
  CDI_CLONE_UNREACHABLE: {
    kind: 'transient',
    exit: 'target',
    summary: 'No connection to the upload server of the target of a clone could be made, or it broke again and again.',
    remedy:
      'Check the network policies where the two pods run, and the upload pod of the target; the copy goes on by itself.',
  },
  CDI_CLONE_TLS: {
    kind: 'terminal',
    exit: 'target',
    summary: 'The certificate of the upload server of the target of a clone was not accepted.',
    remedy: 'Wait: a source pod with old certificates is replaced by itself. If not, delete it.',
  },
  CDI_CLONE_REFUSED: {
    kind: 'terminal',
    exit: 'target',
    summary: 'The upload server of the target refused the clone.',
    remedy: 'The message quotes it; a target that is too small has to be made larger.',
  },
} as const satisfies Record<string, ErrorFacts>

export type ErrorCode = keyof typeof errorTable

export interface CdiErrorOptions {
  readonly cause?: unknown
  /** Facts for logs and machines: sizes in bytes, status codes, host names. Never credentials. */
  readonly details?: Readonly<Record<string, unknown>>
}

/** A fault from the registry. `message` says what is wrong with which value; the remedy comes from the table. */
export class CdiError extends Error {
  readonly code: ErrorCode
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, options: CdiErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'CdiError'
    this.code = code
    this.details = options.details ?? {}
  }

  get kind(): ErrorKind {
    return errorTable[this.code].kind
  }

  get remedy(): string {
    return errorTable[this.code].remedy
  }

  get exitCode(): number {
    return exitCodes[errorTable[this.code].exit]
  }
}

/** Makes a CdiError of whatever was thrown: CdiErrors pass, aborts become CDI_ABORTED, the rest CDI_INTERNAL. */
export function toCdiError(thrown: unknown): CdiError {
  if (thrown instanceof CdiError) return thrown
  if (thrown instanceof Error && thrown.name === 'AbortError') {
    return thrown.cause instanceof CdiError
      ? thrown.cause
      : new CdiError('CDI_ABORTED', thrown.message, { cause: thrown })
  }
  return new CdiError('CDI_INTERNAL', thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown })
}

/** The same fault with a step in front of its message, as conditions show it: `Unable to process data: …`. */
export function prefixError(prefix: string, thrown: unknown): CdiError {
  const error = toCdiError(thrown)
  return new CdiError(error.code, `${prefix}: ${error.message}`, { cause: error, details: error.details })
}
