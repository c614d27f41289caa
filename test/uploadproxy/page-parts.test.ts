/** The parts of the page that need no browser. They are plain JavaScript: looked at through types of their own. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

interface Parts {
  readonly formatBytes: (bytes: number) => string
  readonly formatDuration: (seconds: number) => string
  readonly formatAge: (seconds: number) => string
  readUploadToken(text: string): { namespace: string; pvcName: string; expiresMs: number; lifeMs: number } | undefined
  UnfinishedUploads: new (storage: object) => {
    of(target: object): { name: string; doneBytes: number }[]
    find(what: object): { address: string } | undefined
    save(what: object): void
    forget(what: object): void
  }
  Pace: new () => {
    readonly bytes: number
    succeeded(bytes: number, ms: number): void
    wasCut(bytes: number, ms: number): void
  }
}

async function load(...names: string[]): Promise<Parts> {
  const url = (name: string): string => new URL(`../../uploadproxy/page/${name}`, import.meta.url).href
  const modules = await Promise.all(names.map((name) => import(url(name)) as Promise<object>))
  return Object.assign({}, ...modules) as Parts
}

const parts = await load('format.js', 'upload-token.js', 'unfinished.js', 'pace.js')

describe('texts of the page', () => {
  it('show sizes and times as people say them', () => {
    const { formatBytes, formatDuration, formatAge } = parts
    assert.deepEqual([0, 1023, 1536, 10 * 1024 ** 3].map(formatBytes), ['0 B', '1023 B', '1.50 KiB', '10.0 GiB'])
    assert.deepEqual([0, 59, 60, 95, 3600, 3725, 90_000].map(formatDuration), [
      '0 s',
      '59 s',
      '1 min',
      '1 min 35 s',
      '1 h',
      '1 h 2 min',
      '1 d 1 h',
    ])
    assert.deepEqual([5, 95, 90_000].map(formatAge), ['5 s', '1 min', '1 d'])
  })
})

describe('upload tokens on the page', () => {
  const tokenOf = (claims: object): string =>
    `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.signature`

  it('say for which volume they are and until when', () => {
    const claims = { operation: 'Upload', name: 'disk', namespace: 'ns', iat: 100, exp: 400 }
    assert.deepEqual(parts.readUploadToken(` ${tokenOf(claims)}\n`), {
      token: tokenOf(claims),
      namespace: 'ns',
      pvcName: 'disk',
      expiresMs: 400_000,
      lifeMs: 300_000,
    })
  })

  it('are told from everything else', () => {
    for (const text of [
      '',
      'a.b',
      'a.b.c',
      tokenOf({ operation: 'Clone', name: 'd', namespace: 'n', exp: 1 }),
      tokenOf({ operation: 'Upload', name: '', namespace: 'n', exp: 1 }),
      tokenOf({ sub: 'system:serviceaccount:ns:name', exp: 1 }),
      `e30.${Buffer.from('null').toString('base64url')}.x`,
    ]) {
      assert.equal(parts.readUploadToken(text), undefined, text)
    }
  })
})

describe('unfinished uploads on the page', () => {
  /** As much of `localStorage` as is used: items are properties, too. */
  class MemoryStorage {
    getItem(key: string): string | null {
      return (this as Record<string, unknown>)[key] as string | null
    }
    setItem(key: string, value: string): void {
      Object.assign(this, { [key]: value })
    }
    removeItem(key: string): void {
      Reflect.deleteProperty(this, key)
    }
  }
  const file = { name: 'disk.qcow2', size: 10, lastModified: 5 }
  const target = { namespace: 'ns', pvcName: 'disk' }

  it('are found for the same file and volume, and shown for the volume', () => {
    const storage = new MemoryStorage()
    const uploads = new parts.UnfinishedUploads(storage)
    uploads.save({ file, ...target, address: '/a', doneBytes: 3 })
    assert.equal(uploads.find({ file, ...target })?.address, '/a')
    assert.equal(uploads.find({ file: { ...file, lastModified: 6 }, ...target }), undefined)
    assert.equal(uploads.find({ file, ...target, pvcName: 'other' }), undefined)
    assert.deepEqual(
      uploads.of(target).map(({ name, doneBytes }) => [name, doneBytes]),
      [['disk.qcow2', 3]],
    )
    assert.deepEqual(uploads.of({ ...target, namespace: 'x' }), [])
    uploads.forget({ file, ...target })
    assert.deepEqual(Object.keys(storage), [])
  })

  it('are forgotten when they are old or damaged, and nothing else is', () => {
    const storage = new MemoryStorage()
    const uploads = new parts.UnfinishedUploads(storage)
    uploads.save({ file, ...target, address: '/a', doneBytes: 3 })
    const [key = ''] = Object.keys(storage)
    const old = { ...(JSON.parse(storage.getItem(key) ?? '') as object), savedMs: Date.now() - 8 * 24 * 3600_000 }
    storage.setItem(key, JSON.stringify(old))
    storage.setItem('cdi-upload damaged', '{')
    storage.setItem('of somebody else', 'x')
    assert.deepEqual(uploads.of(target), [])
    assert.deepEqual(Object.keys(storage), ['of somebody else'])
  })
})

describe('pace of the page', () => {
  it('is that of the command line', async () => {
    const { Pace } = await import('../../src/cli/upload/pace.ts')
    const [one, other] = [new Pace(), new parts.Pace()]
    const steps: readonly [boolean, number, number][] = [
      [true, 8e6, 900],
      [true, 16e6, 12_000],
      [false, 9e6, 5_000],
      [true, 1e9, 1],
      [false, 0, 10],
    ]
    for (const [isGood, bytes, ms] of steps) {
      for (const pace of [one, other]) pace[isGood ? 'succeeded' : 'wasCut'](bytes, ms)
      assert.equal(other.bytes, one.bytes)
    }
  })
})
