// @ts-check
/**
 * Uploads that were begun and not finished, so that they go on after a reload or tomorrow. Browsers do not let a page open
 * a file again by itself; what is kept is enough to recognise it when it is chosen once more. No secrets.
 */

/**
 * @typedef {object} Unfinished
 * @property {string} name
 * @property {number} size
 * @property {number} lastModified
 * @property {string} namespace
 * @property {string} pvcName
 * @property {string} address
 * @property {number} doneBytes
 * @property {number} savedMs
 */

const prefix = 'cdi-upload '
/** Servers keep what they have for less. */
const keptMs = 7 * 24 * 3600_000

/** @param {Pick<Unfinished, 'name' | 'size' | 'lastModified' | 'namespace' | 'pvcName'>} what */
function keyOf({ name, size, lastModified, namespace, pvcName }) {
  return prefix + JSON.stringify([namespace, pvcName, name, size, lastModified])
}

export class UnfinishedUploads {
  #storage

  /** @param {Storage} storage */
  constructor(storage) {
    this.#storage = storage
  }

  /**
   * All for one volume, the latest first. Throws away what is too old or damaged.
   * @param {{ namespace: string, pvcName: string }} target
   * @returns {Unfinished[]}
   */
  of({ namespace, pvcName }) {
    const found = []
    for (const key of Object.keys(this.#storage).filter((each) => each.startsWith(prefix))) {
      const each = this.#read(key)
      if (each === undefined || Date.now() - each.savedMs > keptMs) this.#storage.removeItem(key)
      else if (each.namespace === namespace && each.pvcName === pvcName) found.push(each)
    }
    return found.sort((one, other) => other.savedMs - one.savedMs)
  }

  /**
   * @param {{ file: File, namespace: string, pvcName: string }} what
   * @returns {Unfinished | undefined}
   */
  find({ file, ...target }) {
    return this.#read(keyOf({ ...factsOf(file), ...target }))
  }

  /** @param {{ file: File, namespace: string, pvcName: string, address: string, doneBytes: number }} what */
  save({ file, ...rest }) {
    const each = { ...factsOf(file), ...rest, savedMs: Date.now() }
    try {
      this.#storage.setItem(keyOf(each), JSON.stringify(each))
    } catch {
      // Full or forbidden: the upload works, it can only not go on after a reload.
    }
  }

  /** @param {{ file: File, namespace: string, pvcName: string }} what */
  forget({ file, ...target }) {
    this.#storage.removeItem(keyOf({ ...factsOf(file), ...target }))
  }

  /** @param {string} key */
  #read(key) {
    try {
      const each = JSON.parse(this.#storage.getItem(key) ?? 'null')
      return typeof each?.address === 'string' && typeof each.savedMs === 'number' ? each : undefined
    } catch {
      return undefined
    }
  }
}

/** @param {File} file */
function factsOf({ name, size, lastModified }) {
  return { name, size, lastModified }
}
