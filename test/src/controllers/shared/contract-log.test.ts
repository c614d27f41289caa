import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { contractLine, contractLog } from '../../../../src/controllers/shared/contract-log.ts'

const fields = [
  ['PVC', { name: 'plain', namespace: 'vms' }],
  ['annotation', 'cdi.kubevirt.io/storage.import.endpoint'],
] as const

describe('log lines that others match', () => {
  it('have exactly the tabs and blanks of the contract', () => {
    const line = contractLine({ at: 0, message: 'PVC annotation not found, skipping pvc', fields })
    assert.ok(
      line.endsWith(
        'PVC annotation not found, skipping pvc\t{"PVC": {"name":"plain","namespace":"vms"}, "annotation": "cdi.kubevirt.io/storage.import.endpoint"}',
      ),
      line,
    )
  })

  it('are written from verbosity 2 on', () => {
    for (const [verbosity, count] of [
      [1, 0],
      [2, 1],
      [3, 1],
    ] as const) {
      const lines: string[] = []
      contractLog({ verbosity, now: () => 0, write: (line) => lines.push(line) })('message', fields)
      assert.equal(lines.length, count)
    }
  })
})
