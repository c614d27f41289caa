import assert from 'node:assert/strict'
import { PassThrough, Readable } from 'node:stream'
import { describe, it } from 'node:test'
import { counted } from '../../../importer/sources/progress.ts'
import { openStream } from '../../../importer/sources/stdin.ts'

const never = new AbortController().signal
const pieces = Array.from({ length: 40 }, (_, index) => Buffer.alloc(10_000, index))

function source(stream: Readable = Readable.from(pieces)) {
  return openStream({ stream, name: 'standard input' })
}

async function readAll(from: ReturnType<typeof source>): Promise<Buffer> {
  const chunks: Buffer[] = []
  await from.stream((chunk) => void chunks.push(Buffer.from(chunk)), never)
  return Buffer.concat(chunks)
}

describe('stream source', () => {
  it('shows its first 64 KiB without consuming them', async () => {
    await using input = source()
    const first = await input.peek(never)
    assert.ok(first.length >= 65_536)
    assert.deepEqual(await input.peek(never), first)
    assert.deepEqual(await readAll(input), Buffer.concat(pieces))
  })

  it('shows everything of a short stream', async () => {
    await using input = source(Readable.from([Buffer.from('short')]))
    assert.equal((await input.peek(never)).toString(), 'short')
    assert.equal((await readAll(input)).toString(), 'short')
  })

  it('shows more when more is asked for, up to its end', async () => {
    await using input = source()
    const first = await input.peek(never)
    const more = await input.peek(never, 300_000)
    assert.ok(more.length >= 300_000 && more.length < 400_000)
    assert.deepEqual(more.subarray(0, first.length), first)
    assert.equal((await input.peek(never, 1000)).length, more.length)
    assert.deepEqual(await input.peek(never, 1_000_000), Buffer.concat(pieces))
    assert.deepEqual(await input.peek(never, 2_000_000), Buffer.concat(pieces))
    assert.deepEqual(await readAll(input), Buffer.concat(pieces))
  })

  it('breaks while more is looked at', async () => {
    await using input = source(
      Readable.from(
        (async function* () {
          yield* pieces
          await new Promise(setImmediate)
          throw new Error('cable cut')
        })(),
      ),
    )
    await input.peek(never)
    await assert.rejects(input.peek(never, 1_000_000), { code: 'CDI_SOURCE_INTERRUPTED' })
  })

  it('waits for a slow sink', async () => {
    await using input = source()
    let busy = 0
    let most = 0
    await input.stream(async () => {
      busy += 1
      most = Math.max(most, busy)
      await new Promise(setImmediate)
      busy -= 1
    }, never)
    assert.equal(most, 1)
  })

  it('passes on what the sink throws', async () => {
    await using input = source()
    await assert.rejects(
      input.stream(() => Promise.reject(new Error('disk full')), never),
      /disk full/,
    )
  })

  it('reports a stream that breaks, also while it is peeked', async () => {
    const broken = (): Readable =>
      Readable.from(
        (async function* () {
          yield Buffer.from('begin')
          await Promise.reject(new Error('EIO'))
        })(),
      )
    await using peeked = source(broken())
    await assert.rejects(peeked.peek(never), { code: 'CDI_SOURCE_INTERRUPTED', message: /standard input.*EIO/ })
    await using read = source(broken())
    await assert.rejects(readAll(read), { code: 'CDI_SOURCE_INTERRUPTED' })
  })

  it('stops a stream that gives nothing when it is aborted', async () => {
    const silent = new PassThrough()
    await using input = source(silent)
    const abort = new AbortController()
    const peeking = input.peek(abort.signal)
    abort.abort(new Error('enough'))
    await assert.rejects(peeking, /enough/)
    assert.equal(silent.destroyed, true)
  })

  it('counts what is taken, not what is peeked', async () => {
    let bytes = 0
    await using input = counted(source(), (more) => {
      bytes += more
    })
    await input.peek(never)
    assert.equal(bytes, 0)
    await input.stream(() => {}, never)
    assert.equal(bytes, 400_000)
  })
})
