/**
 * What this process wrote and its caches may not show yet. A reconcile that looks at an object from before its own write
 * would only run into a conflict; it can rest, since the write's own change brings the key up again.
 */
import { isNewer } from '../../kube/cache.ts'
import type { KubeObject } from '../../kube/object.ts'

/** Writes are remembered for so many objects; to forget one costs a conflict at most. */
const limit = 10_000

export class OwnWrites {
  /** By UID, the version of the last write. */
  readonly #versions = new Map<string, string>()

  /** Remembers an object as the API server returned it from a write. */
  wrote({ metadata: { uid, resourceVersion } }: KubeObject): void {
    this.#versions.delete(uid)
    this.#versions.set(uid, resourceVersion)
    if (this.#versions.size <= limit) return
    const [oldest] = this.#versions.keys()
    if (oldest !== undefined) this.#versions.delete(oldest)
  }

  /** Whether an object from a cache is older than our last write of it. */
  isBehind({ metadata: { uid, resourceVersion } }: KubeObject): boolean {
    const written = this.#versions.get(uid)
    if (written === undefined) return false
    if (written !== resourceVersion && isNewer(written, resourceVersion)) return true
    this.#versions.delete(uid)
    return false
  }
}
