/**
 * The key that signs tokens: one RSA key in a Secret, made by whoever comes first and never changed afterwards
 * (contract/upload.md §3).
 */
import { createPrivateKey, createPublicKey, generateKeyPair } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { labels, labelValues } from '../api/names.ts'
import { kinds } from '../api/kinds.ts'
import type { Secret } from '../api/kinds.ts'
import { isAlreadyExists } from '../kube/api-error.ts'
import type { KubeClient } from '../kube/client.ts'
import type { OwnerReference } from '../kube/object.ts'
import type { Log } from '../log.ts'

export const signingKeySecretName = 'cdi-api-signing-key'

/** Keys of the Secret: PKCS #1 `RSA PRIVATE KEY` and PKIX `PUBLIC KEY`, both PEM. */
export const signingKeyFiles = { privateKey: 'id_rsa', publicKey: 'id_rsa.pub' } as const

const modulusLength = 2048

export interface SigningKey {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  /** As it stands in the Secret. */
  readonly publicPem: string
}

/** The Secret, or a mounted copy of it, does not hold a key that can be used; the message says what is wrong. */
export class SigningKeyError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'SigningKeyError'
  }
}

/**
 * The key of the Secret, which is made if it is not there; of several processes that want to make it one wins and all get
 * the same key.
 * @throws {SigningKeyError} when the Secret is there and of no use: it is left as it is, since tokens may depend on it
 */
export async function ensureSigningKey(options: {
  readonly client: Pick<KubeClient, 'get' | 'create'>
  readonly namespace: string
  readonly log: Log
  /** Who it is deleted with. */
  readonly ownerReferences?: OwnerReference[]
  readonly signal?: AbortSignal
}): Promise<SigningKey> {
  const { client, namespace, log, ownerReferences = [], signal } = options
  const key = { namespace, name: signingKeySecretName }
  const found = await client.get(kinds.secret, key, signal)
  if (found !== undefined) return signingKeyOf(found)
  const { privateKey, publicKey } = await promisify(generateKeyPair)('rsa', { modulusLength })
  try {
    const made = await client.create(
      kinds.secret,
      {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: {
          ...key,
          labels: {
            [labels.component]: 'keystore',
            [labels.recommendedComponent]: labelValues.storageComponent,
            [labels.managedBy]: 'cdi-apiserver',
          },
          ...(ownerReferences.length === 0 ? {} : { ownerReferences }),
        },
        type: 'Opaque',
        data: {
          [signingKeyFiles.privateKey]: base64(privateKey.export({ type: 'pkcs1', format: 'pem' })),
          [signingKeyFiles.publicKey]: base64(publicKey.export({ type: 'spki', format: 'pem' })),
        },
      },
      signal,
    )
    log.info({ secret: signingKeySecretName }, 'signing key made')
    return signingKeyOf(made)
  } catch (error) {
    if (!isAlreadyExists(error)) throw error
  }
  const others = await client.get(kinds.secret, key, signal)
  if (others === undefined) throw new SigningKeyError(`Secret ${signingKeySecretName} was deleted while it was made`)
  return signingKeyOf(others)
}

/** The key that a Secret holds. @throws {SigningKeyError} */
export function signingKeyOf({ data = {} }: Pick<Secret, 'data'>): SigningKey {
  return parseSigningKey({
    privatePem: text(data[signingKeyFiles.privateKey]),
    publicPem: text(data[signingKeyFiles.publicKey]),
  })
}

/** The key of two PEM texts, e.g. of mounted files, that belong together. @throws {SigningKeyError} */
export function parseSigningKey({ privatePem, publicPem }: { privatePem: string; publicPem: string }): SigningKey {
  const publicKey = parsePublicKey(publicPem)
  let privateKey: KeyObject
  try {
    privateKey = createPrivateKey(privatePem)
  } catch (error) {
    throw new SigningKeyError(`${signingKeyFiles.privateKey} holds no private key in PEM`, { cause: error })
  }
  if (!createPublicKey(privateKey).equals(publicKey)) {
    throw new SigningKeyError(`${signingKeyFiles.privateKey} and ${signingKeyFiles.publicKey} do not belong together`)
  }
  return { privateKey, publicKey, publicPem }
}

/** The one RSA public key of a PEM text. @throws {SigningKeyError} */
export function parsePublicKey(publicPem: string): KeyObject {
  const count = publicPem.match(/-----BEGIN /g)?.length ?? 0
  if (count !== 1) throw new SigningKeyError(`one public key is expected in ${signingKeyFiles.publicKey}, not ${count}`)
  // createPublicKey would take the public half of a private key too, which has no business here.
  if (!/-----BEGIN (RSA )?PUBLIC KEY-----/.test(publicPem)) {
    throw new SigningKeyError(`${signingKeyFiles.publicKey} holds something else than a public key`)
  }
  let publicKey: KeyObject
  try {
    publicKey = createPublicKey(publicPem)
  } catch (error) {
    throw new SigningKeyError(`${signingKeyFiles.publicKey} holds no public key in PEM`, { cause: error })
  }
  if (publicKey.asymmetricKeyType !== 'rsa') throw new SigningKeyError('the signing key is not an RSA key')
  return publicKey
}

function base64(pem: string | Buffer): string {
  return Buffer.from(pem).toString('base64')
}

function text(base64Text: string | undefined): string {
  return Buffer.from(base64Text ?? '', 'base64').toString()
}
