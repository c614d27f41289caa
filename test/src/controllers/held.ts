/** Caches that hold what a test puts there, with the indexes of the real ones and nothing behind them. */
import { addIndexes } from '../../../src/controllers/shared/caches.ts'
import type { Caches, Held } from '../../../src/controllers/shared/caches.ts'
import { formatKey } from '../../../src/kube/object.ts'
import type { KubeObject } from '../../../src/kube/object.ts'
import { ObjectStore } from '../../../src/kube/object-store.ts'

type Contents = { readonly [K in keyof Caches]?: Caches[K] extends Held<infer T> ? readonly T[] : never }

export function heldCaches(contents: Contents): Caches {
  const held = new Map<string, Held<KubeObject>>()
  const caches = new Proxy({} as Caches, {
    get: (_, name: keyof Caches) => {
      const known = held.get(name) ?? heldObjects(contents[name] ?? [])
      held.set(name, known)
      return known
    },
  })
  addIndexes(caches)
  return caches
}

function heldObjects(objects: readonly KubeObject[]): Held<KubeObject> {
  const store = new ObjectStore<KubeObject>((error) => {
    throw error
  })
  store.replace(objects)
  return {
    get: (key) => store.get(formatKey(key)),
    list: (namespace) => store.list(namespace),
    byIndex: (name, value) => store.byIndex(name, value),
    addIndex: (name, keysOf) => store.addIndex(name, keysOf),
    onChange: (handler) => store.onChange(handler),
    synced: Promise.resolve(),
  }
}
