import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { HeadFacts } from '../../../../importer/upload/raw-head.ts'
import { addressOf } from '../../../../importer/upload/resumable/address.ts'
import { chooseReceiver } from '../../../../importer/upload/resumable/receivers.ts'

const raw: HeadFacts = { encodings: [], format: 'raw' }
const facts = (onePass: unknown): HeadFacts =>
  ({ encodings: [], format: 'qcow2', facts: { onePass } }) as unknown as HeadFacts

describe('receiver of a resumable upload', () => {
  for (const [what, input, receiver] of [
    ['a raw disk', { head: raw }, 'raw'],
    ['a raw disk with a checksum', { head: raw, hasChecksum: true }, 'raw'],
    ['a raw disk of unknown length', { head: raw, length: undefined }, 'stream'],
    ['nothing', { head: raw, length: 0 }, 'stream'],
    ['a packed disk', { head: { encodings: ['xz'], format: 'raw' } }, 'stream'],
    ['an archive', { contentType: 'archive', head: raw }, 'stream'],
    ['an image that is read in one pass', { head: facts({ kind: 'qcow2' }) }, 'image'],
    ['an image with a checksum', { head: facts({ kind: 'qcow2' }), hasChecksum: true }, 'stream'],
    ['an image of unknown length', { head: facts({ kind: 'qcow2' }), length: undefined }, 'image'],
    ['an image that needs scratch', { head: facts('it has internal snapshots') }, 'stream'],
    ['an image whose headers lie farther', { head: { encodings: [], format: 'vhdx' } }, 'stream'],
  ] as const) {
    it(`of ${what} is ${receiver}`, () => {
      const whole = { contentType: 'kubevirt', length: 1000, hasChecksum: false, ...input } as const
      assert.equal(chooseReceiver(whole), receiver)
    })
  }
})

describe('address of an upload', () => {
  const address = addressOf('upload-tus')
  it('is one step below where uploads are made, and relative to it', () => {
    assert.ok(address.serves('/v1beta1/upload-tus'))
    assert.ok(address.serves('/v1beta1/upload-tus/abc'))
    for (const path of ['/v1beta1/upload-tus/a/b', '/v1beta1/upload-tusk', '/v1beta1/upload', '/upload-tus']) {
      assert.equal(address.serves(path), false, path)
    }
    assert.equal(address.idOf('/v1beta1/upload-tus'), undefined)
    assert.equal(address.idOf('/v1beta1/upload-tus/abc'), 'abc')
    const { pathname } = new URL(address.locationOf('abc'), 'https://host/prefix/v1beta1/upload-tus')
    assert.equal(pathname, '/prefix/v1beta1/upload-tus/abc')
  })
})
