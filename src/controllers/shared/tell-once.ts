/** Events that stand for a state and not for a change: they are told when the state is seen first, not at each look. */
import type { PersistentVolumeClaim } from '../../api/kinds.ts'
import { eventsOf } from './caches.ts'
import type { Caches } from './caches.ts'
import { untold } from './claim-events.ts'
import type { Recorder } from './dependencies.ts'
import { ToldMemory } from './told-memory.ts'
import type { Told } from './told.ts'

export class TellOnce {
  readonly #recorder: Recorder
  readonly #events: Caches['events']
  readonly #told = new ToldMemory()

  constructor({ recorder, caches }: { recorder: Recorder; caches: Pick<Caches, 'events'> }) {
    this.#recorder = recorder
    this.#events = caches.events
  }

  /** Tells an event on a claim, unless it stands there already or was told. */
  tell(claim: PersistentVolumeClaim, event: Told): void {
    const targetEvents = eventsOf(this.#events, claim)
    if (untold(event, { targetEvents, alreadyTold: this.#told.of(claim) }).length === 0) return
    this.#recorder.event(claim, event)
    this.#told.remember(claim, event)
  }
}
