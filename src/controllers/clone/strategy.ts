/**
 * How a clone is made: by the storage (a snapshot, or a clone of its own) where everything fits, else by copying
 * (contract/clone.md §5). Pure: facts in, a strategy out, with the reason if it is not the wanted one.
 */
import { cloneStrategies, reasons } from '../../api/names.ts'
import type { CloneFallback, CloneStrategy } from '../../api/names.ts'

/** What matters of a clone of a claim. Bytes are undefined while nobody knows them, drivers and classes if there is none. */
export interface ClaimCloneFacts {
  readonly sourceDriver: string | undefined
  readonly targetDriver: string
  /** A VolumeSnapshotClass that fits the driver that both share. */
  readonly snapshotClass: string | undefined
  readonly sourceMode: string
  readonly targetMode: string
  readonly sourceCapacityBytes: number | undefined
  readonly targetBytes: number | undefined
  readonly allowsExpansion: boolean
}

/** What matters of a clone of a snapshot. */
export interface SnapshotCloneFacts {
  readonly contentDriver: string
  readonly targetProvisioner: string
  readonly sourceMode: string
  readonly targetMode: string
  readonly restoreBytes: number | undefined
  readonly targetBytes: number | undefined
  readonly allowsExpansion: boolean
}

export type Decision =
  | { readonly kind: 'chosen'; readonly strategy: CloneStrategy; readonly fallback?: CloneFallback }
  /** What would have to be compared is not known yet. */
  | { readonly kind: 'sizesMissing' }

/** One condition of a strategy of the storage: fulfilled, not, or not known yet. */
export interface Rule<Facts> {
  readonly fallback: CloneFallback
  readonly of: readonly CloneStrategy[]
  readonly holds: (facts: Facts) => boolean | undefined
}

const { copy, snapshot, csiClone } = cloneStrategies

/** In the order in which they are asked; the first that does not hold is the one that is told. */
export const claimRules: readonly Rule<ClaimCloneFacts>[] = [
  {
    fallback: reasons.noVolumeSnapshotClass,
    of: [snapshot],
    holds: (facts) => haveOneDriver(facts) && facts.snapshotClass !== undefined,
  },
  { fallback: reasons.incompatibleProvisioners, of: [snapshot, csiClone], holds: haveOneDriver },
  {
    fallback: reasons.incompatibleVolumeModes,
    of: [snapshot, csiClone],
    holds: ({ sourceMode, targetMode }) => sourceMode === targetMode,
  },
  {
    fallback: reasons.noVolumeExpansion,
    of: [snapshot, csiClone],
    holds: ({ sourceCapacityBytes, targetBytes, allowsExpansion }) =>
      reaches({ from: sourceCapacityBytes, to: targetBytes, allowsExpansion }),
  },
]

export const snapshotRules: readonly Rule<SnapshotCloneFacts>[] = [
  {
    fallback: reasons.noProvisionerMatch,
    of: [snapshot],
    holds: ({ contentDriver, targetProvisioner }) => contentDriver === targetProvisioner,
  },
  {
    fallback: reasons.noVolumeExpansion,
    of: [snapshot],
    holds: ({ restoreBytes, targetBytes, allowsExpansion }) =>
      reaches({ from: restoreBytes, to: targetBytes, allowsExpansion }),
  },
  {
    fallback: reasons.incompatibleVolumeModes,
    of: [snapshot],
    holds: ({ sourceMode, targetMode }) => sourceMode === targetMode,
  },
]

/** The strategy for a clone of a claim, of which one is wanted. */
export function decideClaimClone(wanted: CloneStrategy, facts: ClaimCloneFacts): Decision {
  return decide(wanted, facts, claimRules)
}

/** The strategy for a clone of a snapshot: it is restored, if that is possible. */
export function decideSnapshotClone(facts: SnapshotCloneFacts): Decision {
  return decide(snapshot, facts, snapshotRules)
}

/** The first wish that names a strategy; without one, snapshots are tried. */
export function wantedStrategy(...wishes: readonly (string | undefined)[]): CloneStrategy {
  return wishes.find((wish): wish is CloneStrategy => wish !== undefined && isCloneStrategy(wish)) ?? snapshot
}

export function isCloneStrategy(text: string): text is CloneStrategy {
  return (Object.values(cloneStrategies) as string[]).includes(text)
}

function decide<Facts>(wanted: CloneStrategy, facts: Facts, rules: readonly Rule<Facts>[]): Decision {
  for (const { fallback, of, holds } of rules) {
    if (!of.includes(wanted)) continue
    const answer = holds(facts)
    if (answer === undefined) return { kind: 'sizesMissing' }
    if (!answer) return { kind: 'chosen', strategy: copy, fallback }
  }
  return { kind: 'chosen', strategy: wanted }
}

function haveOneDriver({ sourceDriver, targetDriver }: ClaimCloneFacts): boolean {
  return sourceDriver === targetDriver
}

/** Whether a volume of one size becomes one of another. */
function reaches({
  from,
  to,
  allowsExpansion,
}: {
  from: number | undefined
  to: number | undefined
  allowsExpansion: boolean
}): boolean | undefined {
  return from === undefined || to === undefined ? undefined : from >= to || allowsExpansion
}
