/**
 * Keeps account of packed grains as they are met by their markers and as tables name them, in little memory: of each table
 * how many grains it has and a sum over their places, which does not depend on their order.
 */

const sector = 512
const entryBytes = 4
const zeroGrain = 1

/** Of the grains of a table. */
interface Account {
  grains: number
  sum: number
}

export class GrainLedger {
  readonly #tableEntries: number
  readonly #zeroGrains: boolean
  /** Where the table of each entry of the directory stands, in sectors. */
  readonly #directory: Uint32Array
  readonly #tables = new Map<number, Account>()
  /** By number in the directory. */
  readonly #met = new Map<number, Account & { readonly seen: Uint8Array }>()

  constructor({
    directoryEntries,
    tableEntries,
    zeroGrains,
  }: {
    readonly directoryEntries: number
    readonly tableEntries: number
    readonly zeroGrains: boolean
  }) {
    this.#tableEntries = tableEntries
    this.#zeroGrains = zeroGrains
    this.#directory = new Uint32Array(directoryEntries)
  }

  /** A grain whose marker stands at `offset`; false if it came before. */
  meet(grain: number, offset: number): boolean {
    const index = grain % this.#tableEntries
    const table = (grain - index) / this.#tableEntries
    let account = this.#met.get(table)
    if (account === undefined) {
      account = { grains: 0, sum: 0, seen: new Uint8Array(Math.ceil(this.#tableEntries / 8)) }
      this.#met.set(table, account)
    }
    const bit = 1 << (index % 8)
    const byte = index >>> 3
    if (((account.seen[byte] ?? 0) & bit) !== 0) return false
    account.seen[byte] = (account.seen[byte] ?? 0) | bit
    enter(account, index, offset / sector)
    return true
  }

  /** The table that stands at `offset`. */
  addTable(offset: number, table: Buffer): void {
    const account: Account = { grains: 0, sum: 0 }
    for (let index = 0; index < this.#tableEntries; index += 1) {
      const entry = table.readUInt32LE(index * entryBytes)
      if (entry !== 0 && !(this.#zeroGrains && entry === zeroGrain)) enter(account, index, entry)
    }
    this.#tables.set(offset / sector, account)
  }

  /** Entries of the directory from `firstEntry` on. */
  addDirectory(firstEntry: number, directory: Buffer): void {
    for (let at = 0; at < directory.length; at += entryBytes) {
      this.#directory[firstEntry + at / entryBytes] = directory.readUInt32LE(at)
    }
  }

  /** Where the tables stand that the directory names, in the order of the file. */
  tableOffsets(): readonly number[] {
    const sectors = new Set(this.#directory)
    sectors.delete(0)
    return Array.from(Uint32Array.from(sectors).sort(), (place) => place * sector)
  }

  /** How many grains there are by the tables. */
  get wantedGrains(): number {
    return this.#directory.reduce((sum, place) => sum + (this.#tables.get(place)?.grains ?? 0), 0)
  }

  /** True if the tables name what was met, and nothing else. */
  agrees(): boolean {
    for (const [index, place] of this.#directory.entries()) {
      const met = this.#met.get(index) ?? { grains: 0, sum: 0 }
      const named = place === 0 ? { grains: 0, sum: 0 } : this.#tables.get(place)
      if (named?.grains !== met.grains || named.sum !== met.sum) return false
    }
    return true
  }
}

function enter(account: Account, index: number, place: number): void {
  let mixed = Math.imul(place ^ Math.imul(index + 1, 0x9e3779b1), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0xc2b2ae35)
  account.grains += 1
  account.sum = (account.sum + (mixed ^ (mixed >>> 13))) >>> 0
}
