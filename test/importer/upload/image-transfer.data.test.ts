/**
 * Disk images that are received and converted by several processes in turn: some end in order, some are killed, of which a
 * copy of the volume and of the journal is left at some moment. In the end there is what qemu-img makes of the image.
 */
import assert from 'node:assert/strict'
import { copyFile, cp, mkdir, open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import type { TestContext } from 'node:test'
import { execa } from 'execa'
import { CdiError } from '../../../src/errors.ts'
import { silentLog } from '../../../src/log.ts'
import { openStream } from '../../../importer/sources/stdin.ts'
import { createReadStream } from 'node:fs'
import { surveySource } from '../../../importer/survey.ts'
import type { ImageFacts } from '../../../importer/image/facts.ts'
import { ImageJournal } from '../../../importer/upload/image-journal.ts'
import { ImageTransfer } from '../../../importer/upload/image-transfer.ts'
import type { Volume } from '../../../importer/upload/transfer.ts'
import { Dice } from '../../fixtures/dice.ts'
import { assertSameBytes } from '../../fixtures/forward-import.ts'
import { imageCorpus } from '../../fixtures/image-corpus.ts'
import type { CorpusImage } from '../../fixtures/image-corpus.ts'
import { convertByQemu, mebibyte, noise } from '../../fixtures/images.ts'
import { contentOf, loopDevice, noRoot } from '../../fixtures/loop.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import { allocatedBytes } from '../e2e/support/disks.ts'

const log = silentLog()
const never = new AbortController().signal
const stopped = new CdiError('CDI_ABORTED', 'the pod ends')

function volumeAt(targetPath: string, more: Partial<Volume> = {}): Volume {
  return { contentType: 'kubevirt', targetPath, resize: false, preallocate: false, directIo: false, ...more }
}

async function factsOf(image: string): Promise<ImageFacts> {
  await using source = openStream({ stream: createReadStream(image), name: image })
  const { facts } = await surveySource({ source, contentType: 'kubevirt', signal: never })
  assert.ok(facts)
  return facts
}

async function* pieceOf(path: string, from: number, to: number): AsyncGenerator<Buffer> {
  await using file = await open(path)
  for (let at = from; at < to;) {
    const bytes = Buffer.alloc(Math.min(60_000, to - at))
    const { bytesRead } = await file.read(bytes, 0, bytes.length, at)
    yield bytes.subarray(0, bytesRead)
    at += bytesRead
  }
}

/** Where a process leaves the volume and the journal. */
interface Home {
  readonly volume: Volume
  readonly journalDirectory: string
}

const everyBytes = 128 * 1024

async function takeUp({ volume, journalDirectory }: Home, facts: ImageFacts): Promise<ImageTransfer> {
  const journal = new ImageJournal({ directory: journalDirectory })
  const resumption = await journal.resume()
  const options = { log, volume, journal, everyBytes }
  return resumption === undefined ? ImageTransfer.begin(options, facts) : ImageTransfer.resume(options, resumption)
}

/** Sends the image to a series of processes. `killed` gives the home of the next one, as a kill leaves it. */
async function receiveInTurns({
  image,
  home,
  dice,
  turns,
  kill,
}: {
  image: string
  home: Home
  dice: Dice
  turns: number
  /** Absent: processes end in order only. */
  kill?: (home: Home, turn: number) => Promise<Home>
}): Promise<{ home: Home; lostBytes: number }> {
  const facts = await factsOf(image)
  const { size } = await stat(image)
  let at = home
  let lostBytes = 0
  for (let turn = 0; ; turn += 1) {
    const transfer = await takeUp(at, facts)
    const from = transfer.offset
    const to = turn === turns ? size : from + dice.below(size - from + 1)
    await transfer.append(pieceOf(image, from, to), never)
    assert.equal(transfer.offset, to)
    if (turn === turns) {
      const result = await transfer.finish()
      assert.equal(result.diskSizeBytes, facts.virtualSizeBytes)
      return { home: at, lostBytes }
    }
    if (kill !== undefined && dice.below(2) === 0) {
      const next = await kill(at, turn)
      lostBytes += to - transfer.durableOffset
      await transfer.drop(stopped)
      at = next
    } else {
      await transfer.suspend(stopped)
    }
  }
}

/** A copy of the directory with the volume and the journal at this moment. */
async function copyHome({ volume, journalDirectory }: Home, turn: number): Promise<Home> {
  const directory = join(journalDirectory, '..', '..', `after-${turn}`)
  await mkdir(directory)
  await execa('cp', ['--sparse=always', volume.targetPath, join(directory, 'disk.img')])
  await cp(journalDirectory, join(directory, 'journal'), { recursive: true })
  return {
    volume: { ...volume, targetPath: join(directory, 'disk.img') },
    journalDirectory: join(directory, 'journal'),
  }
}

async function compare(image: CorpusImage, seed: number): Promise<number> {
  await using dir = await tempDir('image-transfer')
  const path = (name: string): string => join(dir.path, name)
  await image.make({ image: path('image'), directory: dir.path, seed })
  await convertByQemu(path('image'), path('wanted'), image)
  await mkdir(path('first/journal'), { recursive: true })
  const first = { volume: volumeAt(path('first/disk.img')), journalDirectory: path('first/journal') }
  const dice = new Dice(seed)
  const received = await receiveInTurns({ image: path('image'), home: first, dice, turns: 3, kill: copyHome })
  const got = received.home.volume.targetPath
  await assertSameBytes(got, path('wanted'))
  const [ours, qemus] = await Promise.all([allocatedBytes(got), allocatedBytes(path('wanted'))])
  assert.ok(ours <= qemus + 256 * 1024, `${ours} bytes are allocated, by qemu-img ${qemus}`)
  return received.lostBytes
}

/** A quarter of what is read in one pass; the corpus is there as a whole for convertStream. */
const sample = imageCorpus.filter(
  (image, index) => image.packing === undefined && !image.isRaw && !image.comesTooEarly && index % 4 === 0,
)

describe('a disk image that several processes receive in turn', { concurrency: 2, timeout: 580_000 }, () => {
  for (const [writer, images] of Map.groupBy(sample, ({ writer }) => writer)) {
    it(`is what qemu-img makes of it, written by ${writer}`, async (t: TestContext) => {
      for (const image of images) {
        try {
          const lostBytes = await compare(image, imageCorpus.indexOf(image) + 1)
          t.diagnostic(`${image.name}: ${lostBytes} bytes were sent again`)
        } catch (error) {
          throw new Error(`${image.name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
        }
      }
    })
  }

  it('arrives on a device that is full of old bytes', { skip: noRoot }, async () => {
    await using dir = await tempDir('image-transfer')
    const path = (name: string): string => join(dir.path, name)
    await makeQcow2(path('image'), 24 * mebibyte)
    await convertByQemu(path('image'), path('wanted'), { driver: 'qcow2' })
    await using device = await loopDevice({ sizeBytes: 25 * mebibyte, dirty: true })
    const home = { volume: volumeAt(device.path), journalDirectory: path('journal') }
    await receiveInTurns({ image: path('image'), home, dice: new Dice(7), turns: 5 })
    const wanted = await contentOf(path('wanted'))
    assert.ok((await contentOf(device.path, wanted.length)).equals(wanted))
  })

  it('loses no more than a checkpoint when a process is killed', async () => {
    await using dir = await tempDir('image-transfer')
    const path = (name: string): string => join(dir.path, name)
    await makeQcow2(path('image'), 24 * mebibyte)
    await mkdir(path('first/journal'), { recursive: true })
    const home = { volume: volumeAt(path('first/disk.img')), journalDirectory: path('first/journal') }
    const facts = await factsOf(path('image'))
    const transfer = await takeUp(home, facts)
    const sent = 3 * mebibyte
    await transfer.append(pieceOf(path('image'), 0, sent), never)
    assert.ok(transfer.durableOffset > sent - everyBytes - 60_000, `${transfer.durableOffset} of ${sent} are durable`)
    const next = await takeUp(await copyHome(home, 0), facts)
    assert.equal(next.offset, transfer.durableOffset)
    for (const one of [transfer, next]) await one.drop(stopped)
  })

  it('leaves nothing behind when it is dropped, and begins anew', async () => {
    await using dir = await tempDir('image-transfer')
    const path = (name: string): string => join(dir.path, name)
    await makeQcow2(path('image'), 4 * mebibyte)
    await mkdir(path('volume'))
    const home = { volume: volumeAt(path('volume/disk.img')), journalDirectory: path('journal') }
    const facts = await factsOf(path('image'))
    const first = await takeUp(home, facts)
    await first.append(pieceOf(path('image'), 0, mebibyte), never)
    assert.ok(first.durableOffset > 0)
    await first.drop(stopped)
    assert.deepEqual(await readdir(path('volume')), [])
    assert.deepEqual(await readdir(path('journal')), [])
    const second = await takeUp(home, facts)
    assert.equal(second.offset, 0)
    await second.drop(stopped)
  })

  it('is converted all the same when the journal has no room for it', async () => {
    await using dir = await tempDir('image-transfer')
    const path = (name: string): string => join(dir.path, name)
    await makeQcow2(path('image'), 24 * mebibyte)
    await convertByQemu(path('image'), path('wanted'), { driver: 'qcow2' })
    const journal = new ImageJournal({ directory: path('journal'), limitBytes: 100_000 })
    const volume = volumeAt(path('disk.img'))
    const transfer = await ImageTransfer.begin({ log, volume, journal, everyBytes }, await factsOf(path('image')))
    const { size } = await stat(path('image'))
    await transfer.append(pieceOf(path('image'), 0, size), never)
    assert.ok(transfer.durableOffset < size)
    await transfer.finish()
    await assertSameBytes(path('disk.img'), path('wanted'))
  })

  it('that is damaged fails for good, however often it is tried', async () => {
    await using dir = await tempDir('image-transfer')
    const path = (name: string): string => join(dir.path, name)
    await makeQcow2(path('image'), 4 * mebibyte)
    await copyFile(path('image'), path('cut'))
    const facts = await factsOf(path('image'))
    const home = { volume: volumeAt(path('disk.img')), journalDirectory: path('journal') }
    const transfer = await takeUp(home, facts)
    const { size } = await stat(path('image'))
    await transfer.append(pieceOf(path('image'), 0, size - mebibyte), never)
    await assert.rejects(transfer.finish(), { code: 'CDI_CONVERT_FAILED', message: /truncated/ })
    await assert.rejects(transfer.append(pieceOf(path('image'), size - mebibyte, size), never), {
      code: 'CDI_CONVERT_FAILED',
    })
    await transfer.drop(stopped)
  })
})

/** A qcow2 with data, zeros and holes. */
async function makeQcow2(path: string, sizeBytes: number): Promise<void> {
  const raw = `${path}.raw`
  await using file = await open(raw, 'w')
  await file.truncate(sizeBytes)
  for (let at = 0, seed = 1; at < sizeBytes; at += 700_000, seed += 1) {
    await file.write(noise(Math.min(400_000, sizeBytes - at), seed), 0, undefined, at)
  }
  await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path])
}
