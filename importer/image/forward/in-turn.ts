/**
 * Readers that want their tables one after another are written as generators: `const bytes = yield { offset, length }`.
 * The bytes are lent until the next `yield`.
 */
import type { ForwardTables } from './forward.ts'

/** A piece of the file, in bytes. */
export interface Wanted {
  readonly offset: number
  readonly length: number
}

export type InTurn = Generator<Wanted, void, Buffer>

/** Runs the generator up to its end. */
export function readInTurn(tables: ForwardTables, steps: InTurn): void {
  const go = (step: IteratorResult<Wanted, void>): void => {
    if (step.done === true) return
    tables.table(step.value.offset, step.value.length, (bytes) => go(steps.next(bytes)))
  }
  go(steps.next())
}
