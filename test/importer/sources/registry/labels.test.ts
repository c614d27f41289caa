import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { labelsOf } from '../../../../importer/sources/registry/labels.ts'
import { success } from '../../../../importer/termination.ts'
import { silentLog } from '../../../../src/log.ts'

const labels = (...env: readonly string[]): Readonly<Record<string, string>> => labelsOf({ env, log: silentLog() })

describe('labels of an image', () => {
  it('are made of variables as the contract says', () => {
    assert.deepEqual(
      labels(
        'PATH=/bin',
        'INSTANCETYPE_KUBEVIRT_IO_DEFAULT_INSTANCETYPE=u1.medium',
        'INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE_KIND=VirtualMachineClusterPreference',
        'KUBEVIRT_IO_A_B=x',
        'OS_TEMPLATE_KUBEVIRT_IO_FEDORA=',
        'XKUBEVIRT_IO_Y=z',
      ),
      {
        'instancetype.kubevirt.io/default-instancetype': 'u1.medium',
        'instancetype.kubevirt.io/default-preference-kind': 'VirtualMachineClusterPreference',
        'kubevirt.io/a-b': 'x',
        'os.template.kubevirt.io/fedora': '',
        'x.kubevirt.io/y': 'z',
      },
    )
  })

  it('are none for an image that asks for none', () => {
    assert.deepEqual(
      labels('PATH=/bin', 'HOME=/', '', '=', 'kubevirt_io_a=b', 'A=KUBEVIRT_IO_B=c', 'KUBEVIRT_IO_X'),
      {},
    )
  })

  it('keep a value that itself holds an equals sign out, as Kubernetes would', () => {
    assert.deepEqual(labels('KUBEVIRT_IO_A=b=c', 'KUBEVIRT_IO_D=e'), { 'kubevirt.io/d': 'e' })
  })

  it('are the last of several with one name', () => {
    assert.deepEqual(labels('KUBEVIRT_IO_A=1', 'KUBEVIRT_IO_A=2'), { 'kubevirt.io/a': '2' })
  })

  it('are left out when they are not valid, and that is told once', () => {
    const told: unknown[] = []
    const log = Object.assign(silentLog(), { warn: (facts: unknown) => told.push(facts) })
    const env = [
      'KUBEVIRT_IO_=x',
      'KUBEVIRT_IO_A=no blanks',
      'A__B_KUBEVIRT_IO_C=x',
      `KUBEVIRT_IO_${'L'.repeat(64)}=x`,
      `KUBEVIRT_IO_V=${'v'.repeat(64)}`,
      'KUBEVIRT_IO_Ü=x',
      'KUBEVIRT_IO_GOOD=x',
    ]
    assert.deepEqual(labelsOf({ env, log }), { 'kubevirt.io/good': 'x' })
    assert.equal(told.length, 1)
    assert.equal((told[0] as { count: number }).count, 6)
  })

  it('fit into the termination message, those that decide about the machine first', () => {
    const many = Array.from({ length: 500 }, (_, at) => `KUBEVIRT_IO_${at}=${'x'.repeat(60)}`)
    const found = labels(...many, 'INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE=fedora')
    assert.equal(found['instancetype.kubevirt.io/default-preference'], 'fedora')
    assert.ok(Object.keys(found).length > 20)
    const { text } = success({ blank: false, preallocationApplied: true, labels: found })
    assert.ok(Buffer.byteLength(text) <= 4096)
  })

  it('are always valid and few, whatever the environment holds', () => {
    const name = fc.stringMatching(/^[A-Z_]{0,300}KUBEVIRT_IO_[A-Z0-9_.-]{0,100}$/)
    const line = fc.oneof(
      fc.string(),
      fc.tuple(name, fc.string({ unit: 'binary' })).map(([name, value]) => `${name}=${value}`),
    )
    fc.assert(
      fc.property(fc.array(line, { maxLength: 100 }), (env) => {
        const found = labels(...env)
        assert.ok(Buffer.byteLength(JSON.stringify(found)) <= 3100)
        for (const [key, value] of Object.entries(found)) {
          assert.match(key, /^([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)*kubevirt\.io\/[a-z0-9]([-a-z0-9_.]*[a-z0-9])?$/)
          assert.match(value, /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/)
          assert.ok(value.length <= 63)
        }
      }),
    )
  })
})
