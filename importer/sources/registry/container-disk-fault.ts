/** What is said of an image in which no disk was found: what was there instead. */
import { CdiError } from '../../../src/errors.ts'
import { shownName } from '../../formats/tar-name.ts'
import { diskDirectory } from './container-disk-overlay.ts'

/** Clauses that the error shows. */
const mostClauses = 5

/** Things that were looked at and are no disk. */
export class Refused {
  readonly #clauses: string[] = []

  /** Remembers what a path is, as in `a symbolic link`. */
  add(path: string, what: string): void {
    this.note(`${shownName(path)} is ${what}`)
  }

  note(clause: string): void {
    if (this.#clauses.length < mostClauses) this.#clauses.push(clause)
  }

  /** CDI_REGISTRY_NO_DISK for an image without a file that could be one. */
  noDisk(): CdiError {
    return noDiskFault([`there is no plain file below /${diskDirectory}`, ...this.#clauses])
  }
}

/** CDI_REGISTRY_NO_DISK with the text of contract import §11 and the reasons behind it. */
export function noDiskFault(reasons: readonly string[]): CdiError {
  const text = 'Failed to find VM disk image file in the container image'
  return new CdiError('CDI_REGISTRY_NO_DISK', `${text}: ${reasons.join('; ')}`)
}
