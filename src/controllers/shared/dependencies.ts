/** What every controller of this folder is given. */
import type { Clock } from '../../kube/clock.ts'
import type { KubeClient } from '../../kube/client.ts'
import type { EventRecorder } from '../../kube/events.ts'
import type { Log } from '../../log.ts'
import type { Caches } from './caches.ts'
import type { OwnWrites } from './own-writes.ts'

export interface Dependencies {
  readonly client: KubeClient
  readonly caches: Caches
  /** One for all controllers of a process. */
  readonly ownWrites: OwnWrites
  readonly log: Log
  readonly clock: Clock
}

/** Tells events; each controller has its own, under its name. */
export type Recorder = Pick<EventRecorder, 'event'>
