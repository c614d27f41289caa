/** A client of a process that dies at a chosen write: from then on nothing of it reaches the API server. */
import type { KubeClient } from '../../../src/kube/client.ts'

/** Dies `before` the n-th write is sent, or `after` it was done but before its answer arrives. */
export interface Death {
  readonly write: number
  readonly when: 'before' | 'after'
}

export interface MortalClient extends KubeClient {
  /** Resolves when the death has happened. */
  readonly died: Promise<void>
  readonly isDead: boolean
  /** Writes that were begun; leases and events do not count. */
  readonly writes: number
}

/**
 * Resolves when the process is dead or its work is done. Disposing of what it gives waits until nobody waits for that work
 * any more, which another process may have to end: a wait that outlived the API server would go on for minutes.
 */
export async function deadOrDone(client: MortalClient, work: Promise<unknown>): Promise<AsyncDisposable> {
  await Promise.race([client.died, work])
  return { [Symbol.asyncDispose]: async () => void (await work.catch(() => undefined)) }
}

/**
 * Ends a process whose work is done. It may die while it does: the write that it was to die at may be one of its last, and
 * what is dead ends never.
 */
export async function endOrDie(process: { readonly client: MortalClient; end(): Promise<void> }): Promise<void> {
  if (!process.client.isDead) await Promise.race([process.end(), process.client.died])
}

export function mortal(client: KubeClient, death: Death | undefined): MortalClient {
  const died = Promise.withResolvers<void>()
  let isDead = false
  let writes = 0
  const die = (): Promise<never> => {
    isDead = true
    died.resolve()
    return new Promise<never>(() => undefined)
  }
  const write = async <R>(plural: string, request: () => Promise<R>): Promise<R> => {
    if (isDead) return die()
    if (plural === 'leases' || plural === 'events') return request()
    writes++
    const isLast = death?.write === writes
    if (isLast && death.when === 'before') return die()
    const answer = await request()
    return isLast ? die() : answer
  }
  return {
    died: died.promise,
    get isDead() {
      return isDead
    },
    get writes() {
      return writes
    },
    get: (kind, key, signal) => (isDead ? die() : client.get(kind, key, signal)),
    list: (kind, options) => (isDead ? die() : client.list(kind, options)),
    watch: (kind, options) => client.watch(kind, options),
    raw: (method, path, body, signal) => client.raw(method, path, body, signal),
    create: (kind, object, signal) => write(kind.plural, () => client.create(kind, object, signal)),
    patch: (kind, key, body, options) => write(kind.plural, () => client.patch(kind, key, body, options)),
    delete: (kind, key, options) => write(kind.plural, () => client.delete(kind, key, options)),
  }
}
