/** What the clients of a raw disk are told of it, whether they upload it in ranges or clone it. */
import type { Exchange } from '../exchange.ts'
import type { Upload } from './upload.ts'

export interface DiskState {
  readonly id: string
  /** Of the disk in bytes. */
  readonly length: number
  /**
   * - `open`: pieces are taken.
   * - `finishing`: all is there, and the volume is being finished.
   * - `done`: the volume is finished.
   * - `failed`: it is over.
   */
  readonly state: 'open' | 'finishing' | 'done' | 'failed'
  /** Durable, as half-open ranges in bytes, in order. */
  readonly ranges: readonly (readonly [start: number, end: number])[]
}

const states = { open: 'open', processing: 'finishing', done: 'done', over: 'failed' } as const

export function diskStateOf({ id, hold, raw, transfer }: Upload): DiskState {
  const length = transfer.length ?? 0
  const isWhole = hold.state === 'processing' || hold.state === 'done'
  const ranges = isWhole ? [{ start: 0, end: length }] : hold.state === 'over' ? [] : (raw?.durable ?? [])
  return { id, length, state: states[hold.state], ranges: ranges.map(({ start, end }) => [start, end] as const) }
}

/** Answers with a state as JSON, and remembers if the client knows now that the volume is finished. */
export async function answerState(
  upload: Upload,
  exchange: Exchange,
  { status, state }: { status: number; state: DiskState },
): Promise<void> {
  await upload.answer(exchange, {
    status,
    text: JSON.stringify(state),
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
  })
}
