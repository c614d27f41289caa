/**
 * What the proxy is given as files and may be given anew at any time: its two certificates and the key that tokens are
 * verified with. The newest whole contents count; nothing needs a restart.
 */
import { createPublicKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { join } from 'node:path'
import { pairKeys } from '../src/certs/names.ts'
import { isKeyPair } from '../src/certs/pem.ts'
import { followFiles } from '../src/certs/reload.ts'
import type { Log } from '../src/log.ts'
import type { ProxyConfig } from './config.ts'

export interface Pair {
  readonly certPem: string
  readonly keyPem: string
}

export interface Following {
  readonly log: Log
  readonly signal: AbortSignal
  /** How often files are looked at, in milliseconds; some seconds unless told. */
  readonly intervalMs?: number | undefined
}

/** A certificate in a directory. Resolves once it is there; `onChange` is told of every later one. */
export async function followPair(
  directory: string,
  following: Following,
  onChange: (pair: Pair) => void,
): Promise<Pair> {
  const [certPem = '', keyPem = ''] = await followFiles({
    ...definedOf(following),
    files: [join(directory, pairKeys.certificate), join(directory, pairKeys.key)],
    isWhole: ([cert = '', key = '']) => isKeyPair(cert, key),
    onChange: ([cert = '', key = '']) => onChange({ certPem: cert, keyPem: key }),
  })
  return { certPem, keyPem }
}

/** The key of tokens as it is now. Resolves once there is one. */
export async function followPublicKey(
  { publicKeyFile, publicKeyPem }: Pick<ProxyConfig, 'publicKeyFile' | 'publicKeyPem'>,
  following: Following,
): Promise<() => KeyObject> {
  let key = publicKeyPem === undefined ? undefined : createPublicKey(publicKeyPem)
  if (publicKeyFile !== undefined) {
    const take = ([pem = '']: readonly string[]): void => {
      key = createPublicKey(pem)
    }
    const first = followFiles({
      ...definedOf(following),
      files: [publicKeyFile],
      isWhole: ([pem = '']) => isPublicKey(pem),
      onChange: take,
    }).then(take)
    // With a key from the environment the file may come later, or never.
    if (key === undefined) await first
    else first.catch(() => undefined)
  }
  return () => {
    if (key === undefined) throw new Error('there is no key for tokens')
    return key
  }
}

function isPublicKey(pem: string): boolean {
  try {
    return createPublicKey(pem).asymmetricKeyType === 'rsa'
  } catch {
    return false
  }
}

function definedOf({ log, signal, intervalMs }: Following): { log: Log; signal: AbortSignal; intervalMs?: number } {
  return { log, signal, ...(intervalMs === undefined ? {} : { intervalMs }) }
}
