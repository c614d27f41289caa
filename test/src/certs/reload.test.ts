import assert from 'node:assert/strict'
import { mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { createAuthority, issueServerCertificate } from '../../../src/certs/authority.ts'
import { isKeyPair } from '../../../src/certs/pem.ts'
import { followFiles } from '../../../src/certs/reload.ts'
import { silentLog } from '../../../src/log.ts'
import { tempDir } from '../../fixtures/server-process.ts'

const intervalMs = 10

/** A directory as the kubelet mounts a Secret: files are links into `..data`, which is a link that is swapped as a whole. */
async function mountedSecret(dir: string) {
  let turn = 0
  const files = ['tls.crt', 'tls.key'].map((name) => join(dir, name))
  const swap = async (texts: readonly [string, string]): Promise<void> => {
    const version = `..${turn++}`
    await mkdir(join(dir, version))
    await writeFile(join(dir, version, 'tls.crt'), texts[0])
    await writeFile(join(dir, version, 'tls.key'), texts[1])
    await symlink(version, join(dir, '..data_tmp'))
    await rename(join(dir, '..data_tmp'), join(dir, '..data'))
  }
  for (const name of ['tls.crt', 'tls.key']) await symlink(join('..data', name), join(dir, name))
  return { files, swap }
}

async function until(what: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500 && !what(); tries++) await delay(10)
  assert.ok(what(), what.toString())
}

describe('followFiles', () => {
  it('waits for the first contents, then tells of each change', async () => {
    await using dir = await tempDir('reload')
    const stop = new AbortController()
    const { files, swap } = await mountedSecret(dir.path)
    const seen: (readonly string[])[] = []
    const first = followFiles({
      files,
      log: silentLog(),
      intervalMs,
      onChange: (texts) => seen.push(texts),
      signal: stop.signal,
    })
    await delay(5 * intervalMs)
    await swap(['cert 1', 'key 1'])
    assert.deepEqual(await first, ['cert 1', 'key 1'])
    await swap(['cert 2', 'key 2'])
    await until(() => seen.length === 1)
    await swap(['cert 2', 'key 2'])
    await delay(5 * intervalMs)
    await swap(['cert 3', 'key 3'])
    await until(() => seen.length === 2)
    assert.deepEqual(seen, [
      ['cert 2', 'key 2'],
      ['cert 3', 'key 3'],
    ])
    stop.abort()
    await swap(['cert 4', 'key 4'])
    await delay(5 * intervalMs)
    assert.equal(seen.length, 2)
  })

  it('never tells of halves, however often the files are swapped', async () => {
    await using dir = await tempDir('reload')
    const stop = new AbortController()
    const { files, swap } = await mountedSecret(dir.path)
    await swap(['0', '0'])
    const seen: (readonly string[])[] = []
    const signal = stop.signal
    seen.push(
      await followFiles({ files, log: silentLog(), intervalMs: 1, onChange: (texts) => seen.push(texts), signal }),
    )
    for (let version = 1; version <= 300; version++) await swap([`${version}`, `${version}`])
    await until(() => seen.at(-1)?.[0] === '300')
    stop.abort()
    for (const [cert, key] of seen) assert.equal(cert, key)
    assert.ok(seen.length > 5, `${seen.length} versions were seen`)
  })

  it('waits for the other half where files are written one after the other', async () => {
    await using dir = await tempDir('reload')
    const stop = new AbortController()
    const now = Date.now()
    const authority = await createAuthority({ commonName: 'ca', lifetimeMs: 60_000, now })
    const [one, two] = await Promise.all(
      [1, 2].map(() => issueServerCertificate({ authority, hosts: ['x'], lifetimeMs: 60_000, now })),
    )
    assert.ok(one && two)
    const files = [join(dir.path, 'tls.crt'), join(dir.path, 'tls.key')] as const
    await writeFile(files[0], one.certPem)
    await writeFile(files[1], one.keyPem)
    const seen: (readonly string[])[] = []
    await followFiles({
      files,
      log: silentLog(),
      intervalMs,
      onChange: (texts) => seen.push(texts),
      isWhole: ([cert = '', key = '']) => isKeyPair(cert, key),
      signal: stop.signal,
    })
    await writeFile(files[0], two.certPem)
    await delay(10 * intervalMs)
    assert.equal(seen.length, 0)
    await writeFile(files[1], two.keyPem)
    await until(() => seen.length === 1)
    assert.deepEqual(seen, [[two.certPem, two.keyPem]])
    stop.abort()
  })

  it('holds on to the last contents while a file is gone, and goes on when it is back', async () => {
    await using dir = await tempDir('reload')
    const stop = new AbortController()
    const file = join(dir.path, 'ca.crt')
    await writeFile(file, 'one')
    const seen: (readonly string[])[] = []
    await followFiles({
      files: [file],
      log: silentLog(),
      intervalMs,
      onChange: (texts) => {
        seen.push(texts)
        if (seen.length === 1) throw new Error('cannot be used')
      },
      signal: stop.signal,
    })
    await rm(file)
    await delay(5 * intervalMs)
    assert.equal(seen.length, 0)
    await writeFile(file, 'two')
    await until(() => seen.length > 0)
    // Whoever cannot use one version is told of the next all the same.
    await writeFile(file, 'three')
    await until(() => seen.at(-1)?.[0] === 'three')
    assert.equal(await readFile(file, 'utf8'), 'three')
    stop.abort()
  })

  it('rejects when it is stopped before there was anything', async () => {
    await using dir = await tempDir('reload')
    const stop = new AbortController()
    const files = [join(dir.path, 'never')]
    const waiting = followFiles({ files, log: silentLog(), intervalMs, onChange: () => undefined, signal: stop.signal })
    stop.abort()
    await assert.rejects(waiting, { name: 'AbortError' })
  })
})
