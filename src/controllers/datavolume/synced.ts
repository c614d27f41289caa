/** What is known after T was looked after; the status is written from it. */
import type { DataVolume, PersistentVolumeClaim } from '../../api/kinds.ts'
import type { Failure } from './sync.ts'

export interface Synced {
  readonly dataVolume: DataVolume
  readonly target: PersistentVolumeClaim | undefined
  readonly failure?: Failure
  readonly requeueAfterMs?: number
  /** Thrown after the status was written: it is logged, and tried again with back-off. */
  readonly error?: unknown
}
