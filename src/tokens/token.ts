/**
 * Tokens for uploads and clones: compact JWTs signed with PS256 and nothing else (contract/upload.md §3, clone.md §2.2).
 * Whoever holds one may do the one thing that its claims name, until it expires.
 */
import type { KeyObject } from 'node:crypto'
import { errors, jwtVerify, SignJWT } from 'jose'
import type { JWTPayload } from 'jose'

/** `cdi-apiserver` for those that users are given, `cdi-deployment` for those that the controller makes of them. */
export type TokenIssuer = 'cdi-apiserver' | 'cdi-deployment'

/** What a token allows. */
export interface TokenClaims {
  readonly operation: 'Upload' | 'Clone'
  /** The claim that is filled, or the source of a clone. */
  readonly name: string
  readonly namespace: string
  readonly resource: { readonly group: string; readonly version: string; readonly resource: string }
  /** Of clones: `targetNamespace`, `targetName`, `uid`. */
  readonly params?: Readonly<Record<string, string>>
}

/** How long the tokens last that users are given. */
export const userTokenLifetimeMs = 5 * 60 * 1000
/** How long the tokens last that the controller makes for itself. */
export const controllerTokenLifetimeMs = 10 * 365 * 24 * 60 * 60 * 1000

const algorithm = 'PS256'
/** Clocks of nodes differ. */
const leewaySeconds = 10

/** The token is not valid; the message says why and never holds the token. */
export class TokenError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'TokenError'
  }
}

/** The token is ours and valid, but not for what uploads and clones are. */
export class ForeignClaimsError extends TokenError {
  constructor() {
    super('the claims are not those of an upload or a clone')
    this.name = 'ForeignClaimsError'
  }
}

export async function signToken(options: {
  readonly claims: TokenClaims
  /** RSA. */
  readonly privateKey: KeyObject
  readonly issuer: TokenIssuer
  readonly lifetimeMs: number
  /** Epoch milliseconds. */
  readonly now: number
}): Promise<string> {
  const { claims, privateKey, issuer, lifetimeMs, now } = options
  const { operation, name, namespace, resource, params } = claims
  const { group, version, resource: plural } = resource
  const seconds = Math.floor(now / 1000)
  return new SignJWT({
    operation,
    name,
    namespace,
    resource: { group, version, resource: plural },
    ...(params === undefined ? {} : { params: { ...params } }),
  })
    .setProtectedHeader({ alg: algorithm })
    .setIssuer(issuer)
    .setIssuedAt(seconds)
    .setNotBefore(seconds)
    .setExpirationTime(seconds + Math.floor(lifetimeMs / 1000))
    .sign(privateKey)
}

/**
 * The claims of a token whose signature, issuer and times are in order, with a leeway of 10 s.
 * @throws {TokenError}
 */
export async function verifyToken(options: {
  readonly token: string
  readonly publicKey: KeyObject
  readonly issuer: TokenIssuer
  readonly now: number
}): Promise<TokenClaims> {
  const { token, publicKey, issuer, now } = options
  let payload: JWTPayload
  try {
    payload = (
      await jwtVerify(token, publicKey, {
        algorithms: [algorithm],
        issuer,
        clockTolerance: leewaySeconds,
        currentDate: new Date(now),
        requiredClaims: ['iat', 'nbf', 'exp'],
      })
    ).payload
  } catch (error) {
    if (error instanceof errors.JOSEError) throw new TokenError(error.message, { cause: error })
    throw error
  }
  // The library looks at this one only where a greatest age is asked for.
  if ((payload.iat ?? 0) > Math.floor(now / 1000) + leewaySeconds) throw new TokenError('issued in the future')
  const claims = claimsOf(payload)
  if (claims === undefined) throw new ForeignClaimsError()
  return claims
}

function claimsOf(payload: JWTPayload): TokenClaims | undefined {
  const { operation, name, namespace, resource, params } = payload
  if (operation !== 'Upload' && operation !== 'Clone') return undefined
  if (typeof name !== 'string' || typeof namespace !== 'string' || !isTexts(resource)) return undefined
  const { group, version, resource: plural } = resource
  if (group === undefined || version === undefined || plural === undefined) return undefined
  const claims = { operation, name, namespace, resource: { group, version, resource: plural } } as const
  // Go writes null for a map that is not there.
  if (params === undefined || params === null) return claims
  return isTexts(params) ? { ...claims, params: { ...params } } : undefined
}

function isTexts(value: unknown): value is Record<string, string> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((text) => typeof text === 'string')
  )
}
