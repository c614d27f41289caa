import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import {
  annotations,
  derivedName,
  fnv1a32,
  importerPodName,
  isKubevirtLabel,
  messages,
  scratchName,
  serviceName,
  simplifyFailure,
  uploadPodName,
} from '../../../src/api/names.ts'

/** Names as Kubernetes takes them: lower case letters, digits, dashes and dots, up to 253 long. */
const names = fc
  .stringMatching(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, { maxLength: 253 })
  .filter((name) => name.length <= 253)

describe('the hash of a name', () => {
  it('is FNV-1a with 32 bits', () => {
    // Test vectors of the FNV reference code (draft-eastlake-fnv).
    assert.equal(fnv1a32(''), '811c9dc5')
    assert.equal(fnv1a32('a'), 'e40c292c')
    assert.equal(fnv1a32('foobar'), 'bf9cf968')
  })
})

describe('a derived name', () => {
  it('joins base and suffix', () => {
    assert.equal(scratchName('prime-1'), 'prime-1-scratch')
    assert.equal(importerPodName('prime-1'), 'importer-prime-1')
    assert.equal(importerPodName('disk', 'snap-1'), 'importer-disk-checkpoint-snap-1')
  })

  it('cuts a long base and puts its hash before the suffix', () => {
    const base = 'a'.repeat(253)
    const name = derivedName(base, 'scratch')
    assert.equal(name, `${'a'.repeat(236)}-${fnv1a32(base)}-scratch`)
    assert.equal(name.length, 253)
  })

  it('gives up the suffix when it leaves no room for the base', () => {
    const claim = 'b'.repeat(253)
    assert.equal(importerPodName(claim), `importer-${fnv1a32(`importer-${claim}`)}`)
  })

  it('is a name again, whatever it is derived from', () => {
    fc.assert(
      fc.property(names, names, (base, suffix) => {
        const name = derivedName(base, suffix)
        assert.ok(name.length <= 253)
        assert.match(name, /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/)
      }),
    )
  })

  it('differs when the bases differ', () => {
    fc.assert(
      fc.property(names, names, (a, b) => {
        fc.pre(a !== b)
        assert.notEqual(scratchName(a.padEnd(253, 'x')), scratchName(b.padEnd(253, 'y')))
      }),
    )
  })
})

describe('the name of an upload server', () => {
  it('is made of the name of its claim, or of its hash when that is too long', () => {
    assert.equal(uploadPodName('my.disk'), 'cdi-upload-my.disk')
    const [fits, long] = ['x'.repeat(242), 'x'.repeat(243)]
    assert.equal(uploadPodName(fits), `cdi-upload-${fits}`)
    assert.equal(uploadPodName(long), `cdi-upload-${fnv1a32(`cdi-upload-${long}`)}`)
  })
})

describe('the name of a service', () => {
  it('has dashes for dots', () => {
    assert.equal(serviceName('cdi-upload-my.disk'), 'cdi-upload-my-disk')
  })

  it('is cut to 63 characters and ends with cdi', () => {
    const long = `cdi-upload-${'a.b'.repeat(30)}`
    const name = serviceName(long)
    assert.equal(name, `${long.replaceAll('.', '-').slice(0, 50)}-${fnv1a32(long.replaceAll('.', '-'))}-cdi`)
    assert.equal(name.length, 63)
  })

  it('is always a DNS label', () => {
    fc.assert(
      fc.property(names, (name) => assert.match(serviceName(name), /^(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?$/)),
    )
  })
})

describe('the last words of a worker', () => {
  it('become one sentence when the volume is too small', () => {
    for (const text of [
      'virtual image size 9 is larger than the reported available storage 8. A larger PVC is required',
      'write: no space left on device',
      'disk quota exceeded',
    ]) {
      assert.equal(simplifyFailure(text), 'DataVolume too small to contain image')
    }
  })

  it('stay as they are otherwise', () => {
    assert.equal(simplifyFailure('connection refused'), 'connection refused')
  })
})

describe('the words of the contract', () => {
  it('name every annotation once', () => {
    const keys = Object.values(annotations)
    assert.equal(new Set(keys).size, keys.length)
  })

  it('tell on a pending target what is the matter with its prime', () => {
    assert.equal(
      messages.targetPending('dv', 'prime-1', 'no such class'),
      'target PVC dv Pending and [prime-1] : no such class',
    )
    assert.equal(messages.targetPending('dv', undefined, 'no such class'), 'target PVC dv Pending and no such class')
  })

  it('copy labels of the kubevirt.io domains only', () => {
    const keys = ['kubevirt.io/a', 'instancetype.kubevirt.io/default-preference', 'app', 'evil.io/x', 'kubevirt.io/a b']
    assert.deepEqual(keys.filter(isKubevirtLabel), ['kubevirt.io/a', 'instancetype.kubevirt.io/default-preference'])
  })
})
