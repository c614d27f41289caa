/** Names of objects in stores, and how they are written into a URL. */

/** Why an object of that name cannot be asked for; undefined if it can. */
export function troubleWithKey(key: string): string | undefined {
  if (key === '') return 'it names a bucket but no object in it'
  if (!key.isWellFormed()) return 'the name of the object is no Unicode text'
  // Every URL library between here and the store takes them for a walk through directories.
  if (key.split('/').some((part) => part === '.' || part === '..')) {
    return 'names of objects with . or .. between slashes cannot be asked for over HTTP'
  }
  return undefined
}

/** A name as path of a URL, its slashes kept. */
export function encodeKey(key: string): string {
  return key.split('/').map(encodePart).join('/')
}

/** RFC 3986: everything but letters, digits and `-._~` is escaped, since S3 wants it signed that way. */
export function encodePart(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}
