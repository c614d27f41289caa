/**
 * What `OPTIONS` tells of a resumable protocol. Servers of any claim can the same, so the proxy says it for them, without
 * a token. It must be what importer/upload says
 * (test/uploadproxy/discovery.test.ts).
 */
import type { UploadProtocol } from './paths.ts'

const tus = {
  'Tus-Resumable': '1.0.0',
  'Tus-Version': '1.0.0',
  'Tus-Extension': 'creation,creation-with-upload,creation-defer-length,expiration,checksum,termination',
  'Tus-Checksum-Algorithm': 'sha1,sha256,sha512,md5',
} as const

const resumable = { 'Accept-Patch': 'application/partial-upload' } as const

/** Undefined where the server itself has to be asked. */
export function discoveryHeaders(protocol: UploadProtocol): Readonly<Record<string, string>> | undefined {
  switch (protocol) {
    case 'tus':
      return tus
    case 'resumable':
      return resumable
    case 'plain':
    case 'ranges':
      return undefined
    default:
      return protocol satisfies never
  }
}
