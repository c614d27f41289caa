/** Addresses of uploads: where new ones are made, and below it one for each by its id. Pure. */

export interface Address {
  /** True for where uploads are made, and for everything one step below. */
  readonly serves: (path: string) => boolean
  /** Undefined for where uploads are made. */
  readonly idOf: (path: string) => string | undefined
  /** Relative to where it was made, so that nobody in between has to know under which name we are reached. */
  readonly locationOf: (id: string) => string
}

/** `name` is the last part of the path under the version. */
export function addressOf(name: string): Address {
  const base = `/v1beta1/${name}`
  return {
    serves: (path) => path === base || (path.startsWith(`${base}/`) && !path.slice(base.length + 1).includes('/')),
    idOf: (path) => (path === base ? undefined : path.slice(base.length + 1)),
    locationOf: (id) => `${name}/${id}`,
  }
}
