/** The filesystem overhead of a class as the caches know it. */
import { filesystemOverhead } from '../filesystem-overhead.ts'
import type { Caches } from './caches.ts'
import { configOf } from './settings.ts'

/** As text, e.g. `0.06`; '' is the class of a claim without one, undefined the default. */
export function overheadOf(caches: Caches, storageClassName: string | undefined): string {
  return filesystemOverhead({
    storageClassName,
    storageClasses: caches.storageClasses.list(),
    cdiConfig: configOf(caches),
  })
}
