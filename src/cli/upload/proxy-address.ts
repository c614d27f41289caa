/** Where the upload proxy is and whom to trust there (contract/upload.md §9, §10.3). */
import { readFile } from 'node:fs/promises'
import { certificatesIn } from '../../../importer/sources/http/trust.ts'
import { hostOf } from '../../../importer/sources/proxy.ts'
import type { CDIConfig } from '../../api/cdiconfig.gen.ts'
import { CdiError } from '../../errors.ts'
import type { UploadInput } from './options.ts'

export interface ProxyAddress {
  readonly url: URL
  /** PEM of certificates that are trusted besides the system's; `'any'` verifies nothing. */
  readonly trust: readonly string[] | 'any'
}

/** The flag, else the override, else what the controller found. Throws CDI_UPLOAD_NO_PROXY and CDI_USAGE. */
export async function findProxy(
  flags: Pick<UploadInput, 'proxyUrl' | 'caFile' | 'insecure'>,
  config: Pick<CDIConfig, 'spec' | 'status'> | undefined,
): Promise<ProxyAddress> {
  const text = flags.proxyUrl ?? config?.spec.uploadProxyURLOverride ?? config?.status?.uploadProxyURL
  if (text === undefined || text === '') {
    throw new CdiError(
      'CDI_UPLOAD_NO_PROXY',
      'CDIConfig names no address of the upload proxy, and --uploadproxy-url is not given',
    )
  }
  const url = parseAddress(text)
  if (flags.insecure) return { url, trust: 'any' }
  const given = flags.caFile === undefined ? [] : await readCertificates(flags.caFile)
  return { url, trust: [...given, ...certificatesIn(config?.status?.uploadProxyCA ?? '')] }
}

/** Throws CDI_USAGE. */
export function parseAddress(text: string): URL {
  const url = URL.parse(text.includes('://') ? text : `https://${text}`)
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:') || url.search !== '' || url.hash !== '') {
    throw new CdiError(
      'CDI_USAGE',
      `${JSON.stringify(text)} is no address of an upload proxy: write https://host[:port]`,
    )
  }
  if (url.protocol === 'http:' && !/^(localhost|127\.[\d.]+|::1)$/.test(hostOf(url))) {
    throw new CdiError('CDI_USAGE', `${url.origin} would show the token to everybody on the way: use https`)
  }
  return url
}

async function readCertificates(path: string): Promise<string[]> {
  let pem: string
  try {
    pem = await readFile(path, 'utf8')
  } catch (cause) {
    throw new CdiError(
      'CDI_USAGE',
      `--ca ${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        cause,
      },
    )
  }
  const found = certificatesIn(pem)
  if (found.length === 0) throw new CdiError('CDI_USAGE', `--ca ${path} holds no certificate in PEM`)
  return found
}
