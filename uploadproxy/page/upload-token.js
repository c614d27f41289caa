// @ts-check
/** What an upload token says about itself. Whether it is true the proxy decides; the page only shows it. */

/**
 * @typedef {object} UploadToken
 * @property {string} token
 * @property {string} namespace
 * @property {string} pvcName
 * @property {number} expiresMs since 1970
 * @property {number | undefined} lifeMs from its making on
 */

/**
 * Reads the payload of a token; undefined if it is none for an upload.
 * @param {string} text
 * @returns {UploadToken | undefined}
 */
export function readUploadToken(text) {
  const token = text.trim()
  const parts = token.split('.')
  if (parts.length !== 3) return undefined
  try {
    const bytes = Uint8Array.from(atob((parts[1] ?? '').replaceAll('-', '+').replaceAll('_', '/')), (each) =>
      each.charCodeAt(0),
    )
    const { operation, name, namespace, exp, iat } = JSON.parse(new TextDecoder().decode(bytes))
    if (operation !== 'Upload' || typeof name !== 'string' || typeof namespace !== 'string') return undefined
    if (name === '' || namespace === '' || typeof exp !== 'number') return undefined
    return {
      token,
      namespace,
      pvcName: name,
      expiresMs: exp * 1000,
      lifeMs: typeof iat === 'number' ? (exp - iat) * 1000 : undefined,
    }
  } catch {
    return undefined
  }
}
