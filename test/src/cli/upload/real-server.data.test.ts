/** The clients of `cdi upload` against the real proxy and the real upload server. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { open, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { after, before, describe, it } from 'node:test'
import { parseChecksum } from '../../../../importer/sources/checksum.ts'
import { UploadConnection } from '../../../../src/cli/upload/connection.ts'
import type { Exchange } from '../../../../src/cli/upload/connection.ts'
import { reprDigest } from '../../../../src/cli/upload/digest-header.ts'
import { Patience } from '../../../../src/cli/upload/patience.ts'
import { rangesPath, RangesTransfer } from '../../../../src/cli/upload/ranges-client.ts'
import type { Transfer } from '../../../../src/cli/upload/transfer.ts'
import { Trouble } from '../../../../src/cli/upload/trouble.ts'
import { TusTransfer } from '../../../../src/cli/upload/tus-client.ts'
import { FileBytes } from '../../../../src/cli/upload/upload-bytes.ts'
import { rangesUploadIdHeader, rangesZerosHeader } from '../../../../src/api/upload-env.ts'
import { systemClock } from '../../../../src/kube/clock.ts'
import { makeDisk, makeImage, mebibyte, noise, variantOf } from '../../../fixtures/images.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import type { TempDir } from '../../../fixtures/server-process.ts'
import { startCuttingLine } from './cutting-line.ts'
import { UploadChain } from './upload-chain.ts'

const diskBytes = 96 * mebibyte + 512

let dir: TempDir
let disk: Buffer
const file = (name: string): string => join(dir.path, name)

before(async () => {
  dir = await tempDir('real-upload')
  // 41 MiB of data, and holes.
  await makeDisk(file('disk.raw'), {
    sizeBytes: diskBytes,
    pieces: [
      [0, noise(20 * mebibyte, 1)],
      [40 * mebibyte + 4096, noise(20 * mebibyte, 2)],
      [diskBytes - 512, noise(512, 3)],
    ],
  })
  disk = await readFile(file('disk.raw'))
  await makeImage(file('disk.raw'), file('disk.qcow2'), variantOf('qcow2 version 3'))
})
after(() => dir[Symbol.asyncDispose]())

interface Run {
  readonly protocol?: 'ranges' | 'tus'
  readonly path?: string
  readonly address?: string
  readonly checksum?: string
  /** Another way to the proxy. */
  readonly port?: number
  readonly wrap?: (exchange: Exchange) => Exchange
  readonly onProgress?: (doneBytes: number) => void
}

interface Told {
  address: string
  sentBytes: number
  readonly restarts: string[]
  readonly troubles: string[]
}

async function upload(
  chain: UploadChain,
  { protocol = 'ranges', path = file('disk.raw'), port = chain.proxy.port, wrap = (same) => same, ...run }: Run,
  signal: AbortSignal = AbortSignal.timeout(100_000),
): Promise<Told> {
  const told: Told = { address: '', sentBytes: 0, restarts: [], troubles: [] }
  const token = { get: () => chain.proxy.token(chain.claim), forget: () => {} }
  await using connection = new UploadConnection({
    url: new URL(`https://localhost:${port}`),
    token,
    trust: [chain.proxy.authorities.proxy.certPem],
    proxy: {},
  })
  await using bytes = await FileBytes.open(path, (await stat(path)).size)
  const common = {
    exchange: wrap(connection),
    bytes,
    clock: systemClock,
    trouble: new Trouble({
      clock: systemClock,
      token,
      patience: new Patience({ clock: systemClock, budgetMs: 30_000 }),
      isFinished: () => Promise.resolve(chain.isFinished),
      onTrouble: (text) => told.troubles.push(text),
    }),
    events: {
      onAddress: (address: string) => void (told.address = address),
      onProgress: (doneBytes: number) => run.onProgress?.(doneBytes),
      onRestart: (text: string) => void told.restarts.push(text),
    },
    headers: reprDigest(run.checksum === undefined ? undefined : parseChecksum(run.checksum)),
    ...(run.address === undefined ? {} : { address: run.address }),
  }
  const transfer: Transfer =
    protocol === 'ranges' ? new RangesTransfer({ ...common, parallel: 4 }) : new TusTransfer(common)
  try {
    await transfer.send(signal)
  } finally {
    told.sentBytes = connection.sentBytes
  }
  return told
}

async function assertUploaded(chain: UploadChain): Promise<void> {
  assert.equal((await chain.server.finished).exitCode, 0)
  const written = await readFile(chain.disk)
  assert.ok(written.subarray(0, disk.length).equals(disk), 'the disk is what was uploaded')
  assert.ok(written.subarray(disk.length).equals(Buffer.alloc(written.length - disk.length)), 'zeros behind it')
}

describe('ranges client and the real server', () => {
  it('uploads a sparse disk without sending its holes', async () => {
    await using chain = await UploadChain.start({ env: { imageSize: '128Mi' } })
    const { sentBytes, troubles } = await upload(chain, {})
    await assertUploaded(chain)
    assert.deepEqual(troubles, [])
    assert.ok(sentBytes < 44 * mebibyte, `${sentBytes} bytes sent`)
    assert.ok((await stat(chain.disk)).blocks * 512 < 48 * mebibyte)
  })

  it('sends zeros as bytes to a server that wants them', async () => {
    await using chain = await UploadChain.start({ env: { imageSize: '128Mi' } })
    const wrap = (exchange: Exchange): Exchange => ({
      send: ({ headers = {}, ...request }) => {
        const { [rangesZerosHeader]: _, ...rest } = headers
        return exchange.send({ ...request, headers: rest })
      },
    })
    const { sentBytes } = await upload(chain, { wrap })
    await assertUploaded(chain)
    assert.ok(sentBytes >= disk.length)
  })

  it('takes a digest along, and hears of a wrong one', async () => {
    await using chain = await UploadChain.start({ env: { imageSize: '128Mi' } })
    await assert.rejects(upload(chain, { checksum: `sha256:${'0'.repeat(64)}` }), { code: 'CDI_CHECKSUM_MISMATCH' })
    const sha256 = createHash('sha256').update(disk).digest('hex')
    await upload(chain, { checksum: `sha256:${sha256}` })
    await assertUploaded(chain)
  })

  it('goes on when the server is killed and comes back, and sends little twice', async () => {
    await using chain = await UploadChain.start({ env: { imageSize: '128Mi' } })
    let killed: Promise<void> | undefined
    const onProgress = (doneBytes: number): void => {
      if (doneBytes > 25 * mebibyte) killed ??= chain.killServer().then(() => chain.startServer())
    }
    const { restarts, troubles } = await upload(chain, { onProgress })
    await killed
    await assertUploaded(chain)
    assert.deepEqual(restarts, [])
    assert.ok(troubles.length > 0)
  })

  it('goes on with what another process has begun', async () => {
    await using chain = await UploadChain.start({ env: { imageSize: '128Mi' } })
    const stop = new AbortController()
    let address = ''
    const wrap = (exchange: Exchange): Exchange => ({
      async send(request) {
        const answer = await exchange.send(request)
        if (request.method === 'GET' && answer.status === 200) address = (JSON.parse(answer.text) as { id: string }).id
        return answer
      },
    })
    const onProgress = (doneBytes: number): void => {
      if (doneBytes > 20 * mebibyte) stop.abort(new Error('stopped'))
    }
    await assert.rejects(upload(chain, { wrap, onProgress }, stop.signal), { message: 'stopped' })
    assert.notEqual(address, '')
    const { sentBytes, restarts } = await upload(chain, { address })
    await assertUploaded(chain)
    assert.deepEqual(restarts, [])
    assert.ok(sentBytes < 40 * mebibyte, `${sentBytes} bytes sent again`)
  })

  it('does not mix its pieces with those of another disk that was left behind', async () => {
    await using chain = await UploadChain.start({ env: { imageSize: '128Mi' } })
    const other = file('other.raw')
    await writeFile(other, noise(disk.length, 9))
    const stop = new AbortController()
    const onProgress = (doneBytes: number): void => {
      if (doneBytes > 20 * mebibyte) stop.abort(new Error('stopped'))
    }
    await assert.rejects(upload(chain, { path: other, onProgress }, stop.signal), { message: 'stopped' })
    await upload(chain, {})
    await assertUploaded(chain)
  })

  it('gets through a line that cuts every connection, and sends at most 5 % twice', async () => {
    await using chain = await UploadChain.start({ env: { imageSize: '128Mi' } })
    await using line = await startCuttingLine({
      port: chain.proxy.port,
      cutAfterMs: 2000,
      // Slow: a moment in which the machine is busy with something else costs few bytes then.
      bytesPerSecond: mebibyte,
    })
    const { restarts } = await upload(chain, { port: line.port })
    await assertUploaded(chain)
    assert.deepEqual(restarts, [])
    assert.ok(line.cuts >= 4, `${line.cuts} cuts`)
    assert.ok(line.bytes < 1.05 * 40 * mebibyte + mebibyte, `${line.bytes} bytes over the line`)
  })

  it('tells at once that an image is no raw disk', async () => {
    await using chain = await UploadChain.start({ env: { imageSize: '128Mi' } })
    await assert.rejects(upload(chain, { path: file('disk.qcow2') }), (error: { code: string; message: string }) => {
      assert.match(error.code, /^CDI_/)
      assert.match(error.message, /qcow2/)
      return true
    })
  })
})

describe('headers of uploads in ranges', () => {
  it('keep pieces of another upload out, and zeros without bytes', async () => {
    await using chain = await UploadChain.start({ env: { imageSize: '128Mi' } })
    const token = { get: () => chain.proxy.token(chain.claim), forget: () => {} }
    await using connection = new UploadConnection({
      url: new URL(chain.proxy.url),
      token,
      trust: [chain.proxy.authorities.proxy.certPem],
      proxy: {},
    })
    const { signal } = new AbortController()
    const send = (method: 'PUT' | 'GET' | 'POST' | 'DELETE', headers: Record<string, string>, bytes = 0) =>
      connection.send({
        method,
        path: rangesPath,
        headers,
        signal,
        ...(bytes === 0 ? {} : { body: { length: bytes, chunks: Readable.from([Buffer.alloc(bytes, 1)]) } }),
      })
    const total = 8 * mebibyte
    const range = (start: number, end: number) => ({ 'content-range': `bytes ${start}-${end - 1}/${total}` })
    assert.equal((await send('PUT', range(0, mebibyte), mebibyte)).status, 204)
    const { id } = JSON.parse((await send('GET', {})).text) as { id: string }
    const [mine, other] = [{ [rangesUploadIdHeader]: id }, { [rangesUploadIdHeader]: 'another' }]
    const rest = { ...range(mebibyte, total), [rangesZerosHeader]: '1', 'content-length': '0' }
    assert.equal((await send('PUT', { ...rest, ...other })).status, 410)
    assert.equal((await send('DELETE', other)).status, 410)
    assert.equal((await send('POST', { ...mine })).status, 409, 'bytes are missing')
    const { 'content-length': _, ...withBody } = rest
    assert.equal((await send('PUT', { ...withBody, ...mine }, 7 * mebibyte)).status, 400, 'told and sent')
    assert.equal((await send('PUT', { ...rest, ...mine })).status, 204)
    assert.equal((await send('POST', other)).status, 410)
    assert.equal((await send('POST', mine)).status, 200)
    assert.equal((await chain.server.finished).exitCode, 0)
    const written = await readFile(chain.disk)
    assert.ok(written.subarray(0, total).equals(Buffer.concat([Buffer.alloc(mebibyte, 1), Buffer.alloc(7 * mebibyte)])))
  })
})

describe('tus client and the real server', () => {
  it('uploads an image that is converted while it arrives', async () => {
    await using chain = await UploadChain.start({ env: { imageSize: '128Mi' } })
    const { sentBytes } = await upload(chain, { protocol: 'tus', path: file('disk.qcow2') })
    await assertUploaded(chain)
    assert.equal(sentBytes, (await stat(file('disk.qcow2'))).size)
  })

  it('gets through a line that cuts every connection, and sends at most 5 % twice', async () => {
    await using chain = await UploadChain.start({ env: { imageSize: '128Mi' } })
    await using line = await startCuttingLine({
      port: chain.proxy.port,
      cutAfterMs: 2000,
      bytesPerSecond: 4 * mebibyte,
    })
    const path = file('disk.qcow2')
    const { restarts } = await upload(chain, { protocol: 'tus', path, port: line.port })
    await assertUploaded(chain)
    assert.deepEqual(restarts, [])
    assert.ok(line.cuts >= 2, `${line.cuts} cuts`)
    const { size } = await stat(path)
    assert.ok(line.bytes < 1.05 * size + mebibyte, `${line.bytes} bytes over the line for ${size}`)
  })

  it('says that everything is sent again when a server that was killed has lost what streamed', async () => {
    await using chain = await UploadChain.start({ env: { imageSize: '128Mi' } })
    // Packed data streams through the process that takes it.
    const path = file('disk.raw.gz')
    const { gzipSync } = await import('node:zlib')
    await using target = await open(path, 'w')
    await target.write(gzipSync(disk, { level: 1 }))
    let killed: Promise<void> | undefined
    const onProgress = (doneBytes: number): void => {
      if (doneBytes > 9 * mebibyte) killed ??= chain.killServer().then(() => chain.startServer())
    }
    const { restarts } = await upload(chain, { protocol: 'tus', path, onProgress })
    await killed
    await assertUploaded(chain)
    assert.equal(restarts.length, 1)
  })
})
