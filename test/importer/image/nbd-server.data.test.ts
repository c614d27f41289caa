import assert from 'node:assert/strict'
import { stat } from 'node:fs/promises'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { execa } from 'execa'
import { startNbdServer } from '../../../importer/image/nbd-server.ts'
import type { NbdExport } from '../../../importer/image/nbd-server.ts'
import { mebibyte, noise } from '../../fixtures/images.ts'
import { tempDir } from '../../fixtures/server-process.ts'

const content = noise(5 * mebibyte + 512, 9)
const served: NbdExport = {
  sizeBytes: content.length,
  read: (offset, length) =>
    Promise.resolve({ pieces: [content.subarray(offset, offset + 1), content.subarray(offset + 1, offset + length)] }),
}
const url = (socketPath: string): string => `nbd+unix:///?socket=${socketPath}`

describe('NBD server', () => {
  it('is read whole and unharmed by qemu-img and by nbdcopy over several connections', async () => {
    await using dir = await tempDir('nbd')
    await using server = await startNbdServer(served, dir.path)
    const clients: (readonly [string, readonly string[]])[] = [
      ['qemu-img', ['convert', '-f', 'raw', '-O', 'raw', '-m', '16', '-W', url(server.socketPath)]],
      ['nbdcopy', ['--connections=4', '--requests=16', '--request-size=65536', url(server.socketPath)]],
    ]
    for (const [program, args] of clients) {
      const out = join(dir.path, program)
      await execa(program, [...args, out])
      const { stdout } = await execa('cat', [out], { encoding: 'buffer' })
      assert.ok(content.equals(Buffer.from(stdout)), program)
    }
    assert.equal(server.failure, undefined)
  })

  it('describes itself as one nameless read-only export', async () => {
    await using server = await startNbdServer(served)
    const { stdout } = await execa('nbdinfo', ['--json', '--list', url(server.socketPath)])
    const told = JSON.parse(stdout) as { exports: Record<string, unknown>[] }
    assert.equal(told.exports.length, 1)
    assert.equal(told.exports[0]!['export-name'], '')
    assert.equal(told.exports[0]!['export-size'], content.length)
    assert.equal(told.exports[0]!['is_read_only'], true)
    const refused = await execa('nbdinfo', [`nbd+unix:///other?socket=${server.socketPath}`], { reject: false })
    assert.notEqual(refused.exitCode, 0)
  })

  it('lets nobody else in and leaves nothing behind', async () => {
    const server = await startNbdServer(served)
    const home = dirname(server.socketPath)
    assert.equal((await stat(home)).mode & 0o777, 0o700)
    await server[Symbol.asyncDispose]()
    await assert.rejects(stat(home), { code: 'ENOENT' })
  })

  it('answers in the order in which the data comes, and tells a fault apart from the others', async () => {
    const slow = Promise.withResolvers<void>()
    const fault = new Error('the network is down')
    await using server = await startNbdServer({
      sizeBytes: 4096,
      async read(offset, length) {
        if (offset === 0) await slow.promise
        if (offset === 1024) throw fault
        return { pieces: [Buffer.alloc(length, offset / 512)] }
      },
    })
    using client = await connectRaw(server.socketPath)
    for (const [cookie, offset] of [
      [1n, 0],
      [2n, 512],
      [3n, 1024],
    ] as const) {
      client.send(cookie, 0, offset, 512)
    }
    const second = await client.take(16 + 512)
    assert.equal(second.readBigUInt64BE(8), 2n)
    assert.deepEqual(second.subarray(16), Buffer.alloc(512, 1))
    const third = await client.take(16)
    assert.equal(third.readBigUInt64BE(8), 3n)
    assert.equal(third.readUInt32BE(4), 5)
    slow.resolve()
    const first = await client.take(16 + 512)
    assert.equal(first.readBigUInt64BE(8), 1n)
    assert.equal(server.failure, fault)
  })

  it('gives back what it was lent, for answers that were sent and for those that nobody took', async () => {
    const count = { lent: 0, given: 0 }
    await using server = await startNbdServer({
      sizeBytes: 64 * mebibyte,
      read(_offset, length) {
        count.lent++
        return Promise.resolve({ pieces: [Buffer.alloc(length)], release: () => count.given++ })
      },
    })
    const client = await connectRaw(server.socketPath)
    client.send(1n, 0, 0, 512)
    await client.take(16 + 512)
    // Much more than a socket holds, and nobody reads it.
    client.socket.pause()
    for (let at = 1; at < 5; at++) client.send(BigInt(at), 0, at * mebibyte, 8 * mebibyte)
    while (count.lent < 3) await turn()
    client.socket.destroy()
    while (count.given < count.lent) await turn()
    assert.equal(count.given, count.lent)
  })

  it('refuses writes and reads beyond the end without losing the thread', async () => {
    await using server = await startNbdServer(served)
    using client = await connectRaw(server.socketPath)
    client.send(1n, 1, 0, 1000)
    client.socket.write(Buffer.alloc(1000, 0x25))
    assert.equal((await client.take(16)).readUInt32BE(4), 1)
    client.send(2n, 0, content.length - 100, 512)
    assert.equal((await client.take(16)).readUInt32BE(4), 22)
    client.send(3n, 0, 0, 0xffff_ffff)
    assert.equal((await client.take(16)).readUInt32BE(4), 22)
    client.send(4n, 0, content.length - 100, 100)
    assert.deepEqual((await client.take(116)).subarray(16), content.subarray(-100))
  })

  it('hangs up on clients that do not speak NBD', async () => {
    await using server = await startNbdServer(served)
    const socket = connect(server.socketPath)
    socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
    const closed = Promise.withResolvers<void>()
    socket.on('error', () => {}).on('close', () => closed.resolve())
    socket.resume()
    await closed.promise
    assert.equal(server.failure, undefined)
  })
})

/** A client that has gone through the handshake (NBD_OPT_EXPORT_NAME) and speaks raw requests. */
async function connectRaw(path: string) {
  const socket = connect(path)
  let input: Buffer = Buffer.alloc(0)
  let wake = Promise.withResolvers<void>()
  socket.on('data', (chunk: Buffer) => {
    input = Buffer.concat([input, chunk])
    wake.resolve()
    wake = Promise.withResolvers<void>()
  })
  const take = async (length: number): Promise<Buffer> => {
    while (input.length < length) await wake.promise
    const taken = input.subarray(0, length)
    input = input.subarray(length)
    return taken
  }
  await take(18)
  const hello = Buffer.alloc(20)
  hello.writeUInt32BE(3, 0)
  hello.write('IHAVEOPT', 4, 'latin1')
  hello.writeUInt32BE(1, 12)
  socket.write(hello)
  await take(10)
  return {
    socket,
    take,
    send(cookie: bigint, type: number, offset: number, length: number): void {
      const request = Buffer.alloc(28)
      request.writeUInt32BE(0x25609513, 0)
      request.writeUInt16BE(type, 6)
      request.writeBigUInt64BE(cookie, 8)
      request.writeBigUInt64BE(BigInt(offset), 16)
      request.writeUInt32BE(length, 24)
      socket.write(request)
    },
    [Symbol.dispose]: () => socket.destroy(),
  }
}
