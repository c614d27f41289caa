/** What this process told on which object already; the cache of events may not show it yet. */
import type { KubeObject } from '../../kube/object.ts'
import { toldKey } from './claim-events.ts'
import type { Told } from './told.ts'

/** Objects that are remembered; the oldest are the likeliest to be done, and their events stand in the cache. */
const limit = 10_000

const none: ReadonlySet<string> = new Set()

export class ToldMemory {
  /** By UID, keys of events. */
  readonly #told = new Map<string, Set<string>>()

  /** Keys (`toldKey`) of what was told on an object. */
  of({ metadata: { uid } }: KubeObject): ReadonlySet<string> {
    return this.#told.get(uid) ?? none
  }

  remember({ metadata: { uid } }: KubeObject, event: Told): void {
    const known = this.#told.get(uid) ?? new Set()
    known.add(toldKey(event))
    this.#told.delete(uid)
    this.#told.set(uid, known)
    const [oldest] = this.#told.keys()
    if (this.#told.size > limit && oldest !== undefined) this.#told.delete(oldest)
  }
}
