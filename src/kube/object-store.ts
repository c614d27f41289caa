/**
 * The objects of a cache, their indexes and those who want to know of changes. Knows nothing of the network. Two objects of
 * the same name with different UIDs are different objects: the one is told as gone before the other as added.
 */
import { formatKey, keyOf } from './object.ts'
import type { KubeObject } from './object.ts'

/** `new` alone: added; `old` alone: gone; both: the same object (same UID) in another state. */
export interface Change<T> {
  readonly old?: T
  readonly new?: T
}

interface Index<T> {
  readonly keysOf: (object: T) => Iterable<string>
  readonly objects: Map<string, Map<string, T>>
}

const namespaceIndex = 'namespace'

export class ObjectStore<T extends KubeObject> {
  readonly #objects = new Map<string, T>()
  readonly #indexes = new Map<string, Index<T>>()
  readonly #handlers = new Set<(change: Change<T>) => void>()
  readonly #onHandlerError: (error: unknown, key: string) => void

  constructor(onHandlerError: (error: unknown, key: string) => void) {
    this.#onHandlerError = onHandlerError
    this.addIndex(namespaceIndex, ({ metadata: { namespace } }) => (namespace ? [namespace] : []))
  }

  get size(): number {
    return this.#objects.size
  }

  get(key: string): T | undefined {
    return this.#objects.get(key)
  }

  list(namespace?: string): T[] {
    return namespace === undefined ? [...this.#objects.values()] : this.byIndex(namespaceIndex, namespace)
  }

  addIndex(name: string, keysOf: (object: T) => Iterable<string>): void {
    if (this.#indexes.has(name)) throw new Error(`there is an index ${name} already`)
    const index: Index<T> = { keysOf, objects: new Map() }
    this.#indexes.set(name, index)
    for (const [key, object] of this.#objects) enter(index, key, object)
  }

  byIndex(name: string, value: string): T[] {
    const index = this.#indexes.get(name)
    if (index === undefined) throw new Error(`there is no index ${name}`)
    return [...(index.objects.get(value)?.values() ?? [])]
  }

  onChange(handler: (change: Change<T>) => void): () => void {
    this.#handlers.add(handler)
    for (const [key, object] of this.#objects) this.#tell(handler, { new: object }, key)
    return () => this.#handlers.delete(handler)
  }

  /** Sets an object. Nothing is told when exactly this version is there already. */
  put(object: T): void {
    const key = formatKey(keyOf(object))
    const old = this.#objects.get(key)
    if (old === undefined) return this.#swap(key, { new: object })
    if (old.metadata.uid !== object.metadata.uid) {
      this.#swap(key, { old })
      return this.#swap(key, { new: object })
    }
    if (old.metadata.resourceVersion !== object.metadata.resourceVersion) this.#swap(key, { old, new: object })
  }

  /** Takes an object away, unless its name belongs to a later one by now. */
  remove(key: string, uid: string): void {
    const old = this.#objects.get(key)
    if (old?.metadata.uid === uid) this.#swap(key, { old })
  }

  /** Makes this list the whole content. What is gone is told first. */
  replace(objects: readonly T[]): void {
    const kept = new Set(objects.map((object) => formatKey(keyOf(object))))
    for (const [key, old] of this.#objects) {
      if (!kept.has(key)) this.#swap(key, { old })
    }
    for (const object of objects) this.put(object)
  }

  #swap(key: string, change: Change<T>): void {
    for (const index of this.#indexes.values()) {
      if (change.old !== undefined) leave(index, key, change.old)
      if (change.new !== undefined) enter(index, key, change.new)
    }
    if (change.new === undefined) this.#objects.delete(key)
    else this.#objects.set(key, change.new)
    for (const handler of this.#handlers) this.#tell(handler, change, key)
  }

  #tell(handler: (change: Change<T>) => void, change: Change<T>, key: string): void {
    try {
      handler(change)
    } catch (error) {
      // A fault in one handler must neither stop the others nor the watch.
      this.#onHandlerError(error, key)
    }
  }
}

function enter<T>({ keysOf, objects }: Index<T>, key: string, object: T): void {
  for (const value of keysOf(object)) {
    const group = objects.get(value)
    if (group === undefined) objects.set(value, new Map([[key, object]]))
    else group.set(key, object)
  }
}

function leave<T>({ keysOf, objects }: Index<T>, key: string, object: T): void {
  for (const value of keysOf(object)) {
    const group = objects.get(value)
    group?.delete(key)
    if (group?.size === 0) objects.delete(value)
  }
}
