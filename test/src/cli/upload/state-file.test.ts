import assert from 'node:assert/strict'
import { mkdir, readdir, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { StateFile, stateDirectory } from '../../../../src/cli/upload/state-file.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import type { TempDir } from '../../../fixtures/server-process.ts'

const identity = { file: '1-2-3-4', server: 'https://api', namespace: 'ns', pvcName: 'disk', pvcUid: 'uid' }

let dir: TempDir
before(async () => {
  dir = await tempDir('state-file')
})
after(() => dir[Symbol.asyncDispose]())

describe('state of an upload', () => {
  it('is found again for the same file and target, and for no other', async () => {
    const state = { protocol: 'tus', address: '/v1beta1/upload-tus/abc' } as const
    await new StateFile(dir.path, identity).write(state)
    assert.deepEqual(await new StateFile(dir.path, { ...identity }).read(), state)
    for (const other of [
      { file: '1-2-3-5' },
      { server: 'https://b' },
      { namespace: 'x' },
      { pvcName: 'x' },
      { pvcUid: 'x' },
    ]) {
      assert.equal(await new StateFile(dir.path, { ...identity, ...other }).read(), undefined)
    }
    const [name = ''] = await readdir(dir.path)
    assert.equal((await stat(join(dir.path, name))).mode & 0o777, 0o600)
    await new StateFile(dir.path, identity).remove()
    assert.equal(await new StateFile(dir.path, identity).read(), undefined)
    await new StateFile(dir.path, identity).remove()
  })

  it('is nothing when it is damaged', async () => {
    const file = new StateFile(dir.path, identity)
    await file.write({ protocol: 'ranges', address: 'id' })
    const [name = ''] = await readdir(dir.path)
    for (const text of ['', '{', '{"protocol":"ftp","address":"x"}', '{"protocol":"tus"}', 'null']) {
      await writeFile(join(dir.path, name), text)
      assert.equal(await file.read(), undefined, text)
    }
  })

  it('is thrown away after two weeks', async () => {
    const old = join(dir.path, 'old.json')
    await writeFile(old, '{}')
    const then = Date.now() / 1000 - 15 * 24 * 3600
    await utimes(old, then, then)
    await new StateFile(dir.path, identity).write({ protocol: 'tus', address: 'x' })
    assert.ok(!(await readdir(dir.path)).includes('old.json'))
  })

  it('makes its directory, for its owner only', async () => {
    const path = join(dir.path, 'a/b')
    await new StateFile(path, identity).write({ protocol: 'tus', address: 'x' })
    assert.equal((await stat(path)).mode & 0o777, 0o700)
    await assert.rejects(async () => {
      await writeFile(join(dir.path, 'file'), '')
      await mkdir(join(dir.path, 'file/below'))
    })
  })

  it('lies where XDG says', () => {
    assert.equal(stateDirectory({ XDG_STATE_HOME: '/state' }), '/state/cdi/uploads')
    assert.match(stateDirectory({ XDG_STATE_HOME: 'relative' }), /\.local\/state\/cdi\/uploads$/)
    assert.match(stateDirectory({}), /\.local\/state\/cdi\/uploads$/)
  })
})
