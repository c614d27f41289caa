/**
 * Whether a clone may read a source in another namespace (contract/clone.md §2.2). The webhook asked whether the maker of the
 * DataVolume may, and signed a short token; the controller makes a long one of it, bound to the UID of one object, so that a
 * namesake made later cannot use it.
 */
import { annotations } from '../../api/names.ts'
import type { Secret } from '../../api/kinds.ts'
import type { Clock } from '../../kube/clock.ts'
import type { KubeObject } from '../../kube/object.ts'
import { signingKeyOf, signingKeySecretName } from '../../tokens/signing-key.ts'
import type { SigningKey } from '../../tokens/signing-key.ts'
import { controllerTokenLifetimeMs, signToken, TokenError, verifyToken } from '../../tokens/token.ts'
import type { TokenClaims, TokenIssuer } from '../../tokens/token.ts'
import { annotationOf } from '../shared/annotated.ts'
import type { Caches } from '../shared/caches.ts'

export interface CloneOrder {
  readonly source: { readonly kind: 'pvc' | 'snapshot'; readonly namespace: string; readonly name: string }
  readonly target: { readonly namespace: string; readonly name: string }
}

/** The object bears no token that allows the clone; the message is the contract's and never holds a token. */
export class CloneTokenError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'CloneTokenError'
  }
}

export interface CloneTokens {
  /**
   * Resolves if a token on the DataVolume or claim allows the clone; the extended one counts if there is one. Throws a
   * {@link CloneTokenError} if not, and another error while there is no signing key.
   */
  assertAllowed(object: KubeObject, order: CloneOrder): Promise<void>
  /** A long-lived token for one object. What it allows must have been proved before. */
  extend(order: CloneOrder, uid: string): Promise<string>
}

export function cloneTokens({
  caches: { cdiSecrets },
  cdiNamespace,
  clock,
}: {
  caches: Pick<Caches, 'cdiSecrets'>
  /** Namespace of the installation, where the signing key lies. */
  cdiNamespace: string
  clock: Clock
}): CloneTokens {
  let parsed: { readonly of: Secret; readonly key: SigningKey } | undefined
  const signingKey = (): SigningKey => {
    const secret = cdiSecrets.get({ namespace: cdiNamespace, name: signingKeySecretName })
    if (!secret) throw new Error(`there is no Secret ${cdiNamespace}/${signingKeySecretName} yet`)
    if (parsed?.of !== secret) parsed = { of: secret, key: signingKeyOf(secret) }
    return parsed.key
  }
  return {
    assertAllowed: async (object, order) => {
      const { token, issuer } = tokenOn(object)
      const claims = await verified({ token, issuer, publicKey: signingKey().publicKey, now: clock.now() })
      const { uid } = claims.params ?? {}
      if (uid !== undefined && uid !== object.metadata.uid) throw new CloneTokenError('token uid mismatch')
      if (!allows(claims, order)) throw new CloneTokenError('invalid token')
    },
    extend: (order, uid) =>
      signToken({
        claims: claimsOf(order, uid),
        privateKey: signingKey().privateKey,
        issuer: 'cdi-deployment',
        lifetimeMs: controllerTokenLifetimeMs,
        now: clock.now(),
      }),
  }
}

function tokenOn(object: KubeObject): { token: string; issuer: TokenIssuer } {
  const extended = annotationOf(object, annotations.extendedCloneToken)
  if (extended) return { token: extended, issuer: 'cdi-deployment' }
  const short = annotationOf(object, annotations.cloneToken)
  if (short) return { token: short, issuer: 'cdi-apiserver' }
  throw new CloneTokenError('token missing')
}

async function verified(options: Parameters<typeof verifyToken>[0]): Promise<TokenClaims> {
  try {
    return await verifyToken(options)
  } catch (cause) {
    if (!(cause instanceof TokenError)) throw cause
    throw new CloneTokenError(`error verifying token: ${cause.message}`, { cause })
  }
}

function claimsOf({ source, target }: CloneOrder, uid: string): TokenClaims {
  return {
    operation: 'Clone',
    name: source.name,
    namespace: source.namespace,
    resource: resources[source.kind],
    params: { targetNamespace: target.namespace, targetName: target.name, uid },
  }
}

function allows(claims: TokenClaims, order: CloneOrder): boolean {
  const { group, version, resource } = claims.resource
  const wanted = claimsOf(order, '')
  return (
    claims.operation === 'Clone' &&
    claims.name === wanted.name &&
    claims.namespace === wanted.namespace &&
    group === wanted.resource.group &&
    version === wanted.resource.version &&
    resource === wanted.resource.resource &&
    claims.params?.['targetNamespace'] === order.target.namespace &&
    claims.params['targetName'] === order.target.name
  )
}

const resources = {
  pvc: { group: '', version: 'v1', resource: 'persistentvolumeclaims' },
  snapshot: { group: 'snapshot.storage.k8s.io', version: 'v1', resource: 'volumesnapshots' },
} as const
