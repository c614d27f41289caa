/** Which VolumeSnapshotClass the snapshot of a clone is taken with (contract/clone.md §5). Pure. */
import { annotations, messages, reasons } from '../../api/names.ts'
import type { VolumeSnapshotClass } from '../../api/kinds.ts'
import { isAnnotatedTrue } from '../shared/annotated.ts'
import { normal } from '../shared/told.ts'
import type { Told } from '../shared/told.ts'

export interface SnapshotClassChoice {
  readonly name: string
  /** Why it was chosen, for T. */
  readonly event: Told
}

export interface SnapshotClassInput {
  readonly driver: string
  readonly classes: readonly VolumeSnapshotClass[]
  /** What the StorageProfiles of source and target name. */
  readonly sourceProfileClass: string | undefined
  readonly targetProfileClass: string | undefined
}

/**
 * The class that both StorageProfiles name, if it is there and the driver's; else the driver's default class, else its first by
 * name. A profile that names a class that is gone or another driver's does not stand in the way of one that would do.
 */
export function chooseSnapshotClass(input: SnapshotClassInput): SnapshotClassChoice | undefined {
  const { driver, classes, sourceProfileClass, targetProfileClass } = input
  const fitting = classes
    .filter((candidate) => candidate.driver === driver)
    .toSorted(({ metadata: a }, { metadata: b }) => (a.name < b.name ? -1 : 1))
  const common = sourceProfileClass === targetProfileClass ? sourceProfileClass : undefined
  const named = fitting.find(({ metadata }) => metadata.name === common)
  if (named) return choice(named, messages.snapshotClassOfProfile)
  const byDefault = fitting.find((candidate) => isAnnotatedTrue(candidate, annotations.defaultSnapshotClass))
  if (byDefault) return choice(byDefault, messages.snapshotClassByDefault)
  return fitting[0] && choice(fitting[0], messages.snapshotClassFirst)
}

function choice({ metadata: { name } }: VolumeSnapshotClass, text: (name: string) => string): SnapshotClassChoice {
  return { name, event: normal(reasons.volumeSnapshotClassSelected, text(name)) }
}
