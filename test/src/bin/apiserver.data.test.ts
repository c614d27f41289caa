/** `cdi apiserver` as a process, against a real kube-apiserver. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { issueServerCertificate } from '../../../src/certs/authority.ts'
import { kinds } from '../../../src/api/kinds.ts'
import { startApiServer } from '../../fixtures/apiserver.ts'
import { freePort, tempDir } from '../../fixtures/server-process.ts'
import { authority, call, hourMs } from '../apiserver/serving.ts'
import { createCrds, eventually } from '../controllers/control-plane.ts'

const program = join(import.meta.dirname, '../../../src/bin/cdi.ts')

describe('cdi apiserver', () => {
  it('waits for its certificate, serves, and ends in peace when it is told to', async () => {
    await using stack = new AsyncDisposableStack()
    const api = stack.use(await startApiServer())
    const client = api.client()
    await createCrds(client)
    await client.create(kinds.namespace, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'cdi' } })
    const dir = stack.use(await tempDir('apiserver-process'))
    const port = await freePort()
    const child = spawn(process.execPath, [program, 'apiserver', '-v=1', '-skip_headers'], {
      env: { ...process.env, KUBECONFIG: api.kubeconfig, TLS_DIRECTORY: dir.path, PORT: String(port) },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    stack.defer(() => void child.kill('SIGKILL'))
    const exited = once(child, 'exit')
    let said = ''
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
    await eventually('it looks for its certificate', async () => said.includes('looking again'))
    const { certPem, keyPem } = await issueServerCertificate({
      authority,
      hosts: ['127.0.0.1'],
      lifetimeMs: hourMs,
      now: Date.now(),
    })
    await writeFile(join(dir.path, 'tls.crt'), certPem)
    await writeFile(join(dir.path, 'tls.key'), keyPem)
    const isWell = async (): Promise<boolean> => (await call({ port, path: '/healthz' })).text === 'OK'
    await eventually('it serves', isWell)
    child.kill('SIGTERM')
    await eventually('it was told', async () => said.includes('ending'))
    assert.ok(await isWell(), 'requests that are under way still arrive')
    const [code, signal] = (await exited) as [number | null, string | null]
    assert.deepEqual([code, signal], [0, null], said)
    assert.ok(!/PRIVATE KEY/.test(said))
  })
})
