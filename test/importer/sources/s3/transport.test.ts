import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { describe, it } from 'node:test'
import { sdkTransport } from '../../../../importer/sources/s3/transport.ts'
import { silentLog } from '../../../../src/log.ts'

const access = { ca: [], insecureSkipVerify: false, proxy: {} }

describe('requests of the AWS SDK', () => {
  it('end with a fault that may heal when nobody answers', async () => {
    const sockets = new Set<Socket>()
    const server = createServer((socket) => void sockets.add(socket))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    try {
      const transport = sdkTransport({ access, log: silentLog(), limitMs: 200 })
      const { port } = server.address() as AddressInfo
      const request = { method: 'GET', protocol: 'http:', hostname: '127.0.0.1', port, path: '/', headers: {} }
      await assert.rejects(transport.handle(request), { code: 'CDI_SOURCE_STALLED', kind: 'transient' })
    } finally {
      for (const socket of sockets) socket.destroy()
      server.close()
    }
  })
})
