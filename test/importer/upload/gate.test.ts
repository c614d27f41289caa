import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { passGate, plainAddress } from '../../../importer/upload/gate.ts'
import type { PlainAddress } from '../../../importer/upload/gate.ts'
import { SlotRefusal } from '../../../importer/upload/slot.ts'

const busy = new SlotRefusal('busy')
const done = new SlotRefusal('done')
const sync = plainAddress('/v1beta1/upload') as PlainAddress
const async = plainAddress('/v1beta1/upload-async') as PlainAddress
const archive = plainAddress('/v1alpha1/upload-archive') as PlainAddress

describe('addresses of plain uploads', () => {
  const rows = [
    ['upload', { isAsync: false, isForm: false, isArchive: false }],
    ['upload-async', { isAsync: true, isForm: false, isArchive: false }],
    ['upload-form', { isAsync: false, isForm: true, isArchive: false }],
    ['upload-form-async', { isAsync: true, isForm: true, isArchive: false }],
    ['upload-archive', { isAsync: false, isForm: false, isArchive: true }],
  ] as const
  for (const version of ['v1beta1', 'v1alpha1']) {
    for (const [name, address] of rows) {
      it(`knows /${version}/${name}`, () => assert.deepEqual(plainAddress(`/${version}/${name}`), address))
    }
  }
  for (const path of [
    '/',
    '/v1beta1/upload/',
    '/v1beta1/uploads',
    '/v1/upload',
    '/v1beta1/upload-archive-async',
    'toString',
    '',
  ]) {
    it(`does not know ${JSON.stringify(path)}`, () => assert.equal(plainAddress(path), undefined))
  }
})

describe('gate of plain uploads', () => {
  const take = { kind: 'take' } as const
  const answer = (status: number): object => ({ kind: 'answer', status })
  const rows = [
    // What the client asks, whether it is trusted, whether the slot is free, and what comes of it.
    ['HEAD', async, false, busy, answer(200)],
    ['HEAD', async, true, done, answer(200)],
    ['HEAD', async, false, undefined, answer(200)],
    ['HEAD', sync, true, undefined, answer(404)],
    ['HEAD', archive, true, undefined, answer(404)],
    ['GET', async, true, undefined, answer(404)],
    ['DELETE', sync, true, busy, answer(404)],
    ['PATCH', sync, false, undefined, answer(404)],
    ['OPTIONS', sync, false, undefined, answer(404)],
    ['post', sync, true, undefined, answer(404)],
    ['POST', sync, false, undefined, answer(401)],
    ['POST', async, false, busy, answer(401)],
    ['POST', sync, false, done, answer(401)],
    ['PUT', sync, false, undefined, answer(401)],
    ['POST', sync, true, busy, { kind: 'refuse', refusal: busy }],
    ['POST', async, true, done, { kind: 'refuse', refusal: done }],
    ['PUT', archive, true, busy, { kind: 'refuse', refusal: busy }],
    ['POST', sync, true, undefined, take],
    ['POST', async, true, undefined, take],
    ['POST', archive, true, undefined, take],
    ['PUT', sync, true, undefined, take],
  ] as const
  for (const [method, address, isTrusted, refusal, expected] of rows) {
    const who = isTrusted ? 'the proxy' : 'a stranger'
    const state = refusal?.reason ?? 'idle'
    const kind = address.isAsync ? 'async' : address.isArchive ? 'archive' : 'sync'
    it(`${method} to ${kind} by ${who} while ${state}`, () =>
      assert.deepEqual(passGate({ method, address, isTrusted, refusal }), expected))
  }
})
