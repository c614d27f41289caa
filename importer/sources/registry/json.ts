/** JSON that comes from a stranger. */

export type JsonObject = Readonly<Record<string, unknown>>

/** The object in `bytes`; throws what `fault` makes of the reason. What was found is never quoted. */
export function parseJsonObject(bytes: Buffer, what: string, fault: (text: string) => Error): JsonObject {
  let parsed: unknown
  try {
    parsed = JSON.parse(bytes.toString('utf8'))
  } catch {
    // Without its cause, which quotes the text; it may be a token.
    throw fault(`${what} is not JSON`)
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw fault(`${what} is not a JSON object`)
  }
  return parsed as JsonObject
}
